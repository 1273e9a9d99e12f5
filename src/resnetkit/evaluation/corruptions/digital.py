"""What storing and sending does: contrast, elastic distortion, pixelation and JPEG."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from resnetkit.evaluation.corruptions.keys import draw_each
from resnetkit.evaluation.corruptions.resampling import change_pictures, sample, to_bytes
from resnetkit.evaluation.corruptions.severities import (
    SIDES,
    choose_parameter_set,
    find_parameters,
)

# The published lengths at 224 pixels are shares of 244 ("should have been 224").
ELASTIC_SIDES = SIDES | {"imagenet": 244}


def contrast(images: np.ndarray, severity: int, keys: np.ndarray) -> np.ndarray:
    """Every channel drawn towards its mean: uint8 [N,C,H,W]."""
    left = find_parameters("contrast", images, severity)
    values = images / 255
    means = values.mean(axis=(2, 3), keepdims=True)
    return to_bytes((values - means) * left + means)


def elastic_transform(images: np.ndarray, severity: int, keys: np.ndarray) -> np.ndarray:
    """Three points moved at random, then every pixel a little, smoothly: uint8 [N,C,H,W]."""
    height, width = images.shape[-2:]
    chosen = choose_parameter_set(height, width)
    side = min(height, width) * ELASTIC_SIDES[chosen] / SIDES[chosen]
    strength, smoothness, shift = (
        share * side for share in find_parameters("elastic_transform", images, severity)
    )
    draws = draw_each(keys, lambda generator: generator.uniform(-1, 1, 6 + 2 * height * width))
    values = (images / 255).astype(np.float32)
    values = _move_corners(values, shift * draws[:, :6].reshape(-1, 3, 2))
    y, x = np.mgrid[:height, :width].astype(float)
    waves = draws[:, 6:].reshape(-1, 2, height, width)
    if strength:
        waves = strength * (
            _smoothing(height, smoothness) @ waves @ _smoothing(width, smoothness).T
        )
    else:
        waves = np.zeros_like(waves)
    return to_bytes(sample(values, x + waves[:, 0], y + waves[:, 1], around_edges=True))


def _move_corners(images: np.ndarray, moves: np.ndarray) -> np.ndarray:
    """Images [N,C,H,W] under the affine map that moves three points by `moves` [N,3,2] (x, y)."""
    height, width = images.shape[-2:]
    reach = max(1, min(height, width) // 3)
    signs = np.array([[1, 1], [1, -1], [-1, -1]])
    points = np.array([width // 2, height // 2]) + reach * signs
    moved = np.concatenate([points + moves, np.ones((len(images), 3, 1))], axis=2)
    back = np.linalg.solve(moved, np.broadcast_to(points, moves.shape).astype(float))  # [N,3,2]
    y, x = np.mgrid[:height, :width]
    factors = back[..., None, None]
    from_x, from_y = (
        factors[:, 0, k] * x + factors[:, 1, k] * y + factors[:, 2, k] for k in (0, 1)
    )
    return sample(images, from_x, from_y, around_edges=False)


def _smoothing(side: int, deviation: float) -> np.ndarray:
    """A Gaussian cut off at three deviations, mirrored at the border, as a matrix [side, side].

    As wide as the picture and wider at the first severities, it would be slow tap by tap.
    """
    from scipy.ndimage import gaussian_filter1d

    return gaussian_filter1d(np.eye(side), deviation, axis=0, mode="reflect", truncate=3)


def pixelate(images: np.ndarray, severity: int, keys: np.ndarray) -> np.ndarray:
    """Made smaller and larger again, both with a box filter: uint8 [N,C,H,W]."""
    share = find_parameters("pixelate", images, severity)
    height, width = images.shape[-2:]
    small = max(1, int(width * share)), max(1, int(height * share))
    box = Image.Resampling.BOX
    return change_pictures(
        images, lambda picture: picture.resize(small, box).resize((width, height), box)
    )


def jpeg_compression(images: np.ndarray, severity: int, keys: np.ndarray) -> np.ndarray:
    """Compressed by libjpeg as Pillow does it: uint8 [N,C,H,W]."""
    quality = find_parameters("jpeg_compression", images, severity)

    def compress(picture: Image.Image) -> Image.Image:
        stored = io.BytesIO()
        picture.save(stored, "JPEG", quality=quality)
        return Image.open(stored)

    return change_pictures(images, compress)
