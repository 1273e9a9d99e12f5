"""What each class lost or gained when a network learnt on: the same images before and after.

Both networks are judged on the same images, so what counts is on which of them they differ
(McNemar 1947). The test is the exact one, a fair coin tossed for every image that only one of them
has right, because classes often have a few dozen images. With many classes some would differ by
chance: verdicts on single classes hold for all of them together (Holm 1979).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np

from resnetkit.evaluation.intervals import Interval, wilson_interval
from resnetkit.evaluation.metrics import compute_metrics
from resnetkit.evaluation.multilabel import compute_multilabel_metrics
from resnetkit.evaluation.significance import SIGNIFICANCE, exact_mcnemar, holm
from resnetkit.types import Task

Verdict = Literal["lost", "gained", "same", "unknown"]

NOT_KNOWN = (
    "What the old classes lost or gained cannot be known: there are no images of them that were "
    "kept from training. Give the old images with --replay OLD_SOURCE"
)


@dataclass(frozen=True, kw_only=True)
class ClassChange:
    """One class before and after; fractions are in 0…1, intervals are Wilson's at 95 %.

    Of its `support` images `lost` were right before and are wrong now, `gained` the reverse;
    `to_new` are now taken for a class that did not exist before (one class an image). `p_value` is
    of the paired test on this class alone. `verdict` is "same" where no difference is shown, which
    with few images does not say that there is none; "unknown" without images.
    """

    name: str
    support: int
    before: float | None  # recall
    before_interval: Interval | None
    after: float | None
    after_interval: Interval | None
    lost: int
    gained: int
    to_new: int
    p_value: float | None
    verdict: Verdict
    average_precision_before: float | None = None  # where images may show several classes
    average_precision_after: float | None = None


@dataclass(frozen=True, kw_only=True)
class ClassChanges:
    """All old classes before and after; `overall` counts every image, or every shown label, once.

    `score` is what decides between networks: top-1, or mean average precision of the old classes.
    """

    images: int
    task: Task
    per_class: tuple[ClassChange, ...]
    overall: ClassChange
    score_before: float | None
    score_after: float | None

    def as_dict(self) -> dict[str, Any]:
        """Everything as JSON-safe values; what is undefined is None."""
        return asdict(self)

    def describe(self) -> str:
        """The verdict in a sentence or two."""
        named = {
            verdict: [row.name for row in self.per_class if row.verdict == verdict]
            for verdict in ("lost", "gained")
        }
        told = [f"{len(n)} {verdict} ({_some(n)})" for verdict, n in named.items() if n]
        row = self.overall
        noun = "top-1" if self.task == "single-label" else "recall"
        shares = f"{_percent(row.before)} before, {_percent(row.after)} after"
        return (
            f"old classes, {noun} on the same {self.images:,} images: {shares} "
            f"({row.lost:,} lost, {row.gained:,} gained, {_p(row)}); "
            + (f"of {len(self.per_class)} classes {', '.join(told)}" if told else _nothing(self))
        )


def compare_classes(
    before: np.ndarray,
    after: np.ndarray,
    labels: np.ndarray,
    class_names: Sequence[str],
    task: Task,
) -> ClassChanges:
    """The changes from logits `before` [N,K] to `after` [N,K'], K' >= K, on the same N images.

    The first K classes of both are `class_names`; `labels` int64 [N] or float32 [N,K] are in their
    order (a soft label counts as its largest). Raises UserError when there are no images, or a
    logit is not finite.
    """
    count = len(class_names)
    assert before.shape == (len(labels), count), (before.shape, labels.shape, count)
    assert len(after) == len(before), (after.shape, before.shape)
    assert after.shape[1] >= count, (after.shape, count)
    if task == "multi-label":
        return _compare_several(before, after[:, :count], labels, class_names)
    numbers = labels if labels.ndim == 1 else labels.argmax(axis=1)
    # Of the whole head afterwards: an old image may now be taken for a new class.
    names = [*class_names, *(f"new {k}" for k in range(after.shape[1] - count))]
    first = compute_metrics(before, numbers, class_names, resamples=0)
    second = compute_metrics(after, numbers, names, resamples=0)
    said = after.argmax(axis=1)
    right = np.stack([before.argmax(axis=1) == numbers, said == numbers])
    taken = said >= count
    rows = [
        _change(name, right[:, numbers == k], int(taken[numbers == k].sum()))
        for k, name in enumerate(class_names)
    ]
    overall = _change("all", right, int(taken.sum()))
    return ClassChanges(
        images=len(numbers),
        task=task,
        per_class=_with_verdicts(rows),
        overall=_with_verdicts([overall])[0],
        score_before=first.top1,
        score_after=second.top1,
    )


def table_rows(changes: ClassChanges) -> list[tuple[str, ...]]:
    """The table as text, heads first and all classes together last: what was lost comes first."""
    several = changes.task == "multi-label"
    heads = ("Class", "Images", "Before", "After", "Lost", "Gained", "p", "Verdict")
    extra = ("AP before", "AP after") if several else ("Taken for new",)
    order = {"lost": 0, "gained": 1, "same": 2, "unknown": 3}
    rows = sorted(changes.per_class, key=lambda row: order[row.verdict])
    table: list[tuple[str, ...]] = [(*heads[:-1], *extra, heads[-1])]
    for row in (*rows, changes.overall):
        own = (f"{row.to_new:,}",)
        if several:
            own = (_percent(row.average_precision_before), _percent(row.average_precision_after))
        table.append(
            (
                row.name,
                f"{row.support:,}",
                _share(row.before, row.before_interval),
                _share(row.after, row.after_interval),
                f"{row.lost:,}",
                f"{row.gained:,}",
                "–" if row.p_value is None else f"{row.p_value:.2g}",
                *own,
                row.verdict,
            )
        )
    return table


def describe_changes(changes: ClassChanges | None) -> str:
    """The verdict in words; None when there was nothing to judge on."""
    return NOT_KNOWN if changes is None else changes.describe()


def _compare_several(
    before: np.ndarray, after: np.ndarray, labels: np.ndarray, class_names: Sequence[str]
) -> ClassChanges:
    """As `compare_classes` where images may show several classes."""
    first = compute_multilabel_metrics(before, labels, class_names, resamples=0)
    second = compute_multilabel_metrics(after, labels, class_names, resamples=0)
    shown = labels > 0.5
    right = np.stack([before > 0, after > 0])  # [2,N,K]; counts where the class is shown
    precisions = zip(first.per_class, second.per_class, strict=True)
    rows = [
        _change(
            name,
            right[:, shown[:, k], k],
            0,
            (one.average_precision, other.average_precision),
        )
        for k, (name, (one, other)) in enumerate(zip(class_names, precisions, strict=True))
    ]
    means = first.mean_average_precision, second.mean_average_precision
    overall = _change("all", right[:, shown], 0, means)
    return ClassChanges(
        images=len(labels),
        task="multi-label",
        per_class=_with_verdicts(rows),
        overall=_with_verdicts([overall])[0],
        score_before=means[0],
        score_after=means[1],
    )


def _change(
    name: str,
    right: np.ndarray,
    to_new: int,
    precisions: tuple[float | None, float | None] = (None, None),
) -> ClassChange:
    """One class of answers `right` bool [2,n], before and after; its verdict is still open."""
    before, after = right
    support = len(before)
    lost, gained = int((before & ~after).sum()), int((~before & after).sum())
    hits = int(before.sum()), int(after.sum())
    return ClassChange(
        name=name,
        support=support,
        before=hits[0] / support if support else None,
        before_interval=wilson_interval(hits[0], support) if support else None,
        after=hits[1] / support if support else None,
        after_interval=wilson_interval(hits[1], support) if support else None,
        lost=lost,
        gained=gained,
        to_new=to_new,
        p_value=exact_mcnemar(lost, gained) if support else None,
        verdict="same" if support else "unknown",
        average_precision_before=precisions[0],
        average_precision_after=precisions[1],
    )


def _with_verdicts(rows: Sequence[ClassChange]) -> tuple[ClassChange, ...]:
    """`rows` with verdicts that together are wrong with a probability of `SIGNIFICANCE` at most."""
    adjusted = holm([row.p_value for row in rows])
    shown: list[ClassChange] = []
    for row, p_value in zip(rows, adjusted, strict=True):
        verdict = row.verdict
        if p_value is not None and p_value <= SIGNIFICANCE:
            verdict = "lost" if row.lost > row.gained else "gained"
        shown.append(replace(row, verdict=verdict))
    return tuple(shown)


def _share(share: float | None, interval: Interval | None) -> str:
    if share is None or interval is None:
        return "–"
    low, high = interval
    return f"{100 * share:.1f} % ({100 * low:.1f}–{100 * high:.1f})"


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f} %"


def _p(row: ClassChange) -> str:
    return "p undefined" if row.p_value is None else f"p {row.p_value:.2g}"


def _nothing(changes: ClassChanges) -> str:
    """What to say when no class has changed by more than chance."""
    fewest = min(row.support for row in changes.per_class)
    return (
        f"no change is shown in any of {len(changes.per_class)} classes, of which the smallest has "
        f"{fewest:,} image{'' if fewest == 1 else 's'}"
    )


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
