"""A feature map drawn: a PNG to keep, an SVG for the page; classes by colour and by shape.

Eight of a hundred men see red and green alike, so colours are those of Okabe & Ito 2008 without
black and yellow, which vanish on dark and on white, and shapes tell apart what shares a colour.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np

from resnetkit.data.lettering import choose_font, make_readable
from resnetkit.explanation.feature_map import FeatureMap
from resnetkit.runtime import write_file_atomically

COLORS = ("#0072b2", "#e69f00", "#009e73", "#d55e00", "#56b4e9", "#cc79a7", "#8a8a8a")
OTHERS_COLOR = "#b8b8b8"
LONGEST_NAME = 24  # letters of a class name in the legend
SIDE, BORDER = 560, 14  # units of the SVG
LEGEND_ROWS = 22
CAUTION_LETTERS = 90  # of a line above the PNG


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A mark: matplotlib's name, and its outline in an SVG, about 6 units across."""

    marker: str
    path: str


SHAPES = (
    Shape(marker="o", path="M-3 0a3 3 0 1 0 6 0a3 3 0 1 0-6 0z"),
    Shape(marker="s", path="M-2.7-2.7h5.4v5.4h-5.4z"),
    Shape(marker="^", path="M0-3.6L3.4 2.6H-3.4z"),
    Shape(marker="D", path="M0-3.8L3.8 0L0 3.8L-3.8 0z"),
    Shape(marker="v", path="M0 3.6L3.4-2.6H-3.4z"),
    Shape(marker="P", path="M-1.2-3.4h2.4v2.2h2.2v2.4h-2.2v2.2h-2.4v-2.2h-2.2v-2.4h2.2z"),
)
MOST_NAMED = len(COLORS) * len(SHAPES)  # classes; of more, the largest are named


@dataclass(frozen=True, kw_only=True, eq=False)
class Group:
    """The images of one class, or of all that are not named: rows int64 of the map."""

    name: str
    color: str
    shape: Shape
    rows: np.ndarray


def group_points(labels: np.ndarray, class_names: Sequence[str]) -> tuple[Group, ...]:
    """What is drawn and named together, in class order; classes without images are left out.

    Neighbouring classes differ in colour. Of more than `MOST_NAMED` classes the largest are named,
    and the others are one grey group, drawn first.
    """
    counts = np.bincount(labels, minlength=len(class_names))
    largest = np.argsort(-counts, kind="stable")[:MOST_NAMED]
    named = [int(label) for label in np.sort(largest) if counts[label]]
    groups = [
        Group(
            name=str(class_names[label]),
            color=COLORS[number % len(COLORS)],
            shape=SHAPES[number // len(COLORS)],
            rows=np.flatnonzero(labels == label),
        )
        for number, label in enumerate(named)
    ]
    rest = np.flatnonzero(~np.isin(labels, named))
    if len(rest):
        name = f"{len(np.unique(labels[rest]))} other classes"
        groups.insert(0, Group(name=name, color=OTHERS_COLOR, shape=SHAPES[0], rows=rest))
    return tuple(groups)


def draw_png(
    path: Path, feature_map: FeatureMap, labels: np.ndarray, class_names: Sequence[str]
) -> None:
    """Write the map as a PNG with axes and legend, whole or not at all; `labels` int64 [N]."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.font_manager import FontProperties

    groups = group_points(labels, class_names)
    font, missing = choose_font({letter for group in groups for letter in group.name})
    columns = -(-len(groups) // LEGEND_ROWS)
    figure = Figure(figsize=(6.4 + 2.1 * columns, 6.0), dpi=150, layout="constrained")
    canvas = FigureCanvasAgg(figure)  # not pyplot, whose figures are the whole process's
    axes = figure.add_subplot()
    size = float(np.clip(9000 / len(labels), 6, 36))
    handles = [
        axes.scatter(
            *feature_map.points[group.rows].T,
            s=size,
            c=group.color,
            marker=group.shape.marker,
            alpha=0.8,
            linewidths=0.3,
            edgecolors="white",
        )
        for group in groups
    ]
    axes.set(xlabel=feature_map.axes[0], ylabel=feature_map.axes[1])
    axes.set_title(textwrap.fill(feature_map.caution, CAUTION_LETTERS), fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    legend = axes.legend(
        handles,
        [str(number) for number in range(len(groups))],
        loc="center left",
        bbox_to_anchor=(1.01, 0.5),
        ncols=columns,
        frameon=False,
        prop=FontProperties(fname=str(font), size=8),
        markerscale=(36 / size) ** 0.5,
    )
    for text, group in zip(legend.get_texts(), groups, strict=True):
        text.set_parse_math(False)  # a name with two dollars is no formula
        text.set_text(_shorten(make_readable(group.name, missing)))
    stream = io.BytesIO()
    canvas.print_png(stream, metadata={"Software": None})
    write_file_atomically(path, stream.getvalue())


def draw_svg(
    feature_map: FeatureMap,
    labels: np.ndarray,
    class_names: Sequence[str],
    names: Sequence[str],
) -> str:
    """The map as an SVG for a page, with a legend as HTML; all that is the user's is escaped.

    `names` [N] are those of the images, told by hovering. A mark carries its row as data-row, a
    group its class as data-class; colours and sizes are attributes, so no style sheet is needed.
    """
    groups = group_points(labels, class_names)
    low, high = feature_map.points.min(axis=0), feature_map.points.max(axis=0)
    scale = (SIDE - 2 * BORDER) / np.maximum(high - low, 1e-12)
    places = BORDER + (feature_map.points - low) * scale
    places[:, 1] = SIDE - places[:, 1]  # upwards, as in the PNG
    parts = [
        f'<svg class="feature-map" viewBox="0 0 {SIDE} {SIDE}" role="img">',
        f"<title>Map of {len(labels)} images by their features ({feature_map.method})</title>",
    ]
    for group in groups:
        name = escape(group.name)
        rows: list[int] = group.rows.tolist()
        parts.append(f'<g data-class="{name}" fill="{group.color}" fill-opacity=".75">')
        parts += [
            f'<path data-row="{row}" transform="translate({places[row][0]:.1f} '
            f'{places[row][1]:.1f})" d="{group.shape.path}"><title>{escape(names[row])}, '
            f"{name}</title></path>"
            for row in rows
        ]
        parts.append("</g>")
    return "".join([*parts, f"</svg>{_legend(groups)}"])


def _legend(groups: Sequence[Group]) -> str:
    entries = "".join(
        '<span><svg width="12" height="12" viewBox="-4 -4 8 8" aria-hidden="true">'
        f'<path d="{group.shape.path}" fill="{group.color}"/></svg> {escape(group.name)} '
        f"({len(group.rows)})</span>"
        for group in groups
    )
    return f'<p class="key">{entries}</p>'


def _shorten(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…"
