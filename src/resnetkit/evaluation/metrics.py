"""Accuracy and its relatives from logits and labels, each with the interval it deserves.

Conventions where a ratio has nothing to divide by: the recall of a class without images, the
precision of a class never predicted and the F1 of a class that is neither are undefined (None).
The averages run over the classes that have images; there a class that was never predicted has
precision 0, because leaving it out would reward ignoring it. This equals scikit-learn's
`precision_recall_fscore_support(labels=<classes with images>, zero_division=0)`.

The AUROC of a class is that of its probability against all other classes together, undefined for a
class without images and for one that all images are of; the mean runs over the others. There
torchmetrics' `multiclass_auroc` counts 0, and scikit-learn refuses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np

from resnetkit.evaluation.intervals import (
    RESAMPLES,
    Interval,
    f1_interval,
    percent_text,
    percentile_interval,
    resample_answers,
    wilson_interval,
)
from resnetkit.evaluation.probabilities import log_losses, softmax
from resnetkit.evaluation.ranking import Areas, areas_under_roc
from resnetkit.types import UserError

SHOWN_SCORES = {"top1": "top-1", "mean_average_precision": "mAP"}  # by name in metrics.jsonl


@dataclass(frozen=True, kw_only=True)
class ClassMetrics:
    """How one class fared; `support` images are of it, `predicted` images were said to be.

    Precision and recall have Wilson's interval, F1 what follows from it, AUROC DeLong's.
    """

    name: str
    support: int
    predicted: int
    precision: float | None
    recall: float | None
    recall_interval: Interval | None
    f1: float | None
    precision_interval: Interval | None = None
    f1_interval: Interval | None = None
    auroc: float | None = None
    auroc_interval: Interval | None = None


@dataclass(frozen=True, kw_only=True)
class Average:
    """Precision, recall and F1 averaged over the classes that have images.

    The intervals are by bootstrap over images; None where it was not asked for, and where all
    resamples agree.
    """

    precision: float
    recall: float
    f1: float
    precision_interval: Interval | None = None
    recall_interval: Interval | None = None
    f1_interval: Interval | None = None


@dataclass(frozen=True, kw_only=True)
class Metrics:
    """How a network fared on some images; fractions are in 0…1, intervals hold 95 %.

    Those of top-1 and top-5 are Wilson's; of the others see `ClassMetrics` and `Average`.
    """

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
    top5_interval: Interval | None = None
    auroc: float | None = None  # mean over classes, each against all others
    auroc_interval: Interval | None = None

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


def compute_metrics(
    logits: np.ndarray,
    labels: np.ndarray,
    class_names: Sequence[str],
    resamples: int = RESAMPLES,
) -> Metrics:
    """All metrics of logits [N,K] against labels [N] in 0…K-1.

    Equal logits rank in class order, for top-1 as for top-5. `resamples` are those behind the
    intervals of the averages; 0 spares what costs time, which are these and AUROC.

    Raises:
        UserError: there are no images, or the network gave a logit that is not a finite number.
    """
    images, classes = logits.shape
    assert labels.shape == (images,), (labels.shape, logits.shape)
    assert len(class_names) == classes, (len(class_names), classes)
    refuse_unusable(logits)
    assert 0 <= labels.min() <= labels.max() < classes, (labels.min(), labels.max(), classes)
    logits = logits.astype(np.float64)
    said = logits.argmax(1)
    confusion = np.zeros((classes, classes), np.int64)
    np.add.at(confusion, (labels, said), 1)
    areas = _areas(logits, labels) if resamples else None
    macro, weighted = _averages(confusion, labels, said, resamples)
    correct = int(confusion.trace())
    among5 = int((_ranks(logits, labels) < 5).sum()) if classes > 5 else None
    return Metrics(
        images=images,
        top1=correct / images,
        top1_interval=wilson_interval(correct, images),
        top5=None if among5 is None else among5 / images,
        top5_interval=None if among5 is None else wilson_interval(among5, images),
        loss=float(log_losses(logits, labels, "single-label").mean()),
        macro=macro,
        weighted=weighted,
        per_class=tuple(
            _class_metrics(confusion, k, str(name), areas) for k, name in enumerate(class_names)
        ),
        confusion=tuple(tuple(row) for row in confusion.tolist()),
        auroc=None if areas is None else areas.mean,
        auroc_interval=None if areas is None else areas.mean_interval,
    )


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


def shares(hits: np.ndarray, answers: np.ndarray, supports: np.ndarray) -> np.ndarray:
    """Precision, recall and F1 of every class, float64 [...,K,3]; 0 where undefined.

    From counts [...,K]: `hits` of its `answers` are right, `supports` images are of it.
    """
    ratios = (
        hits / np.maximum(answers, 1),
        hits / np.maximum(supports, 1),
        2 * hits / np.maximum(supports + answers, 1),
    )
    return np.stack(ratios, axis=-1)


def average_with_intervals(estimates: np.ndarray, resampled: np.ndarray | None) -> Average:
    """An `Average` of precision, recall and F1 [3] and their resampled values [R,3]."""
    precision, recall, f1 = estimates.tolist()
    intervals: list[Interval | None] = [None] * 3
    if resampled is not None:
        columns = zip(resampled.T, (precision, recall, f1), strict=True)
        intervals = [percentile_interval(values, estimate) for values, estimate in columns]
    return Average(
        precision=precision,
        recall=recall,
        f1=f1,
        precision_interval=intervals[0],
        recall_interval=intervals[1],
        f1_interval=intervals[2],
    )


def _ranks(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """How many classes come before the true one, [N]; 0 is a hit."""
    true = np.take_along_axis(logits, labels[:, None], 1)
    earlier = np.arange(logits.shape[1]) < labels[:, None]
    return ((logits > true) | ((logits == true) & earlier)).sum(1)


def _areas(logits: np.ndarray, labels: np.ndarray) -> Areas:
    return areas_under_roc(softmax(logits), labels[:, None] == np.arange(logits.shape[1]))


def _averages(
    confusion: np.ndarray, labels: np.ndarray, said: np.ndarray, resamples: int
) -> tuple[Average, Average]:
    """The macro and the weighted average."""
    supports, answers = confusion.sum(1), confusion.sum(0)
    estimates = shares(confusion.diagonal(), answers, supports)
    resampled = None
    if resamples:
        hits, drawn = resample_answers(labels, said[None], len(confusion), resamples)
        resampled = shares(hits[0], drawn[0], supports)
    weights = np.minimum(supports, 1), supports
    macro, weighted = (
        average_with_intervals(
            np.average(estimates, axis=0, weights=each),
            None if resampled is None else np.average(resampled, axis=1, weights=each),
        )
        for each in weights
    )
    return macro, weighted


def _class_metrics(
    confusion: np.ndarray, index: int, name: str, areas: Areas | None
) -> ClassMetrics:
    hits = int(confusion[index, index])
    support, predicted = int(confusion[index].sum()), int(confusion[:, index].sum())
    return ClassMetrics(
        name=name,
        support=support,
        predicted=predicted,
        precision=hits / predicted if predicted else None,
        precision_interval=wilson_interval(hits, predicted) if predicted else None,
        recall=hits / support if support else None,
        recall_interval=wilson_interval(hits, support) if support else None,
        f1=2 * hits / (support + predicted) if support + predicted else None,
        f1_interval=f1_interval(hits, support, predicted),
        auroc=None if areas is None else areas.per_class[index],
        auroc_interval=None if areas is None else areas.intervals[index],
    )
