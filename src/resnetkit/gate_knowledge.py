"""What the data gate knows of judged images: pictures shared with training, other findings."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from resnetkit.data.checks.duplicates import find_groups
from resnetkit.data.checks.kinds import KINDS
from resnetkit.data.checks.same_pictures import ALONE
from resnetkit.data.dataset import Progress
from resnetkit.data.manifest_table import read_manifest_table
from resnetkit.data.opening import DescribedSource
from resnetkit.data.seen import find_seen
from resnetkit.data.sources import Split
from resnetkit.data.splits import concatenate
from resnetkit.evaluation.evaluate import AnyMetrics, task_metrics
from resnetkit.evaluation.report_input import GateKnowledge
from resnetkit.export.package import load_seen
from resnetkit.judging import Answers, Subject
from resnetkit.narration_samples import show_rows
from resnetkit.package_split import load_package_split
from resnetkit.types import UserError

SHARED_KIND = "shared-between-splits"
PARTS = {"train": "the training images", "val": "the validation images"}
SHOWN = 12
EXACTLY = (
    "Compared by content, to the byte. Pictures that are only nearly the same are found with "
    "`--near-duplicates`, and by `resnetkit data check`, whose manifest is read here."
)


@dataclass(frozen=True, kw_only=True, eq=False)
class LearntImages:
    """Images that a package learnt from, of `sources`; `missing` says why others are not here."""

    images: Split
    sources: tuple[str, ...]
    missing: tuple[str, ...]


def know_gate(
    answers: Answers, progress: Progress, near: LearntImages | None = None
) -> GateKnowledge | None:
    """Shared pictures, the metrics without them and what a manifest found; None if nothing tells.

    Equal content is known from the package's own keys. Nearly equal pictures are told by a manifest
    of `data check`, and by comparing all that the package learnt from, where that is given.
    """
    subject = answers.subject
    shared = _equal_content(subject, progress)
    findings = _manifest_findings(subject)
    if SHARED_KIND in findings:
        shared["another split, by `data check`"] = findings[SHARED_KIND]
    if near is not None:
        shared["the training images, nearly or wholly"] = _near_to(near, subject, progress)
    if not shared and not findings:
        return None
    any_shared = np.zeros(len(answers.labels), bool)
    for rows in shared.values():
        any_shared |= rows
    samples = []
    if subject.task == "single-label":
        chosen = np.flatnonzero(any_shared)[:SHOWN].tolist()
        samples = show_rows(subject.images, answers.calibrated, subject.contract, chosen)
    compared = "" if SHARED_KIND in findings else EXACTLY
    return GateKnowledge(
        shared={name: int(rows.sum()) for name, rows in shared.items()},
        compared=compared if near is None else _describe_learnt(near),
        without_shared=_metrics_without(answers, any_shared),
        findings={KINDS[kind].title: int(rows.sum()) for kind, rows in findings.items()},
        samples=samples,
    )


def _metrics_without(answers: Answers, shared: np.ndarray) -> AnyMetrics | None:
    """The metrics of the others; None where all or none are shared."""
    if shared.all() or not shared.any():
        return None
    contract, rows = answers.subject.contract, ~shared
    logits, labels = answers.deciding[rows], answers.labels[rows]
    return task_metrics(logits, labels, contract.class_names, contract.task)


def _equal_content(subject: Subject, progress: Progress) -> dict[str, np.ndarray]:
    """Which images have the content of one that the package was trained or validated on."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it does not say has been said
        seen = load_seen(subject.folder)
    if seen is None:
        return {}
    parts = ("train",) if subject.split == "val" else tuple(PARTS)
    found = {part: find_seen(seen, subject.images, (part,), progress)[0] for part in parts}
    return {PARTS[part]: rows for part, rows in found.items()}


def _manifest_findings(subject: Subject) -> Mapping[str, np.ndarray]:
    """Which images each kind of finding is about, by the manifest; nothing without one."""
    manifest = subject.manifest
    if manifest is None or not manifest.is_file():
        return {}
    table = read_manifest_table(manifest)
    if table.findings is None:
        return {}
    rows = {name: row for row, name in enumerate(table.paths)}
    places: dict[str, list[int]] = {}
    for place, name in enumerate(subject.images.names):
        row = rows.get(name)
        for kind in () if row is None else table.findings[row]:
            places.setdefault(kind, []).append(place)
    known = Counter({kind: len(found) for kind, found in places.items() if kind in KINDS})
    return {kind: _mask(places[kind], len(subject.images)) for kind, _ in known.most_common()}


def _mask(places: list[int], count: int) -> np.ndarray:
    mask = np.zeros(count, bool)
    mask[places] = True
    return mask


def load_learnt(subject: Subject, progress: Progress) -> LearntImages:
    """All that the package learnt from: in its own training, in its parents', and replayed.

    Raises UserError where none of it can be had.
    """
    locations = list(dict.fromkeys(dealt.config.source for dealt in subject.past.sources))
    if not locations:
        raise UserError(
            f"{subject.folder}: near-duplicates compares with the training images, and the package "
            "does not say where they are (it was imported). Leave it out"
        )
    found: dict[str, Split] = {}
    missing: list[str] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that classes are missing says nothing of the figures
        for location in locations:
            try:
                found[location] = _load_learnt_at(subject, location, progress)
            except UserError as error:  # moved since, or of classes this package does not know
                missing.append(str(error))
    if not found:
        raise UserError(missing[0])
    images = concatenate(list(found.values()))
    return LearntImages(images=images, sources=tuple(found), missing=tuple(missing))


def _load_learnt_at(subject: Subject, location: str, progress: Progress) -> Split:
    source, place = DescribedSource(location=location), (subject.folder, subject.package)
    found = [load_package_split(*place, source, "train", progress)]
    if subject.split != "val":
        with suppress(UserError):  # not every training has validation images
            found.append(load_package_split(*place, source, "val", progress))
    if any((images.images is None) != (subject.images.images is None) for images in found):
        raise UserError(
            f"near-duplicates: the training images ({location}) and those of "
            f"{subject.asked.location} are of two kinds, files and arrays, which are not compared. "
            "Leave it out"
        )
    return concatenate(found)


def _near_to(learnt: LearntImages, subject: Subject, progress: Progress) -> np.ndarray:
    """Which images show the picture of one that was learnt from, bool [N]; all are opened."""
    groups = find_groups(concatenate([subject.images, learnt.images]), progress)
    count = len(subject.images)
    return np.isin(groups[:count], groups[count:][groups[count:] != ALONE])


def _describe_learnt(learnt: LearntImages) -> str:
    told = [f"Compared with the images learnt from in {', '.join(learnt.sources)}."]
    told += [f"Not compared: {reason.rstrip('.')}." for reason in learnt.missing]
    return " ".join(told)
