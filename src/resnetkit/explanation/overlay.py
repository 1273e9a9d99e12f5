"""A map over its image as a picture: what the network saw, and where it found evidence.

Colours are matplotlib's inferno, in which equal steps look equal and that survives grey print; the
image below them is grey, so that its own colours are not mistaken for heat.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from PIL import Image

from resnetkit.data.lettering import FAINT, NAME, QUIET, TEXT, TITLE, Pen, Style

COLORS = "inferno"
OPACITY = 0.6  # of the colours where the evidence is strongest
SHOWN_SIDE, LARGEST_SIDE = 288, 512  # pixels: small pictures are magnified, large ones reduced
MARGIN, GAP, BAR_WIDTH, BAR_ROOM = 20, 16, 14, 64
NARROWEST = 560  # of the writing below
BRIGHTEST = 0.99  # quantile of a map that has the last colour: single pixels would dim all others
PAPER = (252, 252, 250)


@dataclass(frozen=True, kw_only=True)
class Caption:
    """What is written around the two pictures.

    `heading` says what the network sees in the image, `shows` what the colours are and `explained`
    of what; `notes` what else there is to say, `name` where the image is from.
    """

    heading: str
    explained: str
    shows: str = "where it finds evidence"
    notes: tuple[str, ...] = ()
    name: str


def to_png(picture: Image.Image) -> bytes:
    """A picture as the bytes of a PNG file."""
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    return buffer.getvalue()


def draw_overlay(pen: Pen, image: np.ndarray, heat: np.ndarray, caption: Caption) -> Image.Image:
    """Image uint8 [C,H,W] beside the same under its map [H,W], with a colour bar and a caption."""
    picture = scale_picture(image)
    covered = cover(picture, heat)
    below = _lines(pen, caption, max(NARROWEST, 2 * picture.width + GAP))
    width = 2 * MARGIN + max(NARROWEST, 2 * picture.width + 2 * GAP + BAR_ROOM)
    top = MARGIN + QUIET.line + 4
    height = top + picture.height + GAP + sum(style.line for _, style in below) + MARGIN
    canvas = Image.new("RGB", (width, height), PAPER)
    pen.take(canvas)
    second = MARGIN + picture.width + GAP
    for x, title, shown in (
        (MARGIN, "what the network sees", picture),
        (second, caption.shows, covered),
    ):
        pen.write((x, MARGIN), title, QUIET, picture.width)
        pen.paste(np.asarray(shown).transpose(2, 0, 1), (x, top), 1)
    _draw_bar(pen, (second + picture.width + GAP, top), picture.height, heat)
    y = top + picture.height + GAP
    for line, style in below:
        pen.write((MARGIN, y), line, style, width - 2 * MARGIN)
        y += style.line
    return canvas


def overlay_pixels(image: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """The covered picture alone, uint8 [h,w,3]: image uint8 [C,H,W] under its map [H,W]."""
    return np.asarray(cover(scale_picture(image), heat))


def scale_picture(image: np.ndarray) -> Image.Image:
    """Image uint8 [C,H,W] as RGB at a size to look at: magnified by whole steps, or reduced."""
    pixels = image[0] if len(image) == 1 else image.transpose(1, 2, 0)
    picture = Image.fromarray(np.ascontiguousarray(pixels)).convert("RGB")
    longer = max(picture.size)
    if longer > LARGEST_SIDE:
        scale, rule = LARGEST_SIDE / longer, Image.Resampling.LANCZOS
    else:
        scale, rule = max(1, round(SHOWN_SIDE / longer)), Image.Resampling.NEAREST
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    return picture.resize(size, rule)


def cover(picture: Image.Image, heat: np.ndarray) -> Image.Image:
    """An RGB picture in grey, under the colours of `heat` [H,W] at least 0, smooth at its size."""
    smooth = Image.fromarray(relative_heat(heat)).resize(picture.size, Image.Resampling.BILINEAR)
    shares = np.asarray(smooth, np.float32)[..., None]
    grey = np.asarray(picture.convert("L").convert("RGB"), np.float32)
    # Where there is no evidence nothing covers the image.
    opacity = OPACITY * np.sqrt(shares)
    mixed = (1 - opacity) * grey + opacity * color_heat(shares[..., 0])
    return Image.fromarray(mixed.round().clip(0, 255).astype(np.uint8))


def relative_heat(heat: np.ndarray) -> np.ndarray:
    """A map [H,W] as shares of `brightest`, float32, at most 1; all 0 where it is 0 everywhere."""
    limit = brightest(heat)
    if limit <= 0:
        return np.zeros(heat.shape, np.float32)
    return (heat / limit).clip(0, 1).astype(np.float32)


def brightest(heat: np.ndarray) -> float:
    """From what value on the colour is the brightest, or 0 (capping: Smilkov 2017, section 3.1)."""
    assert np.isfinite(heat).all(), "a map must be finite"
    limit = float(np.quantile(heat, BRIGHTEST, method="higher"))
    return limit if limit > 0 else float(heat.max())


def color_heat(shares: np.ndarray) -> np.ndarray:
    """Colours float32 [...,3] from 0 to 255 of shares [...] from 0 to 1."""
    from matplotlib import colormaps

    return (255 * colormaps[COLORS](shares)[..., :3]).astype(np.float32)


def _draw_bar(pen: Pen, place: tuple[int, int], height: int, heat: np.ndarray) -> None:
    shares = np.linspace(1, 0, height, dtype=np.float32)
    column = color_heat(shares).round().astype(np.uint8)
    bar = np.repeat(column[:, None], BAR_WIDTH, axis=1)
    pen.paste(bar.transpose(2, 0, 1), place, 1)
    x, top = place[0] + BAR_WIDTH + 6, place[1]
    room = BAR_ROOM - BAR_WIDTH - 6
    limit, sign = brightest(heat), "≥" if heat.max() > brightest(heat) else ""
    pen.write((x, top - 2), f"{sign}{limit:.2g}", FAINT, room)
    pen.write((x, top + height - FAINT.size - 2), "0", FAINT, room)


def _lines(pen: Pen, caption: Caption, room: int) -> list[tuple[str, Style]]:
    wrapped: Iterable[str] = (
        line for note in caption.notes for line in pen.wrap(note, QUIET, room)
    )
    return [
        (caption.heading, TITLE),
        (caption.explained, TEXT),
        *((line, QUIET) for line in wrapped),
        (caption.name, NAME),
    ]
