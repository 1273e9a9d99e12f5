"""Looking for images that cannot be read before training starts, in bounded time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from resnetkit.data.columns import FileColumn
from resnetkit.data.source_types import Split
from resnetkit.data.transforms import Progress, find_unreadable

WHOLE_CHECK = 2000  # images that are all decoded at every start; of more, this many


@dataclass(frozen=True, kw_only=True, eq=False)
class Soundness:
    """What a look at a split found: `failures` are (index, message), `unchecked` were not read."""

    failures: list[tuple[int, str]]
    unchecked: int


def look_over(split: Split, *, whole: bool, progress: Progress) -> Soundness:
    """Decode every image where there are few or `whole` is asked, else an evenly spread sample.

    Files that are empty or gone are found among any number, by asking for their size only. Whatever
    else is damaged, the loader names when it comes to it.
    """
    if split.encoded is None or not len(split):
        return Soundness(failures=[], unchecked=0)
    if whole or len(split) <= WHOLE_CHECK:
        return Soundness(failures=find_unreadable(split, progress=progress), unchecked=0)
    chosen = np.linspace(0, len(split) - 1, WHOLE_CHECK).astype(np.int64)
    if isinstance(split.encoded, FileColumn):
        sizes, _ = split.encoded.facts()
        chosen = np.union1d(chosen, np.flatnonzero(sizes <= 0))
    found = find_unreadable(split.subset(chosen), progress=progress)
    failures = [(int(chosen[place]), message) for place, message in found]
    return Soundness(failures=failures, unchecked=len(split) - len(chosen))
