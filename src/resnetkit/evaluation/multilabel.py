"""Metrics where an image may show several classes: average precision, and F1 at one half.

Average precision ranks the images by one class's logit and averages the precision at each image
that shows it; the mean over the classes that occur is the figure of COCO and VOC classification
(Everingham et al. 2010, section 4.2, as computed since VOC 2010); see `ranking`.

A class is said to be there when its sigmoid is above one half. Conventions where a ratio has
nothing to divide by are those of `metrics`: undefined (None) for one class, 0 within an average.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np

from resnetkit.evaluation.intervals import (
    Interval,
    f1_interval,
    percent_text,
    resample_images,
    wilson_interval,
)
from resnetkit.evaluation.metrics import (
    Average,
    average_with_intervals,
    refuse_unusable,
    shares,
)
from resnetkit.evaluation.ranking import (
    FEWEST_SHOWING,
    Areas,
    areas_under_roc,
    mean_average_precision,
    precision_interval,
    rank_classes,
    resampled_precisions,
)

RESAMPLES = 200  # of the intervals: half their width is then off by about a tenth


@dataclass(frozen=True, kw_only=True)
class LabelMetrics:
    """How one class fared; `support` images show it, `predicted` images were said to.

    Precision and recall have Wilson's interval, F1 what follows from it, AUROC DeLong's, average
    precision one by bootstrap.
    """

    name: str
    support: int
    predicted: int
    average_precision: float | None
    precision: float | None
    recall: float | None
    f1: float | None
    average_precision_interval: Interval | None = None
    precision_interval: Interval | None = None
    recall_interval: Interval | None = None
    f1_interval: Interval | None = None
    auroc: float | None = None
    auroc_interval: Interval | None = None


@dataclass(frozen=True, kw_only=True)
class MultiLabelMetrics:
    """How a network fared where images may show several classes; fractions are in 0…1."""

    score_name: ClassVar[str] = "mean_average_precision"

    images: int
    mean_average_precision: float | None  # None where no image shows any class
    mean_average_precision_interval: (
        Interval | None
    )  # 95 %, by drawing the images anew; see `precision_interval`
    loss: float  # mean over images of the binary cross-entropy summed over classes, in nats
    micro: Average  # every answer counts the same
    macro: Average  # every class that occurs counts the same
    per_class: tuple[LabelMetrics, ...]
    auroc: float | None = None  # mean over the classes that some, not all, images show
    auroc_interval: Interval | None = None

    @property
    def score(self) -> float:
        """The figure that decides between networks: mean average precision."""
        return self.mean_average_precision or 0.0

    def as_dict(self) -> dict[str, Any]:
        """Everything as JSON-safe values; what is undefined is None, never NaN."""
        return asdict(self)

    def headline(self) -> dict[str, Any]:
        """The few figures that fit in a package or on a terminal, JSON-safe."""
        interval = self.mean_average_precision_interval
        return {
            "images": self.images,
            "mean_average_precision": self.mean_average_precision,
            "mean_average_precision_interval": None if interval is None else list(interval),
            "loss": self.loss,
            "macro_f1": self.macro.f1,
            "micro_f1": self.micro.f1,
        }

    def describe(self) -> str:
        """The score with its interval, and F1, in words."""
        shown = percent_text(self.mean_average_precision, self.mean_average_precision_interval)
        return f"mAP {shown}, F1 {100 * self.micro.f1:.2f} % (classes: {100 * self.macro.f1:.2f} %)"


def compute_multilabel_metrics(
    logits: np.ndarray,
    labels: np.ndarray,
    class_names: Sequence[str],
    resamples: int = RESAMPLES,
) -> MultiLabelMetrics:
    """All metrics of logits [N,K] against labels [N,K]; an image shows a class where it is > 0.5.

    `resamples` are those behind the intervals of average precision and of the averages; 0 spares
    what costs time, which are these and AUROC.

    Raises:
        UserError: there are no images, or the network gave a logit that is not a finite number.
    """
    assert labels.shape == logits.shape, (labels.shape, logits.shape)
    assert len(class_names) == logits.shape[1], (len(class_names), logits.shape)
    refuse_unusable(logits)
    shown, said = labels > 0.5, logits > 0  # sigmoid(0) = 0.5
    rankings = rank_classes(logits, shown)
    resampled = resampled_precisions(rankings, resamples)
    mean, mean_interval = mean_average_precision(rankings, resampled, shown)
    areas = areas_under_roc(logits, shown) if resamples else None
    counts, drawn = count_answers(shown, said), resample_counts(shown, said, resamples)
    return MultiLabelMetrics(
        images=len(logits),
        mean_average_precision=mean,
        mean_average_precision_interval=mean_interval,
        loss=float(binary_losses(logits, labels).mean()),
        micro=average_with_intervals(_micro(counts), _micro(drawn)),
        macro=average_with_intervals(macro_shares(counts), macro_shares(drawn)),
        per_class=tuple(
            _class_metrics(
                str(name), counts[:, k], (ranking.average_precision(), resampled[:, k]), k, areas
            )
            for k, (name, ranking) in enumerate(zip(class_names, rankings, strict=True))
        ),
        auroc=None if areas is None else areas.mean,
        auroc_interval=None if areas is None else areas.mean_interval,
    )


def binary_losses(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Binary cross-entropy of logits [N,K] against labels [N,K] in 0…1, as training takes it.

    Summed over the classes, in nats, [N].
    """
    values = logits.astype(np.float64)
    return (np.logaddexp(0, values) - values * labels).sum(axis=1)


