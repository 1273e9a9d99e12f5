"""Cutting images into parts: by the values of a column, and by what can be measured on them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

MOST_VALUES = 10  # parts of a column of texts; more would only be more tests of fewer images
RANGES = 4  # parts of a column of numbers: quarters
FEWEST_IMAGES = 10  # of a value that is a part by itself, where there are more than 10 values

PartKind = Literal["value", "range", "missing", "other"]


@dataclass(frozen=True, kw_only=True)
class Part:
    """The images that share a value of a column: `rows` int64, in ascending order."""

    value: str  # as a reader would write it: "camera 3", "12 to 40"
    kind: PartKind
    rows: np.ndarray


def cut_column(values: Sequence[object]) -> tuple[Part, ...]:
    """The parts of a column, which together are all its images.

    Up to 10 different values are a part each. More numbers (also as text, as CSV files have them)
    become four ranges of about as many images, named by the lowest and highest number in them;
    equal numbers stay together. Of more texts the 10 commonest with at least 10 images are parts,
    the rest is "other". None, NaN and empty text are missing, a part of their own.
    """
    texts = [_text(value) for value in values]
    counts = Counter(text for text in texts if text is not None)
    numbers = _numbers(texts)
    if len(counts) <= MOST_VALUES:
        parts = [_part(texts, value) for value in sorted(counts)]
    elif numbers is not None:
        parts = _ranges(numbers)
    else:
        parts = _commonest(texts, counts)
    missing = np.array([row for row, text in enumerate(texts) if text is None], np.int64)
    if len(missing):
        parts.append(Part(value="missing", kind="missing", rows=missing))
    return tuple(parts)


def image_statistics(images: np.ndarray) -> dict[str, np.ndarray]:
    """Columns that images uint8 [N,C,H,W] have by themselves, float64 [N] each.

    All of the grey image (ITU-R BT.601 luma where there are three channels, the first channel
    otherwise), in pixel values of 0…255: brightness is the mean, contrast the standard deviation
    (Peli 1990, RMS contrast), sharpness the variance of the Laplacian, which blur takes away
    (Pech-Pacheco et al. 2000); that is NaN for images of less than 3 pixels.
    """
    assert images.ndim == 4, images.shape
    assert images.dtype == np.uint8, images.dtype
    weights = np.array([0.299, 0.587, 0.114] if images.shape[1] == 3 else [1.0], np.float32)
    grey = np.einsum("nchw,c->nhw", images[:, : len(weights)].astype(np.float32), weights)
    laplacian = (
        grey[:, :-2, 1:-1]
        + grey[:, 2:, 1:-1]
        + grey[:, 1:-1, :-2]
        + grey[:, 1:-1, 2:]
        - 4 * grey[:, 1:-1, 1:-1]
    )
    blank = np.full(len(images), np.nan)
    return {
        "brightness": grey.mean(axis=(1, 2), dtype=np.float64),
        "contrast": grey.std(axis=(1, 2), dtype=np.float64),
        "sharpness": laplacian.var(axis=(1, 2), dtype=np.float64) if laplacian.size else blank,
    }


def _text(value: object) -> str | None:
    """A value as text; None where it is missing."""
    text = "" if value is None else str(value).strip()
    return None if text == "" or text.lower() == "nan" else text


def _numbers(texts: Sequence[str | None]) -> np.ndarray | None:
    """The column as numbers, float64 [N] with NaN where missing; None where one is no number."""
    numbers = np.full(len(texts), np.nan)
    for row, text in enumerate(texts):
        number = _number(text) if text is not None else math.nan
        if number is None:
            return None
        numbers[row] = number
    return numbers


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    # Python takes "1_000" for a number, and "inf"; the one is a name, the other not to be ranked.
    return number if math.isfinite(number) and "_" not in text else None


def _part(texts: Sequence[str | None], value: str) -> Part:
    rows = np.array([row for row, text in enumerate(texts) if text == value], np.int64)
    return Part(value=value, kind="value", rows=rows)


def _commonest(texts: Sequence[str | None], counts: Counter[str]) -> list[Part]:
    common = sorted(counts, key=lambda value: (-counts[value], value))[:MOST_VALUES]
    common = [value for value in common if counts[value] >= FEWEST_IMAGES]
    kept = set(common)
    rows = [row for row, text in enumerate(texts) if text is not None and text not in kept]
    parts = [_part(texts, value) for value in common]
    others = len(counts) - len(common)
    name = f"other ({others:,} value{'' if others == 1 else 's'})"
    return [*parts, Part(value=name, kind="other", rows=np.array(rows, np.int64))]


def _ranges(numbers: np.ndarray) -> list[Part]:
    """Quarters by the middle rank of each number, so that equal ones go to the same quarter."""
    rows = np.flatnonzero(~np.isnan(numbers))
    known = numbers[rows]
    ordered = np.sort(known)
    below = np.searchsorted(ordered, known, side="left")
    upto = np.searchsorted(ordered, known, side="right")
    quarters = (RANGES * (below + upto) / (2 * len(known))).astype(np.int64)
    groups = [rows[quarters == quarter] for quarter in range(RANGES)]
    groups = [group for group in groups if len(group)]
    bounds = [(float(numbers[group].min()), float(numbers[group].max())) for group in groups]
    names = _bounds_texts(bounds)
    return [
        Part(value=name, kind="range", rows=group)
        for name, group in zip(names, groups, strict=True)
    ]


def _bounds_texts(bounds: Sequence[tuple[float, float]]) -> list[str]:
    """Each "low to high", with as few decimals as keep different numbers different."""
    numbers = sorted({bound for pair in bounds for bound in pair})

    def show(number: float, decimals: int) -> str:
        return f"{number:,.{decimals}f}" if decimals < 10 else repr(number)

    decimals = 0
    while decimals < 10 and len({show(number, decimals) for number in numbers}) < len(numbers):
        decimals += 1
    return [
        show(low, decimals) if low == high else f"{show(low, decimals)} to {show(high, decimals)}"
        for low, high in bounds
    ]
