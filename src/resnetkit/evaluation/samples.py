"""A few images with what the network made of them: which to show, and how."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from resnetkit.evaluation.probabilities import softmax


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One image uint8 [C,H,W] with its true and its predicted class; of several classes all names.

    `probability` is that of the predicted class; None where `predicted` names several with theirs.
    """

    image: np.ndarray
    name: str
    true: str
    predicted: str
    probability: float | None
    right: bool
    true_probability: float | None = None  # of the true class
    map: np.ndarray | None = None  # the image under its map, uint8 [C,H,W] or [H,W,3]


def choose_samples(
    logits: np.ndarray, labels: np.ndarray, wrong: int = 12, right: int = 12
) -> list[int]:
    """Rows of logits [N,K] worth looking at: the surest mistakes, then right ones of every class.

    The right ones go round the classes, the most doubtful of each first, so that both ends of the
    network's certainty are seen; the same input gives the same choice.
    """
    probabilities = softmax(logits)
    predicted = logits.argmax(1)
    sureness = probabilities[np.arange(len(labels)), predicted]
    mistakes = np.flatnonzero(predicted != labels)
    surest = mistakes[np.argsort(-sureness[mistakes], kind="stable")][:wrong]
    hits = np.flatnonzero(predicted == labels)
    doubtful = hits[np.argsort(sureness[hits], kind="stable")]
    turns = np.zeros(len(doubtful), np.int64)
    for label in np.unique(labels):
        of_class = labels[doubtful] == label
        turns[of_class] = np.arange(of_class.sum())
    order = np.lexsort((labels[doubtful], turns))
    return [*surest.tolist(), *doubtful[order][:right].tolist()]


def choose_multilabel_samples(
    logits: np.ndarray, labels: np.ndarray, wrong: int = 12, right: int = 12
) -> list[int]:
    """Rows of logits [N,K] worth looking at, labels [N,K]: the surest mistakes, then right ones.

    The right ones go from the most doubtful on, those with classes to name before those without.
    """
    shown = labels > 0.5
    # How far the logits are on the right side, of the class that is furthest off.
    margins = np.where(shown, logits, -logits).min(axis=1)
    hits = (shown == (logits > 0)).all(axis=1)
    order = np.lexsort((margins, ~shown.any(axis=1) & hits))
    return [*order[~hits[order]][:wrong].tolist(), *order[hits[order]][:right].tolist()]
