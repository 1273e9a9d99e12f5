"""What a page is made of: sections of text, figures, tables, charts and pictures.

Plain frozen data. `html` and `markdown` say how it looks, so that whoever has something to tell
writes neither. Text is text: what came from the user is escaped when it is written, and `words` in
backticks are set as code.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

Interval = tuple[float, float]
Kind = Literal["text", "code", "count", "number", "percent", "bar", "pictures"]
Tone = Literal["plain", "right", "wrong"]

ROWS_SHOWN = 20  # of a table; page.css folds those after them


@dataclass(frozen=True, kw_only=True)
class Document:
    """A whole page; `lead` stands below the title."""

    title: str
    lead: str
    sections: Sequence[Section]


@dataclass(frozen=True, kw_only=True)
class Section:
    """A part of the page with a heading, which is listed among the contents; none if untitled."""

    title: str = ""
    blocks: Sequence[Block]


@dataclass(frozen=True, kw_only=True)
class Text:
    """A paragraph; quiet where it explains what stands beside it."""

    text: str
    quiet: bool = False


@dataclass(frozen=True, kw_only=True)
class Heading:
    """A heading within a section."""

    text: str


@dataclass(frozen=True, kw_only=True)
class Notes:
    """What the reader must know before believing a figure."""

    items: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class Code:
    """Lines as they are typed or were printed."""

    text: str


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What, and its value: two columns without a heading."""

    pairs: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Card:
    """One figure to be seen from afar, with what it is above and more about it below.

    `range` draws where the figure lies in 0…1, with its interval.
    """

    label: str
    value: str
    below: str = ""
    style: Literal["", "main", "unsafe", "warning", "note"] = ""
    range: Estimate | None = None


@dataclass(frozen=True, kw_only=True)
class Cards:
    """Figures side by side."""

    cards: Sequence[Card]


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A figure with the interval it deserves; None where it is undefined."""

    value: float | None
    interval: Interval | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Picture:
    """Images uint8 [C,H,W] or [H,W,3] side by side (such as an image and its map), and words.

    `alt` says what is seen to those who cannot see it; `title` and `lines` stand below.
    """

    images: Sequence[np.ndarray]
    alt: str
    title: str = ""
    lines: Sequence[str] = ()
    tone: Tone = "plain"


Cell = str | int | float | Estimate | Sequence[Picture] | None


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column: how its cells are written, and what its heading means on hovering.

    Shares in 0…1 are "percent"; "bar" draws one and its interval instead of writing it. `digits`
    are those after the point of a share (1), and the significant ones of a number (3).
    """

    title: str
    kind: Kind = "text"
    digits: int | None = None
    hint: str = ""


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows of cells below columns; those after the first `ROWS_SHOWN` are folded away.

    `totals` stay below whatever the rows are sorted by.
    """

    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    totals: Sequence[Sequence[Cell]] = ()
    name: str  # what the rows are, in the plural: "classes"


@dataclass(frozen=True, kw_only=True, eq=False)
class Heat:
    """Numbers [R,C] on coloured ground: `shades` [R,C] in 0…1 say how strong.

    With `diagonal` the cells on it are right and the others wrong, as in a confusion matrix.
    """

    row_names: Sequence[str]
    column_names: Sequence[str]
    values: np.ndarray
    shades: np.ndarray
    kind: Kind = "percent"
    digits: int = 0
    tone: Tone = "right"
    diagonal: bool = False
    corner: str = ""  # what rows and columns are
    totals: int = 0  # rows at the end that sum up the others


@dataclass(frozen=True, kw_only=True)
class Line:
    """A line of a chart through points (x, y); `band` holds (low, high) for each of them.

    `style` is one of "blue", "orange", "green", "grey", or of "group0" to "group9" where there are
    many, with an optional " dashed".
    """

    label: str
    points: Sequence[tuple[float, float]]
    style: str = "blue"
    band: Sequence[Interval] = ()


@dataclass(frozen=True, kw_only=True)
class Bars:
    """Bars of a chart: (left, right, height) each."""

    label: str
    bars: Sequence[tuple[float, float, float]]
    style: str = "blue"


@dataclass(frozen=True, kw_only=True)
class Mark:
    """A vertical line in a chart where something is."""

    label: str
    x: float


@dataclass(frozen=True, kw_only=True)
class Axis:
    """A label, and limits where they shall not follow from the values."""

    label: str
    limits: Interval | None = None
    percent: bool = False  # values in 0…1, written in per cent
    whole: bool = False  # only whole numbers are written


@dataclass(frozen=True, kw_only=True)
class Chart:
    """Lines and bars over one pair of axes; `says` is its message in words, with figures."""

    title: str
    series: Sequence[Line | Bars]
    x: Axis
    y: Axis
    says: str
    marks: Sequence[Mark] = ()


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """A figure that someone else drew: HTML with every text from the user escaped, without style.

    `says` is its message in words.
    """

    title: str
    markup: str
    says: str


@dataclass(frozen=True, kw_only=True, eq=False)
class Pixels:
    """One large picture uint8 [H,W,3] or [H,W,4], every pixel of it a square."""

    pixels: np.ndarray
    alt: str


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """Pictures in rows; `name` is what they are, in the plural."""

    pictures: Sequence[Picture]
    name: str


@dataclass(frozen=True, kw_only=True)
class Beside:
    """Blocks side by side where the page is wide enough."""

    blocks: Sequence[Block]


@dataclass(frozen=True, kw_only=True)
class Fold:
    """Blocks that are folded away below a line that says what they are."""

    summary: str
    blocks: Sequence[Block] = field(default=())


Block = (
    Text
    | Heading
    | Notes
    | Code
    | Facts
    | Cards
    | Table
    | Heat
    | Chart
    | Drawing
    | Pixels
    | Pictures
    | Beside
    | Fold
)
