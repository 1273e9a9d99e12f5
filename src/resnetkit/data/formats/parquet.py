"""Hugging Face image parquet: one file, or a folder of files named by split and shard."""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import numpy as np

from resnetkit.data.class_names import encode_labels, sort_class_names
from resnetkit.data.source_types import SPLIT_ALIASES, SPLIT_NAMES, Source, Split
from resnetkit.types import UserError

IMAGE_COLUMNS = ("image", "img")
LABEL_COLUMNS = ("label", "labels", "fine_label")  # CIFAR-100 on the hub has fine and coarse ones
_PREFIX = re.compile(rf"({'|'.join(SPLIT_ALIASES)})(?![a-z0-9])", re.IGNORECASE)
_SHARD = re.compile(r"-(\d+)-of-(\d+)\.parquet$")


class BinaryColumn(Sequence[bytes]):
    """An Arrow column of encoded images as a sequence; bytes are made when one is asked for."""

    def __init__(self, chunks: Sequence[Any]) -> None:
        self._chunks = [chunk for chunk in chunks if len(chunk)]
        self._starts = np.cumsum([0, *map(len, self._chunks)]).tolist()

    def __len__(self) -> int:
        return self._starts[-1]

    @overload
    def __getitem__(self, index: int) -> bytes: ...
    @overload
    def __getitem__(self, index: slice) -> list[bytes]: ...
    def __getitem__(self, index: int | slice) -> bytes | list[bytes]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if index < 0:
            index += len(self)
        if not 0 <= index < len(self):
            raise IndexError(index)
        chunk = bisect_right(self._starts, index) - 1
        return self._chunks[chunk][index - self._starts[chunk]].as_py()


@dataclass(frozen=True, kw_only=True)
class _Columns:
    """Where a file keeps images and labels; the names of the labels 0..K-1 if it says them."""

    image: str  # as Arrow selects it: "image.bytes" within a struct
    label: str
    class_names: tuple[str, ...] | None


def has_images(path: Path) -> bool:
    """Whether a parquet file holds encoded images, rather than paths of image files."""
    return _image_column(_read_schema(path)) is not None


def is_parquet(location: Path) -> bool:
    """Whether this is a parquet file with images, or a folder with parquet files."""
    if location.is_file():
        return location.suffix.lower() == ".parquet" and has_images(location)
    return any(any(folder.glob("*.parquet")) for folder in _folders(location))


def load_parquet(location: Path, splits: Sequence[str]) -> Source:
    """Read the `splits` of a parquet file or folder of them; other splits are not opened.

    The split is what a file's name starts with ("train-00000-of-00002.parquet"); files without
    one are training data. Class names come from the schema ("huggingface": ClassLabel names), or
    are the training labels in natural order.
    """
    files = _files_by_split(location)
    reference = next(files[name] for name in SPLIT_NAMES if name in files)
    class_names = _read_columns(reference[0]).class_names or _class_names_of(reference)
    return Source(
        location=str(location),
        class_names=class_names,
        splits={
            name: _read_split(files[name], class_names, name) for name in files if name in splits
        },
        present=tuple(name for name in SPLIT_NAMES if name in files),
    )


def _folders(location: Path) -> tuple[Path, Path]:
    return location, location / "data"  # where the hub keeps a data set's files


def _files_by_split(location: Path) -> dict[str, list[Path]]:
    if location.is_file():
        return {_split_of(location) or "train": [location]}
    found = next(filter(None, (list(folder.glob("*.parquet")) for folder in _folders(location))))
    files: dict[str, list[Path]] = {}
    for path in sorted(found, key=_shard_order):
        files.setdefault(_split_of(path) or "", []).append(path)
    unnamed = files.pop("", [])
    if unnamed and files:
        raise UserError(
            f"{location}: {unnamed[0].name!r} does not say which split it belongs to, other files "
            "do; start its name with train, val or test, or move it away."
        )
    for paths in files.values():
        _check_shards(location, paths)
    return files or {"train": unnamed}


def _split_of(path: Path) -> str | None:
    match = _PREFIX.match(path.name)
    return SPLIT_ALIASES[match[1].lower()] if match else None


def _shard_order(path: Path) -> tuple[str, int, str]:
    match = _SHARD.search(path.name)
    if match is None:
        return path.name, 0, ""
    return path.name[: match.start()], int(match[1]), path.name


def _check_shards(location: Path, paths: list[Path]) -> None:
    shards: dict[tuple[str, int], set[int]] = {}
    for path in paths:
        if match := _SHARD.search(path.name):
            series = path.name[: match.start()], int(match[2])
            shards.setdefault(series, set()).add(int(match[1]))
    for (stem, total), found in shards.items():
        if len(found) < total:
            missing = sorted(set(range(total)) - found)[:5]
            raise UserError(
                f"{location}: of the {total} files {stem}-…-of-{total}.parquet only {len(found)} "
                f"are there, missing is number {', '.join(map(str, missing))}; download it again."
            )


