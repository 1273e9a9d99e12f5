"""From any Pillow mode to 8-bit RGB or grey, without losing what a person would see."""

from __future__ import annotations

from typing import Literal

import numpy as np
from PIL import Image

from resnetkit.data.decode import UnreadableImage, turn_upright

BACKGROUND = (255, 255, 255)  # what shows through transparent pixels, as on a page
SIXTEEN_BIT_MODES = ("I", "I;16", "I;16B", "I;16L", "I;16N")


def to_color_mode(
    image: Image.Image,
    color_mode: Literal["RGB", "L"],
    exif_transpose: bool,
    name: str = "image",
) -> Image.Image:
    """The image upright (if `exif_transpose`) and in mode RGB or L, 8 bits a channel.

    Transparent pixels are blended with white; 16-bit grey is scaled to 0..255 (value / 257,
    rounded); RGB becomes L by ITU-R 601-2 luma. Raises `UnreadableImage` for floating-point
    images and 32-bit values above 65,535, which have no range to scale from.
    """
    if exif_transpose:
        image = turn_upright(image)
    if image.mode in SIXTEEN_BIT_MODES:
        image = _scale_16_bit(image, name)
    if image.has_transparency_data:
        image = _blend_transparency(image)
    if image.mode == color_mode:
        return image
    if image.mode == "F":  # Pillow would clip it, so that an image in 0..1 becomes black
        raise _unusable(image, name)
    try:
        if color_mode == "L" and image.mode not in ("RGB", "1"):
            image = image.convert("RGB")  # Pillow has no way to L from some modes
        return image.convert(color_mode)
    except ValueError:
        raise _unusable(image, name) from None


def _unusable(image: Image.Image, name: str) -> UnreadableImage:
    return UnreadableImage(
        f"Cannot read image {name!r}: its pixels are of mode {image.mode}, which has no fixed "
        "range of brightness; save it as an 8-bit RGB or grey image."
    )


def _scale_16_bit(image: Image.Image, name: str) -> Image.Image:
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > 65535:
        raise UnreadableImage(
            f"Cannot read image {name!r}: its 32-bit values reach from {values.min()} to "
            f"{values.max()}, needed are 0..65535; save it as an 8-bit or 16-bit image."
        )
    return Image.fromarray(((values + 128) // 257).astype(np.uint8))


def _blend_transparency(image: Image.Image) -> Image.Image:
    if image.mode == "La":  # the one mode without a direct way to RGBA
        image = image.convert("LA")
    image = image.convert("RGBA")
    page = Image.new("RGBA", image.size, (*BACKGROUND, 255))
    return Image.alpha_composite(page, image).convert("RGB")
