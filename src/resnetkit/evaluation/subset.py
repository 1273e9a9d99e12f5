"""Which images to look at where all of them would take too long."""

from __future__ import annotations

import numpy as np

from resnetkit.data.draws import stream, uniform_draws
from resnetkit.data.stratify import deal
from resnetkit.types import UserError


def draw_subset(labels: np.ndarray, images: int, seed: int) -> np.ndarray:
    """Rows of about `images` images, rising: every class keeps its share, and at least one image.

    `labels` are int64 [N] or float [N,K], see `Batch`; the rows, int64, are a function of them and
    of `seed`. All rows where there are no more images than that.

    Raises:
        UserError: `images` is below 1.
    """
    if images < 1:
        raise UserError(f"images: needed 1 or more to look at, got {images}; give a larger number.")
    count = len(labels)
    if images >= count:
        return np.arange(count, dtype=np.int64)
    keys = uniform_draws((seed, stream("subset of images")), np.arange(count), 1)[:, 0]
    shown = labels if labels.ndim == 1 else labels > 0.5
    parts = deal(shown, np.array([images, count - images], np.float64), keys)
    return np.flatnonzero(parts == 0)
