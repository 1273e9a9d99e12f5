"""How far probabilities are from what happens: calibration error, Brier score, likelihood, bins.

The expected calibration error (Naeini et al. 2015; Guo et al. 2017, equation 3) compares, in 15
bins of how sure the answers are, the share that is right with the mean probability. Bins of equal
width are the published ones, and put most answers of a good network into the last; bins of equal
mass (Nixon et al. 2019) have as many answers each. In a multi-label task every (image, class) pair
counts as an answer: the probability of the class, and whether the image shows it.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from resnetkit.evaluation.intervals import Interval, wilson_interval
from resnetkit.evaluation.probabilities import indicators, log_losses, probabilities, truths
from resnetkit.types import Task

BINS = 15  # as Guo et al. 2017


@dataclass(frozen=True, kw_only=True)
class CalibrationError:
    """How far the probabilities for some images are from the truth; 0 is best everywhere.

    An `ece` is never 0, however good: few answers a bin are off by chance. `ece_by_chance` is what
    probabilities that are all true would show on average on so many images. `rms_debiased` is free
    of that (Kumar, Liang & Ma 2019, "Verified uncertainty calibration", section 5): the root of the
    mean square, with equal mass; None where no bin has the two answers that this takes.
    """

    images: int
    ece: float  # bins of equal width
    ece_equal_mass: float
    ece_by_chance: float  # of bins of equal width
    rms_debiased: float | None
    class_ece: float  # mean over classes of `class_errors`
    brier: float  # squared errors summed over the classes, mean over the images (Brier 1950)
    nll: float  # in nats; in a multi-label task summed over the classes

    def as_dict(self) -> dict[str, Any]:
        """Everything as JSON-safe values."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class ReliabilityBin:
    """The answers whose probability lies above `low` and up to `high`: how many of them are right.

    `probability` is their mean; `interval` is Wilson's at 95 % for `accuracy`.
    """

    low: float
    high: float
    answers: int
    probability: float
    accuracy: float
    interval: Interval


def measure_calibration(
    logits: np.ndarray, labels: np.ndarray, task: Task, bins: int = BINS
) -> CalibrationError:
    """All errors of the probabilities that logits [N,K] stand for."""
    assert len(logits), "no images"
    shares = probabilities(logits, task)
    sure, right = answers(shares, labels, task)
    wide = _Binned(sure, right, equal_width_bins(sure, bins))
    equal = _Binned(sure, right, equal_mass_bins(sure, bins))
    shown = indicators(labels, logits.shape[1], task)
    return CalibrationError(
        images=len(logits),
        ece=wide.error,
        ece_equal_mass=equal.error,
        ece_by_chance=wide.error_by_chance,
        rms_debiased=equal.rms_debiased,
        class_ece=float(class_errors(logits, labels, task, bins).mean()),
        brier=float(((shares - shown) ** 2).sum(axis=1).mean()),
        nll=float(log_losses(logits, labels, task).mean()),
    )


def class_errors(
    logits: np.ndarray, labels: np.ndarray, task: Task, bins: int = BINS
) -> np.ndarray:
    """The calibration error of each class's own probability, float64 [K].

    The static calibration error of Nixon et al. 2019 is its mean: over all images, whatever their
    answer, in bins of equal width.
    """
    shares, shown = probabilities(logits, task), indicators(labels, logits.shape[1], task)
    return np.array(
        [
            _Binned(shares[:, k], shown[:, k], equal_width_bins(shares[:, k], bins)).error
            for k in range(logits.shape[1])
        ]
    )


def reliability_bins(
    logits: np.ndarray, labels: np.ndarray, task: Task, bins: int = BINS
) -> tuple[ReliabilityBin, ...]:
    """The points of a reliability diagram (DeGroot & Fienberg 1983); bins without answers lack."""
    sure, right = answers(probabilities(logits, task), labels, task)
    places = equal_width_bins(sure, bins)
    found = []
    for place in np.unique(places).tolist():
        here = places == place
        hits, count = int(right[here].sum()), int(here.sum())
        one = ReliabilityBin(
            low=place / bins,
            high=(place + 1) / bins,
            answers=count,
            probability=float(sure[here].mean()),
            accuracy=hits / count,
            interval=wilson_interval(hits, count),
        )
        found.append(one)
    return tuple(found)


def answers(shares: np.ndarray, labels: np.ndarray, task: Task) -> tuple[np.ndarray, np.ndarray]:
    """How sure each answer is and whether it is right, float64 and bool [N], in order.

    `shares` are probabilities [N,K]. In a multi-label task they are those of all pairs, [N*K].
    """
    shown = truths(labels, task)
    if task == "multi-label":
        return shares.ravel(), shown.ravel()
    said = shares.argmax(axis=1)
    return np.take_along_axis(shares, said[:, None], axis=1)[:, 0], said == shown


def equal_width_bins(sure: np.ndarray, bins: int) -> np.ndarray:
    """The bin of each probability [N], 0…bins-1: above bin / bins, up to (bin + 1) / bins."""
    edges = np.linspace(0.0, 1.0, bins + 1)
    return np.clip(np.searchsorted(edges, sure, side="left") - 1, 0, bins - 1)


def equal_mass_bins(sure: np.ndarray, bins: int) -> np.ndarray:
    """The bin of each probability [N], 0…bins-1, about as many in each; equal ones stay together.

    Or else the order of the images, which says nothing, would decide.
    """
    _, places, counts = np.unique(sure, return_inverse=True, return_counts=True)
    middles = np.cumsum(counts) - counts / 2
    return np.minimum((middles * bins / len(sure)).astype(np.int64), bins - 1)[places.ravel()]


class _Binned:
    """Answers in bins: how many, how sure on average, and which share is right."""

    def __init__(self, sure: np.ndarray, right: np.ndarray, places: np.ndarray) -> None:
        counts = np.bincount(places)
        there = counts > 0
        self._counts = counts[there]

        def mean(values: np.ndarray) -> np.ndarray:
            return np.bincount(places, weights=values)[there] / self._counts

        self._gaps = mean(right) - mean(sure)
        self._right = mean(right)
        self._spread = mean(sure * (1 - sure)) / self._counts  # variance of a true bin's gap
        self._weights = self._counts / self._counts.sum()

    @property
    def error(self) -> float:
        return float(self._weights @ np.abs(self._gaps))

    @property
    def error_by_chance(self) -> float:
        """The mean of |gap| where it is normal around 0, as of true probabilities it nearly is."""
        return float(self._weights @ np.sqrt(2 / math.pi * self._spread))

    @property
    def rms_debiased(self) -> float | None:
        """Less the variance of each bin's share; a bin of one answer has none, and is left out."""
        several = self._counts > 1
        if not several.any():
            return None
        right, counts = self._right[several], self._counts[several]
        squares = self._gaps[several] ** 2 - right * (1 - right) / (counts - 1)
        return math.sqrt(max(0.0, float(self._weights[several] @ squares)))
