"""Pictures for the tests of corruptions, and a short way to corrupt them."""

from __future__ import annotations

import numpy as np

from resnetkit.evaluation.corruptions.catalogue import corrupt


def pictures(count: int, channels: int, height: int, width: int) -> np.ndarray:
    """Smooth shapes of medium contrast, each its own: uint8 [N,C,H,W]."""
    y, x = np.mgrid[:height, :width]
    phase = np.arange(count * channels).reshape(count, channels, 1, 1)
    values = 120 + 60 * np.sin(6 * x / width + phase) + 50 * np.cos(9 * y / height + 2 * phase)
    return values.astype(np.uint8)


def apply(name: str, images: np.ndarray, severity: int, seed: int = 0, first: int = 0):
    indices = np.arange(first, first + len(images))
    return corrupt(images, name, severity, seed=seed, indices=indices)
