"""Images that stand out from the others of their source: by size, shape, or colour."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import overload

import numpy as np

from resnetkit.data.checks.scan_types import ImageFindings, Scan

FEWEST_IMAGES = 20  # below there is no telling what is usual
RARE = 0.1  # a share of the images up to which grey or colour is the exception
USUAL = 0.95  # a share of the images that have one size makes the others odd
TINY_SIDE = 16  # pixels; smaller ones are tiny where the usual image is 4 times as large
HUGE_PIXELS = 24_000_000
LONG = 4.0  # longer : shorter side
ODD_DOUBLINGS = 3.0  # an area 8 times the usual one, or an eighth of it


def find_outliers(scan: Scan) -> dict[str, ImageFindings]:
    """Findings of `OUTLIER_KINDS`, judged over all readable images of all splits."""
    rows = np.flatnonzero(scan.readable)
    if not len(rows):
        return {}
    shorter = np.minimum(scan.width, scan.height)[rows].astype(np.float64)
    longer = np.maximum(scan.width, scan.height)[rows].astype(np.float64)
    usual = float(np.median(shorter))
    ratio = longer / shorter
    tiny = (shorter <= 2) | ((shorter < TINY_SIDE) & (4 * shorter <= usual))
    huge = shorter * longer >= HUGE_PIXELS
    long = (ratio >= LONG) & (ratio >= 2 * np.median(ratio)) & ~tiny
    odd = _odd_sizes(shorter, longer) & ~tiny & ~huge & ~long
    masks = {"tiny-image": tiny, "huge-image": huge, "extreme-aspect": long, "odd-size": odd}
    details: dict[str, Callable[[int], str]] = {
        "extreme-aspect": lambda row: _aspect_detail(scan, row),
        "odd-size": lambda row: f"{_size(scan, row)}; most: {_usual_size(shorter, longer)}",
        "huge-image": lambda row: f"{_size(scan, row)}, {_megapixels(scan, row)} million pixels",
        "tiny-image": lambda row: f"{_size(scan, row)}; the shorter side is usually {usual:g}",
    }
    masks |= _colors(scan, rows)
    return {
        kind: _findings(scan, kind, rows[mask], details.get(kind, lambda row: _tone(scan, row)))
        for kind, mask in masks.items()
        if mask.any()
    }


def _odd_sizes(shorter: np.ndarray, longer: np.ndarray) -> np.ndarray:
    """Which sizes are unusual: bool [N]. A photograph and one turned by 90 degrees are alike."""
    if len(shorter) < FEWEST_IMAGES:
        return np.zeros(len(shorter), bool)
    sizes, inverse, counts = np.unique(
        shorter * 2.0**24 + longer, return_inverse=True, return_counts=True
    )
    if len(sizes) > 1 and counts.max() >= USUAL * len(shorter):
        return inverse != counts.argmax()
    doublings = np.log2(shorter * longer)
    away = np.abs(doublings - np.median(doublings))
    return away > max(ODD_DOUBLINGS, 6 * float(np.median(away)))


def _colors(scan: Scan, rows: np.ndarray) -> dict[str, np.ndarray]:
    """Grey images among colour ones or the other way round; a blank image is neither."""
    if len(rows) < FEWEST_IMAGES:
        return {}
    blank = np.zeros(len(rows), bool)
    if "blank" in scan.found:
        blank = np.isin(rows, scan.found["blank"].indices)
    grey, color = scan.grey[rows] & ~blank, ~scan.grey[rows]
    few_grey = grey.any() and grey.mean() <= RARE
    few_color = color.any() and color.mean() <= RARE
    return {
        "grey-among-colour": grey & few_grey,
        "colour-among-grey": color & few_color,
    }


def _findings(
    scan: Scan, kind: str, rows: np.ndarray, detail: Callable[[int], str]
) -> ImageFindings:
    chosen: list[int] = rows.tolist()
    return ImageFindings(kind, scan.names, rows, _Details(detail, chosen))


class _Details(Sequence[str]):
    """Texts made when they are asked for: there may be a million."""

    def __init__(self, detail: Callable[[int], str], rows: list[int]) -> None:
        self._detail, self._rows = detail, rows

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self._detail(row) for row in self._rows[index]]
        return self._detail(self._rows[index])


def _size(scan: Scan, row: int) -> str:
    return f"{scan.width[row]} x {scan.height[row]} pixels"


def _megapixels(scan: Scan, row: int) -> str:
    return f"{int(scan.width[row]) * int(scan.height[row]) / 1e6:.0f}"


def _usual_size(shorter: np.ndarray, longer: np.ndarray) -> str:
    return f"{np.median(longer):g} x {np.median(shorter):g} or the like"


def _aspect_detail(scan: Scan, row: int) -> str:
    long = max(int(scan.width[row]), int(scan.height[row]))
    short = min(int(scan.width[row]), int(scan.height[row]))
    seen = f"a square from the centre shows {short / long:.1%} of it"
    return f"{_size(scan, row)}, 1 : {long / short:.3g}; {seen}"


def _tone(scan: Scan, row: int) -> str:
    tone = "no colour in it" if scan.grey[row] else "colour in it"
    return f"stored as {scan.modes[row].as_py()}, {tone}"
