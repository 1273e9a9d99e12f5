"""The tables of the report as HTML text; everything that came from the user is escaped."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

from resnetkit.evaluation.metrics import Average, ClassMetrics, Metrics
from resnetkit.evaluation.multilabel import LabelMetrics, MultiLabelMetrics

CLASSES_SHOWN = 20
PAIRS_SHOWN = 12


def class_table(metrics: Metrics) -> str:
    """Every class with its figures and averages; beyond 20 classes the weakest come first."""
    rows = sorted(metrics.per_class, key=lambda row: (row.f1 is None, row.f1))
    if len(rows) <= CLASSES_SHOWN:
        rows = metrics.per_class
    heads = ("Images", "Precision", "Recall", "F1", "Recall and its 95 % interval")
    return _long_table(heads, list(map(_class_row, rows)), _average_rows(metrics), "F1")


def label_table(metrics: MultiLabelMetrics) -> str:
    """The same where images may show several classes, with average precision."""
    rows = sorted(
        metrics.per_class, key=lambda row: (row.average_precision is None, row.average_precision)
    )
    if len(rows) <= CLASSES_SHOWN:
        rows = metrics.per_class
    heads = ("Images", "AP", "Precision", "Recall", "F1", "Average precision")
    by_class = (metrics.mean_average_precision, *_three(metrics.macro))
    averages = [
        _total_row("mean of classes", metrics.images, by_class),
        _total_row("mean of answers", metrics.images, (None, *_three(metrics.micro))),
    ]
    note = (
        '<p class="quiet">Precision, recall and F1 take a class as there where its probability is '
        "above 50 %.</p>"
    )
    return note + _long_table(heads, list(map(_label_row, rows)), averages, "average precision")


def _long_table(heads: Sequence[str], rows: list[str], averages: list[str], order: str) -> str:
    """A table with its averages; rows beyond the first 20, the lowest, are folded away."""
    first = _table_of(heads, [*rows[:CLASSES_SHOWN], *averages])
    rest = rows[CLASSES_SHOWN:]
    if not rest:
        return first
    return (
        f'<p class="quiet">The {CLASSES_SHOWN} classes with the lowest {order} come first.</p>'
        f"{first}<details><summary>{len(rest)} more classes</summary>"
        f"{_table_of(heads, rest)}</details>"
    )


def _table_of(heads: Sequence[str], rows: Sequence[str]) -> str:
    numbers = "".join(f'<th class="number">{head}</th>' for head in heads[:-1])
    head = f"<tr><th>Class</th>{numbers}<th>{heads[-1]}</th></tr>"
    return f'<div class="scroll"><table>{head}{"".join(rows)}</table></div>'


def _label_row(row: LabelMetrics) -> str:
    shares = (row.average_precision, row.precision, row.recall, row.f1)
    cells = _cells((f"{row.support:,}", *map(percent, shares)))
    width = 100 * (row.average_precision or 0.0)
    bar = f'<span class="bar"><i style="width:{width:.1f}%"></i></span>'
    return f'<tr><td class="name">{escape(row.name)}</td>{cells}<td>{bar}</td></tr>'


def _cells(figures: Iterable[str]) -> str:
    return "".join(f'<td class="number">{figure}</td>' for figure in figures)


def _class_row(row: ClassMetrics) -> str:
    cells = _cells((f"{row.support:,}", *map(percent, (row.precision, row.recall, row.f1))))
    bar = ""
    if row.recall is not None and row.recall_interval is not None:
        low, high = (100 * bound for bound in row.recall_interval)
        bar = (
            f'<span class="bar" title="{low:.1f} to {high:.1f} %"><i style="width:'
            f'{100 * row.recall:.1f}%"></i><u style="left:{low:.1f}%;width:{high - low:.1f}%">'
            "</u></span>"
        )
    return f'<tr><td class="name">{escape(row.name)}</td>{cells}<td>{bar}</td></tr>'


def _average_rows(metrics: Metrics) -> list[str]:
    averages = (("mean of classes", metrics.macro), ("mean of images", metrics.weighted))
    return [_total_row(name, metrics.images, _three(average)) for name, average in averages]


def _total_row(name: str, images: int, shares: Iterable[float | None]) -> str:
    cells = _cells((f"{images:,}", *map(percent, shares)))
    return f'<tr class="total"><td>{name}</td>{cells}<td></td></tr>'


def _three(average: Average) -> tuple[float, float, float]:
    return average.precision, average.recall, average.f1


def confused_pairs(confusion: np.ndarray, class_names: Sequence[str]) -> str:
    """The most frequent mistakes of a confusion matrix [K,K], largest first."""
    wrong = confusion * (1 - np.eye(len(confusion), dtype=confusion.dtype))
    order = np.argsort(-wrong, axis=None, kind="stable")[:PAIRS_SHOWN]
    pairs = [divmod(int(place), len(wrong)) for place in order if wrong.flat[place] > 0]
    if not pairs:
        return '<p class="quiet">No image was taken for another class.</p>'
    rows = "".join(
        f'<tr><td class="name">{escape(class_names[true])}</td><td class="name">'
        f'{escape(class_names[said])}</td><td class="number">{wrong[true, said]:,}</td>'
        f'<td class="number">{percent(wrong[true, said] / confusion[true].sum())}</td></tr>'
        for true, said in pairs
    )
    head = '<tr><th>True</th><th>Taken for</th><th class="number">Images</th>'
    head += '<th class="number">Of the true class</th></tr>'
    return f'<h3>Most confused</h3><div class="scroll"><table>{head}{rows}</table></div>'


def pairs_table(pairs: Mapping[str, Any]) -> str:
    """Two columns: what, and its value."""
    rows = "".join(
        f'<tr><td class="quiet">{escape(key)}</td><td>{escape(_show(value))}</td></tr>'
        for key, value in pairs.items()
    )
    return f'<div class="scroll"><table>{rows}</table></div>'


def _show(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "–"
    return "–" if value is None else str(value)


def percent(share: float | None, digits: int = 1) -> str:
    """A fraction as text; "–" where there is none."""
    return "–" if share is None else f"{100 * share:.{digits}f}\N{NO-BREAK SPACE}%"
