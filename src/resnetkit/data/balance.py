"""Class imbalance in the data: what each class has, and drawing images of rare classes more often.

Drawing with `count ** power` as a class's share: 1 leaves the classes as they are, 0 makes them
equal, 1/2 is in between (Mahajan et al. 2018, section 2.2; Kang et al. 2020, equation 1).
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from resnetkit.data.draws import stream
from resnetkit.types import Task

Sampling = Literal["as-is", "balanced", "square-root"]
POWERS: dict[Sampling, float] = {"as-is": 1.0, "square-root": 0.5, "balanced": 0.0}


def class_counts(labels: np.ndarray, num_classes: int) -> np.ndarray:
    """Images of each class, float64 [K], of labels int64 [N] or float32 [N,K].

    A soft label counts for each class by its share; an image of several classes for all of them.
    """
    if labels.ndim == 1:
        return np.bincount(labels, minlength=num_classes).astype(np.float64)
    assert labels.shape[1] == num_classes, (labels.shape, num_classes)
    return labels.sum(axis=0, dtype=np.float64)


def image_weights(labels: np.ndarray, task: Task, sampling: Sampling) -> np.ndarray:
    """The probability with which each image is the next one drawn: float64 [N], sum 1."""
    assert len(labels)
    groups = deciding_classes(labels, task)
    sizes = np.bincount(groups).astype(np.float64)
    weights = sizes[groups] ** (POWERS[sampling] - 1.0)
    return weights / weights.sum()


def deciding_classes(labels: np.ndarray, task: Task) -> np.ndarray:
    """The class by which each image is drawn, int64 [N].

    In a single-label task its own (of soft labels the largest), in a multi-label task the rarest
    that it shows; images that show none are a group of their own, K.
    """
    if labels.ndim == 1:
        return labels
    if task == "single-label":
        return labels.argmax(axis=1)
    shown = labels > 0.5
    by_rarity = np.argsort(shown.sum(axis=0), kind="stable")
    rarest = by_rarity[shown[:, by_rarity].argmax(axis=1)]
    return np.where(shown.any(axis=1), rarest, labels.shape[1])


def sampled_order(weights: np.ndarray, seed: int, epoch: int) -> np.ndarray:
    """What an epoch visits: as many numbers as there are images, drawn with replacement.

    Image i of N is i when it comes first in the epoch, i + N when it comes again, then i + 2 N:
    random draws are keyed by these numbers, so that repeats are augmented differently. Int64 [N].
    """
    count = len(weights)
    bounds = np.cumsum(weights)
    points = np.random.default_rng((seed, epoch, stream("sampling"))).random(count)
    # Divided by the last bound, not by 1, which rounding may keep it from.
    chosen = np.searchsorted(bounds / bounds[-1], points, side="right")
    return chosen + count * _repeats(chosen)


def _repeats(numbers: np.ndarray) -> np.ndarray:
    """How often each number [N] has come before."""
    order = np.argsort(numbers, kind="stable")
    _, starts, counts = np.unique(numbers[order], return_index=True, return_counts=True)
    repeats = np.empty_like(numbers)
    repeats[order] = np.arange(len(numbers)) - np.repeat(starts, counts)
    return repeats


def expected_draws(labels: np.ndarray, weights: np.ndarray, num_classes: int) -> np.ndarray:
    """Images of each class in an epoch drawn by `weights` [N], on average: float64 [K]."""
    count = len(weights)
    if labels.ndim == 1:
        return count * np.bincount(labels, weights=weights, minlength=num_classes)
    return count * (weights @ labels)
