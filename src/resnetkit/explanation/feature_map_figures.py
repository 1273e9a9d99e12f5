"""A feature map drawn as SVG for the page; classes by colour and by shape.

Eight of a hundred men see red and green alike, so colours are those of Okabe & Ito 2008 without
black and yellow, which vanish on dark and on white, and shapes tell apart what shares a colour.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from resnetkit.explanation.feature_map import FeatureMap

COLORS = ("#0072b2", "#e69f00", "#009e73", "#d55e00", "#56b4e9", "#cc79a7", "#8a8a8a")
OTHERS_COLOR = "#b8b8b8"
SIDE, BORDER = 560, 14  # units of the SVG
SHAPES = (  # outlines in an SVG, about 6 units across
    "M-3 0a3 3 0 1 0 6 0a3 3 0 1 0-6 0z",
    "M-2.7-2.7h5.4v5.4h-5.4z",
    "M0-3.6L3.4 2.6H-3.4z",
    "M0-3.8L3.8 0L0 3.8L-3.8 0z",
    "M0 3.6L3.4-2.6H-3.4z",
    "M-1.2-3.4h2.4v2.2h2.2v2.4h-2.2v2.2h-2.4v-2.2h-2.2v-2.4h2.2z",
)
MOST_NAMED = len(COLORS) * len(SHAPES)  # classes; of more, the largest are named


@dataclass(frozen=True, kw_only=True, eq=False)
class Group:
    """The images of one class, or of all that are not named: rows int64 of the map."""

    name: str
    color: str
    shape: str
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
    places[:, 1] = SIDE - places[:, 1]  # upwards
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
            f'{places[row][1]:.1f})" d="{group.shape}"><title>{escape(names[row])}, '
            f"{name}</title></path>"
            for row in rows
        ]
        parts.append("</g>")
    return "".join([*parts, f"</svg>{_legend(groups)}"])


def _legend(groups: Sequence[Group]) -> str:
    entries = "".join(
        '<span><svg width="12" height="12" viewBox="-4 -4 8 8" aria-hidden="true">'
        f'<path d="{group.shape}" fill="{group.color}"/></svg> {escape(group.name)} '
        f"({len(group.rows)})</span>"
        for group in groups
    )
    return f'<p class="key">{entries}</p>'
