"""From encoded bytes to a Pillow image, or one clear reason why not."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import BinaryIO

from PIL import Image, ImageFile

from resnetkit.data.encoded import Box, Crop, Encoded, open_encoded
from resnetkit.types import UserError

# What Pillow may try: its other decoders are rarely used, less tested, or start other programs.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
ORIENTATION_TAG = 0x0112  # EXIF 2.32, table 4
_TURN_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ORIENTATION_INFO = ("exif", "Raw profile type exif", "xmp", "XML:com.adobe.xmp")  # Pillow's keys


class UnreadableImage(UserError):  # noqa: N818 - a state of the image, as callers read it
    """An image that cannot be decoded; the message names it and says why."""


Reduction = Callable[[int, int], float]  # (height, width) once upright -> by how much at most


def decode_image(encoded: Encoded, name: str, reduction: Reduction | None = None) -> Image.Image:
    """The image in `encoded` (its bytes, or the file that holds them), fully loaded.

    Of an animation the first frame; of a `Crop` its part, upright. Where `reduction` allows it, a
    JPEG is decoded at 1/2, 1/4 or 1/8 of its size, which costs less but is not what decoding and
    resizing gives: never for judging. Raises `UnreadableImage`, which calls the image `name`, for
    everything that is not a whole image in one of `FORMATS` of a size Pillow thinks is safe.
    """
    with open_image(encoded, name) as image:
        if reduction is not None and not isinstance(encoded, Crop):
            reduce_jpeg(image, reduction)
        image.load()
        return cut_part(image, encoded.box) if isinstance(encoded, Crop) else image


@contextmanager
def open_image(encoded: Encoded, name: str) -> Iterator[ImageFile.ImageFile]:
    """The image with only its header read; what is done with it raises as `decode_image` does."""
    with _reasons(name), pillow_warnings(), _stream(encoded) as stream:
        yield Image.open(stream, formats=FORMATS)


def reduce_jpeg(image: Image.Image, reduction: Reduction) -> None:
    """Have `image`, if it is a JPEG, decoded at the smallest scale that `reduction` allows."""
    if image.format not in ("JPEG", "MPO"):
        return
    width, height = image.size
    allowed = reduction(width, height) if orientation(image) >= 5 else reduction(height, width)
    factor = max(factor for factor in (1, 2, 4, 8) if factor <= max(allowed, 1))
    if factor > 1:  # libjpeg then makes each 8 x 8 block of coefficients a smaller block of pixels
        image.draft(None, (width // factor, height // factor))


def load_picture(image: Image.Image, name: str) -> Image.Image:
    """A Pillow image the caller opened, fully loaded; raises as `decode_image` does."""
    with _reasons(name), pillow_warnings():
        image.load()
    return image


def image_header(encoded: Encoded, name: str) -> tuple[int, int, str]:
    """(height, width, Pillow mode) once upright, from the header; raises as `decode_image` does."""
    with open_image(encoded, name) as image:
        # Pillow gives a TIFF's size upright already, and would decode a PNG without EXIF in its
        # header to look for it behind the pixels.
        turned = "exif" in image.info or image.format not in ("PNG", "TIFF")
        swapped = turned and orientation(image) >= 5
        width, height = reversed(image.size) if swapped else image.size
        if isinstance(encoded, Crop):
            left, top, right, bottom = _clip(encoded.box, width, height)
            width, height = right - left, bottom - top
        return height, width, image.mode


def turn_upright(image: Image.Image) -> Image.Image:
    """The image as its EXIF orientation says it should be seen."""
    turn = _TURN_UPRIGHT.get(orientation(image))
    return image if turn is None else image.transpose(turn)


def orientation(image: Image.Image) -> int:
    """EXIF orientation 1..8; 1 (upright) where there is none or it cannot be read."""
    with pillow_warnings():
        try:
            value = image.getexif().get(ORIENTATION_TAG, 1)
        except Exception:  # damaged EXIF raises anything; the pixels are good, so they are used
            return 1
    return value if value in _TURN_UPRIGHT else 1


def cut_part(image: Image.Image, box: Box) -> Image.Image:
    """The upright image's part inside `box`, with nothing left in it that says to turn it again."""
    upright = turn_upright(image)
    part = upright.crop(_clip(box, upright.width, upright.height))
    part.info = {key: value for key, value in part.info.items() if key not in _ORIENTATION_INFO}
    return part


def _clip(box: Box, width: int, height: int) -> Box:
    left, top = max(box[0], 0), max(box[1], 0)
    right, bottom = min(box[2], width), min(box[3], height)
    if left >= right or top >= bottom:
        raise ValueError(f"its box {box} lies outside the picture of {width} x {height} pixels")
    return left, top, right, bottom


def _stream(encoded: Encoded) -> BinaryIO:
    """The encoded image opened; an empty one is told apart from a damaged one."""
    stream = open_encoded(encoded)
    if not stream.read(1):
        stream.close()
        raise ValueError("it is empty (0 bytes)")
    stream.seek(0)
    return stream


@contextmanager
def _reasons(name: str) -> Iterator[None]:
    """Turn whatever decoding raises into `UnreadableImage`."""
    try:
        yield
    except Image.UnidentifiedImageError:
        reason = f"it is not a whole image in one of the formats {', '.join(FORMATS)}"
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        limit = (Image.MAX_IMAGE_PIXELS or 0) // 1_000_000
        reason = f"it has more than {limit} million pixels; make it smaller"
    except FileNotFoundError:
        reason = "there is no such file"
    except Exception as error:  # Pillow's decoders raise some ten kinds of exception on bad data
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    else:
        return
    raise UnreadableImage(f"Cannot read image {name!r}: {reason}.") from None


_scope_lock = threading.Lock()
_scopes: list[warnings.catch_warnings] = []  # the open filter scope, once for each user of it


@contextmanager
def pillow_warnings() -> Iterator[None]:
    """Make a decompression bomb an error and keep Pillow's remarks on damaged metadata silent.

    Python's filters are one list for all threads, and `catch_warnings` in two threads at once can
    leave the wrong list behind: threads that decode at the same time share one scope.
    """
    with _scope_lock:
        if _scopes:
            _scopes.append(_scopes[0])
        else:
            _scopes.append(_enter_scope())
    try:
        yield
    finally:
        with _scope_lock:
            scope = _scopes.pop()
            if not _scopes:
                scope.__exit__(None, None, None)


def _enter_scope() -> warnings.catch_warnings:
    scope = warnings.catch_warnings()
    scope.__enter__()
    warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
    warnings.simplefilter("error", Image.DecompressionBombWarning)
    return scope
