"""Parts of the report that follow from logits and labels alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from resnetkit.evaluation.calibration import calibrate
from resnetkit.evaluation.calibration_error import (
    answers,
    measure_calibration,
    reliability_bins,
)
from resnetkit.evaluation.confidence import Confidence
from resnetkit.evaluation.intervals import wilson_interval
from resnetkit.evaluation.probabilities import probabilities, softmax
from resnetkit.evaluation.report_input import Answering, Pair, Reliability
from resnetkit.evaluation.selective import CoveragePoint, Reject, coverage_curve
from resnetkit.types import Task


def measure_reliability(
    logits: np.ndarray, labels: np.ndarray, task: Task, confidence: Confidence | None
) -> Reliability:
    """How far the probabilities of the network's own logits [N,K] are off, and the calibrated."""
    before = measure_calibration(logits, labels, task)
    bins = reliability_bins(logits, labels, task)
    if confidence is None:
        return Reliability(before=before, bins_before=bins)
    calibrated = calibrate(logits, confidence.calibration)
    return Reliability(
        confidence=confidence,
        before=before,
        bins_before=bins,
        after=measure_calibration(calibrated, labels, task),
        bins_after=reliability_bins(calibrated, labels, task),
    )


def measure_answering(
    logits: np.ndarray, labels: np.ndarray, reject: Reject | None = None
) -> Answering:
    """Accuracy by coverage, of the (calibrated) logits [N,K] that a threshold would look at."""
    sure, right = answers(probabilities(logits, "single-label"), labels, "single-label")
    return Answering(
        curve=coverage_curve(sure, right),
        reject=reject,
        at_threshold=None if reject is None else _at_threshold(sure, right, reject.threshold),
    )


def _at_threshold(sure: np.ndarray, right: np.ndarray, threshold: float) -> CoveragePoint | None:
    answered = sure >= threshold
    count, hits = int(answered.sum()), int(right[answered].sum())
    if not count:
        return None
    return CoveragePoint(
        threshold=threshold,
        coverage=count / len(sure),
        accuracy=hits / count,
        interval=wilson_interval(hits, count),
    )


def choose_mistakes(
    logits: np.ndarray, labels: np.ndarray, most: int = 12
) -> tuple[list[int], list[int]]:
    """Rows of logits [N,K] that are wrong: the surest, then others whose true class is furthest.

    A sure error is of a network that does not doubt; one whose true class has next to no
    probability may be a wrong label, or an image unlike all that were learnt.
    """
    shares = softmax(logits)
    rows = np.arange(len(labels))
    said = logits.argmax(axis=1)
    wrong = np.flatnonzero(said != labels)
    surest = wrong[np.argsort(-shares[wrong, said[wrong]], kind="stable")][:most]
    left = np.setdiff1d(wrong, surest)
    furthest = left[np.argsort(shares[rows, labels][left], kind="stable")][:most]
    return surest.tolist(), furthest.tolist()


def choose_pair_rows(
    logits: np.ndarray, labels: np.ndarray, pairs: Sequence[Pair], most: int = 4
) -> Mapping[Pair, list[int]]:
    """For each pair (true, said) the rows of logits [N,K] confused so, the surest first."""
    said = logits.argmax(axis=1)
    sure = softmax(logits).max(axis=1)
    found = {}
    for true, taken in pairs:
        rows = np.flatnonzero((labels == true) & (said == taken))
        found[true, taken] = rows[np.argsort(-sure[rows], kind="stable")][:most].tolist()
    return found
