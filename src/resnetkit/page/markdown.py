"""Sections as Markdown (CommonMark with GitHub's tables); charts become words, pictures names."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from resnetkit.page.blocks import (
    ROWS_SHOWN,
    Beside,
    Block,
    Cards,
    Chart,
    Code,
    Document,
    Drawing,
    Facts,
    Fold,
    Heading,
    Heat,
    Notes,
    Pictures,
    Pixels,
    Table,
    Text,
)
from resnetkit.page.html import show_value
from resnetkit.page.numbers import write_cell, write_number
from resnetkit.page.tables import NUMBERS

PICTURES_NAMED = 12
WIDEST_HEAT = 25  # columns


def render_markdown(document: Document) -> str:
    """The page as Markdown text."""
    parts = [f"# {escape_markdown(document.title)}", escape_markdown(document.lead)]
    for section in document.sections:
        parts += [f"## {escape_markdown(section.title)}"] if section.title else []
        parts += _blocks(section.blocks)
    return "\n\n".join(filter(None, parts)) + "\n"


def escape_markdown(text: str) -> str:
    """Text on one line in which nothing is markup."""
    return _guard_start(_escape(" ".join(text.split())))


def _words(text: str) -> str:
    """The same, but `words` in backticks stay code."""
    parts = re.split(r"(`[^`]+`)", " ".join(text.split()))
    plain = [part if index % 2 else _escape(part) for index, part in enumerate(parts)]
    return _guard_start("".join(plain))


def _escape(text: str) -> str:
    text = re.sub(r"([\\`*\[\]<>|~])", r"\\\1", text)
    text = re.sub(r"&(?=#?\w+;)", r"\\&", text)
    return re.sub(r"(?<!\w)_|_(?!\w)", r"\\_", text)


def _guard_start(text: str) -> str:
    """What would start a heading or a list starts none."""
    text = re.sub(r"^(?=[#+=-])", r"\\", text)
    return re.sub(r"^(\d+)(?=[.)](\s|$))", r"\1\\", text)


def _blocks(blocks: Sequence[Block]) -> list[str]:
    return [_WRITERS[type(block)](block) for block in blocks]


def _table(table: Table) -> str:
    # What a bar draws stands in another column as a number.
    shown = [place for place, column in enumerate(table.columns) if column.kind != "bar"]
    columns = [table.columns[place] for place in shown]
    heads = [column.title + (" %" if column.kind == "percent" else "") for column in columns]
    rows = [*table.rows[:ROWS_SHOWN], *table.totals]
    texts = [[write_cell(row[place], table.columns[place]) for place in shown] for row in rows]
    left_out = len(table.rows) - ROWS_SHOWN
    more = f"\n\n{left_out:,} more {table.name} are in report.html." if left_out > 0 else ""
    return _grid(heads, [column.kind in NUMBERS for column in columns], texts) + more


def _heat(heat: Heat) -> str:
    values = np.asarray(heat.values)
    if values.shape[1] > WIDEST_HEAT:
        return f"{escape_markdown(heat.corner)}: {values.shape[1]} columns, see report.html."
    texts = (
        [name, *(write_number(value, heat.kind, heat.digits) for value in row)]
        for name, row in zip(heat.row_names, values.tolist(), strict=True)
    )
    right = [False, *(True for _ in heat.column_names)]
    return _grid([heat.corner, *heat.column_names], right, texts)


def _grid(heads: Sequence[str], right: Sequence[bool], rows: Iterable[Sequence[str]]) -> str:
    rule = " | ".join("---:" if one else "---" for one in right)
    lines = [
        " | ".join(_escape(" ".join(text.split())) for text in line) for line in [heads, *rows]
    ]
    return "\n".join(f"| {line} |" for line in [lines[0], rule, *lines[1:]])


def _cards(cards: Cards) -> str:
    rows = []
    for card in cards.cards:
        below = f" ({escape_markdown(card.below)})" if card.below else ""
        rows.append(f"- **{escape_markdown(card.label)}: {escape_markdown(card.value)}**{below}")
    return "\n".join(rows)


def _facts(facts: Facts) -> str:
    rows = ([str(key), show_value(value)] for key, value in facts.pairs.items())
    return _grid(["", ""], [False, False], rows)


def _items(items: Iterable[str]) -> str:
    return "\n".join(f"- {_words(item)}" for item in items)


def _code(code: Code) -> str:
    longest = max(map(len, re.findall(r"`+", code.text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}\n{code.text}\n{fence}"


def _figure(figure: Chart | Drawing) -> str:
    return f"**{escape_markdown(figure.title)}.** {_words(figure.says)}"


def _pictures(pictures: Pictures) -> str:
    count = len(pictures.pictures)
    named = [
        ", ".join(filter(None, (picture.title, *picture.lines)))
        for picture in pictures.pictures[:PICTURES_NAMED]
    ]
    lines = [f"- {escape_markdown(line)}" for line in named if line]
    said = f"{count} {escape_markdown(pictures.name)}; report.html shows them."
    return "\n".join([said, *([""] if lines else []), *lines])


def _beside(beside: Beside) -> str:
    return "\n\n".join(filter(None, _blocks(beside.blocks)))


def _fold(fold: Fold) -> str:
    return "\n\n".join([f"**{escape_markdown(fold.summary)}**", *_blocks(fold.blocks)])


def _text(text: Text) -> str:
    return _words(text.text)


def _heading(heading: Heading) -> str:
    return f"### {escape_markdown(heading.text)}"


def _notes(notes: Notes) -> str:
    return _items(notes.items)


def _pixels(picture: Pixels) -> str:
    return escape_markdown(picture.alt)


_WRITERS: Mapping[type, Callable[[Any], str]] = {
    Text: _text,
    Heading: _heading,
    Notes: _notes,
    Code: _code,
    Facts: _facts,
    Cards: _cards,
    Table: _table,
    Heat: _heat,
    Chart: _figure,
    Drawing: _figure,
    Pixels: _pixels,
    Pictures: _pictures,
    Beside: _beside,
    Fold: _fold,
}
