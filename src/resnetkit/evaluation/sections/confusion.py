"""What was taken for what: the pairs most often confused, with images, and the whole matrix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from resnetkit.evaluation.metrics import Metrics
from resnetkit.evaluation.report_input import Pair
from resnetkit.evaluation.samples import Sample
from resnetkit.evaluation.sections.pictures import picture_of
from resnetkit.page.blocks import Block, Cell, Column, Heat, Pixels, Section, Table, Text

PAIRS_SHOWN = 12
LARGEST_WRITTEN = 25  # classes; above, the cells are too small for a number
LARGEST_DRAWN = 400  # cells a side; above, several classes share one
BLUE, ORANGE = (45, 122, 214), (214, 84, 45)  # seen on white and on near-black


def write_confusion(
    split: str, metrics: Metrics, pair_samples: Mapping[Pair, Sequence[Sample]]
) -> Section:
    """The most confused pairs first, each with images, then the matrix."""
    confusion = np.array(metrics.confusion)
    names = [row.name for row in metrics.per_class]
    pairs = confused_pairs(confusion)
    if not pairs:
        first: Block = Text(text="No image was taken for another class.")
    else:
        first = _pairs_table(confusion, names, pairs, pair_samples)
    return Section(title=f"Confusion ({split})", blocks=[first, *_matrix(confusion, names)])


def confused_pairs(confusion: np.ndarray, most: int = PAIRS_SHOWN) -> list[Pair]:
    """The most frequent mistakes (true, said) of a confusion matrix [K,K], largest first."""
    wrong = confusion * (1 - np.eye(len(confusion), dtype=confusion.dtype))
    order = np.argsort(-wrong, axis=None, kind="stable")[:most]
    places = (divmod(int(place), len(wrong)) for place in order)
    return [(true, said) for true, said in places if wrong[true, said] > 0]


def _pairs_table(
    confusion: np.ndarray,
    names: Sequence[str],
    pairs: Sequence[Pair],
    pair_samples: Mapping[Pair, Sequence[Sample]],
) -> Table:
    columns = [
        Column(title="True"),
        Column(title="Taken for"),
        Column(title="Images", kind="count"),
        Column(title="Of the true class", kind="percent"),
    ]
    if pair_samples:
        columns.append(Column(title="Such images", kind="pictures"))
    rows = []
    for true, said in pairs:
        images = int(confusion[true, said])
        row: list[Cell] = [names[true], names[said], images, images / int(confusion[true].sum())]
        if pair_samples:
            row.append([picture_of(sample) for sample in pair_samples.get((true, said), ())])
        rows.append(row)
    return Table(columns=columns, rows=rows, name="pairs")


def _matrix(confusion: np.ndarray, names: Sequence[str]) -> list[Block]:
    shares = confusion / np.maximum(confusion.sum(1, keepdims=True), 1)
    if len(confusion) > LARGEST_WRITTEN:
        return _matrix_picture(shares)
    # The root lets rare confusions be seen next to a nearly full diagonal.
    heat = Heat(
        row_names=names,
        column_names=names,
        values=confusion,
        shades=np.sqrt(shares),
        kind="count",
        diagonal=True,
        corner="true ↓ said →",
    )
    return [Text(text="Images by true class (rows) and by answer (columns).", quiet=True), heat]


def _matrix_picture(shares: np.ndarray) -> list[Block]:
    classes = len(shares)
    step = -(-classes // LARGEST_DRAWN)
    diagonal = np.diag(np.diag(shares))
    right, wrong = _strongest(diagonal, step), _strongest(shares - diagonal, step)
    strength = np.where(wrong > 0, wrong, right)
    opacity = np.where(strength > 0, 0.15 + 0.85 * np.sqrt(strength), 0.04)
    pixels = np.empty((*strength.shape, 4), np.uint8)
    pixels[..., :3] = BLUE
    on_diagonal = np.eye(len(strength), dtype=bool)
    pixels[(wrong > 0) & ~on_diagonal, :3] = ORANGE
    pixels[..., 3] = np.where(on_diagonal, 255 * (0.15 + 0.85 * np.sqrt(right)), 255 * opacity)
    cells = f" Each cell stands for {step} x {step} classes." if step > 1 else ""
    text = (
        "Rows are true classes, columns answers, both in class order from the top left; blue is "
        f"right, orange wrong, the stronger the more of its row.{cells}"
    )
    alt = f"Confusion matrix of {classes:,} classes. {text}"
    return [Text(text=text, quiet=True), Pixels(pixels=pixels, alt=alt)]


def _strongest(values: np.ndarray, step: int) -> np.ndarray:
    """The largest of each `step` x `step` cells of a matrix [K,K]."""
    cells = -(-len(values) // step)
    padded = np.zeros((cells * step, cells * step))
    padded[: len(values), : len(values)] = values
    return padded.reshape(cells, step, cells, step).max(axis=(1, 3))
