"""The corruptions by name, and `corrupt`, which applies one."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from resnetkit.evaluation.corruptions.blur import (
    defocus_blur,
    glass_blur,
    motion_blur,
    zoom_blur,
)
from resnetkit.evaluation.corruptions.digital import (
    contrast,
    elastic_transform,
    jpeg_compression,
    pixelate,
)
from resnetkit.evaluation.corruptions.frost import frost
from resnetkit.evaluation.corruptions.keys import image_keys
from resnetkit.evaluation.corruptions.noise import gaussian_noise, impulse_noise, shot_noise
from resnetkit.evaluation.corruptions.weather import brightness, fog, snow

# images uint8 [N,C,H,W] with C of 1 or 3, severity 1 to 5, keys uint64 [N,2] -> uint8 [N,C,H,W]
Corruption = Callable[[np.ndarray, int, np.ndarray], np.ndarray]

# In the order of the paper (Hendrycks & Dietterich 2019, figure 1).
CORRUPTIONS: dict[str, Corruption] = {
    "gaussian_noise": gaussian_noise,
    "shot_noise": shot_noise,
    "impulse_noise": impulse_noise,
    "defocus_blur": defocus_blur,
    "glass_blur": glass_blur,
    "motion_blur": motion_blur,
    "zoom_blur": zoom_blur,
    "snow": snow,
    "frost": frost,
    "fog": fog,
    "brightness": brightness,
    "contrast": contrast,
    "elastic_transform": elastic_transform,
    "pixelate": pixelate,
    "jpeg_compression": jpeg_compression,
}


def corrupt(
    images: np.ndarray,
    name: str,
    severity: int,
    *,
    seed: int,
    indices: np.ndarray,
    corruptions: Mapping[str, Corruption] = CORRUPTIONS,
) -> np.ndarray:
    """Images uint8 [N,C,H,W] under one corruption: uint8 [N,C,H,W].

    `indices` int64 [N] number them within their split: an image is corrupted alike in any batch.
    """
    assert images.dtype == np.uint8, images.dtype
    assert images.shape[1] in (1, 3), images.shape
    result = corruptions[name](images, severity, image_keys(seed, name, indices))
    assert result.shape == images.shape, (name, result.shape, images.shape)
    assert result.dtype == np.uint8, (name, result.dtype)
    return result
