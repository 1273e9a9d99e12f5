"""Accuracy and its relatives from logits and labels, each with the interval it deserves.

Conventions where a ratio has nothing to divide by: the recall of a class without images, the
precision of a class never predicted and the F1 of a class that is neither are undefined (None).
The averages run over the classes that have images; there a class that was never predicted has
precision 0, because leaving it out would reward ignoring it. This equals scikit-learn's
`precision_recall_fscore_support(labels=<classes with images>, zero_division=0)`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any, ClassVar

import numpy as np

from resnetkit.types import UserError

Interval = tuple[float, float]
SHOWN_SCORES = {"top1": "top-1", "mean_average_precision": "mAP"}  # by name in metrics.jsonl


@dataclass(frozen=True, kw_only=True)
class ClassMetrics:
    """How one class fared; `support` images are of it, `predicted` images were said to be."""

    name: str
    support: int
    predicted: int
    precision: float | None
    recall: float | None
    recall_interval: Interval | None
    f1: float | None


@dataclass(frozen=True, kw_only=True)
class Average:
    """Precision, recall and F1 averaged over the classes that have images."""

    precision: float
    recall: float
    f1: float


@dataclass(frozen=True, kw_only=True)
class Metrics:
    """How a network fared on some images; fractions are in 0…1, intervals are Wilson's at 95 %."""

    score_name: ClassVar[str] = "top1"

    images: int
    top1: float
    top1_interval: Interval
    top5: float | None  # None up to 5 classes, where it would be 1 for any network
    loss: float  # mean negative log-likelihood, in nats
    macro: Average  # every class counts the same; its recall is the balanced accuracy
    weighted: Average  # every image counts the same
    per_class: tuple[ClassMetrics, ...]
    confusion: tuple[tuple[int, ...], ...]  # [K][K] images: row true class, column predicted

    @property
    def score(self) -> float:
        """The figure that decides between networks: top-1."""
        return self.top1

    def as_dict(self) -> dict[str, Any]:
        """Everything as JSON-safe values; what is undefined is None, never NaN."""
        return asdict(self)

    def headline(self) -> dict[str, Any]:
        """The few figures that fit in a package or on a terminal, JSON-safe."""
        return {
            "images": self.images,
            "top1": self.top1,
            "top1_interval": list(self.top1_interval),
            "top5": self.top5,
            "loss": self.loss,
            "macro_f1": self.macro.f1,
            "balanced_accuracy": self.macro.recall,
        }

    def describe(self) -> str:
        """Accuracy with its interval, in words."""
        top5 = "" if self.top5 is None else f", top-5 {100 * self.top5:.2f} %"
        return f"top-1 {percent_text(self.top1, self.top1_interval)}{top5}"


def compute_metrics(logits: np.ndarray, labels: np.ndarray, class_names: Sequence[str]) -> Metrics:
    """All metrics of logits [N,K] against labels [N] in 0…K-1.

    Equal logits rank in class order, for top-1 as for top-5.

    Raises:
        UserError: there are no images, or the network gave a logit that is not a finite number.
    """
    images, classes = logits.shape
    assert labels.shape == (images,), (labels.shape, logits.shape)
    assert len(class_names) == classes, (len(class_names), classes)
    refuse_unusable(logits)
    assert 0 <= labels.min() <= labels.max() < classes, (labels.min(), labels.max(), classes)
    logits = logits.astype(np.float64)
    ranks = _ranks(logits, labels)
    confusion = np.zeros((classes, classes), np.int64)
    np.add.at(confusion, (labels, logits.argmax(1)), 1)
    per_class = tuple(_class_metrics(confusion, k, str(class_names[k])) for k in range(classes))
    correct = int(confusion.trace())
    supports = confusion.sum(1)
    return Metrics(
        images=images,
        top1=correct / images,
        top1_interval=wilson_interval(correct, images),
        top5=float((ranks < 5).mean()) if classes > 5 else None,
        loss=_mean_loss(logits, labels),
        macro=_average(per_class, np.minimum(supports, 1)),
        weighted=_average(per_class, supports),
        per_class=per_class,
        confusion=tuple(tuple(row) for row in confusion.tolist()),
    )


def wilson_interval(correct: int, total: int, confidence: float = 0.95) -> Interval:
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


def percent_text(share: float | None, interval: Interval | None) -> str:
    """A fraction in per cent with its 95 % interval, as plain text."""
    if share is None:
        return "undefined"
    if interval is None:
        return f"{100 * share:.2f} %"
    low, high = interval
    return f"{100 * share:.2f} % (95 % interval {100 * low:.2f} to {100 * high:.2f})"


def refuse_unusable(logits: np.ndarray) -> None:
    """UserError when there is no row of logits [N,K], or one that is not finite."""
    if not len(logits):
        raise UserError("Evaluation: needed at least one image, got none; choose another split.")
    finite = np.isfinite(logits).all(1)
    if not finite.all():
        raise UserError(
            f"Evaluation: needed finite logits, got {logits[~finite][0].tolist()[:5]} for image "
            f"{int(np.flatnonzero(~finite)[0])} ({int((~finite).sum())} of {len(logits)} images); "
            "the network has diverged: train it again with a lower learning rate."
        )


def _ranks(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """How many classes come before the true one, [N]; 0 is a hit."""
    true = np.take_along_axis(logits, labels[:, None], 1)
    earlier = np.arange(logits.shape[1]) < labels[:, None]
    return ((logits > true) | ((logits == true) & earlier)).sum(1)


def _mean_loss(logits: np.ndarray, labels: np.ndarray) -> float:
    shifted = logits - logits.max(1, keepdims=True)
    true = np.take_along_axis(shifted, labels[:, None], 1)[:, 0]
    return float((np.log(np.exp(shifted).sum(1)) - true).mean())


def _class_metrics(confusion: np.ndarray, index: int, name: str) -> ClassMetrics:
    hits = int(confusion[index, index])
    support, predicted = int(confusion[index].sum()), int(confusion[:, index].sum())
    return ClassMetrics(
        name=name,
        support=support,
        predicted=predicted,
        precision=hits / predicted if predicted else None,
        recall=hits / support if support else None,
        recall_interval=wilson_interval(hits, support) if support else None,
        f1=2 * hits / (support + predicted) if support + predicted else None,
    )


def _average(per_class: Sequence[ClassMetrics], weights: np.ndarray) -> Average:
    rows = [(one.precision or 0.0, one.recall or 0.0, one.f1 or 0.0) for one in per_class]
    precision, recall, f1 = np.average(np.array(rows), axis=0, weights=weights).tolist()
    return Average(precision=precision, recall=recall, f1=f1)
