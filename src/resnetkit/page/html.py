"""Sections as HTML; everything that came from the user is escaped here."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
from PIL import Image

from resnetkit.page.blocks import (
    Beside,
    Block,
    Card,
    Cards,
    Chart,
    Code,
    Document,
    Drawing,
    Facts,
    Fold,
    Heading,
    Heat,
    Line,
    Notes,
    Picture,
    Pictures,
    Pixels,
    Section,
    Table,
    Text,
)
from resnetkit.page.charts import draw_chart, draw_range
from resnetkit.page.pictures import encode_picture, write_image
from resnetkit.page.shell import identify, render_shell
from resnetkit.page.tables import write_heat, write_table


def render_html(document: Document) -> str:
    """The whole page as HTML text that needs nothing else."""
    body = "\n".join(map(write_section, document.sections))
    titled = [section.title for section in document.sections if section.title]
    places = [(identify(title), title) for title in titled]
    return render_shell(document.title, document.lead, body, places)


def write_section(section: Section) -> str:
    """A section as HTML."""
    body = write_blocks(section.blocks)
    if not section.title:
        return f'<div class="opening">{body}</div>'
    place = identify(section.title)
    return f'<section id="{place}"><h2>{escape(section.title)}</h2>{body}</section>'


def write_blocks(blocks: Sequence[Block]) -> str:
    """Blocks as HTML, one below the other."""
    return "".join(_WRITERS[type(block)](block) for block in blocks)


def write_words(text: str) -> str:
    """Escaped text whose `words` in backticks are set as code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))


def write_facts(facts: Facts) -> str:
    """What, and its value, in two columns."""
    rows = "".join(
        f"<dt>{escape(str(key))}</dt><dd>{escape(show_value(value))}</dd>"
        for key, value in facts.pairs.items()
    )
    return f'<dl class="facts">{rows}</dl>'


def show_value(value: Any) -> str:
    """Any value of a setting as text; "–" for none."""
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "–"
    return "–" if value is None else str(value)


def write_cards(cards: Cards) -> str:
    """Figures side by side."""
    return f'<div class="cards">{"".join(map(_card, cards.cards))}</div>'


def _card(card: Card) -> str:
    kind = f' class="{card.style}"' if card.style else ""
    drawn = ""
    if card.range is not None and card.range.value is not None:
        drawn = draw_range(card.range.value, card.range.interval, card.label)
    return (
        f"<div{kind}><span>{escape(card.label)}</span><b>{escape(card.value)}</b>{drawn}"
        f"<span>{escape(card.below)}</span></div>"
    )


def _text(text: Text) -> str:
    kind = ' class="quiet"' if text.quiet else ""
    return f"<p{kind}>{write_words(text.text)}</p>"


def _heading(heading: Heading) -> str:
    return f"<h3>{escape(heading.text)}</h3>"


def _notes(notes: Notes) -> str:
    items = "".join(f"<li>{write_words(item)}</li>" for item in notes.items)
    return f'<ul class="notes">{items}</ul>'


def _code(code: Code) -> str:
    return f'<pre tabindex="0">{escape(code.text)}</pre>'


def _chart(chart: Chart) -> str:
    key = "".join(
        f'<span><i class="{escape(one.style)}{"" if isinstance(one, Line) else " solid"}"></i>'
        f"{escape(one.label)}</span>"
        for one in chart.series
    )
    key = f'<p class="key">{key}</p>' if len(chart.series) > 1 else ""
    return (
        f'<figure class="graph"><figcaption><h3>{escape(chart.title)}</h3>{key}</figcaption>'
        f"{draw_chart(chart)}"
        f'<p class="quiet">{write_words(chart.says)}</p></figure>'
    )


def _drawing(drawing: Drawing) -> str:
    return (
        f'<figure class="graph"><figcaption><h3>{escape(drawing.title)}</h3></figcaption>'
        f'{drawing.markup}<p class="quiet">{write_words(drawing.says)}</p></figure>'
    )


def _pixels(picture: Pixels) -> str:
    address = encode_picture(Image.fromarray(np.ascontiguousarray(picture.pixels)))
    return f'<img class="pixels" alt="{escape(picture.alt)}" src="{address}">'


def _pictures(pictures: Pictures) -> str:
    most = max((len(one.images) for one in pictures.pictures), default=1)
    kind = "pictures" if most == 1 else "pictures wide"
    return f'<div class="{kind}">{"".join(map(_figure, pictures.pictures))}</div>'


def _figure(picture: Picture) -> str:
    images = "".join(map(write_image, picture.images, _alts(picture)))
    # A path breaks behind its slashes before it breaks anywhere else.
    lines = "".join(f"<span>{escape(line).replace('/', '/<wbr>')}</span>" for line in picture.lines)
    title = f"<b>{escape(picture.title)}</b>" if picture.title else ""
    return (
        f'<figure class="{picture.tone}"><div class="frames">{images}</div>'
        f"<figcaption>{title}{lines}</figcaption></figure>"
    )


def _alts(picture: Picture) -> list[str]:
    """What the images show; after the first, each says that it is drawn over it."""
    return [picture.alt, *(f"{picture.alt}, with its map" for _ in picture.images[1:])]


def _beside(beside: Beside) -> str:
    inner = "".join(f"<div>{write_blocks([block])}</div>" for block in beside.blocks)
    return f'<div class="beside">{inner}</div>'


def _fold(fold: Fold) -> str:
    return (
        f"<details><summary>{escape(fold.summary)}</summary>{write_blocks(fold.blocks)}</details>"
    )


_WRITERS: Mapping[type, Callable[[Any], str]] = {
    Text: _text,
    Heading: _heading,
    Notes: _notes,
    Code: _code,
    Facts: write_facts,
    Cards: write_cards,
    Table: write_table,
    Heat: write_heat,
    Chart: _chart,
    Drawing: _drawing,
    Pixels: _pixels,
    Pictures: _pictures,
    Beside: _beside,
    Fold: _fold,
}
