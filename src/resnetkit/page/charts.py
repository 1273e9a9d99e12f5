"""Charts as SVG text, coloured by the page's style sheet so that they follow its theme."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from resnetkit.page.blocks import Axis, Bars, Chart, Interval, Line, Mark
from resnetkit.page.numbers import MINUS

WIDTH, HEIGHT = 360, 240
LEFT, RIGHT, TOP, BOTTOM = 46, 12, 20, 42
MOST_DOTTED = 40  # points; beyond, dots hide the line


@dataclass(frozen=True, kw_only=True)
class Scale:
    """Where a value lies on the drawing: `start` and `end` are the places of the limits."""

    limits: Interval
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """The place of `value`, at most at an end."""
        low, high = self.limits
        share = (value - low) / (high - low) if high > low else 0.5
        return self.start + min(max(share, 0.0), 1.0) * (self.end - self.start)


def draw_chart(chart: Chart) -> str:
    """Axes, grid, bars, lines and marks, with a point to hover for each value."""
    xs, ys = _values(chart.series)
    x_ticks, y_ticks = ticks(chart.x, xs), ticks(chart.y, ys)
    x_scale = Scale(limits=chart.x.limits or (min(xs), max(xs)), start=LEFT, end=WIDTH - RIGHT)
    y_limits = chart.y.limits or (y_ticks[0], y_ticks[-1])
    y_scale = Scale(limits=y_limits, start=HEIGHT - BOTTOM, end=TOP)
    drawers: list[str] = [_grid(chart, x_scale, y_scale, x_ticks, y_ticks)]
    for series in chart.series:
        draw = _bars if isinstance(series, Bars) else _line
        drawers.append(draw(series, x_scale, y_scale))  # type: ignore[arg-type]
    drawers += [_mark(mark, x_scale) for mark in chart.marks]
    return _svg("chart", WIDTH, HEIGHT, f"{chart.title}. {chart.says}", "".join(drawers))


def draw_range(value: float, interval: Interval | None, label: str) -> str:
    """A bar from 0 to `value` in 0…1 with its interval across the end; `label` says it in words."""
    share = 100 * min(max(value, 0.0), 1.0)
    parts = [f'<rect class="track" width="100" height="8"/><rect width="{share:.1f}" height="8"/>']
    if interval is not None:
        low, high = (100 * min(max(end, 0.0), 1.0) for end in interval)
        width = max(high - low, 0.6)
        parts.append(f'<rect class="range" x="{low:.1f}" y="3" width="{width:.1f}" height="2"/>')
    return (
        '<svg class="bar" viewBox="0 0 100 8" preserveAspectRatio="none" role="img">'
        f"<title>{escape(label)}</title>{''.join(parts)}</svg>"
    )


def ticks(axis: Axis, values: Sequence[float]) -> list[float]:
    """Four to nine round numbers: around all values, or within the limits where there are some."""
    low, high = axis.limits or (min(values), max(values))
    if high <= low:
        low, high = low - 0.5 * (abs(low) or 1), high + 0.5 * (abs(high) or 1)
    rough = (high - low) / 5
    magnitude = 10.0 ** math.floor(math.log10(rough))
    step = next(m * magnitude for m in (1, 2, 2.5, 5, 10) if m * magnitude >= rough * 0.999)
    if axis.whole:
        step = max(1.0, float(math.ceil(step)))
    inside = axis.limits is not None or axis.whole
    first, last = low / step, high / step
    start = math.ceil(first - 1e-9) if inside else math.floor(first + 1e-9)
    end = math.floor(last + 1e-9) if inside else math.ceil(last - 1e-9)
    return [float(f"{index * step:.10g}") for index in range(start, end + 1)]


def _values(series: Sequence[Line | Bars]) -> tuple[list[float], list[float]]:
    xs: list[float] = []
    ys: list[float] = []
    for one in series:
        if isinstance(one, Bars):
            xs += [edge for left, right, _ in one.bars for edge in (left, right)]
            ys += [0.0, *(height for _, _, height in one.bars)]
        else:
            xs += [x for x, _ in one.points]
            ys += [y for _, y in one.points] + [end for pair in one.band for end in pair]
    assert xs, "a chart without a point"
    return xs, ys


def _grid(
    chart: Chart, x_scale: Scale, y_scale: Scale, x_ticks: list[float], y_ticks: list[float]
) -> str:
    parts = []
    for tick in y_ticks:
        y = y_scale(tick)
        parts.append(f'<path class="grid" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>')
        parts.append(_text(LEFT - 8, y + 4, _tick_text(tick, chart.y), "end"))
    low, high = x_scale.limits
    for tick in x_ticks:
        if low <= tick <= high:
            place = x_scale(tick)
            parts.append(_text(place, HEIGHT - BOTTOM + 18, _tick_text(tick, chart.x), "middle"))
    parts.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6, chart.x.label, "middle"))
    parts.append(_text(LEFT, 11, chart.y.label, "start"))
    return "".join(parts)


def _tick_text(tick: float, axis: Axis) -> str:
    text = f"{100 * tick:g}" if axis.percent else f"{tick:,.0f}" if tick >= 1e4 else f"{tick:g}"
    return text.replace("-", MINUS)


def _line(line: Line, x_scale: Scale, y_scale: Scale) -> str:
    placed = [(x_scale(x), y_scale(y)) for x, y in line.points]
    path = "L".join(f"{x:.1f} {y:.1f}" for x, y in placed)
    parts = [f'<g class="{escape(line.style)}">']
    if line.band:
        lows = [(x, y_scale(low)) for (x, _), (low, _) in zip(placed, line.band, strict=True)]
        highs = [(x, y_scale(high)) for (x, _), (_, high) in zip(placed, line.band, strict=True)]
        around = "L".join(f"{x:.1f} {y:.1f}" for x, y in [*highs, *reversed(lows)])
        parts.append(f'<path class="band" d="M{around}Z"/>')
    parts.append(f'<path d="M{path}"/>')
    if len(placed) <= MOST_DOTTED and "dashed" not in line.style:
        parts += [_dot(line, *pair) for pair in zip(placed, line.points, strict=True)]
    return "".join([*parts, "</g>"])


def _dot(line: Line, place: tuple[float, float], point: tuple[float, float]) -> str:
    said = escape(f"{line.label}, {point[0]:.4g}: {point[1]:.4g}")
    return f'<circle cx="{place[0]:.1f}" cy="{place[1]:.1f}" r="2.6"><title>{said}</title></circle>'


def _bars(bars: Bars, x_scale: Scale, y_scale: Scale) -> str:
    parts = [f'<g class="{escape(bars.style)}">']
    floor = y_scale(max(0.0, y_scale.limits[0]))
    for left, right, height in bars.bars:
        x, end, top = x_scale(left), x_scale(right), y_scale(height)
        said = escape(f"{bars.label}, {left:.3g} to {right:.3g}: {height:.4g}")
        parts.append(
            f'<rect x="{x + 0.5:.1f}" y="{top:.1f}" width="{max(end - x - 1, 0.5):.1f}" '
            f'height="{max(floor - top, 0):.1f}"><title>{said}</title></rect>'
        )
    return "".join([*parts, "</g>"])


def _mark(mark: Mark, x_scale: Scale) -> str:
    x = x_scale(mark.x)
    anchor, shift = ("end", -6) if x > (LEFT + WIDTH - RIGHT) / 2 else ("start", 6)
    return (
        f'<g class="mark"><path d="M{x:.1f} {TOP}V{HEIGHT - BOTTOM}"/>'
        f"{_text(x + shift, HEIGHT - BOTTOM - 8, mark.label, anchor)}</g>"
    )


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _svg(style: str, width: int, height: int, label: str, body: str) -> str:
    return (
        f'<svg class="{style}" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="{escape(label)}">{body}</svg>'
    )
