"""What several corruptions share: truncation to bytes, zooming, smearing, sampling, pictures."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from resnetkit.data.transforms import picture_pixels, to_picture

NEGLIGIBLE = 1e-6  # a weight that moves no value by a hundredth of a level


def to_bytes(values: np.ndarray) -> np.ndarray:
    """Values in 0…1 as uint8, cut off on both sides and truncated, as the published sets were."""
    return (np.clip(values, 0, 1) * 255).astype(np.uint8)


def zoom_matrix(side: int, factor: float) -> np.ndarray:
    """The matrix [side, side] that zooms into the middle of a row by `factor`, linearly.

    By scipy.ndimage.zoom, which is linear in its input, of a unit matrix: cut out, enlarge, trim.
    """
    from scipy.ndimage import zoom

    kept = math.ceil(side / factor)
    first = (side - kept) // 2
    enlarged = np.asarray(zoom(np.eye(side)[first : first + kept], (factor, 1), order=1))
    spare = (len(enlarged) - side) // 2
    return enlarged[spare : spare + side]


def smear(images: np.ndarray, radius: int, deviation: float, degrees: np.ndarray) -> np.ndarray:
    """Images [N,C,H,W] blurred along a direction each, degrees [N] from the x axis: uint8.

    ImageMagick's motion blur: the mean of 2 * radius + 1 pixels on one side, in whole pixels and
    with the weights of half a Gaussian; the border is repeated. It rounds.
    """
    taps = np.arange(2 * radius + 1)
    weights = np.exp(-(taps**2) / (2 * deviation**2))
    weights = (weights / weights.sum()).astype(np.float32)
    taps, weights = taps[weights > NEGLIGIBLE], weights[weights > NEGLIGIBLE]
    reach = int(taps[-1])
    angles = np.deg2rad(degrees)[:, None]
    columns = reach + np.ceil(taps * np.cos(angles) - 0.5).astype(int)
    rows = reach + np.ceil(taps * np.sin(angles) - 0.5).astype(int)
    padding = ((0, 0), (0, 0), (reach, reach), (reach, reach))
    padded = np.pad(images.astype(np.float32), padding, mode="edge")
    result = np.full(images.shape, 0.5, dtype=np.float32)
    height, width = images.shape[-2:]
    for number, source in enumerate(padded):
        for weight, top, left in zip(weights, rows[number], columns[number], strict=True):
            result[number] += weight * source[:, top : top + height, left : left + width]
    return result.astype(np.uint8)


def sample(images: np.ndarray, x: np.ndarray, y: np.ndarray, *, around_edges: bool) -> np.ndarray:
    """Images float32 [N,C,H,W] at the places x, y [N,H,W] in pixels, bilinear: float32.

    Beyond the border the picture is mirrored: around the outer edges of its pixels (scipy's
    "reflect") or around their centres (OpenCV's BORDER_REFLECT_101).
    """
    height, width = images.shape[-2:]
    if around_edges:
        places = (2 * x + 1) / width - 1, (2 * y + 1) / height - 1
    else:
        places = 2 * x / max(1, width - 1) - 1, 2 * y / max(1, height - 1) - 1
    grid = torch.from_numpy(np.stack(places, axis=-1).astype(np.float32))
    sampled = F.grid_sample(
        torch.from_numpy(images),
        grid,
        mode="bilinear",
        padding_mode="reflection",
        align_corners=not around_edges,
    )
    return sampled.numpy()


def change_pictures(images: np.ndarray, change: Callable[[Image.Image], Image.Image]) -> np.ndarray:
    """Images uint8 [N,C,H,W] through `change` one by one, as Pillow's pictures: uint8 [N,C,H,W]."""
    changed = [picture_pixels(change(to_picture(image))) for image in images.transpose(0, 2, 3, 1)]
    return np.stack(changed).transpose(0, 3, 1, 2).copy()
