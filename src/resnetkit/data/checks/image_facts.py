"""Everything the gate wants to know of one image, from one reading and one decoding."""

from __future__ import annotations

import errno
import hashlib
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, ImageChops

from resnetkit.data.checks.exif import exif_problem
from resnetkit.data.checks.file_types import (
    FORMAT_OF_ENDING,
    HEAD_BYTES,
    FileType,
    ends_early,
    file_type,
)
from resnetkit.data.checks.hashes import CROPS, perceptual_hashes, pixel_hash
from resnetkit.data.checks.scan_types import PIXEL_HASH_BYTES, Content, load_rgb
from resnetkit.data.color_mode import SIXTEEN_BIT_MODES, UnreadableImage, to_color_mode
from resnetkit.data.decode import FORMATS, cut_part, orientation, pillow_warnings
from resnetkit.data.encoded import Crop, Encoded, open_encoded

BLANK_RANGE = 4  # grey levels of 255 between the darkest and the brightest value of each channel
ROTATIONS = {
    2: "mirrored",
    3: "upside down",
    4: "mirrored upside down",
    5: "mirrored, on its side",
    6: "on its left side",
    7: "mirrored, on its side",
    8: "on its right side",
}
_TAIL_BYTES = 64
_SRGB = (b"sRGB", "sRGB".encode("utf-16-be"), b"s\0R\0G\0B")

Found = Iterator[tuple[str, str]]  # (kind, detail)


@dataclass(kw_only=True)
class ImageFacts:
    """What was found of one image; the fields are those of `Scan`."""

    sha256: bytes = bytes(32)
    pixel_hash: bytes = bytes(PIXEL_HASH_BYTES)
    perceptual: int = 0
    crop_hashes: bytes = bytes(8 * CROPS)
    readable: bool = False
    width: int = 0
    height: int = 0
    mode: str = ""
    format: str = ""
    grey: bool = False
    findings: list[tuple[str, str]] = field(default_factory=list)


class _Unusable(Exception):  # noqa: N818 - carries a finding out of the decoding
    """The image cannot be trained on: (kind, detail)."""


def inspect_image(content: Content, name: str) -> ImageFacts:
    """Hash, decode and judge one image; never raises for whatever is wrong with it."""
    facts = ImageFacts()
    try:
        if isinstance(content, np.ndarray):
            _inspect_array(content, name, facts)
        else:
            _inspect_encoded(content, name, facts)
        facts.readable = True
    except _Unusable as unusable:
        kind, detail = unusable.args
        facts.findings.append((kind, detail))
    return facts


def _inspect_array(pixels: np.ndarray, name: str, facts: ImageFacts) -> None:
    facts.sha256 = hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).digest()
    facts.mode = "L" if len(pixels) == 1 else "RGB"
    _judge_pixels(load_rgb(pixels, name), facts)


def _inspect_encoded(encoded: Encoded, name: str, facts: ImageFacts) -> None:
    with _opened(encoded) as stream:
        state = hashlib.file_digest(stream, "sha256")
        if isinstance(encoded, Crop):  # as `hash_encoded` has it
            state.update(repr(encoded.box).encode())
        facts.sha256 = state.digest()
        size = stream.seek(0, io.SEEK_END)
        if not size:
            raise _Unusable("zero-byte", "0 bytes")
        stream.seek(max(0, size - _TAIL_BYTES))
        tail = stream.read()
        stream.seek(0)
        head = stream.read(HEAD_BYTES)
        stream.seek(0)
        with pillow_warnings():
            image = _open(stream, size, head, tail)
            facts.mode, facts.format = image.mode, image.format or ""
            facts.findings += _judge_header(image, name)
            _load(image, size, head, tail)
            facts.findings += _judge_metadata(image)
            _judge_pixels(_to_rgb(image, encoded, name), facts)


def _opened(encoded: Encoded) -> Any:  # a BinaryIO, which `file_digest`'s types do not know
    try:
        return open_encoded(encoded)
    except PermissionError:
        raise _Unusable("no-permission", "no permission to read the file") from None
    except OSError as error:
        lost = error.errno in (errno.ENOENT, errno.ELOOP, errno.ENOTDIR)
        if lost and isinstance(encoded, Path) and encoded.is_symlink():
            target = str(encoded.readlink())
            raise _Unusable("broken-link", f"it points to {target!r}") from None
        raise _Unusable("unreadable", error.strerror or str(error)) from None
    except UnreadableImage as error:
        raise _Unusable("unreadable", str(error)) from None


