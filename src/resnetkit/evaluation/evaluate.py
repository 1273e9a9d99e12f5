"""Running a network over a split: batches in, logits and labels out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from resnetkit.evaluation.metrics import Metrics, compute_metrics
from resnetkit.types import Batch, UserError

Predict = Callable[[Batch], Tensor]


def evaluate(
    predict: Predict, batches: Iterable[Batch]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Logits [N,K] float32, labels [N] int64 and indices [N] int64 of all images, in batch order.

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
            assert output.shape[:1] == batch.labels.shape, (output.shape, batch.labels.shape)
            logits.append(output.float().cpu())
            labels.append(batch.labels.cpu())
            indices.append(batch.indices.cpu())
    if sum(map(len, labels)) == 0:
        raise UserError("Evaluation: needed at least one image, got none; choose another split.")
    return torch.cat(logits).numpy(), torch.cat(labels).numpy(), torch.cat(indices).numpy()


def evaluate_metrics(
    predict: Predict, batches: Iterable[Batch], class_names: Sequence[str]
) -> Metrics:
    """`evaluate`, then `compute_metrics`."""
    logits, labels, _ = evaluate(predict, batches)
    return compute_metrics(logits, labels, class_names)
