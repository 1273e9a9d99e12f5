"""How much a result hangs on the seed: several trainings of one recipe judged on the same images.

Two questions that are often mixed up have an interval each. What would the mean of many trainings
be, on these images? That is the interval over seeds, by Student's t from the spread between runs.
Where would these very networks be on other images? That is the interval over images, by bootstrap.
More images narrow only the second, more seeds only the first, and neither holds the other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from resnetkit.evaluation.intervals import (
    CONFIDENCE,
    RESAMPLES,
    Interval,
    percent_text,
    percentile_interval,
    resample_answers,
    wilson_interval,
)
from resnetkit.evaluation.metrics import SHOWN_SCORES, refuse_unusable
from resnetkit.evaluation.multilabel import RESAMPLES as MULTILABEL_RESAMPLES
from resnetkit.evaluation.ranking import (
    mean_average_precision,
    mean_of_known,
    precision_interval,
    rank_classes,
    resampled_precisions,
)
from resnetkit.types import Task, UserError


@dataclass(frozen=True, kw_only=True)
class RunScore:
    """One run's score with its interval over images, as `Metrics` or `MultiLabelMetrics` has it."""

    name: str
    score: float
    interval: Interval | None


@dataclass(frozen=True, kw_only=True)
class SeedSpread:
    """The score of several runs on the same images; fractions are in 0…1, intervals hold 95 %.

    `seed_interval` is for the mean of many trainings on these images, `next_interval` for one more
    training on them, `image_interval` for the mean of these runs on other images.
    `disagreement` is the share of answers in which two of the runs differ, mean over pairs of them;
    `always_right` and `never_right` count the images that all runs, or none, have wholly right.
    """

    task: Task
    score_name: str
    images: int
    runs: tuple[RunScore, ...]
    mean: float
    standard_deviation: float  # between runs, of n - 1 degrees of freedom
    lowest: float
    highest: float
    seed_interval: Interval
    next_interval: Interval
    image_interval: Interval | None
    disagreement: float
    always_right: int
    never_right: int

    def as_dict(self) -> dict[str, Any]:
        """Everything as JSON-safe values; what is undefined is None, never NaN."""
        return asdict(self)

    def describe(self) -> str:
        """Mean, spread and what each of the intervals is about, in words."""
        count = len(self.runs)
        name = SHOWN_SCORES[self.score_name]
        images = "these networks on other images: not known"
        if self.image_interval is not None:
            images = f"these {count} networks on other images: {_range(self.image_interval)}"
        return (
            f"{name} of {count} runs with different seeds on the same {self.images:,} images: mean "
            f"{percent_text(self.mean, None)}, standard deviation "
            f"{100 * self.standard_deviation:.2f} points, from {percent_text(self.lowest, None)} "
            f"to {percent_text(self.highest, None)}. 95 % intervals of the mean: of many trainings "
            f"on these images {_range(self.seed_interval)} (what the seed does); {images} (what "
            f"the choice of images does). One more training would be at "
            f"{_range(self.next_interval)}. Two runs differ in {100 * self.disagreement:.1f} % of "
            f"their answers; {self.always_right:,} images are right in every run, "
            f"{self.never_right:,} in none"
        )


def measure_seed_spread(
    logits: Sequence[np.ndarray],
    labels: np.ndarray,
    task: Task,
    names: Sequence[str] = (),
    resamples: int | None = None,
) -> SeedSpread:
    """The spread between runs, from the logits [N,K] of each on the same N images.

    `labels` are int64 [N] or float32 [N,K], see `task_metrics`; `names` of the runs, else they are
    numbered. `resamples` None takes as many as the task's metrics do.

    Raises:
        UserError: fewer than two runs or the same one twice, other images or classes in one than in
            the first, no image, logits that are not finite, or no image that shows any class.
    """
    names = list(names) or [f"run {number}" for number in range(1, len(logits) + 1)]
    assert len(names) == len(logits), (len(names), len(logits))
    _refuse_unlike(logits, names)
    images, classes = logits[0].shape
    assert len(labels) == images, (labels.shape, images)
    if task == "multi-label":
        draws = MULTILABEL_RESAMPLES if resamples is None else resamples
        shown = labels > 0.5
        runs, means = _score_several(logits, shown, names, draws)
        mean = float(np.mean([run.score for run in runs]))
        interval = precision_interval(means, mean, int(shown.any(axis=1).sum()))
        answers = np.stack([one > 0 for one in logits])  # [M,N,K]
        return _spread(task, runs, interval, answers, (answers == shown).all(axis=2))
    draws = RESAMPLES if resamples is None else resamples
    numbers = labels if labels.ndim == 1 else labels.argmax(axis=1)
    answers = np.stack([one.argmax(axis=1) for one in logits])  # [M,N]
    runs, means = _score_one(answers, numbers, names, (classes, draws))
    interval = percentile_interval(means, float(np.mean([run.score for run in runs])))
    return _spread(task, runs, interval, answers, answers == numbers)


