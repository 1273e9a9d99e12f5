"""A manifest as the source itself: a CSV or Parquet table of image files with their labels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from resnetkit.data.columns import NO_FILE, FileColumn
from resnetkit.data.formats.defects import report_defect
from resnetkit.data.manifest_table import ManifestTable, read_manifest_table
from resnetkit.data.overlay import Overlaid, harden, is_absolute, places_by_split, show
from resnetkit.data.source_types import Source, Split
from resnetkit.types import UserError


def load_manifest(manifest: Path, splits: Sequence[str]) -> Source:
    """Read columns path, label and (optional) split; paths are relative to the manifest's folder.

    Without a split column every row is training. Classes are those of training, as numbers if all
    are, else in natural order, unless the file records their order. Rows that say `exclude` are
    left out; soft labels are taken. Raises `UserError` for missing columns, values or files.
    """
    return open_manifest(manifest, splits).source


def open_manifest(manifest: Path, splits: Sequence[str], fold: int | None = None) -> Overlaid:
    """As `load_manifest`; with `fold` that fold validates and the others train."""
    table = read_manifest_table(manifest)
    numbers = np.zeros(len(table), np.int8) if table.splits is None else table.splits
    chosen = places_by_split(table, numbers, fold, str(manifest))
    present = tuple(name for name, places in chosen.items() if len(places))
    class_names = _class_names(table, chosen[present[0]])
    wanted = {name: chosen[name] for name in present if name in splits}
    source = Source(
        location=str(manifest),
        class_names=class_names,
        splits={
            name: Split(
                labels=_labels(table, places, class_names, f"{manifest}: the {name} split"),
                names=table.paths.take(places),
                encoded=_files(manifest, table, places, name),
            )
            for name, places in wanted.items()
        },
        present=present,
        task=table.task,
    )
    return Overlaid(source=source, manifest=str(manifest), table=table, rows=wanted)


def _class_names(table: ManifestTable, training: np.ndarray) -> tuple[str, ...]:
    """The classes that training shows, or all that several or soft labels are numbered by."""
    if table.task == "multi-label" or table.soft_labels is not None:
        return table.class_names
    return tuple(table.class_names[number] for number in np.unique(table.labels[training]))


def _labels(
    table: ManifestTable, rows: np.ndarray, class_names: tuple[str, ...], where: str
) -> np.ndarray:
    """The labels of `rows` in the order of `class_names`: int64 [N], or float32 [N,K]."""
    labels = table.labels[rows]
    if table.soft_labels is not None:
        return harden(table.soft_labels[rows], labels)
    if table.task == "multi-label":
        return labels
    numbers = {name: number for number, name in enumerate(class_names)}
    order = np.array([numbers.get(name, -1) for name in table.class_names])
    unknown = [table.class_names[number] for number in np.unique(labels[order[labels] < 0])]
    if unknown:
        raise UserError(
            f"{where} has {len(unknown)} class(es) that training lacks: {show(unknown)}. Add "
            "training images of them, or correct or remove them"
        )
    return order[labels]


def _files(manifest: Path, table: ManifestTable, rows: np.ndarray, split: str) -> FileColumn:
    files = FileColumn(str(manifest.parent), table.paths.take(rows))
    sizes, _ = files.facts()
    missing = [files.names[row] for row in np.flatnonzero(sizes == NO_FILE).tolist()]
    if missing:
        made_for = (
            f" It was written for {table.source}: give it as --data.manifest of that source."
            if table.source
            else ""
        )
        remedy = (
            "They are absolute, perhaps of another machine: make them relative to"
            if is_absolute(missing[0])
            else "Paths are relative to"
        )
        error = UserError(
            f"{manifest}: {len(missing)} of {len(files)} files of the {split} split are not there: "
            f"{show(missing)}. {remedy} {manifest.parent}; correct them or remove the rows."
            f"{made_for}"
        )
        report_defect(error)
    return files
