"""How strange an image is to a network, and how well that tells another source's images apart.

Every score is higher the stranger the image is. Feature distance is that to the k-th nearest
training image by cosine (Sun et al. 2022, "Out-of-distribution detection with deep nearest
neighbors") rather than Mahalanobis' (Lee et al. 2018): it supposes no normal distribution of each
class and needs no covariance [D,D], which few images do not give. On ImageNet Sun et al. find 24.8
points fewer foreign images taken for own than with Mahalanobis' distance (SSD+).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from resnetkit.evaluation.intervals import Interval
from resnetkit.evaluation.probabilities import probabilities, sureness
from resnetkit.evaluation.ranking import areas_under_roc
from resnetkit.types import Task

KEPT = 0.95  # of one's own images, where the share of foreign ones let through is read
IMAGES_PER_NEIGHBOUR = 1000  # Sun et al. choose k = 50 of 50,000 images, 1000 of 1.28 million
CHUNK = 1024  # images compared at a time


@dataclass(frozen=True, kw_only=True)
class Detection:
    """How well a score tells `foreign` images from the `own` ones: 0.5 is not at all, 1 faultless.

    `fpr95` is the share of foreign images taken for own where 95 % of the own ones are, as the
    literature has it (true positives are own images); the interval of `auroc` is at 95 %.
    """

    score: str
    own: int
    foreign: int
    auroc: float
    auroc_interval: Interval | None
    fpr95: float


def max_softmax(logits: np.ndarray, task: Task = "single-label") -> np.ndarray:
    """One less the probability of the likeliest class, [N] (Hendrycks & Gimpel 2017)."""
    return 1 - sureness(probabilities(logits, task))


def energy(logits: np.ndarray, task: Task = "single-label") -> np.ndarray:
    """The free energy of logits [N,K] at temperature 1, [N] (Liu et al. 2020, equation 4).

    Of several labels it is summed over their sigmoids (Wang et al. 2021, "Can multi-label
    classification networks know what they don't know?", JointEnergy).
    """
    values = logits.astype(np.float64)
    if task == "multi-label":
        return -np.logaddexp(0.0, values).sum(axis=1)
    highest = values.max(axis=1, keepdims=True)
    return -(np.log(np.exp(values - highest).sum(axis=1)) + highest[:, 0])


def feature_distance(
    features: np.ndarray, training: np.ndarray, neighbours: int | None = None
) -> np.ndarray:
    """One less the cosine to the k-th nearest of `training` features [M,D], of `features` [N,D].

    k is `neighbours`, by default one for every thousand training images. A feature of length 0 is
    at distance 1 from all.
    """
    count = neighbours or max(1, len(training) // IMAGES_PER_NEIGHBOUR)
    assert 1 <= count <= len(training), (count, len(training))
    known = _to_unit_length(training)
    found = np.empty(len(features), np.float64)
    for start in range(0, len(features), CHUNK):
        part = slice(start, start + CHUNK)
        cosines = _to_unit_length(features[part]) @ known.T
        place = len(training) - count
        found[part] = 1 - np.partition(cosines, place, axis=1)[:, place]
    return found


def measure_detection(score: str, own: np.ndarray, foreign: np.ndarray) -> Detection:
    """How well a score, of own images [N] and of foreign ones [M], tells the two apart."""
    assert len(own), "no own images"
    assert len(foreign), "no foreign images"
    scores = np.concatenate([own, foreign])
    is_foreign = np.arange(len(scores)) >= len(own)
    areas = areas_under_roc(scores[:, None], is_foreign[:, None])
    area = areas.per_class[0]
    assert area is not None
    accepted = np.sort(own)[math.ceil(round(KEPT * len(own), 9)) - 1]
    return Detection(
        score=score,
        own=len(own),
        foreign=len(foreign),
        auroc=area,
        auroc_interval=areas.intervals[0],
        fpr95=float((foreign <= accepted).mean()),
    )


def detect_by_logits(
    own: np.ndarray, foreign: np.ndarray, task: Task = "single-label"
) -> tuple[Detection, ...]:
    """Every score of `SCORES`, of logits [N,K] of own images and [M,K] of foreign ones."""
    return tuple(
        measure_detection(name, score(own, task), score(foreign, task))
        for name, score in SCORES.items()
    )


def detect_by_features(own: np.ndarray, foreign: np.ndarray, training: np.ndarray) -> Detection:
    """Feature distance from `training` [T,D], of own features [N,D] and foreign ones [M,D]."""
    distances = (feature_distance(features, training) for features in (own, foreign))
    return measure_detection("feature distance", *distances)


def _to_unit_length(features: np.ndarray) -> np.ndarray:
    """Features float32 [N,D] of length 1; those of length 0 stay."""
    values = features.astype(np.float32)
    lengths = np.linalg.norm(values, axis=1, keepdims=True)
    return values / np.where(lengths > 0, lengths, 1)


SCORES: dict[str, Callable[[np.ndarray, Task], np.ndarray]] = {
    "max softmax": max_softmax,
    "energy": energy,
}
