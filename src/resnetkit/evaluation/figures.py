"""Charts as plain SVG text, coloured by the page's style sheet so that they follow its theme."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from PIL import Image

WIDTH, HEIGHT = 360, 230
LEFT, RIGHT, TOP, BOTTOM = 46, 10, 10, 40
LARGEST_DRAWN_MATRIX = 25  # classes; above, the cells are too small for a number
ACCENT = (45, 122, 214)  # readable on white and on near-black


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line of a chart: `style` is a class of report.css, `points` are (x, y)."""

    label: str
    style: str
    points: Sequence[tuple[float, float]]


def line_chart(lines: Sequence[Line], x_label: str, y_label: str) -> str:
    """An SVG chart of one or more lines with axes, grid and a point to hover for each value."""
    points = [point for line in lines for point in line.points]
    x_ticks = [tick for tick in _ticks([x for x, _ in points]) if tick == int(tick)]
    y_ticks = _ticks([y for _, y in points])
    xs = (min(x for x, _ in points), max(x for x, _ in points))
    ys = (y_ticks[0], y_ticks[-1])
    parts = [f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">']
    parts.append(f"<title>{escape(y_label)} by {escape(x_label)}</title>")
    for tick in y_ticks:
        y = _place(tick, ys, HEIGHT - BOTTOM, TOP)
        parts.append(f'<path class="grid" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>')
        parts.append(_text(LEFT - 8, y + 4, f"{tick:g}", "end"))
    for tick in x_ticks:
        if xs[0] <= tick <= xs[1]:
            x = _place(tick, xs, LEFT, WIDTH - RIGHT)
            parts.append(_text(x, HEIGHT - BOTTOM + 18, f"{tick:g}", "middle"))
    parts.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6, x_label, "middle"))
    parts += [_line(line, xs, ys) for line in lines]
    return "".join([*parts, "</svg>"])


def _line(line: Line, xs: tuple[float, float], ys: tuple[float, float]) -> str:
    placed = [
        (_place(x, xs, LEFT, WIDTH - RIGHT), _place(y, ys, HEIGHT - BOTTOM, TOP))
        for x, y in line.points
    ]
    path = "L".join(f"{x:.1f} {y:.1f}" for x, y in placed)
    radius = 2.6 if len(placed) <= 40 else 1.2
    dots = "".join(
        f'<circle cx="{px:.1f}" cy="{py:.1f}" r="{radius}"><title>{escape(line.label)}, {x:g}: '
        f"{y:.4g}</title></circle>"
        for (px, py), (x, y) in zip(placed, line.points, strict=True)
    )
    return f'<g class="{line.style}"><path d="M{path}"/>{dots}</g>'


def _place(value: float, limits: tuple[float, float], start: float, end: float) -> float:
    low, high = limits
    share = (value - low) / (high - low) if high > low else 0.5
    return start + share * (end - start)


def _ticks(values: Sequence[float]) -> list[float]:
    """Four to seven round numbers that reach from below the smallest value to above the largest."""
    low, high = min(values), max(values)
    if high <= low:
        low, high = low - 0.5 * (abs(low) or 1), high + 0.5 * (abs(high) or 1)
    rough = (high - low) / 5
    magnitude = 10.0 ** math.floor(math.log10(rough))
    step = next(m * magnitude for m in (1, 2, 2.5, 5, 10) if m * magnitude >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [float(f"{index * step:.10g}") for index in range(first, last + 1)]


def _text(x: float, y: float, text: str, anchor: str, style: str = "") -> str:
    kind = f' class="{style}"' if style else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{kind}>{escape(text)}</text>'


def confusion_figure(confusion: np.ndarray, class_names: Sequence[str]) -> str:
    """The confusion matrix [K,K] (row true, column predicted), shaded by the share of each row.

    Up to 25 classes it has names and numbers; beyond, it is a picture with a cell per pair.
    """
    shares = confusion / np.maximum(confusion.sum(1, keepdims=True), 1)
    # The root below lets rare confusions be seen next to nearly full diagonals.
    if len(confusion) > LARGEST_DRAWN_MATRIX:
        return _matrix_picture(shares)
    return _matrix_drawing(confusion, shares, [_shorten(name, 16) for name in class_names])


def _matrix_drawing(confusion: np.ndarray, shares: np.ndarray, names: Sequence[str]) -> str:
    count = len(confusion)
    cell = 46 if count <= 10 else 36 if count <= 16 else 28
    margin = 24 + 7.2 * max(len(name) for name in names)
    slanted = max(len(name) for name in names) > 4
    above = margin * 0.72 if slanted else 20
    width = margin + count * cell + (margin * 0.6 if slanted else 8)
    height = above + count * cell + 8
    style = f"width:{width:.0f}px"  # drawn at its natural size; the frame around it scrolls
    parts = [
        f'<svg class="matrix" role="img" viewBox="0 0 {width:.0f} {height:.0f}" style="{style}">'
    ]
    for index, name in enumerate(names):
        center = (index + 0.5) * cell
        parts.append(_text(margin - 8, above + center + 4, name, "end"))
        turn = f' transform="translate({margin + center:.1f} {above - 8:.1f})'
        turn += ' rotate(-45)"' if slanted else '"'
        parts.append(f"<g{turn}>{_text(0, 0, name, 'start' if slanted else 'middle')}</g>")
    for row, column in np.ndindex(count, count):
        x, y = margin + column * cell, above + row * cell
        share, images = float(shares[row, column]), int(confusion[row, column])
        kind = ("right" if row == column else "wrong") if images else "empty"
        parts.append(f'<g class="{kind}"><rect x="{x:.1f}" y="{y:.1f}" width="{cell - 2}" ')
        parts.append(
            f'height="{cell - 2}" rx="3" fill-opacity="{0.15 + 0.85 * math.sqrt(share):.3f}"/>'
        )
        if images:
            tone = "strong" if share > 0.45 else ""
            parts.append(_text(x + cell / 2 - 1, y + cell / 2 + 3, str(images), "middle", tone))
        title = f"{names[row]} taken for {names[column]}: {images} ({share:.1%})"
        parts.append(f"<title>{escape(title)}</title></g>")
    return "".join([*parts, '</svg><p class="quiet">Rows: true class, columns: predicted.</p>'])


def _matrix_picture(shares: np.ndarray) -> str:
    opacity = np.where(shares > 0, 0.15 + 0.85 * np.sqrt(shares), 0.04)
    pixels = np.empty((*shares.shape, 4), np.uint8)
    pixels[..., :3] = ACCENT
    pixels[~np.eye(len(shares), dtype=bool), :3] = (214, 84, 45)
    pixels[..., 3] = (255 * opacity).round()
    return (
        f'<img class="pixels" alt="Confusion matrix of {len(shares)} classes" src="'
        f'{picture_uri(pixels)}"><p class="quiet">Rows: true class, columns: predicted, both in '
        "class order from the top left. Blue is right, red is wrong.</p>"
    )


def picture_uri(pixels: np.ndarray) -> str:
    """Pixels uint8 [H,W], [H,W,3] or [H,W,4] as a PNG inside a data: address."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _shorten(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"
