"""The data gate: list, scan, compare, judge, and write down what was found. Reads only."""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from resnetkit.config import suggest
from resnetkit.data.checks.check_report import CheckReport
from resnetkit.data.checks.classes import count_classes, judge_classes
from resnetkit.data.checks.duplicates import find_duplicates
from resnetkit.data.checks.exclusion import choose_excluded, locate_images
from resnetkit.data.checks.findings import SEVERITIES, Finding
from resnetkit.data.checks.kinds import KINDS
from resnetkit.data.checks.listing import Listing, list_source
from resnetkit.data.checks.outliers import find_outliers
from resnetkit.data.checks.outputs import Outcome, output_paths, write_outputs
from resnetkit.data.checks.part_store import PartStore
from resnetkit.data.checks.scan import scan_source
from resnetkit.data.checks.scan_types import Scan
from resnetkit.data.sources import refuse_inside
from resnetkit.runtime import commit_folder, refuse_foreign_files, sweep_temporaries
from resnetkit.types import UserError

Progress = Callable[[str, int, int], None]  # what, done, total
Judge = Callable[[Scan], Sequence[Finding]]  # finds more, for instance labels that look wrong


def check_source(
    location: str,
    out: Path | None,
    *,
    progress: Progress,
    allow: Sequence[str] = (),
    judges: Sequence[Judge] = (),
) -> CheckReport:
    """Look at everything in `location` without changing a byte of it, and write `out`.

    Every image is read once; a call after kill -9 goes on with the parts that were finished, and a
    later one does only what changed. `allow` names kinds that do not fail the check; `judges` get
    the scan and give findings of their own. Without `out` nothing is written. Raises `UserError`
    before anything is read: for a kind that is unknown or not to be allowed, for an `out` inside
    the source or with others' files in it, and for a location where nothing is.
    """
    allow = _known_kinds(allow)
    if out is not None:
        refuse_inside(location, out)
        out = Path(os.path.realpath(out))
        refuse_foreign_files(out)
    listing = list_source(location)
    if out is not None:
        sweep_temporaries(out.parent, glob.escape(out.name))
    store = PartStore(out)
    scan = scan_source(listing, store, progress)
    findings = _collect(listing, scan, judges, progress)
    located = locate_images(scan, findings)
    excluded = choose_excluded(scan, located)
    counts = count_classes(listing)
    report = CheckReport(
        location=listing.location,
        class_names=listing.class_names,
        counts={split: tuple(count.astype(int).tolist()) for split, count in counts.items()},
        images={split: len(listed) for split, listed in listing.splits.items()},
        findings=findings,
        allowed=allow,
        unsafe=tuple(
            kind for kind in findings if KINDS[kind].severity == "unsafe" and kind not in allow
        ),
        excluded=len(excluded),
        paths={} if out is None else output_paths(out, has_images=len(scan) > 0),
    )
    if out is not None:
        outcome = Outcome(report=report, scan=scan, located=located, excluded=excluded)
        commit_folder(out, lambda folder: write_outputs(folder, outcome, store, progress))
        store.discard()
    return report


def _collect(
    listing: Listing, scan: Scan, judges: Sequence[Judge], progress: Progress
) -> dict[str, Sequence[Finding]]:
    """All findings by kind, unsafe kinds first, and within a severity as KINDS has them."""
    found: dict[str, Sequence[Finding]] = {**scan.found, **find_outliers(scan)}
    several = [*listing.findings, *judge_classes(listing), *find_duplicates(scan, progress)]
    for judge in judges:
        several += judge(scan)
    for finding in several:
        group = found.setdefault(finding.kind, [])
        assert isinstance(group, list), f"{finding.kind} is found by the scan"
        group.append(finding)
    assert set(found) <= set(KINDS), set(found) - set(KINDS)
    order = list(KINDS)
    rank = {kind: (SEVERITIES.index(KINDS[kind].severity), order.index(kind)) for kind in found}
    return {kind: found[kind] for kind in sorted(found, key=rank.__getitem__)}


def _known_kinds(allow: Sequence[str]) -> tuple[str, ...]:
    for kind in allow:
        if kind not in KINDS:
            raise UserError(
                f"allow: there is no kind of finding {kind!r}{suggest(kind, KINDS)}. {_allowed()}"
            )
        if KINDS[kind].refused:
            raise UserError(
                f"allow: {kind!r} cannot be allowed, since training refuses such a source. "
                f"{KINDS[kind].treatment.removeprefix('Training refuses it. ')} {_allowed()}"
            )
        if KINDS[kind].severity != "unsafe":
            raise UserError(
                f"allow: {kind!r} is a {KINDS[kind].severity}, which never fails the check, so "
                "that allowing it has no effect; leave it out."
            )
    return tuple(dict.fromkeys(allow))


def _allowed() -> str:
    kinds = (name for name, kind in KINDS.items() if kind.severity == "unsafe" and not kind.refused)
    return f"Those that can be allowed are {', '.join(kinds)}."
