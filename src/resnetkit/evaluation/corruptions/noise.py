"""Noise of a sensor: Gaussian, shot and impulse noise."""

from __future__ import annotations

import numpy as np

from resnetkit.evaluation.corruptions.keys import draw_each
from resnetkit.evaluation.corruptions.resampling import to_bytes
from resnetkit.evaluation.corruptions.severities import find_parameters


def gaussian_noise(images: np.ndarray, severity: int, keys: np.ndarray) -> np.ndarray:
    """A normal number is added to every value, as in low light: uint8 [N,C,H,W]."""
    deviation = find_parameters("gaussian_noise", images, severity)
    noise = draw_each(keys, lambda generator: generator.standard_normal(images.shape[1:]))
    return to_bytes(images / 255 + deviation * noise)


def shot_noise(images: np.ndarray, severity: int, keys: np.ndarray) -> np.ndarray:
    """Every value becomes a count of photons, which is a Poisson number: uint8 [N,C,H,W]."""
    photons = find_parameters("shot_noise", images, severity)
    expected = iter(images / 255 * photons)
    counts = draw_each(keys, lambda generator: np.asarray(generator.poisson(next(expected))))
    return to_bytes(counts / photons)


def impulse_noise(images: np.ndarray, severity: int, keys: np.ndarray) -> np.ndarray:
    """A share of the values is lost, half of them to black and half to white: uint8 [N,C,H,W]."""
    lost = find_parameters("impulse_noise", images, severity)
    draws = draw_each(keys, lambda generator: generator.random(images.shape[1:]))
    return to_bytes(np.where(draws < lost / 2, 0, np.where(draws < lost, 1, images / 255)))
