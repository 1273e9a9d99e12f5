"""Frost: a texture of ice laid over the image.

The published sets cut it from five photographs of frosted windows, which are not ours to ship. The
textures made here have their brightness, contrast and tint and much of their look, needles in
patches, but they are not the photographs: errors under frost compare with each other, and with
published ones only roughly. `load_textures` reads the originals where one has them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image

from resnetkit.evaluation.corruptions.keys import draw_each
from resnetkit.evaluation.corruptions.severities import find_parameters
from resnetkit.types import UserError

# Means of red, green and blue, and deviation, in levels, of the five photographs that the published
# code draws from (it has six; the second and third are one), measured on imagecorruptions' copies.
LOOKS = (
    (78, 149, 166, 18),
    (201, 205, 214, 22),
    (201, 205, 214, 22),
    (138, 153, 165, 28),
    (112, 123, 135, 43),
)
SIDE = 480  # pixels of a made texture; whole at the scales 0.2 and 0.3
NEEDLES = 4  # directions in which they grow
# Deviations in pixels of the Gaussians that shape needles, the patches they share, and clouds.
LENGTH, THICKNESS, PATCH, CLOUD = 12.0, 0.9, 20.0, 50.0
FILES = {".png", ".jpg", ".jpeg"}


def frost(images: np.ndarray, severity: int, keys: np.ndarray) -> np.ndarray:
    """A random part of a random made texture, laid over the image: uint8 [N,C,H,W]."""
    return _lay_over(images, severity, keys, _made_at)


def frost_from(
    textures: Sequence[np.ndarray],
) -> Callable[[np.ndarray, int, np.ndarray], np.ndarray]:
    """`frost` with these textures uint8 [3,h,w] in place of the made ones."""
    at_scale = lru_cache(lambda scale: [shrink(texture, scale) for texture in textures])
    return lambda images, severity, keys: _lay_over(images, severity, keys, at_scale)


def _lay_over(
    images: np.ndarray,
    severity: int,
    keys: np.ndarray,
    at_scale: Callable[[float], Sequence[np.ndarray]],
) -> np.ndarray:
    kept, added, scale = find_parameters("frost", images, severity)
    textures = at_scale(scale)
    height, width = images.shape[-2:]
    draws = draw_each(keys, lambda generator: generator.random(3))
    cut = np.stack([_cut(textures, draw, height, width) for draw in draws])
    if images.shape[1] == 1:
        cut = np.tensordot(cut, [0.299, 0.587, 0.114], axes=(1, 0))[:, None]
    return np.clip(kept * images + added * cut, 0, 255).astype(np.uint8)


def _cut(textures: Sequence[np.ndarray], draw: np.ndarray, height: int, width: int) -> np.ndarray:
    """The part [3,height,width] that three uniform numbers choose; a small texture is repeated."""
    texture = textures[int(draw[0] * len(textures))]
    spare = np.maximum(1, np.array(texture.shape[1:]) - (height, width))
    top, left = (draw[1:] * spare).astype(int)
    rows = np.arange(top, top + height) % texture.shape[1]
    columns = np.arange(left, left + width) % texture.shape[2]
    return texture[:, rows[:, None], columns]


def shrink(texture: np.ndarray, scale: float) -> np.ndarray:
    """A texture [3,h,w] at `scale`, bilinear between near pixels, as OpenCV's `resize`: float64."""
    if scale == 1:
        return texture.astype(float)
    for axis in (1, 2):
        length = texture.shape[axis]
        places = (np.arange(round(length * scale)) + 0.5) / scale - 0.5
        below = np.clip(np.floor(places).astype(int), 0, length - 1)
        share = (places - below).clip(0, 1).reshape((-1, 1) if axis == 1 else (1, -1))
        above = np.minimum(below + 1, length - 1)
        texture = texture.take(below, axis) * (1 - share) + texture.take(above, axis) * share
    return texture


def load_textures(folder: Path) -> tuple[np.ndarray, ...]:
    """The photographs in `folder` (frost1.png to frost5.jpg of the published code): uint8 [3,h,w].

    The first five by name. Raises UserError when there is none.
    """
    if not folder.is_dir():
        raise UserError(f"frost textures {folder}: needed a folder of photographs; there is none")
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in FILES)
    if not paths:
        raise UserError(
            f"frost textures {folder}: needed at least one .png or .jpg file, found none; give the "
            "folder with frost1.png to frost5.jpg of github.com/hendrycks/robustness"
        )
    textures = []
    for path in paths[: len(LOOKS)]:
        with Image.open(path) as picture:
            textures.append(np.asarray(picture.convert("RGB")).transpose(2, 0, 1))
    return tuple(textures)


@lru_cache(maxsize=3)  # one for each set of parameters
def _made_at(scale: float) -> Sequence[np.ndarray]:
    return [shrink(texture, scale) for texture in make_textures()]


@lru_cache(maxsize=1)
def make_textures() -> tuple[np.ndarray, ...]:
    """Five textures of ice, always the same: uint8 [3,SIDE,SIDE] each; they wrap around."""
    return tuple(
        _make_texture(np.random.default_rng((2019, number)), look)
        for number, look in enumerate(LOOKS)
    )


def _make_texture(generator: np.random.Generator, look: tuple[int, int, int, int]) -> np.ndarray:
    """Patches of parallel needles over cloudy ice: noise shaped by its spectrum."""
    directions = np.pi * (np.arange(NEEDLES) + generator.random(NEEDLES)) / NEEDLES
    needles = np.stack([_noise(generator, LENGTH, THICKNESS, angle) for angle in directions])
    patches = np.stack([_noise(generator, PATCH, PATCH, 0.0) for _ in directions])
    weights = np.exp(3 * (patches - patches.max(axis=0)))
    ice = (weights * np.abs(needles)).sum(axis=0) / weights.sum(axis=0)
    clouds = _noise(generator, CLOUD, CLOUD, 0.0) + 0.5 * _noise(generator, 4.0, 4.0, 0.0)
    *colour, deviation = look
    values = deviation * _standard(_standard(ice) + clouds)
    return np.clip(np.array(colour)[:, None, None] + values, 0, 255).astype(np.uint8)


def _noise(
    generator: np.random.Generator, length: float, thickness: float, angle: float
) -> np.ndarray:
    """Normal noise [SIDE,SIDE] of streaks with these deviations in pixels, along `angle`."""
    from scipy import fft

    y = fft.fftfreq(SIDE).astype(np.float32)[:, None]
    x = fft.rfftfreq(SIDE).astype(np.float32)
    cosine, sine = math.cos(angle), math.sin(angle)
    along, across = x * cosine + y * sine, y * cosine - x * sine
    shape = np.exp(-2 * np.pi**2 * ((along * length) ** 2 + (across * thickness) ** 2))
    white = generator.standard_normal((2, *shape.shape), dtype=np.float32)
    spectrum = (white[0] + 1j * white[1]) * shape
    return _standard(np.asarray(fft.irfft2(spectrum, s=(SIDE, SIDE))))


def _standard(values: np.ndarray) -> np.ndarray:
    return (values - values.mean()) / values.std()
