"""The tables of the report as HTML text; everything that came from the user is escaped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

from resnetkit.evaluation.metrics import ClassMetrics, Metrics

CLASSES_SHOWN = 20
PAIRS_SHOWN = 12


def class_table(metrics: Metrics) -> str:
    """Every class with its figures and averages; beyond 20 classes the weakest come first."""
    rows = list(metrics.per_class)
    note = ""
    if len(rows) > CLASSES_SHOWN:
        rows.sort(key=lambda row: (row.f1 is None, row.f1))
        note = f'<p class="quiet">The {CLASSES_SHOWN} classes with the lowest F1 come first.</p>'
    first = _table_of([*map(_class_row, rows[:CLASSES_SHOWN]), *_average_rows(metrics)])
    rest = [_class_row(row) for row in rows[CLASSES_SHOWN:]]
    more = f"<details><summary>{len(rest)} more classes</summary>{_table_of(rest)}</details>"
    return note + first + (more if rest else "")


def _table_of(rows: Sequence[str]) -> str:
    heads = ("Images", "Precision", "Recall", "F1")
    numbers = "".join(f'<th class="number">{head}</th>' for head in heads)
    head = f"<tr><th>Class</th>{numbers}<th>Recall and its 95 % interval</th></tr>"
    return f'<div class="scroll"><table>{head}{"".join(rows)}</table></div>'


def _class_row(row: ClassMetrics) -> str:
    figures = (f"{row.support:,}", *map(percent, (row.precision, row.recall, row.f1)))
    cells = "".join(f'<td class="number">{figure}</td>' for figure in figures)
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
    rows = []
    for name, average in (("mean of classes", metrics.macro), ("mean of images", metrics.weighted)):
        values = map(percent, (average.precision, average.recall, average.f1))
        cells = "".join(f'<td class="number">{value}</td>' for value in values)
        count = f'<td class="number">{metrics.images:,}</td>'
        rows.append(f'<tr class="total"><td>{name}</td>{count}{cells}<td></td></tr>')
    return rows


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
