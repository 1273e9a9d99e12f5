"""A contact sheet of training images: what the network sees, and below it what evaluation sees.

This module only draws; `pipeline_data.preview` takes the images from the loader and the device
augmentation that training itself uses.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from PIL import Image
from torch import Tensor

from resnetkit.data.augment import AugmentConfig, shrink
from resnetkit.data.contract import InputContract, normalisation_tensors
from resnetkit.data.lettering import FAINT, NAME, QUIET, TEXT, TITLE, Pen

MARGIN, GAP, BAND_GAP, GUTTER = 24, 14, 26, 92  # pixels, as all sizes of the sheet
PICTURE_SIDE = 128  # small pictures are magnified in whole steps up to this
LARGEST_SIDE = 256  # larger ones are reduced to it
NARROWEST_CELL, ROOM_FOR_NAMES = 116, 190  # a cell grows for long class names, up to this
WIDEST_SHEET, NARROWEST_SHEET = 1500, 860
TARGETS_SHOWN = 3  # classes below a picture
PAPER = (252, 252, 250)


@dataclass(frozen=True, kw_only=True, eq=False)
class Exposure:
    """One image, twice: `seen` in training and `evaluated`, with its targets and where it is from.

    `targets` are (class name, share), largest first; several after mixup or CutMix, when `label`
    says what the image itself shows ("" where that is the same).
    """

    seen: np.ndarray  # [C,h,w] uint8
    evaluated: np.ndarray  # [C,H,W] uint8
    name: str
    label: str = ""
    targets: tuple[tuple[str, float], ...]


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """What is written around the pictures: a title, the names of the two rows, the small print."""

    title: str
    seen: str
    evaluated: str
    caption: tuple[str, ...]


def to_pixels(images: Tensor, contract: InputContract) -> np.ndarray:
    """The inverse of `normalise`, to look at: float [N,C,h,w] to uint8, cut off at 0 and 255.

    h and w may be smaller than the contract's crop, as in early epochs on small images.
    """
    mean, std = normalisation_tensors(contract, images.device)
    if mean.shape[-1] not in (1, images.shape[-1]):
        mean = shrink(mean, images.shape[-1])  # shrinking is linear: the mean shrinks along
    pixels = (images.float() * std + mean) / contract.scale
    return pixels.round().clamp(0, 255).byte().contiguous().cpu().numpy()


def rank_targets(target: np.ndarray, class_names: Sequence[str]) -> tuple[tuple[str, float], ...]:
    """The classes in a target [K] with their shares, largest first; under half a per cent none."""
    order: list[int] = np.argsort(-target, kind="stable").tolist()
    return tuple((class_names[i], float(target[i])) for i in order if target[i] >= 0.005)


def describe_label(label: np.ndarray, class_names: Sequence[str]) -> str:
    """What an image shows by its label: a class number int64, or a row float32 [K]."""
    if label.ndim == 0:
        return class_names[int(label)]
    return ", ".join(name for name, _ in rank_targets(label, class_names)) or "no class"


def describe_contract(contract: InputContract) -> str:
    """The input contract in one sentence."""
    height, width = contract.crop
    mean, std = (" ".join(f"{v:.4g}" for v in values) for values in (contract.mean, contract.std))
    if len(contract.mean) != contract.channels:
        low, high = min(contract.mean), max(contract.mean)
        mean = f"of each of {len(contract.mean):,} values ({low:.3g} to {high:.3g})"
    upright = "turned upright by EXIF, " if contract.exif_transpose else ""
    return (
        f"{contract.color_mode} {height}x{width}, {contract.num_classes} classes: {upright}shorter "
        f"side to {contract.resize} ({contract.interpolation}), centre crop; pixels divided by "
        f"{1 / contract.scale:.5g}, minus mean {mean}, divided by {std}"
    )


def describe_augment(config: AugmentConfig) -> str:
    """The augmentations that act, as settings."""
    values = {field.name: (getattr(config, field.name), field.default) for field in fields(config)}
    acting = {name: value for name, (value, default) in values.items() if value != default}
    words = [name if value is True else f"{name} {_plain(value)}" for name, value in acting.items()]
    return ", ".join(words) or "none"


def render_sheet(exposures: Sequence[Exposure], sheet: Sheet) -> bytes:
    """The contact sheet as PNG; the same input gives the same bytes on one machine."""
    buffer = io.BytesIO()
    draw_sheet(exposures, sheet).save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def draw_sheet(exposures: Sequence[Exposure], sheet: Sheet) -> Image.Image:
    """Bands of two rows: pictures as training sees them with their targets, then as evaluation."""
    classes = [name for one in exposures for name, _ in one.targets]
    pen = Pen([sheet.title, *classes, *(one.name for one in exposures)])
    layout = _lay_out(exposures, pen)
    room = layout.width - 2 * MARGIN
    caption = [line for text in sheet.caption for line in pen.wrap(text, QUIET, room)]
    top = MARGIN + 2 * TITLE.size
    bottom = top + layout.bands * layout.band_height
    height = bottom + len(caption) * QUIET.line + MARGIN
    canvas = Image.new("RGB", (layout.width, height), PAPER)
    pen.take(canvas)
    pen.write((MARGIN, MARGIN - 4), sheet.title, TITLE, room)
    for number, exposure in enumerate(exposures):
        band, column = divmod(number, layout.columns)
        x = MARGIN + GUTTER + column * (layout.cell + GAP)
        y = top + band * layout.band_height
        if column == 0:
            _write_gutter(pen, layout, sheet, y)
        _draw_exposure(pen, layout, exposure, (x, y))
    for number, line in enumerate(caption):
        pen.write((MARGIN, bottom + number * QUIET.line), line, QUIET, room)
    return canvas


@dataclass(frozen=True, kw_only=True)
class _Layout:
    """Sizes of a sheet in pixels."""

    scale: float
    cell: int
    columns: int
    bands: int
    seen_height: int
    target_lines: int
    evaluated_height: int
    label_lines: int

    @property
    def width(self) -> int:
        grid = self.columns * (self.cell + GAP) - GAP
        return max(NARROWEST_SHEET, 2 * MARGIN + GUTTER + grid)

    @property
    def evaluated_top(self) -> int:
        """From the top of a band to its second row."""
        return self.seen_height + self.target_lines * TEXT.line + GAP

    @property
    def band_height(self) -> int:
        text = self.label_lines * TEXT.line + NAME.line
        return self.evaluated_top + self.evaluated_height + text + BAND_GAP


def _lay_out(exposures: Sequence[Exposure], pen: Pen) -> _Layout:
    shapes = [(one.seen.shape[1:], one.evaluated.shape[1:]) for one in exposures]
    side = max(max(seen + evaluated) for seen, evaluated in shapes)
    scale = LARGEST_SIDE / side if side > LARGEST_SIDE else max(1, PICTURE_SIDE // side)
    widest = max(max(seen[1], evaluated[1]) for seen, evaluated in shapes)
    lines = [name + share for one in exposures for name, share in _target_lines(one.targets)]
    longest = min(ROOM_FOR_NAMES, max(pen.measure(line, TEXT) for line in lines))
    cell = max(NARROWEST_CELL, round(widest * scale), longest)
    room = (WIDEST_SHEET - 2 * MARGIN - GUTTER + GAP) // (cell + GAP)
    bands = -(-len(exposures) // max(1, room))
    return _Layout(
        scale=scale,
        cell=cell,
        columns=-(-len(exposures) // bands),
        bands=bands,
        seen_height=round(max(seen[0] for seen, _ in shapes) * scale),
        evaluated_height=round(max(evaluated[0] for _, evaluated in shapes) * scale),
        target_lines=max(len(_target_lines(one.targets)) for one in exposures),
        label_lines=int(any(one.label for one in exposures)),
    )


def _target_lines(targets: Sequence[tuple[str, float]]) -> list[tuple[str, str]]:
    """(class name, its share as text) for each line below a picture."""
    shown = targets if len(targets) <= TARGETS_SHOWN else targets[: TARGETS_SHOWN - 1]
    lines = [(name, "" if share >= 0.995 else f" {share:.2f}") for name, share in shown]
    if len(shown) < len(targets):
        lines.append((f"and {len(targets) - len(shown)} more", ""))
    return lines or [("no class", "")]


def _draw_exposure(pen: Pen, layout: _Layout, exposure: Exposure, place: tuple[int, int]) -> None:
    x, y = place
    pen.paste(exposure.seen, place, layout.scale)
    for number, (name, share) in enumerate(_target_lines(exposure.targets)):
        line = y + layout.seen_height + 4 + number * TEXT.line
        pen.write((x, line), name, TEXT, layout.cell, ending=share)
    pen.paste(exposure.evaluated, (x, y + layout.evaluated_top), layout.scale)
    below = y + layout.evaluated_top + layout.evaluated_height + 4
    pen.write((x, below), exposure.label, TEXT, layout.cell)
    pen.write((x, below + layout.label_lines * TEXT.line), exposure.name, NAME, layout.cell)


def _write_gutter(pen: Pen, layout: _Layout, sheet: Sheet, top: int) -> None:
    for text, y in ((sheet.seen, top), (sheet.evaluated, top + layout.evaluated_top)):
        for number, line in enumerate(text.split("\n")):
            style = FAINT if number else QUIET
            pen.write((MARGIN, y + number * style.line), line, style, GUTTER - 8)


def _plain(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
