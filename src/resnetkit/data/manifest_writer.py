"""Writing a manifest: whole or not at all, in blocks of rows, as Parquet or CSV."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from resnetkit.data.columns import NO_FILE
from resnetkit.data.content import is_known
from resnetkit.data.manifest_cells import METADATA_KEY, ROWS
from resnetkit.data.manifest_table import NONE, ManifestTable
from resnetkit.data.source_types import SPLIT_NAMES
from resnetkit.runtime import write_file_atomically
from resnetkit.types import UserError

VERSION = 1


def write_manifest_table(path: Path, table: ManifestTable) -> ManifestTable:
    """Write `table` to `path`, a .parquet or .csv file; gives it back with the file's digest.

    CSV keeps neither the order of the classes nor how the table came about. Raises `UserError` for
    other endings and for what CSV cannot hold.
    """
    writers: dict[str, Callable[[ManifestTable], bytes]] = {".parquet": _parquet, ".csv": _csv}
    if path.suffix.lower() not in writers:
        raise UserError(f"{path}: a manifest is a .parquet or .csv file; got {path.suffix!r}.")
    if path.is_dir():
        raise UserError(f"{path}: this is a folder; give a file for the manifest.")
    content = writers[path.suffix.lower()](table)
    write_file_atomically(path, content)
    return replace(table, digest=hashlib.sha256(content).hexdigest())


def _parquet(table: ManifestTable) -> bytes:
    import pyarrow
    from pyarrow import parquet

    kinds = _kinds(table)
    schema = pyarrow.schema(list(kinds.items()), metadata={METADATA_KEY: _metadata(table)})
    buffer = io.BytesIO()
    with parquet.ParquetWriter(buffer, schema, compression="zstd") as writer:
        for columns in _blocks(table):
            arrays = [pyarrow.array(columns[name], kind) for name, kind in kinds.items()]
            writer.write_table(pyarrow.Table.from_arrays(arrays, schema=schema))
    return buffer.getvalue()


def _kinds(table: ManifestTable) -> dict[str, Any]:
    """The Arrow type of each column the table has."""
    import pyarrow

    text, number = pyarrow.string(), pyarrow.int64()
    kinds = {
        "path": text,
        "split": text if table.splits is not None else None,
        "label": pyarrow.list_(text) if table.task == "multi-label" else text,
        "sha256": text if table.sha256 is not None else None,
        "bytes": number if table.sizes is not None else None,
        "modified_ns": number if table.modified_ns is not None else None,
        "findings": pyarrow.list_(text) if table.findings is not None else None,
        "exclude": pyarrow.bool_(),
        "group": number if table.group is not None else None,
        "fold": number if table.fold is not None else None,
        "soft_label": pyarrow.list_(pyarrow.float32()) if table.soft_labels is not None else None,
    }
    return {name: kind for name, kind in kinds.items() if kind is not None}


def _metadata(table: ManifestTable) -> str:
    return json.dumps(
        {
            "version": VERSION,
            "class_names": table.class_names,
            "source": table.source,
            "task": table.task,
            "checked": table.checked,
            "notes": dict(table.notes),
        },
        allow_nan=False,
    )


def _blocks(table: ManifestTable) -> Iterator[dict[str, list[Any]]]:
    """The rows as Python values by column, some at a time; None is an empty cell."""
    names = np.array([*table.class_names, None], dtype=object)
    for start in range(0, len(table), ROWS):
        rows = slice(start, min(start + ROWS, len(table)))
        columns: dict[str, list[Any]] = {
            "path": list(table.paths[rows]),
            "label": _label_cells(table, rows, names),
            "exclude": table.exclude[rows].tolist(),
        }
        if table.splits is not None:
            columns["split"] = np.array(SPLIT_NAMES, dtype=object)[table.splits[rows]].tolist()
        if table.sha256 is not None:
            columns["sha256"] = _hash_cells(table.sha256[rows])
        if table.findings is not None:
            columns["findings"] = [list(kinds) for kinds in table.findings[rows]]
        if table.soft_labels is not None:
            soft = table.soft_labels[rows]
            known = ~np.isnan(soft).any(axis=1)
            columns["soft_label"] = [
                label.tolist() if there else None for label, there in zip(soft, known, strict=True)
            ]
        missing = {"bytes": NO_FILE, "modified_ns": None, "group": NONE, "fold": NONE}
        values = (table.sizes, table.modified_ns, table.group, table.fold)
        for (name, none), array in zip(missing.items(), values, strict=True):
            if array is not None:
                cells: list[int] = array[rows].tolist()
                columns[name] = [None if cell == none else cell for cell in cells]
        yield columns


def _label_cells(table: ManifestTable, rows: slice, names: np.ndarray) -> list[Any]:
    labels = table.labels[rows]
    if table.task == "single-label":
        return names[labels].tolist()
    return [names[np.flatnonzero(row)].tolist() for row in labels]


def _hash_cells(hashes: np.ndarray) -> list[str | None]:
    known = is_known(hashes)
    return [
        row.tobytes().hex() if there else None for row, there in zip(hashes, known, strict=True)
    ]


def _csv(table: ManifestTable) -> bytes:
    if table.task == "multi-label":
        raise UserError(
            "A .csv manifest cannot hold several labels an image; give a name that ends in .parquet"
        )
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    for number, columns in enumerate(_blocks(table)):
        padded = next((path for path in columns["path"] if path != path.strip()), None)
        if padded is not None:
            raise UserError(
                f"A manifest with the name {padded!r}, which begins or ends with a space, is "
                "written as .parquet, not .csv."
            )
        if number == 0:
            writer.writerow(columns)
        cells = [[_cell(value) for value in column] for column in columns.values()]
        writer.writerows(zip(*cells, strict=True))
    return text.getvalue().encode()


def _cell(value: Any) -> Any:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return json.dumps(value) if value and isinstance(value[0], float) else ";".join(value)
    return "" if value is None else value
