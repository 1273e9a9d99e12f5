"""How alike two maps are: by the order of their pixels, and by their structure.

The measures of Adebayo et al. 2018, arXiv:1810.03292, section 4.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

WINDOW, WINDOW_SIGMA = 11, 1.5  # Wang et al. 2004, section III-B, as are the two constants
K1, K2 = 0.01, 0.03


def rank_correlation(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Spearman's correlation of maps [N,H,W] with others: float64 [N] in -1…1, ties averaged.

    Of a map without contrast there is no order: it is as like as can be (1) to another such, and
    has nothing in common (0) with any that has one.
    """
    from scipy.stats import rankdata

    assert one.shape == other.shape, (one.shape, other.shape)
    count = len(one)
    first, second = (rankdata(maps.reshape(count, -1), axis=1) for maps in (one, other))
    first -= first.mean(axis=1, keepdims=True)
    second -= second.mean(axis=1, keepdims=True)
    lengths = np.sqrt((first**2).sum(axis=1) * (second**2).sum(axis=1))
    products = (first * second).sum(axis=1)
    flat = is_flat(one) | is_flat(other)
    return np.where(flat, is_flat(one) & is_flat(other), products / np.where(flat, 1.0, lengths))


def structural_similarity(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """SSIM of maps [N,H,W] with others, each stretched to 0…1 first: float64 [N].

    Wang, Bovik, Sheikh & Simoncelli 2004, "Image quality assessment", IEEE TIP 13(4), with their
    Gaussian window of 11 pixels, smaller where the map is, at every place it fits.
    """
    first, second = (torch.from_numpy(stretch(maps)).double()[:, None] for maps in (one, other))
    window = _window(min(WINDOW, *one.shape[1:]))

    def averaged(values: Tensor) -> Tensor:
        return F.conv2d(values, window)

    means = averaged(first), averaged(second)
    spread = averaged(first**2) - means[0] ** 2 + averaged(second**2) - means[1] ** 2
    shared = averaged(first * second) - means[0] * means[1]
    light = (2 * means[0] * means[1] + K1**2) / (means[0] ** 2 + means[1] ** 2 + K1**2)
    return (light * (2 * shared + K2**2) / (spread + K2**2)).mean((1, 2, 3)).numpy()


def stretch(maps: np.ndarray) -> np.ndarray:
    """Maps [N,H,W], each linearly to 0…1; zeros where there is no contrast."""
    low = maps.min(axis=(1, 2), keepdims=True)
    high = maps.max(axis=(1, 2), keepdims=True)
    return (maps - low) / np.where(high > low, high - low, 1.0)


def is_flat(maps: np.ndarray) -> np.ndarray:
    """Which of the maps [N,H,W] have one value everywhere, and so say nothing: bool [N]."""
    return maps.min(axis=(1, 2)) == maps.max(axis=(1, 2))


def _window(side: int) -> Tensor:
    """A Gaussian of sum 1: float64 [1,1,side,side], of an odd side."""
    side -= 1 - side % 2
    offsets = torch.arange(side, dtype=torch.float64) - side // 2
    line = torch.exp(-0.5 * (offsets / WINDOW_SIGMA) ** 2)
    window = torch.outer(line, line)
    return (window / window.sum())[None, None]
