"""Running a network over a split: batches in, logits and labels out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from resnetkit.evaluation.intervals import RESAMPLES
from resnetkit.evaluation.metrics import Metrics, compute_metrics
from resnetkit.evaluation.multilabel import RESAMPLES as MULTILABEL_RESAMPLES
from resnetkit.evaluation.multilabel import MultiLabelMetrics, compute_multilabel_metrics
from resnetkit.types import Batch, Task, UserError

Predict = Callable[[Batch], Tensor]
AnyMetrics = Metrics | MultiLabelMetrics
SCORES: dict[Task, str] = {
    "single-label": Metrics.score_name,
    "multi-label": MultiLabelMetrics.score_name,
}


def evaluate(
    predict: Predict, batches: Iterable[Batch]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Logits [N,K] float32, labels (see `Batch`) and indices [N] int64 of all images, in order.

    `predict` gives the logits [n,K] of one batch and looks after device, normalisation and
    evaluation mode; it is called without gradients.

    Raises:
        UserError: there is not one image.
    """
    logits: list[Tensor] = []
    labels: list[Tensor] = []
    indices: list[Tensor] = []
    with torch.inference_mode():
        for batch in batches:
            output = predict(batch)
            assert len(output) == len(batch.labels), (output.shape, batch.labels.shape)
            logits.append(output.float().cpu())
            labels.append(batch.labels.cpu())
            indices.append(batch.indices.cpu())
    if sum(map(len, labels)) == 0:
        raise UserError("Evaluation: needed at least one image, got none; choose another split.")
    return torch.cat(logits).numpy(), torch.cat(labels).numpy(), torch.cat(indices).numpy()


def task_metrics(
    logits: np.ndarray,
    labels: np.ndarray,
    class_names: Sequence[str],
    task: Task,
    resamples: int | None = None,
) -> AnyMetrics:
    """The metrics of logits [N,K] that belong to the task; a soft label counts as its largest.

    `labels` are int64 [N] or float32 [N,K], see `Batch`; `resamples` are those behind the intervals
    that are found by bootstrap (None: as many as the task's metrics take by themselves), and 0
    spares what costs time, which are these and AUROC.
    """
    if task == "multi-label":
        several = MULTILABEL_RESAMPLES if resamples is None else resamples
        return compute_multilabel_metrics(logits, labels, class_names, several)
    numbers = labels if labels.ndim == 1 else labels.argmax(axis=1)
    return compute_metrics(
        logits, numbers, class_names, RESAMPLES if resamples is None else resamples
    )
