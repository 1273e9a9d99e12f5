"""Tables as HTML: rows that can be sorted, and numbers on coloured ground."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np

from resnetkit.page.blocks import ROWS_SHOWN, Cell, Column, Estimate, Heat, Picture, Table
from resnetkit.page.charts import draw_range
from resnetkit.page.numbers import NONE, percent, sorting_key, write_interval, write_number
from resnetkit.page.pictures import write_image

NUMBERS = ("count", "number", "percent")
NAMED = {**dict.fromkeys(NUMBERS, "n"), "bar": "bar", "pictures": "strip"}  # in page.css
LEVELS = 10  # of colour behind a number
MOST_FEW = 3  # columns of plain cells, which would be far apart over the whole width
LONGEST_LEVEL = 5  # letters of a heading that is not turned upright
LONGEST_NAME = 22  # letters of a heading beside or above colours


def write_table(table: Table) -> str:
    """A table; its rows after the first 20 wait below a line that can be opened."""
    columns = table.columns
    head = "".join(map(_heading, columns))
    body = "".join(_row(columns, row) for row in table.rows)
    foot = "".join(_row(columns, row) for row in table.totals)
    foot = f"<tfoot>{foot}</tfoot>" if foot else ""
    plain = all(column.kind not in ("bar", "pictures") for column in columns)
    few = " few" if plain and len(columns) <= MOST_FEW else ""
    kinds = ["sortable"] if len(table.rows) > 1 else []
    folded = len(table.rows) > ROWS_SHOWN
    kinds += ["folded"] if folded else []
    return (
        f'<div class="table{few}"><div class="scroll"><table class="{" ".join(kinds)}" '
        f'aria-label="{escape(table.name)}"><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody>{foot}</table></div>{_unfold(table) if folded else ''}</div>"
    )


def write_heat(heat: Heat) -> str:
    """A table whose cells are the stronger in colour the larger their shade."""
    values, shades = np.asarray(heat.values), np.asarray(heat.shades)
    assert values.shape == shades.shape == (len(heat.row_names), len(heat.column_names))
    upright = max(map(len, heat.column_names), default=0) > LONGEST_LEVEL
    heads = "".join(
        f'<th scope="col"><span>{escape(_shorten(name))}</span></th>' for name in heat.column_names
    )
    rows = "".join(_heat_row(heat, row, values[row], shades[row]) for row in range(len(values)))
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(heat.corner)}">'
        f'<table class="heat{" upright" if upright else ""}"><thead><tr>'
        f'<th class="corner">{escape(heat.corner)}</th>{heads}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def _heading(column: Column) -> str:
    unit = "<small> %</small>" if column.kind in ("percent", "bar") else ""
    hint = f' title="{escape(column.hint)}"' if column.hint else ""
    return f'<th scope="col"{_kind(column)}{hint}>{escape(column.title)}{unit}</th>'


def _kind(column: Column) -> str:
    return f' class="{NAMED[column.kind]}"' if column.kind in NAMED else ""


def _row(columns: Sequence[Column], row: Sequence[Cell]) -> str:
    assert len(columns) == len(row), (len(columns), row)
    return f"<tr>{''.join(map(_cell, columns, row))}</tr>"


def _cell(column: Column, cell: Cell) -> str:
    if isinstance(cell, str):
        text = f"<code>{escape(cell)}</code>" if column.kind == "code" else escape(cell)
        return f"<td{_kind(column)}>{text}</td>"
    if cell is None or isinstance(cell, int | float | Estimate):
        return f'<td{_kind(column)} data-v="{sorting_key(cell)}">{_number(column, cell)}</td>'
    return f"<td{_kind(column)}>{''.join(map(_thumbnail, cell))}</td>"


def _number(column: Column, cell: int | float | Estimate | None) -> str:
    estimate = cell if isinstance(cell, Estimate) else Estimate(value=cell)
    text = write_number(estimate.value, column.kind, column.digits)
    if text == NONE:
        return text
    interval = estimate.interval
    if column.kind == "bar":
        assert estimate.value is not None
        around = "" if interval is None else f" ({write_interval(interval, 'bar')})"
        return draw_range(estimate.value, interval, f"{text}{around}")
    if interval is None:
        return text
    return f"{text}<small>{write_interval(interval, column.kind, column.digits)}</small>"


def _thumbnail(picture: Picture) -> str:
    return "".join(write_image(image, picture.alt) for image in picture.images)


def _unfold(table: Table) -> str:
    name = escape(table.name)
    return (
        f'<details class="more"><summary><span>Show all {len(table.rows):,} {name}</span>'
        f"<span>Show {ROWS_SHOWN:,} {name}</span></summary></details>"
    )


def _heat_row(heat: Heat, row: int, values: np.ndarray, shades: np.ndarray) -> str:
    name = heat.row_names[row]
    cells = []
    for column, (value, shade) in enumerate(zip(values.tolist(), shades.tolist(), strict=True)):
        tone = ("right" if row == column else "wrong") if heat.diagonal else heat.tone
        level = 0 if not shade > 0 else max(1, min(LEVELS, round(shade * LEVELS)))
        kind = f' class="{tone}{level}"' if level else ""
        # Of a confusion matrix only what happened is written; its share stands in the hint.
        empty = heat.diagonal and not value
        text = "" if empty else write_number(value, heat.kind, heat.digits)
        hint = _hint(heat, row, column, text)
        cells.append(f"<td{kind}{hint}>{text}</td>")
    total = ' class="total"' if row >= len(heat.row_names) - heat.totals else ""
    return f'<tr{total}><th scope="row">{escape(_shorten(name))}</th>{"".join(cells)}</tr>'


def _hint(heat: Heat, row: int, column: int, text: str) -> str:
    if not text:
        return ""
    names = f"{heat.row_names[row]} → {heat.column_names[column]}"
    share = ""
    if heat.diagonal:
        total = float(np.asarray(heat.values)[row].sum())
        share = f" ({percent(float(heat.values[row, column]) / total)} of the row)" if total else ""
    return f' title="{escape(f"{names}: {text}{share}")}"'


def _shorten(text: str) -> str:
    return text if len(text) <= LONGEST_NAME else text[: LONGEST_NAME - 1] + "…"