def _open(stream: BinaryIO, size: int, head: bytes, tail: bytes) -> Image.Image:
    """The image with its header read, or the finding that says what the file is instead."""
    found = file_type(head)
    try:
        return Image.open(stream, formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _bomb(error) from None
    except Exception as error:  # Pillow's decoders raise some ten kinds of exception on bad data
        early = found is not None and ends_early(found.name, size, head, tail)
        raise _Unusable(*_why_not_open(found, error, size, early)) from None


def _why_not_open(
    found: FileType | None, error: Exception, size: int, early: bool
) -> tuple[str, str]:
    if found is None:
        return "unreadable", f"{size:,} bytes that begin like no picture"
    if found.what == "other":
        return "not-an-image", f"its content is {found.name}"
    if found.what == "image":
        return "unsupported-format", f"its content is {found.name}"
    # Its first bytes are right and Pillow still finds no header: it is cut off or overwritten.
    reason = "its header is not whole" if isinstance(error, Image.UnidentifiedImageError) else error
    kind = "truncated" if early else "damaged"
    return kind, f"it begins as {found.name}, {size:,} bytes: {reason}"


def _bomb(error: Exception) -> _Unusable:
    limit = (Image.MAX_IMAGE_PIXELS or 0) // 1_000_000
    said = re.search(r"\((\d+) pixels\)", str(error))  # Pillow tells the size in words only
    size = f"{int(said[1]) // 1_000_000:,} million pixels" if said else "too many pixels"
    return _Unusable("decompression-bomb", f"{size} by its header, at most {limit} are unpacked")


def _load(image: Image.Image, size: int, head: bytes, tail: bytes) -> None:
    try:
        image.load()
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _bomb(error) from None
    except Exception as error:
        reason = f"{image.format}, {image.width} x {image.height}: {error}"
        early = ends_early(image.format or "", size, head, tail) or "truncated" in str(error)
        early = early or _strips_end_later(image, size)
        raise _Unusable("truncated" if early else "damaged", reason) from None


def _strips_end_later(image: Image.Image, size: int) -> bool:
    """Whether a TIFF's pixels lie, by its own directory, beyond the end of the file."""
    tags = getattr(image, "tag_v2", {})
    for offsets, lengths in ((273, 279), (324, 325)):  # strips; tiles (TIFF 6.0, sections 3, 15)
        places = zip(tags.get(offsets, ()), tags.get(lengths, ()), strict=False)
        if any(offset + length > size for offset, length in places):
            return True
    return False


def _judge_header(image: Image.Image, name: str) -> Found:
    """What can be known before the pixels are decoded (some of it only then)."""
    promised = FORMAT_OF_ENDING.get("." + name.rpartition(".")[2].lower())
    kind = "JPEG" if image.format == "MPO" else image.format  # several JPEGs in one file
    if promised is not None and promised != kind:
        yield "mislabelled-type", f"its name says {promised}, its content is {kind}"
    frames = _frames(image)
    if frames:
        yield "animated", frames
    if image.mode == "CMYK":
        yield "cmyk", f"{image.format}, {image.width} x {image.height}"
    if image.mode == "P" or image.mode == "PA":
        yield "palette", f"{image.format}, mode {image.mode}"
    raw = _raw_mode(image)
    if image.mode in SIXTEEN_BIT_MODES:
        yield "sixteen-bit", f"grey, mode {image.mode}"
    elif ";16" in raw:
        yield "sixteen-bit", f"colour, stored as {raw}"


def _frames(image: Image.Image) -> str | None:
    try:
        if not getattr(image, "is_animated", False):
            return None
        pages = "pages" if image.format == "TIFF" else "frames"
        return f"{getattr(image, 'n_frames', 'several')} {pages} ({image.format})"
    except Exception:  # the second frame is damaged: only the first is used, and that is judged
        return f"several frames, not all of them whole ({image.format})"


def _raw_mode(image: Image.Image) -> str:
    """The layout of the stored pixels as Pillow's decoder is told it, such as "RGB;16B"."""
    tile = getattr(image, "tile", None)
    if not tile:
        return ""
    arguments = tile[0].args
    if isinstance(arguments, tuple):
        arguments = arguments[0] if arguments else ""
    return arguments if isinstance(arguments, str) else ""


def _judge_metadata(image: Image.Image) -> Found:
    turned = orientation(image)
    if turned != 1:
        yield "exif-rotated", f"orientation {turned}: stored {ROTATIONS[turned]}"
    data = image.info.get("exif")
    problem = exif_problem(data) if isinstance(data, bytes) and data else None
    if problem:
        used = f"; its orientation {turned} could be read and is applied" if turned != 1 else ""
        yield "corrupt-exif", problem + used
    profile = image.info.get("icc_profile")
    if isinstance(profile, bytes) and profile and not any(name in profile for name in _SRGB):
        yield "color-profile", f"{len(profile):,} bytes, colour space {_color_space(profile)}"
    if image.has_transparency_data:
        alpha = image.convert("RGBA").getchannel("A").getextrema()
        seen = "every pixel is opaque: nothing changes" if alpha == (255, 255) else "blended"
        yield "alpha", f"mode {image.mode}; {seen}"


def _color_space(profile: bytes) -> str:
    return profile[16:20].decode("ascii", "replace").strip() or "unknown"  # ICC.1:2022, table 17


def _to_rgb(image: Image.Image, encoded: Encoded, name: str) -> Image.Image:
    try:
        if isinstance(encoded, Crop):
            image = cut_part(image, encoded.box)
        picture = to_color_mode(image, "RGB", True, name)
    except UnreadableImage as error:
        raise _Unusable("no-brightness-range", str(error).partition(": ")[2]) from None
    except ValueError as error:
        raise _Unusable("unreadable", str(error)) from None
    picture.info = {}  # it is upright: nothing may turn it again
    return picture


def _judge_pixels(picture: Image.Image, facts: ImageFacts) -> None:
    """Hashes and tone of the upright 8-bit RGB `picture`."""
    facts.width, facts.height = picture.size
    facts.pixel_hash = pixel_hash(picture)
    hashes = perceptual_hashes(picture)
    facts.perceptual, facts.crop_hashes = int(hashes[0]), hashes[1:].tobytes()
    facts.grey = _is_grey(picture)
    ranges = [high - low for low, high in _extrema(picture)]
    if max(ranges) <= BLANK_RANGE:
        tone = ", ".join(str(low) for low, _ in _extrema(picture))
        spread = f", give or take {max(ranges)}" if max(ranges) else ""
        facts.findings.append(("blank", f"all of it is RGB {tone}{spread}"))


def _extrema(picture: Image.Image) -> list[tuple[int, int]]:
    return [(int(low), int(high)) for low, high in picture.getextrema()]  # type: ignore[misc]


def _is_grey(picture: Image.Image) -> bool:
    red, green, blue = picture.split()
    return (
        ImageChops.difference(red, green).getbbox() is None
        and ImageChops.difference(green, blue).getbbox() is None
    )
