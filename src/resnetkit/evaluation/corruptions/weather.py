"""Weather: snow, fog and bright sunshine; frost has a file of its own."""

from __future__ import annotations

import numpy as np

from resnetkit.evaluation.corruptions.keys import draw_each
from resnetkit.evaluation.corruptions.resampling import smear, to_bytes, zoom_matrix
from resnetkit.evaluation.corruptions.severities import find_parameters

FOG_AMPLITUDE = 100.0  # of the largest swirls, before the map is brought to 0…1


def snow(images: np.ndarray, severity: int, keys: np.ndarray) -> np.ndarray:
    """Whitened, with flakes that fall in a slanting direction: uint8 [N,C,H,W]."""
    mean, deviation, zoom, threshold, radius, blur, share = find_parameters(
        "snow", images, severity
    )
    height, width = images.shape[-2:]

    def draw(generator: np.random.Generator) -> np.ndarray:
        flakes = generator.standard_normal(height * width)
        return np.append(flakes, generator.uniform(-135, -45))

    draws = draw_each(keys, draw)
    degrees = draws[:, -1]
    flakes = mean + deviation * draws[:, :-1].reshape(-1, height, width)
    flakes = zoom_matrix(height, zoom) @ flakes @ zoom_matrix(width, zoom).T
    flakes = to_bytes(np.where(flakes < threshold, 0, flakes))
    layer = smear(flakes[:, None], radius, blur, degrees) / 255  # [N,1,H,W]
    values = images.astype(np.float32) / np.float32(255)
    whitened = np.maximum(values, _grey(values) * 1.5 + 0.5)
    values = share * values + (1 - share) * whitened
    return to_bytes(values + layer + layer[:, :, ::-1, ::-1])


def _grey(values: np.ndarray) -> np.ndarray:
    """Luma of ITU-R BT.601, [N,1,H,W]."""
    if values.shape[1] == 1:
        return values
    weights = np.array([0.299, 0.587, 0.114], dtype=np.float32)
    return np.tensordot(values, weights, axes=(1, 0))[:, None]


def fog(images: np.ndarray, severity: int, keys: np.ndarray) -> np.ndarray:
    """Swirls of white over the image, which keeps its largest value: uint8 [N,C,H,W]."""
    strength, decay = find_parameters("fog", images, severity)
    height, width = images.shape[-2:]
    side = 1 << (max(height, width) - 1).bit_length()
    swirls = plasma(keys, side, decay)[:, None, :height, :width]
    values = images / 255
    largest = values.max(axis=(1, 2, 3), keepdims=True)
    return to_bytes((values + strength * swirls) * largest / (largest + strength))


def plasma(keys: np.ndarray, side: int, decay: float) -> np.ndarray:
    """A random map for each key by the diamond-square method, in 0…1: float64 [N,side,side].

    Between the known points, those in the middle are their mean and a random part; then the
    distance halves and the randomness falls by `decay` squared. The map wraps around. `side` is a
    power of two.
    """
    unused = draw_each(keys, lambda generator: generator.random(side * side - 1))
    heights = np.zeros((len(keys), side, side))
    step, amplitude = side, FOG_AMPLITUDE
    while step >= 2:
        half, points = step // 2, (side // step) ** 2
        parts = np.split(2 * unused[:, : 3 * points] - 1, 3, axis=1)
        unused = unused[:, 3 * points :]
        known = heights[:, ::step, ::step]
        centres, across, down = (amplitude**2 * part.reshape(known.shape) for part in parts)
        corners = known + np.roll(known, -1, axis=1)
        centres += (corners + np.roll(corners, -1, axis=2)) / 4
        heights[:, half::step, half::step] = centres
        beside = known + np.roll(known, -1, axis=2)
        heights[:, ::step, half::step] = (
            centres + np.roll(centres, 1, axis=1) + beside
        ) / 4 + across
        beside = known + np.roll(known, -1, axis=1)
        heights[:, half::step, ::step] = (centres + np.roll(centres, 1, axis=2) + beside) / 4 + down
        step, amplitude = half, amplitude / decay
    heights -= heights.min(axis=(1, 2), keepdims=True)
    return heights / heights.max(axis=(1, 2), keepdims=True)


def brightness(images: np.ndarray, severity: int, keys: np.ndarray) -> np.ndarray:
    """The value of HSV raised, hue and saturation kept: uint8 [N,C,H,W].

    That scales the channels of a pixel alike; black becomes grey.
    """
    added = find_parameters("brightness", images, severity)
    values = images / 255
    value = values.max(axis=1, keepdims=True)
    raised = np.clip(value + added, 0, 1)
    scaled = values * (raised / np.where(value > 0, value, 1))
    return to_bytes(np.where(values == value, raised, scaled))