def _read_split(files: list[Path], class_names: tuple[str, ...], split: str) -> Split:
    chunks: list[Any] = []
    labels: list[np.ndarray] = []
    names: list[str] = []
    for path in files:
        columns = _read_columns(path)
        if columns.class_names not in (None, class_names):
            raise UserError(f"{path}: its class names are not those of the training files.")
        table = _read_table(path, [columns.image, columns.label])
        labels.append(_read_labels(table.column(columns.label), columns, class_names, path, split))
        chunks += _image_chunks(table, columns, path)
        names += [f"{path.name}[{row}]" for row in range(table.num_rows)]
    return Split(labels=np.concatenate(labels), names=names, encoded=BinaryColumn(chunks))


def _image_chunks(table: Any, columns: _Columns, path: Path) -> list[Any]:
    column = table.column(columns.image.split(".")[0])
    if "." in columns.image:
        column = table.select([columns.image.split(".")[0]]).flatten().column(columns.image)
    if column.null_count:
        row = column.is_null().to_pylist().index(True)
        raise UserError(
            f"{path}: {column.null_count} row(s) have no image bytes, the first is row {row}; "
            "needed is the encoded image itself, not only its path."
        )
    return column.chunks


def _read_labels(
    column: Any, columns: _Columns, class_names: tuple[str, ...], path: Path, split: str
) -> np.ndarray:
    values = _label_values(column, path)
    if columns.class_names is None:
        return encode_labels([str(value) for value in values], class_names, str(path), split)
    numbers = np.asarray(values)
    outside = (numbers < 0) | (numbers >= len(class_names))
    if outside.any():
        row = int(outside.argmax())
        raise UserError(
            f"{path}: row {row} has the label {numbers[row]}; needed is 0 to "
            f"{len(class_names) - 1}, as the file names {len(class_names)} classes. "
            "A test set with its labels removed cannot be used."
        )
    return numbers.astype(np.int64)


def _label_values(column: Any, path: Path) -> list[int] | list[str]:
    if column.null_count:
        raise UserError(f"{path}: {column.null_count} row(s) have no label; give or remove them.")
    return column.to_pylist()


def _class_names_of(files: list[Path]) -> tuple[str, ...]:
    """The labels that occur, where the schema does not name the classes."""
    labels: set[str] = set()
    for path in files:
        column = _read_columns(path).label
        labels.update(map(str, _label_values(_read_table(path, [column]).column(column), path)))
    return sort_class_names(labels)


def _read_columns(path: Path) -> _Columns:
    from pyarrow import types

    schema = _read_schema(path)
    image = _image_column(schema)
    label = next((name for name in LABEL_COLUMNS if name in schema.names), None)
    if image is None or label is None:
        needed = "an image column (struct of bytes and path)" if image is None else "a label column"
        raise UserError(
            f"{path}: {needed} is needed, named {' or '.join(IMAGE_COLUMNS)} and "
            f"{', '.join(LABEL_COLUMNS)}; the columns are {', '.join(schema.names)}."
        )
    kind = schema.field(label).type
    if types.is_dictionary(kind):
        kind = kind.value_type
    if not (types.is_integer(kind) or types.is_string(kind) or types.is_large_string(kind)):
        raise UserError(f"{path}: column {label!r} must hold whole numbers or text; got {kind}.")
    names = _schema_class_names(schema, label) if types.is_integer(kind) else None
    return _Columns(image=image, label=label, class_names=names)


def _image_column(schema: Any) -> str | None:
    from pyarrow import types

    for name in IMAGE_COLUMNS:
        kind = schema.field(name).type if name in schema.names else None
        if kind is None:
            continue
        if types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
            return f"{name}.bytes"
        if types.is_binary(kind) or types.is_large_binary(kind):
            return name
    return None


def _schema_class_names(schema: Any, label: str) -> tuple[str, ...] | None:
    metadata = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
    names = metadata.get("info", {}).get("features", {}).get(label, {}).get("names")
    return tuple(names) if names else None


def _read_schema(path: Path) -> Any:
    import pyarrow
    from pyarrow import parquet

    try:
        return parquet.read_schema(path)
    except (pyarrow.ArrowException, OSError) as error:
        raise _damaged(path, error) from None


def _read_table(path: Path, columns: list[str]) -> Any:
    import pyarrow
    from pyarrow import parquet

    try:
        # Not parquet.read_table, which would read split names into the folder's ("hive") columns.
        with parquet.ParquetFile(path) as file:
            return file.read(columns=columns)
    except (pyarrow.ArrowException, OSError) as error:
        raise _damaged(path, error) from None


def _damaged(path: Path, error: Exception) -> UserError:
    return UserError(f"{path}: not a whole parquet file ({error}); copy or download it again.")
