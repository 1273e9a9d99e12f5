"""Which images should not be trained on, given everything that was found, and why."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import overload

import numpy as np

from resnetkit.data.checks.findings import Finding
from resnetkit.data.checks.image_kinds import UNREADABLE_KINDS
from resnetkit.data.checks.scan_types import ImageFindings, Scan

Found = Mapping[str, Sequence[Finding]]  # kind -> its findings
Rule = Callable[[Scan, list[int]], list[int]]  # images that belong together -> those to leave out


@dataclass(frozen=True, kw_only=True, eq=False)
class Groups:
    """The images of each finding of a kind: group i is rows[stops[i - 1]:stops[i]]."""

    rows: np.ndarray  # int64
    stops: np.ndarray  # int64, one for each finding

    def __len__(self) -> int:
        return len(self.stops)

    def __getitem__(self, place: int) -> np.ndarray:
        if not 0 <= place < len(self):
            raise IndexError(place)
        return self.rows[self.stops[place - 1] if place else 0 : self.stops[place]]


def locate_images(scan: Scan, found: Found) -> dict[str, Groups]:
    """The images of each finding, by kind; empty groups where a finding is about a folder."""
    grouped = [
        f
        for findings in found.values()
        if not isinstance(findings, ImageFindings)
        for f in findings
    ]
    wanted = {name for finding in grouped for name in finding.names}
    places = {name: row for row, name in enumerate(scan.names) if name in wanted} if wanted else {}
    return {kind: _locate(findings, places) for kind, findings in found.items()}


def _locate(findings: Sequence[Finding], places: Mapping[str, int]) -> Groups:
    if isinstance(findings, ImageFindings):
        return Groups(rows=findings.indices, stops=np.arange(1, len(findings) + 1))
    groups = [[places[name] for name in each.names if name in places] for each in findings]
    rows = np.fromiter(chain.from_iterable(groups), np.int64)
    return Groups(rows=rows, stops=np.cumsum([len(group) for group in groups], dtype=np.int64))


def choose_excluded(scan: Scan, located: Mapping[str, Groups]) -> dict[int, list[str]]:
    """Images to leave out, each with the kinds that are the reason.

    Those that cannot be read; of identical ones in a split all but the first; all that are there
    under two labels; and of pictures that splits share, the copies outside the split that is held
    out most strictly (test, then val), so that figures stay comparable with earlier ones.
    """
    reasons: dict[int, list[str]] = defaultdict(list)
    for kind, rule in RULES.items():
        rows = [row for group in located.get(kind, ()) for row in rule(scan, group.tolist())]
        for row in dict.fromkeys(rows):
            reasons[row].append(kind)
    return dict(sorted(reasons.items()))


def _all(scan: Scan, rows: list[int]) -> list[int]:
    return rows


def _all_but_first_of_split(scan: Scan, rows: list[int]) -> list[int]:
    kept: set[int] = set()
    excluded = []
    for row in sorted(rows):
        split = int(scan.splits[row])
        if split in kept:
            excluded.append(row)
        kept.add(split)
    return excluded


def _outside_last_split(scan: Scan, rows: list[int]) -> list[int]:
    last = max((int(scan.splits[row]) for row in rows), default=0)
    return [row for row in rows if scan.splits[row] < last]


RULES: dict[str, Rule] = {
    **dict.fromkeys(UNREADABLE_KINDS, _all),
    "two-labels": _all,
    "exact-duplicate": _all_but_first_of_split,
    "shared-between-splits": _outside_last_split,
}


def kinds_by_image(count: int, located: Mapping[str, Groups]) -> KindLists:
    """The kinds found of each image, for the manifest's column "findings"."""
    images, codes = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for code, groups in enumerate(located.values()):
        rows = np.unique(groups.rows)
        images.append(rows)
        codes.append(np.full(len(rows), code))
    image, kind = np.concatenate(images), np.concatenate(codes)
    order = np.argsort(image, kind="stable")
    stops = np.searchsorted(image[order], np.arange(count + 1))
    return KindLists(tuple(located), kind[order], stops)


class KindLists(Sequence[tuple[str, ...]]):
    """The kinds of findings of each image, by columns: a tuple is made when it is asked for."""

    def __init__(self, kinds: Sequence[str], codes: np.ndarray, stops: np.ndarray) -> None:
        self._kinds, self._codes, self._stops = kinds, codes, stops

    def __len__(self) -> int:
        return len(self._stops) - 1

    @overload
    def __getitem__(self, index: int) -> tuple[str, ...]: ...
    @overload
    def __getitem__(self, index: slice) -> list[tuple[str, ...]]: ...
    def __getitem__(self, index: int | slice) -> tuple[str, ...] | list[tuple[str, ...]]:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        if not 0 <= index < len(self):
            raise IndexError(index)
        codes: list[int] = self._codes[self._stops[index] : self._stops[index + 1]].tolist()
        return tuple(self._kinds[code] for code in codes)
