"""Figures as text, the same on every page: two or three digits that mean something, and a unit."""

from __future__ import annotations

import math
from collections.abc import Sequence

from resnetkit.page.blocks import Cell, Column, Estimate, Interval, Kind

NONE = "–"
SPACE = "\N{NO-BREAK SPACE}"
MINUS = "\N{MINUS SIGN}"


def percent(share: float | None, digits: int = 1) -> str:
    """A fraction in per cent; "–" where there is none."""
    text = write_number(share, "percent", digits)
    return text if text == NONE else f"{text}{SPACE}%"


def percent_range(interval: Interval, digits: int = 1) -> str:
    """Two fractions in per cent: `90.1 to 92.9 %`."""
    return f"{write_interval(interval, 'percent', digits)}{SPACE}%"


def write_number(value: float | None, kind: Kind, digits: int | None = None) -> str:
    """A number as its kind is written, without a unit; "–" where it is undefined.

    `digits` are those after the point of a share (1), and the significant ones of a number (3).
    """
    if value is None or not math.isfinite(value):
        return NONE
    if kind == "count":
        text = f"{round(value):,}"
    elif kind in ("percent", "bar"):
        text = f"{100 * value:.{1 if digits is None else digits}f}"
    else:
        text = _significant(value, 3 if digits is None else digits)
    if not text.strip("-0.,"):  # a minus before nothing but zeros
        text = text.lstrip("-")
    return text.replace("-", MINUS)


def write_interval(interval: Interval, kind: Kind, digits: int | None = None) -> str:
    """Both ends of an interval, without a unit."""
    return " to ".join(write_number(end, kind, digits) for end in interval)


def write_cell(cell: Cell, column: Column) -> str:
    """A cell of a table as plain text; pictures are counted."""
    if isinstance(cell, str):
        return cell
    if isinstance(cell, Estimate):
        text = write_number(cell.value, column.kind, column.digits)
        if cell.interval is None or text == NONE:
            return text
        return f"{text} ({write_interval(cell.interval, column.kind, column.digits)})"
    if isinstance(cell, Sequence):
        return f"{len(cell)} in report.html" if cell else NONE
    return write_number(cell, column.kind, column.digits)


def sorting_key(cell: Cell) -> str:
    """What a table is sorted by: the exact number, or nothing where the text itself is."""
    value = cell.value if isinstance(cell, Estimate) else cell
    if isinstance(value, str | Sequence):
        return ""
    return "" if value is None or not math.isfinite(value) else f"{value:.6g}"


def _significant(value: float, digits: int) -> str:
    """`digits` significant digits and all before the point; an exponent only for extremes."""
    if value == 0 or 1e-4 <= abs(value) < 1e7:
        whole = 1 if value == 0 else math.floor(math.log10(abs(value))) + 1
        return f"{value:,.{min(max(digits - whole, 0), 8)}f}"
    return f"{value:.{max(digits - 1, 0)}e}"
