"""Where a network is weaker: its score on parts of the images against its score on the rest.

A column with many values, or many columns, would always have a part that looks weak by chance: the
verdicts hold for all slices of all columns together (Holm 1979; a little stricter than need be
where a column has two parts, whose tests are one). That a slice is weaker does not say why. Where
an image shows one class, `expected` says what the rest's recall of each class would give with the
slice's mix of classes: a slice near it is not harder, it has more of the hard classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np

from resnetkit.evaluation.column_parts import Part, PartKind, cut_column
from resnetkit.evaluation.intervals import (
    SEED,
    Interval,
    basic_interval,
    difference_interval,
    percent_text,
    points_text,
    wilson_interval,
)
from resnetkit.evaluation.metrics import refuse_unusable
from resnetkit.evaluation.multilabel import RESAMPLES
from resnetkit.evaluation.ranking import (
    FEWEST_SHOWING,
    mean_of_known,
    precision_interval,
    rank_classes,
    resampled_precisions,
)
from resnetkit.evaluation.significance import (
    SIGNIFICANCE,
    fisher_exact,
    holm,
    resampled_p_value,
)
from resnetkit.types import Task

SliceVerdict = Literal["weaker", "stronger", "same", "unknown"]


@dataclass(frozen=True, kw_only=True)
class Slice:
    """The images that share a value of a column, against all others; fractions are in 0…1.

    `score` is accuracy with Wilson's interval, `difference` that minus the rest's with Newcombe's,
    `p_value` Fisher's exact test. Where images may show several classes it is mean average
    precision with a bootstrap interval; `difference` is then the mean over the classes that both
    show, which need not be the difference of the two scores, and `p_value` is normal with the
    bootstrap's spread. `verdict` is "same" where no difference is shown, which with few images does
    not say that there is none; "unknown" without a test.
    """

    column: str
    value: str
    kind: PartKind
    images: int
    score: float | None
    interval: Interval | None
    rest_images: int
    rest_score: float | None
    difference: float | None
    difference_interval: Interval | None
    expected: float | None  # accuracy, of the rest with this slice's classes; None: not known
    worst_class: str | None  # where the slice loses most against the rest; None: nowhere
    p_value: float | None
    adjusted_p_value: float | None  # for all slices together
    verdict: SliceVerdict

    def as_dict(self) -> dict[str, Any]:
        """Everything as JSON-safe values; what is undefined is None, never NaN."""
        return asdict(self)

    def describe(self) -> str:
        """The slice in a sentence without a verb."""
        shown = percent_text(self.score, self.interval)
        against = ""
        if self.difference is not None:
            against = f", {points_text(self.difference, self.difference_interval)} to the rest"
        return f"{self.column} = {self.value}: {shown} of {self.images:,} images{against}"


def slice_metrics(
    logits: np.ndarray,
    labels: np.ndarray,
    class_names: Sequence[str],
    task: Task,
    columns: Mapping[str, Sequence[object]],
    resamples: int = RESAMPLES,
) -> tuple[Slice, ...]:
    """Every slice of every column, those shown to be weaker first, then from the lowest difference.

    logits [N,K], labels int64 [N] or float32 [N,K] (see `task_metrics`); each of `columns` has a
    value for every image and is cut by `cut_column`. `resamples` are those behind the intervals
    where images may show several classes. Raises UserError without images or for logits that are
    not finite.
    """
    refuse_unusable(logits)
    assert len(labels) == len(logits), (labels.shape, logits.shape)
    assert len(class_names) == logits.shape[1], (len(class_names), logits.shape)
    found: list[Slice] = []
    for column, values in columns.items():
        assert len(values) == len(logits), (column, len(values), len(logits))
        for part in cut_column(values):
            if task == "multi-label":
                one = _slice_several(column, part, logits, labels > 0.5, resamples)
            else:
                one = _slice_one(column, part, logits, labels)
            found.append(_named(*one, class_names))
    return tuple(sorted(_with_verdicts(found), key=_weakest_first))


def describe_slices(slices: Sequence[Slice]) -> str:
    """What is weaker than the rest, a line each, and how many were looked at."""
    tested = sum(one.p_value is not None for one in slices)
    weaker = [one for one in slices if one.verdict == "weaker"]
    if not tested:
        return "no slice has anything to be compared with"
    among = f"of {tested:,} slices, tested together (Holm)"
    if not weaker:
        return f"{among}, none is shown to be weaker than the rest"
    lines = [one.describe() for one in weaker]
    return "\n".join([f"{among}, {len(weaker):,} weaker than the rest:", *lines])


def _slice_one(
    column: str, part: Part, logits: np.ndarray, labels: np.ndarray
) -> tuple[Slice, np.ndarray]:
    """A slice where an image shows one class, and how many hits each class [K] loses in it."""
    numbers = labels if labels.ndim == 1 else labels.argmax(axis=1)
    classes = logits.shape[1]
    right = logits.argmax(axis=1) == numbers
    inside = np.zeros(len(numbers), bool)
    inside[part.rows] = True
    sides = (inside, ~inside)
    support = [np.bincount(numbers[side], minlength=classes) for side in sides]
    hits = [np.bincount(numbers[side & right], minlength=classes) for side in sides]
    own, rest = ((int(hits[side].sum()), int(support[side].sum())) for side in (0, 1))
    # What each class of the slice would get right with the rest's recall; NaN where unknown.
    recall = np.where(support[1] > 0, hits[1] / np.maximum(support[1], 1), np.nan)
    expected = np.where(support[0] > 0, support[0] * recall, 0.0)
    known = own[1] > 0 and rest[1] > 0
    judged = Slice(
        column=column,
        value=part.value,
        kind=part.kind,
        images=own[1],
        score=own[0] / own[1],
        interval=wilson_interval(*own),
        rest_images=rest[1],
        rest_score=rest[0] / rest[1] if known else None,
        difference=own[0] / own[1] - rest[0] / rest[1] if known else None,
        difference_interval=difference_interval(own, rest) if known else None,
        expected=None if np.isnan(expected).any() else float(expected.sum()) / own[1],
        worst_class=None,
        p_value=fisher_exact(own, rest) if known else None,
        adjusted_p_value=None,
        verdict="unknown",
    )
    return judged, expected - hits[0]


def _slice_several(
    column: str, part: Part, logits: np.ndarray, shown: np.ndarray, resamples: int
) -> tuple[Slice, np.ndarray]:
    """As `_slice_one` where images may show several classes; the loss is of average precision."""
    inside = np.zeros(len(logits), bool)
    inside[part.rows] = True
    own, rest = (
        _precisions(logits[side], shown[side], resamples, SEED + place)
        for place, side in enumerate((inside, ~inside))
    )
    gaps = own.estimates - rest.estimates  # [K], NaN where one of them does not show the class
    difference = float(mean_of_known(gaps))
    enough = min(own.showing, rest.showing) >= FEWEST_SHOWING and not np.isnan(difference)
    resampled = mean_of_known(own.resampled - rest.resampled) if enough else np.empty(0)
    score, rest_score = own.mean(), rest.mean()
    judged = Slice(
        column=column,
        value=part.value,
        kind=part.kind,
        images=len(part.rows),
        score=score,
        interval=precision_interval(mean_of_known(own.resampled), score, own.showing),
        rest_images=len(logits) - len(part.rows),
        rest_score=rest_score,
        difference=None if np.isnan(difference) else difference,
        difference_interval=basic_interval(resampled, difference, (-1.0, 1.0)),
        expected=None,
        worst_class=None,
        p_value=resampled_p_value(resampled, difference),
        adjusted_p_value=None,
        verdict="unknown",
    )
    return judged, -gaps


@dataclass(frozen=True)
class _Precisions:
    """Average precisions of some images: [K], resampled [R,K], NaN where none shows the class."""

    estimates: np.ndarray
    resampled: np.ndarray
    showing: int  # images that show any class

    def mean(self) -> float | None:
        mean = float(mean_of_known(self.estimates))
        return None if np.isnan(mean) else mean


def _precisions(logits: np.ndarray, shown: np.ndarray, resamples: int, seed: int) -> _Precisions:
    showing = int(shown.any(axis=1).sum())
    rankings = rank_classes(logits, shown)
    values = [ranking.average_precision() for ranking in rankings]
    return _Precisions(
        np.array([np.nan if value is None else value for value in values]),
        # Of no images none can be drawn.
        resampled_precisions(rankings, resamples if len(logits) else 0, seed),
        showing,
    )


def _named(judged: Slice, losses: np.ndarray, class_names: Sequence[str]) -> Slice:
    """The slice with the class of the largest of `losses` [K]; NaN are not known."""
    known = np.nan_to_num(losses, nan=0.0)
    worst = int(known.argmax())
    if judged.difference is None or known[worst] <= 0:
        return judged
    return replace(judged, worst_class=str(class_names[worst]))


def _with_verdicts(slices: Sequence[Slice]) -> list[Slice]:
    adjusted = holm([one.p_value for one in slices])
    judged: list[Slice] = []
    for one, p_value in zip(slices, adjusted, strict=True):
        verdict: SliceVerdict = "unknown" if p_value is None else "same"
        if p_value is not None and p_value <= SIGNIFICANCE:
            assert one.difference is not None
            verdict = "weaker" if one.difference < 0 else "stronger"
        judged.append(replace(one, adjusted_p_value=p_value, verdict=verdict))
    return judged


def _weakest_first(one: Slice) -> tuple[bool, bool, float, str, str]:
    unknown = one.difference is None
    return one.verdict != "weaker", unknown, one.difference or 0.0, one.column, one.value