def count_answers(shown: np.ndarray, said: np.ndarray) -> np.ndarray:
    """By class how many images show it and are said to, are said to, show it: int64 [3,K]."""
    return np.stack([(shown & said).sum(0), said.sum(0), shown.sum(0)])


def resample_counts(shown: np.ndarray, said: np.ndarray, resamples: int) -> np.ndarray:
    """The same of `resamples` resamples of the images, float64 [R,3,K].

    No resample, [0,3,K], where fewer than `FEWEST_SHOWING` images show any class.
    """
    images, classes = shown.shape
    if int(shown.any(axis=1).sum()) < FEWEST_SHOWING:
        resamples = 0
    table = np.concatenate([shown & said, said, shown], axis=1).astype(np.float64)
    drawn = np.empty((resamples, 3, classes))
    for row, weights in zip(drawn, resample_images(images, resamples), strict=True):
        row[:] = (weights @ table).reshape(3, classes)
    return drawn


def macro_shares(counts: np.ndarray) -> np.ndarray:
    """Precision, recall and F1 [...,3] of counts [...,3,K], as means over the classes shown."""
    hits, answers, supports = np.moveaxis(counts, -2, 0)
    occurring = (supports > 0)[..., None]
    sums = np.where(occurring, shares(hits, answers, supports), 0.0).sum(axis=-2)
    return sums / np.maximum(occurring.sum(axis=-2), 1)


def _micro(counts: np.ndarray) -> np.ndarray:
    """Precision, recall and F1 [...,3] of counts [...,3,K], of all answers together."""
    hits, answers, supports = np.moveaxis(counts.sum(axis=-1), -1, 0)
    return shares(hits, answers, supports)


def _class_metrics(
    name: str,
    counts: np.ndarray,
    precisions: tuple[float | None, np.ndarray],
    index: int,
    areas: Areas | None,
) -> LabelMetrics:
    """One class of counts [3] and average precision, measured and resampled [R]."""
    hits, predicted, support = counts.tolist()
    return LabelMetrics(
        name=name,
        support=support,
        predicted=predicted,
        average_precision=precisions[0],
        average_precision_interval=precision_interval(precisions[1], precisions[0], support),
        precision=hits / predicted if predicted else None,
        precision_interval=wilson_interval(hits, predicted) if predicted else None,
        recall=hits / support if support else None,
        recall_interval=wilson_interval(hits, support) if support else None,
        f1=2 * hits / (support + predicted) if support + predicted else None,
        f1_interval=f1_interval(hits, support, predicted),
        auroc=None if areas is None else areas.per_class[index],
        auroc_interval=None if areas is None else areas.intervals[index],
    )
