"""From logits to probabilities, and what they cost where they were wrong; by task, in float64.

In a single-label task the classes share one softmax; in a multi-label task each has a sigmoid of
its own. Labels are as in a `Batch`: a soft label counts as its largest class, and an image of a
multi-label task shows a class where the label is above one half, as in `task_metrics`.
"""

from __future__ import annotations

import numpy as np

from resnetkit.types import Task


def probabilities(logits: np.ndarray, task: Task) -> np.ndarray:
    """Probabilities [N,K] float64 of logits [N,K]."""
    values = logits.astype(np.float64)
    if task == "multi-label":
        return np.exp(-np.logaddexp(0.0, -values))  # overflows for no logit
    return softmax(values)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities [N,K] float64 of logits [N,K] of a single-label task."""
    values = logits.astype(np.float64)
    powers = np.exp(values - values.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def truths(labels: np.ndarray, task: Task) -> np.ndarray:
    """What images show: class numbers int64 [N], in a multi-label task indicators bool [N,K]."""
    if task == "multi-label":
        assert labels.ndim == 2, labels.shape
        return labels > 0.5
    return labels if labels.ndim == 1 else labels.argmax(axis=1)


def indicators(labels: np.ndarray, classes: int, task: Task) -> np.ndarray:
    """Whether an image is of, or shows, each class: bool [N,K]."""
    shown = truths(labels, task)
    return shown if shown.ndim == 2 else shown[:, None] == np.arange(classes)


def log_losses(logits: np.ndarray, labels: np.ndarray, task: Task) -> np.ndarray:
    """The negative log-likelihood of each image in nats, [N], summed over several labels."""
    values, shown = logits.astype(np.float64), truths(labels, task)
    if task == "multi-label":
        return (np.logaddexp(0.0, values) - values * shown).sum(axis=1)
    shifted = values - values.max(axis=1, keepdims=True)
    true = np.take_along_axis(shifted, shown[:, None], axis=1)[:, 0]
    return np.log(np.exp(shifted).sum(axis=1)) - true


def sureness(probability: np.ndarray) -> np.ndarray:
    """How sure the answer is, [N]: the probability of the likeliest class, of [N,K]."""
    return probability.max(axis=1)
