"""Dividing labelled data, the same way on every machine and with every version of NumPy."""

from __future__ import annotations

import numpy as np

from resnetkit.data.draws import stream, uniform_draws
from resnetkit.types import UserError


def stratified_split(
    labels: np.ndarray, fraction: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Indices (kept, held out) of `labels` int64 [N], each sorted; the same seed, the same split.

    Of a class with n images round(fraction * n) are held out, but at least 1 and at most n - 1
    where n >= 2; a single image is kept. Raises `UserError` unless 0 < fraction < 1.
    """
    if not 0 < fraction < 1:
        raise UserError(
            f"The fraction to hold out must lie between 0 and 1 (say 0.1); got {fraction}."
        )
    labels = np.asarray(labels)
    if not len(labels):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    # By class, and within a class in random order: its first images are the ones held out.
    # Not `numpy.random.Generator`, whose streams may change between NumPy versions (NEP 19):
    # a split that changes with an upgrade would move held-out images into training.
    keys = uniform_draws((seed, stream("stratified_split")), np.arange(len(labels)), 1)[:, 0]
    order = np.lexsort((keys, labels))
    _, starts, counts = np.unique(labels[order], return_index=True, return_counts=True)
    held_counts = np.rint(fraction * counts).astype(np.int64)
    held_counts = np.where(counts >= 2, np.clip(held_counts, 1, counts - 1), 0)
    position = np.arange(len(labels)) - np.repeat(starts, counts)
    held = position < np.repeat(held_counts, counts)
    return np.sort(order[~held]), np.sort(order[held])
