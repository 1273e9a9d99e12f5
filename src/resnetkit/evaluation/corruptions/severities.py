"""The published parameters, and which of the three sets is for images of which size.

From the scripts that made CIFAR-10-C, Tiny-ImageNet-C and ImageNet-C (github.com/hendrycks/
robustness, ImageNet-C/create_c): lengths are in pixels of 32, 64 and 224 a side.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np

ParameterSet = Literal["cifar", "tiny-imagenet", "imagenet"]
SIDES: dict[ParameterSet, int] = {"cifar": 32, "tiny-imagenet": 64, "imagenet": 224}
SEVERITIES = (1, 2, 3, 4, 5)
_SETS: tuple[ParameterSet, ...] = ("cifar", "tiny-imagenet", "imagenet")


def choose_parameter_set(height: int, width: int) -> ParameterSet:
    """The set made for the side nearest in ratio to the shorter one: up to 45, up to 119, above."""
    side = min(height, width)
    return min(SIDES, key=lambda name: abs(math.log(side / SIDES[name])))


def find_parameters(name: str, images: np.ndarray, severity: int) -> Any:
    """What corruption `name` takes for images [N,C,H,W] at severity 1 to 5: see `PARAMETERS`."""
    assert severity in SEVERITIES, severity
    height, width = images.shape[-2:]
    return PARAMETERS[name][choose_parameter_set(height, width)][severity - 1]


def _by_set(*rows: tuple[Any, ...]) -> dict[ParameterSet, tuple[Any, ...]]:
    assert [len(row) for row in rows] == [len(SEVERITIES)] * len(_SETS)
    return dict(zip(_SETS, rows, strict=True))


PARAMETERS: dict[str, dict[ParameterSet, tuple[Any, ...]]] = {
    "gaussian_noise": _by_set(  # standard deviation, of values in 0…1
        (0.04, 0.06, 0.08, 0.09, 0.10),
        (0.04, 0.08, 0.12, 0.15, 0.18),
        (0.08, 0.12, 0.18, 0.26, 0.38),
    ),
    "shot_noise": _by_set(  # photons of a white pixel
        (500, 250, 100, 75, 50),
        (250, 100, 50, 30, 15),
        (60, 25, 12, 5, 3),
    ),
    "impulse_noise": _by_set(  # share of the values lost
        (0.01, 0.02, 0.03, 0.05, 0.07),
        (0.01, 0.02, 0.05, 0.08, 0.14),
        (0.03, 0.06, 0.09, 0.17, 0.27),
    ),
    "defocus_blur": _by_set(  # radius of the disk, deviation of the Gaussian that softens its edge
        ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)),
        ((0.5, 0.6), (1, 0.1), (1.5, 0.1), (2.5, 0.01), (3, 0.1)),
        ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)),
    ),
    "glass_blur": _by_set(  # deviation of the Gaussian, largest displacement, rounds
        ((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)),
        ((0.1, 1, 1), (0.5, 1, 1), (0.6, 1, 2), (0.7, 2, 1), (0.9, 2, 2)),
        ((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2)),
    ),
    "motion_blur": _by_set(  # radius, deviation
        ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)),
        ((10, 1), (10, 1.5), (10, 2), (10, 2.5), (12, 3)),
        ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15)),
    ),
    "zoom_blur": _by_set(  # end and step of the zoom factors from 1, as numpy.arange counts them
        ((1.06, 0.01), (1.11, 0.01), (1.16, 0.01), (1.21, 0.01), (1.26, 0.01)),
        ((1.06, 0.01), (1.11, 0.01), (1.16, 0.01), (1.21, 0.01), (1.26, 0.01)),
        ((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03)),
    ),
    "snow": _by_set(  # flakes: mean, deviation, zoom, threshold, radius, blur; share of the image
        (
            (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
            (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
            (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
            (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
            (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
        ),
        (
            (0.1, 0.2, 1, 0.6, 8, 3, 0.8),
            (0.1, 0.2, 1, 0.5, 10, 4, 0.8),
            (0.15, 0.3, 1.75, 0.55, 10, 4, 0.7),
            (0.25, 0.3, 2.25, 0.6, 12, 6, 0.65),
            (0.3, 0.3, 1.25, 0.65, 14, 12, 0.6),
        ),
        (
            (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
            (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
            (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
            (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
            (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
        ),
    ),
    "frost": _by_set(  # share of the image, share of the texture, scale of the texture
        ((1, 0.2, 0.2), (1, 0.3, 0.2), (0.9, 0.4, 0.2), (0.85, 0.4, 0.2), (0.75, 0.45, 0.2)),
        ((1, 0.3, 0.3), (0.9, 0.4, 0.3), (0.8, 0.45, 0.3), (0.75, 0.5, 0.3), (0.7, 0.55, 0.3)),
        ((1, 0.4, 1), (0.8, 0.6, 1), (0.7, 0.7, 1), (0.65, 0.7, 1), (0.6, 0.75, 1)),
    ),
    "fog": _by_set(  # strength, factor by which the swirls weaken as they halve in size
        ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)),
        ((0.4, 3), (0.7, 3), (1, 2.5), (1.5, 2), (2, 1.75)),
        ((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4)),
    ),
    "brightness": _by_set(  # added to the value of HSV in 0…1
        (0.05, 0.1, 0.15, 0.2, 0.3),
        (0.1, 0.2, 0.3, 0.4, 0.5),
        (0.1, 0.2, 0.3, 0.4, 0.5),
    ),
    "contrast": _by_set(  # share of the distance from the mean that is left
        (0.75, 0.5, 0.4, 0.3, 0.15),
        (0.4, 0.3, 0.2, 0.1, 0.05),
        (0.4, 0.3, 0.2, 0.1, 0.05),
    ),
    "elastic_transform": _by_set(  # as shares of the side: strength, smoothness, shift of corners
        ((0, 0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05), (0.1, 0.03, 0.03)),
        ((0, 0, 0.08), (0.05, 0.3, 0.06), (0.1, 0.08, 0.06), (0.1, 0.03, 0.03), (0.16, 0.03, 0.02)),
        ((2, 0.7, 0.1), (2, 0.08, 0.2), (0.05, 0.01, 0.02), (0.07, 0.01, 0.02), (0.12, 0.01, 0.02)),
    ),
    "pixelate": _by_set(  # side of the small picture, as a share
        (0.95, 0.9, 0.85, 0.75, 0.65),
        (0.9, 0.8, 0.7, 0.6, 0.5),
        (0.6, 0.5, 0.4, 0.3, 0.25),
    ),
    "jpeg_compression": _by_set(  # quality
        (80, 65, 58, 50, 40),
        (65, 58, 50, 40, 25),
        (25, 18, 15, 10, 7),
    ),
}
