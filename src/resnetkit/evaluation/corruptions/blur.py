"""Blur: out of focus, through frosted glass, by motion and by zooming."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from resnetkit.evaluation.corruptions.keys import draw_each
from resnetkit.evaluation.corruptions.resampling import smear, to_bytes, zoom_matrix
from resnetkit.evaluation.corruptions.severities import find_parameters

ROUNDING = 1e-9  # of a Fourier transform: truncation must not make a level of it in flat areas


def defocus_blur(images: np.ndarray, severity: int, keys: np.ndarray) -> np.ndarray:
    """A point becomes a disk; the border is mirrored: uint8 [N,C,H,W]."""
    from scipy.signal import fftconvolve

    kernel = disk_kernel(*find_parameters("defocus_blur", images, severity))
    reach = len(kernel) // 2
    padding = ((0, 0), (0, 0), (reach, reach), (reach, reach))
    padded = np.pad(images / 255, padding, mode="reflect")
    return to_bytes(fftconvolve(padded, kernel[None, None], "valid", axes=(2, 3)) + ROUNDING)


def disk_kernel(radius: float, deviation: float) -> np.ndarray:
    """A disk with a softened edge, as small as it can be: float64 [k,k], k odd.

    Drawn on 17 pixels a side (more for a radius above 8), brought to a sum of 1, then softened by a
    Gaussian of 3 pixels (5) that sees the drawing mirrored, as in the published code: a disk that
    fills the drawing gains a hundredth by it, and so do the pictures.
    """
    from scipy.ndimage import correlate1d

    reach, softness = (8, 1) if radius <= 8 else (int(radius), 2)
    offsets = np.arange(-reach, reach + 1)
    disk = (offsets[:, None] ** 2 + offsets**2 <= radius**2).astype(float)
    disk /= disk.sum()
    near = np.arange(-softness, softness + 1)
    gaussian = np.exp(-(near**2) / (2 * deviation**2))
    for axis in (0, 1):
        disk = correlate1d(disk, gaussian / gaussian.sum(), axis=axis, mode="mirror")
    kept = np.abs(offsets) <= np.abs(offsets[disk.max(axis=0) > 0]).max()
    return disk[np.ix_(kept, kept)]


def glass_blur(images: np.ndarray, severity: int, keys: np.ndarray) -> np.ndarray:
    """Smoothed, pixels replaced by near ones, smoothed again: uint8 [N,C,H,W].

    The published code means to swap pixels, but numpy's views make it overwrite one with the other;
    the published images are what that gives, and so are these.
    """
    deviation, reach, rounds = find_parameters("glass_blur", images, severity)
    size: tuple[int, int] = images.shape[2], images.shape[3]
    sources = draw_each(keys, lambda generator: scatter(generator, size, reach, rounds))
    smooth = (_smoothed(images / 255, deviation) * 255).astype(np.uint8)
    scattered = np.take_along_axis(smooth.reshape(*images.shape[:2], -1), sources[:, None], axis=2)
    return to_bytes(_smoothed(scattered.reshape(images.shape) / 255, deviation))


def scatter(
    generator: np.random.Generator, size: tuple[int, int], reach: int, rounds: int
) -> np.ndarray:
    """From which pixel each of an image's takes its value, numbered row by row: int64 [H*W].

    A round goes from the last pixel but `reach` up to the first, and gives each the value that a
    pixel at most `reach` up and left, or `reach - 1` down and right, has by then.
    """
    height, width = size
    positions = np.arange(height * width)
    rows = np.arange(height - reach, reach, -1)[:, None]
    columns = np.arange(width - reach, reach, -1)
    places = (rows * width + columns).ravel()
    sources = positions
    for _ in range(rounds):
        steps = generator.integers(-reach, reach, (len(places), 2))  # x, y
        partners = positions.copy()
        partners[places] += steps[:, 1] * width + steps[:, 0]
        replaced = np.zeros(len(positions), dtype=bool)
        replaced[places] = True
        # A partner further on has been replaced before: then its source is ours, and so on.
        passed_on = (partners > positions) & replaced[partners]
        found, open_ = partners, passed_on
        while open_.any():
            found, open_ = np.where(open_, partners[found], found), open_ & passed_on[found]
        sources = sources[found]
    return sources


def motion_blur(images: np.ndarray, severity: int, keys: np.ndarray) -> np.ndarray:
    """Blurred along a direction within 45 degrees of the horizontal: uint8 [N,C,H,W]."""
    radius, deviation = find_parameters("motion_blur", images, severity)
    degrees = draw_each(keys, lambda generator: generator.uniform(-45, 45, 1))[:, 0]
    return smear(images, radius, deviation, degrees)


def zoom_blur(images: np.ndarray, severity: int, keys: np.ndarray) -> np.ndarray:
    """The mean of the image and of it zoomed into, further and further: uint8 [N,C,H,W]."""
    end, step = find_parameters("zoom_blur", images, severity)
    height, width = images.shape[-2:]
    operator = _zoom_operator(height, width, end, step)
    columns = np.ascontiguousarray(images.reshape(-1, height * width).T, dtype=np.float32) / 255
    return to_bytes((operator @ columns).T.reshape(images.shape))


@lru_cache(maxsize=5)  # one for each severity
def _zoom_operator(height: int, width: int, end: float, step: float) -> Any:
    """The whole blur as one sparse matrix [H*W, H*W] on a channel's pixels."""
    from scipy.sparse import coo_array, kron

    factors = [1.0, *np.arange(1, end, step)]  # the image itself, and 1 again
    parts = [
        kron(coo_array(zoom_matrix(height, factor)), coo_array(zoom_matrix(width, factor)), "coo")
        for factor in factors
    ]
    rows, columns, weights = (
        np.concatenate([getattr(part, name) for part in parts]) for name in ("row", "col", "data")
    )
    shape = (height * width, height * width)
    return coo_array(((weights / len(factors)).astype(np.float32), (rows, columns)), shape).tocsr()


def _smoothed(values: np.ndarray, deviation: float) -> np.ndarray:
    """Through a Gaussian, borders repeated, as scikit-image's `gaussian` does by channel."""
    from scipy.ndimage import gaussian_filter1d

    for axis in (2, 3):
        values = gaussian_filter1d(values, deviation, axis=axis, mode="nearest", truncate=4)
    return values
