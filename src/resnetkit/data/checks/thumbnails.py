"""Small pictures for the page: what training sees of an image, or what is left of a broken one."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image

from resnetkit.data.checks.scan_types import Content, Scan
from resnetkit.data.color_mode import UnreadableImage
from resnetkit.data.decode import FORMATS, pillow_warnings
from resnetkit.data.encoded import open_encoded
from resnetkit.data.threads import map_in_order
from resnetkit.page.pictures import encode_thumbnail

Progress = Callable[[str, int, int], None]  # what, done, total

PREVIEW_BYTES = 48


@dataclass(frozen=True, kw_only=True)
class Thumbnail:
    """A picture as a data: address; where there is none, `preview` shows the file's first bytes."""

    uri: str | None
    preview: str = ""
    small: bool = False  # to be enlarged without smoothing
    partial: bool = False  # only a part of the image could be decoded


def draw_thumbnails(scan: Scan, rows: Iterable[int], progress: Progress) -> dict[int, Thumbnail]:
    """A thumbnail of each of the images `rows`."""
    chosen = sorted(set(rows))
    drawn: dict[int, Thumbnail] = {}
    progress("drawing thumbnails", 0, len(chosen))
    for row, thumbnail in zip(chosen, map_in_order(partial(_draw, scan), chosen), strict=True):
        drawn[row] = thumbnail
        progress("drawing thumbnails", len(drawn), len(chosen))
    return drawn


def draw_file(path: Path) -> Thumbnail | None:
    """A thumbnail of a file that is not among the images of a scan; None where it shows nothing."""
    try:
        if not path.is_file():
            return None
        with path.open("rb") as stream:
            decoded = _decode_part(stream)
    except (OSError, ValueError):  # a name that no file can have
        return None
    return None if decoded is None else _encode(*decoded)


def _draw(scan: Scan, row: int) -> Thumbnail:
    if scan.readable[row]:
        try:
            return _encode(scan.load_rgb(row))
        except (UnreadableImage, OSError):  # it changed since it was scanned
            pass
    return _draw_broken(scan.contents[row])


def _encode(picture: Image.Image, cut: bool = False) -> Thumbnail:
    uri, small = encode_thumbnail(picture)
    return Thumbnail(uri=uri, small=small, partial=cut)


def _draw_broken(content: Content) -> Thumbnail:
    """The part of a broken image that can be decoded, else its first bytes as text."""
    assert not isinstance(content, np.ndarray)
    try:
        with open_encoded(content) as stream:
            head = stream.read(PREVIEW_BYTES)
            stream.seek(0)
            decoded = _decode_part(stream)
    except (OSError, UnreadableImage) as error:
        return Thumbnail(uri=None, preview=getattr(error, "strerror", None) or str(error))
    return Thumbnail(uri=None, preview=_dump(head)) if decoded is None else _encode(*decoded)


def _decode_part(stream: BinaryIO) -> tuple[Image.Image, bool] | None:
    """As much as can be decoded, and whether that is less than all; None where it is nothing."""
    cut = False
    with pillow_warnings():
        try:
            image = Image.open(stream, formats=FORMATS)
        except Exception:  # whatever is wrong with it is in the finding
            return None
        try:
            image.load()
        except Exception:
            # The decoder stopped, but the rows before lie in the image: take those as all of it.
            image.tile = []  # type: ignore[attr-defined]
            cut = True
        try:
            picture = _stretch(image) if image.mode in ("F", "I") else image.convert("RGB")
        except Exception:
            return None
    empty = all(high == 0 for _, high in picture.getextrema())  # type: ignore[misc]
    return None if cut and empty else (picture, cut)


def _stretch(image: Image.Image) -> Image.Image:
    """Values without a range from the darkest to the brightest, so that something is seen."""
    values = np.asarray(image, np.float64)
    low, high = float(values.min()), float(values.max())
    grey = ((values - low) * 255 / max(high - low, 1e-12)).astype(np.uint8)
    return Image.fromarray(grey).convert("RGB")


def _dump(head: bytes) -> str:
    """The first bytes as text where they are text, else as hexadecimal numbers."""
    if not head:
        return "(empty)"
    try:
        text = head.decode()
    except UnicodeDecodeError:
        text = ""
    if text and all(letter.isprintable() or letter in "\r\n\t" for letter in text):
        return text
    return head[: PREVIEW_BYTES // 2].hex(" ")
