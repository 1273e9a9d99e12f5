"""Intervals at 95 %: in closed form where a figure is a proportion, by bootstrap where it is not.

They say where the figure would lie on other images drawn as these were; the network stays the same
(how far another training would move it, `seed_spread` says). A closed form is taken wherever there
is one, because it holds for few images and at 0 and 100 %, where resampling finds nothing to vary.
The bootstraps draw the same resamples every time, so that figures are reproduced to the last digit
and two networks that are resampled one after the other are resampled in pairs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from statistics import NormalDist

import numpy as np

Interval = tuple[float, float]
CONFIDENCE = 0.95
RESAMPLES = 1000  # the bounds are then off by about a twentieth of the interval's half width
SEED = 0


def wilson_interval(correct: int, total: int, confidence: float = CONFIDENCE) -> Interval:
    """Where the true proportion lies with this confidence (Wilson 1927, score interval).

    Unlike the textbook ±z·s it stays within 0…1 and is right for few images and near 100 %.
    """
    assert 0 <= correct <= total, (correct, total)
    assert total > 0
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share, spread = correct / total, z * z / total
    center = (share + spread / 2) / (1 + spread)
    half = math.sqrt(spread * (share * (1 - share) + spread / 4)) / (1 + spread)
    low = 0.0 if correct == 0 else max(0.0, center - half)
    high = 1.0 if correct == total else min(1.0, center + half)
    return low, high


def mean_interval(values: np.ndarray) -> Interval:
    """Where the mean of shares [N], one an image, lies at 95 %.

    One image with share 0 and one with share 1 are added, as Agresti & Coull 1998 do for
    proportions, so that the interval does not close where all images agree.
    """
    more = np.append(values, (0.0, 1.0))
    z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
    mean, half = float(more.mean()), z * float(more.std()) / math.sqrt(len(more))
    return max(0.0, mean - half), min(1.0, mean + half)


def f1_interval(hits: int, support: int, predicted: int) -> Interval | None:
    """Where the F1 of one class lies: of its `support` images and `predicted` answers `hits` agree.

    F1 is 2 J / (1 + J) where J = hits / (support + predicted - hits) is the share of hits among the
    images that are of the class or are said to be (F* of Hand, Christen & Kirielle 2021). Given how
    many these are, the hits are binomial, so that Wilson's interval of J, carried over, is that of
    F1. A bootstrap would agree with it where there are many images, and find no spread at all where
    a class has a few images and all are right. None where the class has neither images nor answers.
    """
    either = support + predicted - hits
    if not either:
        return None
    low, high = (2 * bound / (1 + bound) for bound in wilson_interval(hits, either))
    return low, high


def difference_interval(first: tuple[int, int], second: tuple[int, int]) -> Interval:
    """Where the proportion of `first` minus that of `second` lies; each is (correct, total).

    For two separate sets of images: Newcombe 1998, "Interval estimation for the difference between
    independent proportions", method 10, which is made of the two Wilson intervals.
    """
    one, other = first[0] / first[1], second[0] / second[1]
    one_low, one_high = wilson_interval(*first)
    other_low, other_high = wilson_interval(*second)
    down = math.hypot(one - one_low, other_high - other)
    up = math.hypot(one_high - one, other - other_low)
    return max(-1.0, one - other - down), min(1.0, one - other + up)


def paired_difference_interval(lost: int, gained: int, total: int) -> Interval:
    """Where (gained - lost) / total lies, when the same images are judged twice.

    Wald's interval with half an image added to each of the four cells (Agresti & Min 2005, "Simple
    improved confidence intervals for comparing matched proportions"): holds for few images too, and
    does not close where no image has changed.
    """
    assert 0 <= lost + gained <= total, (lost, gained, total)
    assert total > 0
    net, enlarged = gained - lost, total + 2
    center = net / enlarged
    spread = math.sqrt(lost + gained + 1 - net * net / enlarged) / enlarged
    half = NormalDist().inv_cdf((1 + CONFIDENCE) / 2) * spread
    return max(-1.0, center - half), min(1.0, center + half)


def resample_images(images: int, resamples: int, seed: int = SEED) -> Iterator[np.ndarray]:
    """How often each of `images` images is drawn, int64 [N], in one resample after the other.

    Two separate sets of images want different seeds, or their resamples would go together.
    """
    generator = np.random.default_rng(seed)
    for _ in range(resamples):
        yield np.bincount(generator.integers(images, size=images), minlength=images)


def resample_answers(
    labels: np.ndarray, said: np.ndarray, classes: int, resamples: int
) -> tuple[np.ndarray, np.ndarray]:
    """Hits and answers by class, int64 [M,R,K] each, of M networks in R resamples of the images.

    `labels` int64 [N] are the true classes, `said` int64 [M,N] what each network answered; the
    networks are judged on the same resamples. Drawn are not images but how many of them fall into
    each cell of the table (true class, answer of each network), which is the same and takes a
    hundredth of the time.

    The draws are stratified: each true class keeps its number of images. Precision, F1 and averages
    hang on the mix of classes, and the mix of an evaluation set is mostly chosen, not observed; a
    class of a few images would be missing from many resamples, and the average over classes be of
    other classes there. So the intervals are for other images in the same mix, as that of recall.
    """
    networks = len(said)
    hits = np.zeros((networks, resamples, classes), np.int64)
    answers = np.zeros_like(hits)
    generator = np.random.default_rng(SEED)
    for k in np.unique(labels):
        cells, counts = np.unique(said[:, labels == k], axis=1, return_counts=True)
        drawn = generator.multinomial(counts.sum(), counts / counts.sum(), size=resamples)
        for network in range(networks):
            order = np.argsort(cells[network], kind="stable")
            columns, starts = np.unique(cells[network][order], return_index=True)
            summed = np.add.reduceat(drawn[:, order], starts, axis=1)  # [R,columns]
            answers[network][:, columns] += summed
            if k in columns:
                hits[network, :, k] = summed[:, columns == k][:, 0]
    return hits, answers


def percentile_interval(values: np.ndarray, estimate: float) -> Interval | None:
    """The middle 95 % of resampled `values` (Efron 1979), which holds `estimate` in any case.

    NaN are resamples in which the figure was undefined; None where all the others agree, as they do
    if every image is right: that is no evidence that other images would be.
    """
    bounds = _quantiles(values)
    return None if bounds is None else (min(bounds[0], estimate), max(bounds[1], estimate))


def basic_interval(
    values: np.ndarray, estimate: float, limits: Interval = (0.0, 1.0)
) -> Interval | None:
    """As `percentile_interval`, reflected at the estimate (Davison & Hinkley 1997, section 5.2).

    For figures that chance raises: what resamples are above the estimate, it is above the truth.
    """
    bounds = _quantiles(values)
    if bounds is None:
        return None
    low, high = np.clip((2 * estimate - bounds[1], 2 * estimate - bounds[0]), *limits).tolist()
    return min(low, estimate), max(high, estimate)  # it may be all below an estimate too high


def percent_text(share: float | None, interval: Interval | None) -> str:
    """A fraction in per cent with its 95 % interval, as plain text."""
    if share is None:
        return "undefined"
    if interval is None:
        return f"{100 * share:.2f} %"
    low, high = interval
    return f"{100 * share:.2f} % (95 % interval {100 * low:.2f} to {100 * high:.2f})"


def points_text(difference: float | None, interval: Interval | None) -> str:
    """A difference of fractions in percentage points with its 95 % interval, as plain text."""
    if difference is None:
        return "undefined"
    if interval is None:
        return f"{100 * difference:+.2f} points"
    low, high = interval
    return f"{100 * difference:+.2f} points (95 % interval {100 * low:+.2f} to {100 * high:+.2f})"


def _quantiles(values: np.ndarray) -> Interval | None:
    known = values[~np.isnan(values)]
    if not len(known) or known.max() - known.min() < 1e-12:
        return None
    low, high = np.quantile(known, ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2)).tolist()
    return low, high