def _refuse_unlike(logits: Sequence[np.ndarray], names: Sequence[str]) -> None:
    if len(logits) < 2:
        raise UserError(
            "Seed spread: needed at least two runs judged on the same images, got "
            f"{len(logits)}; train the recipe again with another seed."
        )
    for place, (name, one) in enumerate(zip(names, logits, strict=True)):
        refuse_unusable(one)
        if one.shape != logits[0].shape:
            raise UserError(
                f"Seed spread: needed {len(logits[0]):,} images and {logits[0].shape[1]} classes "
                f"in every run, as {names[0]} has, got {len(one):,} and {one.shape[1]} from "
                f"{name}; give runs of one recipe on one source."
            )
        for other in range(place):
            if np.array_equal(one, logits[other]):  # two trainings never agree to the last bit
                raise UserError(
                    f"Seed spread: needed runs with different seeds, got the same logits from "
                    f"{names[other]} and {name}; give every run once, each trained with its own "
                    "seed."
                )


def _score_one(
    answers: np.ndarray, numbers: np.ndarray, names: Sequence[str], sizes: tuple[int, int]
) -> tuple[tuple[RunScore, ...], np.ndarray]:
    """Top-1 of every run, and their mean in each of R resamples, [R]; `sizes` are K and R."""
    images = len(numbers)
    hits = (answers == numbers).sum(axis=1).tolist()
    runs = [
        RunScore(name=name, score=correct / images, interval=wilson_interval(correct, images))
        for name, correct in zip(names, hits, strict=True)
    ]
    drawn, _ = resample_answers(numbers, answers, *sizes)
    return tuple(runs), drawn.sum(axis=2).mean(axis=0) / images


def _score_several(
    logits: Sequence[np.ndarray], shown: np.ndarray, names: Sequence[str], resamples: int
) -> tuple[tuple[RunScore, ...], np.ndarray]:
    """As `_score_one` by mean average precision."""
    runs: list[RunScore] = []
    total = np.zeros(resamples)
    for name, one in zip(names, logits, strict=True):
        rankings = rank_classes(one, shown)
        resampled = resampled_precisions(rankings, resamples)  # the same draws for every run
        score, interval = mean_average_precision(rankings, resampled, shown)
        if score is None:
            raise UserError(
                "Seed spread: needed images that show a class, got none; choose another split."
            )
        runs.append(RunScore(name=name, score=score, interval=interval))
        total += mean_of_known(resampled)
    return tuple(runs), total / len(runs)


def _spread(
    task: Task,
    runs: tuple[RunScore, ...],
    image_interval: Interval | None,
    answers: np.ndarray,
    right: np.ndarray,
) -> SeedSpread:
    """The figures of runs with answers [M,N] or [M,N,K], of which bool [M,N] are right."""
    scores = np.array([run.score for run in runs])
    count = len(scores)
    mean, deviation = float(scores.mean()), float(scores.std(ddof=1))
    half = _student(count - 1) * deviation
    pairs = [
        float((answers[one] != answers[other]).mean())
        for one in range(count)
        for other in range(one)
    ]
    return SeedSpread(
        task=task,
        score_name="top1" if task == "single-label" else "mean_average_precision",
        images=right.shape[1],
        runs=runs,
        mean=mean,
        standard_deviation=deviation,
        lowest=float(scores.min()),
        highest=float(scores.max()),
        seed_interval=_within(mean, half / math.sqrt(count)),
        next_interval=_within(mean, half * math.sqrt(1 + 1 / count)),
        image_interval=image_interval,
        disagreement=float(np.mean(pairs)),
        always_right=int(right.all(axis=0).sum()),
        never_right=int((~right).all(axis=0).sum()),
    )


def _student(degrees: int) -> float:
    """How many standard errors to either side of the mean hold 95 % of Student's t."""
    from scipy.special import stdtrit

    return float(stdtrit(degrees, (1 + CONFIDENCE) / 2))


def _within(mean: float, half: float) -> Interval:
    return max(0.0, mean - half), min(1.0, mean + half)


def _range(interval: Interval) -> str:
    low, high = interval
    return f"{100 * low:.2f} to {100 * high:.2f} %"
