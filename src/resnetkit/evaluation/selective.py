"""When not to answer: accuracy by the share of images answered, and a threshold for a promise.

A single-label network answers an image when the probability of the likeliest class reaches a
threshold (Geifman & El-Yaniv 2017, "Selective classification for deep neural networks"). What is
promised of a threshold holds for other images drawn as these were, with the assurance stated; the
share that was right among those it was chosen on would be too good.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np

from resnetkit.evaluation.intervals import Interval, wilson_interval
from resnetkit.types import UserError

ASSURANCE = 0.95  # of the promise of a threshold
STARTS = 10  # of sequences of tests, see `choose_for_precision`
POINTS = 200  # of a curve, at most

Goal = Literal["precision", "coverage"]


@dataclass(frozen=True, kw_only=True)
class CoveragePoint:
    """What a threshold gives: the share of images answered, and of these the share that is right.

    `interval` is Wilson's at 95 % for `accuracy`.
    """

    threshold: float
    coverage: float
    accuracy: float
    interval: Interval


@dataclass(frozen=True, kw_only=True)
class CoverageCurve:
    """Accuracy over coverage: `points` with falling thresholds, the last answers every image.

    `aurc` is the area under the risk-coverage curve, the mean over all coverages of the share that
    is wrong: lower is better; `least_aurc` is that of the same mistakes, had they all been the
    least sure. In between lies what a better measure of sureness could win.
    """

    points: tuple[CoveragePoint, ...]
    aurc: float
    least_aurc: float


@dataclass(frozen=True, kw_only=True)
class Reject:
    """An image is answered when its probability reaches `threshold`.

    `wanted` says what was promised: that at least the share `target` of the answers is right
    ("precision"), or of the images is answered ("coverage"), with the `assurance`. `coverage` and
    `precision` are what was found on the `images` that it was chosen on; None: none was answered.
    """

    threshold: float
    wanted: Goal
    target: float
    assurance: float
    coverage: float
    precision: float | None
    images: int

    def __post_init__(self) -> None:
        for name in ("threshold", "target", "assurance", "coverage", "precision"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise UserError(f"reject.{name} must lie in 0…1, got {value}")


def coverage_curve(sure: np.ndarray, right: np.ndarray) -> CoverageCurve:
    """The curve of answers as sure as `sure` float [N] of which `right` bool [N] are right.

    Equally sure answers are given together; within them mistakes count as if evenly spread.
    """
    assert len(sure) == len(right) > 0, (len(sure), len(right))
    order = np.argsort(-sure, kind="stable")
    ranked, hits = sure[order], np.cumsum(right[order])
    ends = np.flatnonzero(np.append(ranked[1:] < ranked[:-1], True))  # last of each sureness
    images, mistakes = len(sure), len(sure) - int(hits[-1])
    chosen = ends[np.unique(np.linspace(0, len(ends) - 1, POINTS).round().astype(np.int64))]
    points = tuple(
        CoveragePoint(
            threshold=float(ranked[end]),
            coverage=(end + 1) / images,
            accuracy=int(hits[end]) / (end + 1),
            interval=wilson_interval(int(hits[end]), end + 1),
        )
        for end in chosen.tolist()
    )
    answered = np.arange(1, images + 1)
    wrong = np.interp(answered, np.append(0, ends + 1), np.append(0, ends + 1 - hits[ends]))
    least = np.maximum(0, answered - (images - mistakes)) / answered
    return CoverageCurve(
        points=points, aurc=float((wrong / answered).mean()), least_aurc=float(least.mean())
    )


def choose_threshold(
    sure: np.ndarray,
    right: np.ndarray,
    *,
    precision: float | None = None,
    coverage: float | None = None,
    assurance: float = ASSURANCE,
) -> Reject:
    """The threshold that answers most images at the wanted precision, or fewest at a coverage.

    Of answers as sure as `sure` float [N] of which `right` bool [N] are right; they must not have
    been used to fit the probabilities. Raises UserError as `settle_target`, and where the precision
    cannot be promised, with what can be.
    """
    name, target = settle_target(precision, coverage)
    assert len(sure) == len(right) > 0, (len(sure), len(right))
    if name == "precision":
        threshold = choose_for_precision(sure, right, target, assurance)
    else:
        threshold = choose_for_coverage(sure, target, assurance)
    answered = sure >= threshold
    return Reject(
        threshold=threshold,
        wanted=name,
        target=target,
        assurance=assurance,
        coverage=float(answered.mean()),
        precision=float(right[answered].mean()) if answered.any() else None,
        images=len(sure),
    )


def settle_target(precision: float | None, coverage: float | None) -> tuple[Goal, float]:
    """Which of the two is wanted, and how much of it.

    Raises UserError unless exactly one is, within 0…1, and a precision below 1.
    """
    if (precision is None) == (coverage is None):
        raise UserError(
            "A reject threshold needs a wanted precision or a wanted coverage, got "
            f"{'neither' if precision is None else 'both'}; give one of them"
        )
    if coverage is not None:
        if not 0 < coverage <= 1:
            raise UserError(
                f"The wanted coverage must be above 0 and at most 1, got {coverage:g}; give the "
                "share of images to answer, such as 0.9"
            )
        return "coverage", coverage
    assert precision is not None
    if not 0 < precision < 1:
        raise UserError(
            f"The wanted precision must be above 0 and below 1, got {precision:g}: no number of "
            "images can promise that all answers are right; give a share, such as 0.99"
        )
    return "precision", precision


def choose_for_precision(
    sure: np.ndarray, right: np.ndarray, target: float, assurance: float = ASSURANCE
) -> float:
    """The lowest threshold proven to give the precision `target`, with this assurance.

    The share that is right among the answers over a threshold has a lower bound (Clopper & Pearson
    1934), but the threshold whose bound looks best was looked for, and would break its promise too
    often. So thresholds are tested in an order fixed beforehand, from few answers to many, as in
    Learn then Test (Angelopoulos et al. 2021): a failed test ends a sequence. `STARTS` of them
    share the allowed error, from a tenth of the images answered, two tenths, and so on, since of a
    few answers nothing can be proven; one that reaches the next hands its share on (the fallback
    procedure, Wiens 2003). Given the n-th sureness, whether the answers above it are right is
    binomial, so the tests are exact.
    """
    from scipy.stats import beta, binom

    error, carried, best = (1 - assurance) / STARTS, 0.0, -1
    order = np.argsort(-sure, kind="stable")
    ranked, hits = sure[order], np.cumsum(right[order])
    last = np.append(ranked[1:] < ranked[:-1], True)  # the first n are those above a threshold
    counts = np.flatnonzero(last) + 1
    hits = hits[counts - 1]
    tails = binom.sf(hits - 1, counts, target)
    firsts = np.searchsorted(counts, np.ceil(len(sure) * np.arange(1, STARTS + 1) / STARTS))
    for first, end in pairwise([*firsts.tolist(), len(counts)]):
        carried += error
        failed = np.flatnonzero(tails[first:end] > carried).tolist()
        passed = failed[0] if failed else end - first
        best = first + passed - 1 if passed else best
        carried = 0.0 if failed else carried
    if best < 0:
        tried, found = counts[firsts], hits[firsts]
        bounds = np.where(found > 0, beta.ppf(error, found, tried - found + 1), 0.0)
        raise _unattainable(target, bounds, tried, len(sure))
    count = int(counts[best])
    if count == len(sure):
        return 0.0
    return float(np.nextafter(ranked[count], 1.0))  # above the next one, and no further


def choose_for_coverage(sure: np.ndarray, target: float, assurance: float = ASSURANCE) -> float:
    """The highest threshold proven to answer the share `target` of images, with this assurance.

    The share of all images that are at least as sure as the n-th of N is distributed as
    Beta(n, N + 1 - n). Where even all N prove too little, every image is answered.
    """
    from scipy.stats import beta

    images = len(sure)
    counts = np.arange(1, images + 1)
    enough = np.flatnonzero(beta.ppf(1 - assurance, counts, images + 1 - counts) >= target)
    return float(np.sort(sure)[::-1][enough[0]]) if len(enough) else 0.0


def _unattainable(target: float, bounds: np.ndarray, counts: np.ndarray, images: int) -> UserError:
    best = int(bounds.argmax())
    said = f"A precision of {100 * target:g} % cannot be promised on these {images:,} images: "
    if not bounds[best] > 0:
        return UserError(f"{said}none can, as hardly any answer is right. Train a better network")
    attainable = math.floor(1e4 * bounds[best]) / 1e4
    return UserError(
        f"{said}the highest that can is {100 * attainable:.2f} %, answering the surest "
        f"{100 * counts[best] / images:.0f} % of them. Ask for less, or bring more images"
    )
