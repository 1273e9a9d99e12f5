"""How images are to be dealt to splits or folds, and how that came out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from resnetkit.data.manifest_table import NONE, ManifestTable
from resnetkit.data.overlay import TEST, TRAIN, VALIDATION
from resnetkit.data.source_types import SPLIT_NAMES
from resnetkit.types import UserError

NEAR_DUPLICATES = "near-duplicates"
DEFAULT_RATIOS = (0.8, 0.1, 0.1)  # of train, val and test


@dataclass(frozen=True, kw_only=True)
class SplitPlan:
    """How to deal: shares of train, val and test, or as many folds; `group_by` keeps together.

    With `folds` the shares of train and val are dealt together. `group_by` is "near-duplicates" or
    a column of the manifest. Test images that the source has already stay the test split, unless
    `deal_test_anew`.
    """

    ratios: tuple[float, float, float] = DEFAULT_RATIOS
    folds: int | None = None
    seed: int = 0
    group_by: str | None = None
    deal_test_anew: bool = False

    def __post_init__(self) -> None:
        if not all(0 <= ratio <= 1 for ratio in self.ratios) or abs(sum(self.ratios) - 1) > 1e-6:
            raise UserError(
                "The ratios of train, val and test must be from 0 to 1 and sum to 1, say "
                f"0.8 0.1 0.1; got {' '.join(f'{ratio:g}' for ratio in self.ratios)}"
            )
        if self.ratios[TRAIN] == 0 and self.folds is None:
            raise UserError("The ratio of train is 0: nothing would be left to train on; raise it")
        if self.folds is not None and self.folds < 2:
            raise UserError(f"folds must be 2 or more, got {self.folds}")
        if self.folds is not None and self.ratios[VALIDATION] and self.ratios != DEFAULT_RATIOS:
            train, validation, test = self.ratios
            raise UserError(
                f"With folds, train and val are dealt together: their ratio {train:g} : "
                f"{validation:g} has no effect, each fold validates in turn. Write --ratios "
                f"{train + validation:g} 0 {test:g}, or leave --folds out"
            )


@dataclass(frozen=True, kw_only=True, eq=False)
class SplitReport:
    """What was dealt: `counts` int64 [parts, classes], beside `wanted` float64 of the same shape.

    Images that belong together are `grouped`; `leaking` ones are excluded, because test images that
    the source came with are in their group.
    """

    manifest: Path
    digest: str
    class_names: tuple[str, ...]
    parts: tuple[str, ...]  # train, val, test; or fold 0, …, test
    images: tuple[int, ...]  # of each part
    counts: np.ndarray
    wanted: np.ndarray
    groups: int
    grouped: int
    largest_group: int
    leaking: int
    excluded: int
    kept_test: int  # images of a test split that the source came with

    @property
    def largest_miss(self) -> float:
        """The largest distance of a class in a part from its share, in images."""
        return float(np.abs(self.counts - self.wanted).max(initial=0))

    @property
    def lacking(self) -> list[tuple[str, str]]:
        """(part, class) for every class of which a part has no image."""
        places = zip(*np.nonzero(self.counts == 0), strict=True)
        return [(self.parts[part], self.class_names[number]) for part, number in places]


def split_shares(plan: SplitPlan, has_test: bool) -> np.ndarray:
    """Shares of train, val and test among the images to be dealt: float64 [3], summing to 1."""
    shares = np.array(plan.ratios)
    if has_test:
        shares[TEST] = 0
    if plan.folds is not None:
        shares[TRAIN], shares[VALIDATION] = 1 - shares[TEST], 0
    if not shares.any():
        shares[TRAIN] = 1
    return shares / shares.sum()


def report_split(
    out_file: Path, table: ManifestTable, plan: SplitPlan, fixed: np.ndarray, leaking: int
) -> SplitReport:
    """How the dealt `table` compares with `plan`; `fixed` bool [N] were for test before."""
    assert table.splits is not None
    kept = ~table.exclude
    dealt = _count(table, kept & ~fixed)
    shares = split_shares(plan, bool((fixed & kept).any()))
    parts = {
        name: (table.splits == number, shares[number]) for number, name in enumerate(SPLIT_NAMES)
    }
    if table.fold is not None and plan.folds is not None:
        share = shares[TRAIN] / plan.folds
        parts = {
            **{f"fold {fold}": (table.fold == fold, share) for fold in range(plan.folds)},
            "test": parts["test"],
        }
    parts = {name: (chosen & kept, share) for name, (chosen, share) in parts.items()}
    parts = {name: part for name, part in parts.items() if part[1] > 0 or part[0].any()}
    sizes = _group_sizes(table, kept) if plan.group_by is not None else np.zeros(0, np.int64)
    return SplitReport(
        manifest=out_file,
        digest=table.digest,
        class_names=table.class_names,
        parts=tuple(parts),
        images=tuple(int(chosen.sum()) for chosen, _ in parts.values()),
        counts=np.stack([_count(table, chosen) for chosen, _ in parts.values()]),
        wanted=np.stack(
            [share * dealt + _count(table, chosen & fixed) for chosen, share in parts.values()]
        ),
        groups=len(sizes),
        grouped=int(sizes.sum()),
        largest_group=int(sizes.max(initial=0)),
        leaking=leaking,
        excluded=int(table.exclude.sum()),
        kept_test=int((fixed & kept).sum()),
    )


def _group_sizes(table: ManifestTable, kept: np.ndarray) -> np.ndarray:
    """Images of each group of two or more: int64 [G]."""
    assert table.group is not None
    _, sizes = np.unique(table.group[kept & (table.group != NONE)], return_counts=True)
    return sizes[sizes > 1]


def _count(table: ManifestTable, chosen: np.ndarray) -> np.ndarray:
    """Images of each class among the chosen ones: int64 [K]."""
    if table.labels.ndim == 2:
        return (table.labels[chosen] > 0).sum(axis=0)
    return np.bincount(table.labels[chosen], minlength=len(table.class_names))
