"""Pictures inside a page, as data: addresses."""

from __future__ import annotations

import base64
import io
from html import escape

import numpy as np
from PIL import Image

SIDE = 144  # pixels of the longer side of a thumbnail
PIXEL_ART = 64  # up to this side every pixel is kept, and shown as a square


def write_image(image: np.ndarray, alt: str) -> str:
    """An image uint8 [C,H,W] or [H,W,3] as a thumbnail; small ones keep their pixels."""
    address, small = draw_thumbnail(image)
    kind = ' class="small"' if small else ""
    return f'<img{kind} alt="{escape(alt)}" src="{address}">'


def draw_thumbnail(image: np.ndarray) -> tuple[str, bool]:
    """The address of an image uint8 [C,H,W] or [H,W,3] made small, and whether it is pixel art."""
    assert image.dtype == np.uint8, image.dtype
    assert image.ndim == 3, image.shape
    pixels = image if image.shape[2] == 3 and image.shape[0] != 3 else image.transpose(1, 2, 0)
    return encode_thumbnail(Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels))


def encode_thumbnail(picture: Image.Image) -> tuple[str, bool]:
    """The same of a picture in mode L or RGB."""
    small = max(picture.size) <= PIXEL_ART
    if small:
        return encode_picture(picture, "PNG"), True
    if max(picture.size) > SIDE:
        picture = picture.copy()
        picture.thumbnail((SIDE, SIDE), reducing_gap=2.0)
    return encode_picture(picture, "JPEG"), False


def encode_picture(picture: Image.Image, kind: str = "PNG") -> str:
    """A picture as a data: address."""
    buffer = io.BytesIO()
    picture.save(buffer, kind, quality=82, optimize=True)
    data = base64.b64encode(buffer.getvalue()).decode()
    return f"data:image/{kind.lower()};base64,{data}"
