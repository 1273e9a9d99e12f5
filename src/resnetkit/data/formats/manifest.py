"""Manifests: a CSV or Parquet table of image paths with their labels, and perhaps their splits."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resnetkit.data.class_names import encode_labels, sort_class_names
from resnetkit.data.source_types import SPLIT_ALIASES, SPLIT_NAMES, Source, Split
from resnetkit.types import UserError

REQUIRED = ("path", "label")


@dataclass(frozen=True, kw_only=True)
class _Rows:
    """The table by columns, as text."""

    paths: list[str]
    labels: list[str]
    splits: list[str]


def load_manifest(manifest: Path, splits: Sequence[str]) -> Source:
    """Read columns path, label and (optional) split; paths are relative to the manifest's folder.

    Without a split column every row is training. Classes are the training labels, as numbers if
    all are, else in natural order. Raises `UserError` for missing columns, values or files.
    """
    table = _read_parquet(manifest) if manifest.suffix == ".parquet" else _read_csv(manifest)
    rows = _check_rows(manifest, table)
    if not rows.paths:
        raise UserError(f"{manifest}: the table has no rows; needed is one row per image.")
    present = tuple(name for name in SPLIT_NAMES if name in set(rows.splits))
    class_names = sort_class_names(
        label for label, split in zip(rows.labels, rows.splits, strict=True) if split == present[0]
    )
    return Source(
        location=str(manifest),
        class_names=class_names,
        splits={
            name: _read_split(manifest, rows, class_names, name)
            for name in present
            if name in splits
        },
        present=present,
    )


def _read_split(manifest: Path, rows: _Rows, class_names: tuple[str, ...], split: str) -> Split:
    chosen = [number for number, name in enumerate(rows.splits) if name == split]
    labels = [rows.labels[number] for number in chosen]
    names = [rows.paths[number] for number in chosen]
    files = [manifest.parent / name for name in names]
    missing = [name for name, file in zip(names, files, strict=True) if not file.is_file()]
    if missing:
        shown = ", ".join(map(repr, missing[:5])) + (", …" if missing[5:] else "")
        raise UserError(
            f"{manifest}: {len(missing)} of {len(files)} files of the {split} split are not there: "
            f"{shown}. Paths are relative to {manifest.parent}; correct them or remove the rows."
        )
    return Split(
        labels=encode_labels(labels, class_names, str(manifest), split),
        names=names,
        encoded=files,
    )


def _check_rows(manifest: Path, table: dict[str, list[Any]]) -> _Rows:
    paths = [_text(value) for value in table["path"]]
    labels = [_text(value) for value in table["label"]]
    given = [_text(value).lower() for value in table.get("split", ["train"] * len(paths))]
    for column, values in (("path", paths), ("label", labels)):
        if "" in values:
            raise UserError(
                f"{manifest}: row {values.index('') + 1} (without the header) has no {column}; "
                "every image needs one."
            )
    splits = [SPLIT_ALIASES.get(name, "") for name in given]
    if "" in splits:
        row = splits.index("")
        raise UserError(
            f"{manifest}: row {row + 1} (without the header) has the split {given[row]!r}; needed "
            f"is one of {', '.join(SPLIT_ALIASES)}."
        )
    return _Rows(paths=paths, labels=labels, splits=splits)


def _text(value: Any) -> str:
    """A cell as text; pandas writes whole numbers as 1.0 where a column once had gaps."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()


def _read_csv(manifest: Path) -> dict[str, list[Any]]:
    try:
        with manifest.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            columns = [name.strip() for name in reader.fieldnames or []]
            _check_columns(manifest, columns)
            reader.fieldnames = columns
            rows = list(reader)
    except UnicodeDecodeError as error:
        raise UserError(
            f"{manifest}: not text in UTF-8 (byte {error.start}); save the table as CSV in UTF-8."
        ) from None
    except csv.Error as error:
        raise UserError(f"{manifest}: not a CSV table: {error}.") from None
    long = next(
        (number for number, row in enumerate(rows, 1) if None in row), None
    )  # csv keeps them under None
    if long is not None:
        raise UserError(
            f"{manifest}: row {long} (without the header) has more values than the header has "
            'columns; put values that contain a comma in "double quotes".'
        )
    return {name: [row[name] for row in rows] for name in columns}


def _read_parquet(manifest: Path) -> dict[str, list[Any]]:
    import pyarrow
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(manifest) as file:
            columns = file.schema_arrow.names
            _check_columns(manifest, columns)
            table = file.read(columns=[c for c in (*REQUIRED, "split") if c in columns])
    except (pyarrow.ArrowException, OSError) as error:
        raise UserError(f"{manifest}: not a whole parquet file ({error}).") from None
    return table.to_pydict()


def _check_columns(manifest: Path, columns: list[str]) -> None:
    missing = [name for name in REQUIRED if name not in columns]
    if missing:
        raise UserError(
            f"{manifest}: the column(s) {', '.join(missing)} are missing; needed are path, "
            "label and optionally split, the columns found are "
            f"{', '.join(map(repr, columns)) or 'none'}. Rename or add them."
        )
