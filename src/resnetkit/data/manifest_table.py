"""Manifests of the data gate: which images there are, how they are split, what is wrong with them.

A Parquet file (or CSV) with a row for each image. `check` and `split` write it, `overlay` lays it
over the source it describes, `formats.manifest` reads one that is itself the source.
"""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from resnetkit.data.class_names import sort_class_names
from resnetkit.data.columns import NO_FILE, TextColumn, concatenate_texts, pack_texts, text_keys
from resnetkit.data.content import file_facts
from resnetkit.data.manifest_cells import (
    Block,
    Codes,
    list_columns,
    open_blocks,
    read_flags,
    read_hashes,
    read_lists,
    read_numbers,
    read_soft_labels,
    read_splits,
    read_texts,
    soft_label_length,
)
from resnetkit.data.source_types import SPLIT_NAMES, Source
from resnetkit.data.splits import concatenate
from resnetkit.types import Task, UserError

REQUIRED = ("path", "label")
OPTIONAL = ("split", "sha256", "bytes", "modified_ns", "findings", "exclude", "group", "fold")
SOFT_LABEL = "soft_label"
NONE = -1  # no group, no fold, no class


@dataclass(frozen=True, kw_only=True, eq=False)
class ManifestTable:
    """A manifest by columns; row i describes the image `paths[i]`, its name in its source.

    Columns that are None were not given. `labels` are positions in `class_names`, `NONE` only where
    excluded; of a multi-label task indicators. `checked` says that every image has been decoded.
    """

    class_names: tuple[str, ...]
    paths: TextColumn
    labels: np.ndarray  # [N] int64, or [N,K] float32
    splits: np.ndarray | None = None  # [N] int8, positions in SPLIT_NAMES
    sha256: np.ndarray | None = None  # [N,32] uint8; zeros where unknown
    sizes: np.ndarray | None = None  # [N] int64, bytes; NO_FILE where unknown
    modified_ns: np.ndarray | None = None  # [N] int64; 0 where there is no file
    findings: Sequence[tuple[str, ...]] | None = None
    exclude: np.ndarray  # [N] bool
    group: np.ndarray | None = None  # [N] int64, NONE for an image in no group
    fold: np.ndarray | None = None  # [N] int64, NONE for an image in no fold
    soft_labels: np.ndarray | None = None  # [N,K] float32; a row of NaN where there is none
    task: Task = "single-label"
    source: str = ""
    checked: bool = False
    notes: Mapping[str, Any] = field(default_factory=dict)  # JSON-safe: how it came about
    digest: str = ""  # SHA-256 of the file it was read from

    def __post_init__(self) -> None:
        for name in ("labels", "splits", "sha256", "sizes", "modified_ns", "findings", "exclude"):
            column = getattr(self, name)
            assert column is None or len(column) == len(self.paths), name

    def __len__(self) -> int:
        return len(self.paths)


def tabulate(source: Source) -> ManifestTable:
    """The table of a source's images in the splits it has, before any check: without hashes."""
    assert set(source.splits) == set(source.present), "all splits are read"
    parts = {name: source.splits[name] for name in SPLIT_NAMES if name in source.splits}
    whole = concatenate(list(parts.values()))
    sizes, times = file_facts(whole)
    soft = whole.labels if whole.labels.ndim == 2 and source.task == "single-label" else None
    numbers = [SPLIT_NAMES.index(name) for name in parts]
    return ManifestTable(
        class_names=source.class_names,
        paths=pack_texts(whole.names),
        labels=whole.class_numbers if source.task == "single-label" else whole.labels,
        splits=np.repeat(np.array(numbers, np.int8), [len(part) for part in parts.values()]),
        sizes=sizes,
        modified_ns=times,
        exclude=np.zeros(len(whole), bool),
        soft_labels=soft,
        task=source.task,
        source=source.location,
    )


def read_manifest_table(manifest: Path) -> ManifestTable:
    """Read and check a manifest; of its columns only path and label are required.

    Class names are those the file records, else the labels that occur, in natural order. Raises
    `UserError` for columns or values that are missing or not what they should be, by row.
    """
    if not manifest.is_file():
        raise UserError(f"{manifest}: there is no such manifest; check the path.")
    metadata, blocks = open_blocks(manifest, lambda columns: _known_columns(manifest, columns))
    reader = _Reader(manifest, metadata)
    for block in blocks:
        reader.add(block)
    table = reader.finish()
    if not len(table):
        raise UserError(f"{manifest}: the table has no rows; needed is one row per image.")
    _refuse_duplicates(manifest, table.paths)
    return table


def read_group_column(manifest: Path, column: str) -> np.ndarray:
    """Any column of a manifest as group numbers: int64 [N], equal cells equal, `NONE` if empty."""

    def check(columns: list[str]) -> list[str]:
        if column not in columns:
            near = difflib.get_close_matches(column, columns, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise UserError(
                f"{manifest}: there is no column {column!r} to group by; the columns are "
                f"{list_columns(columns)}.{hint}"
            )
        return [column]

    codes = Codes()
    _, blocks = open_blocks(manifest, check)
    parts = [codes(read_texts(block, column, required=False)) for block in blocks]
    return np.concatenate([np.zeros(0, np.int64), *parts])


class _Reader:
    """Packs one block of rows after the other, so that few rows exist as Python objects."""

    def __init__(self, manifest: Path, metadata: Mapping[str, Any]) -> None:
        self._manifest, self._metadata = manifest, metadata
        self._task: Task = metadata.get("task", "single-label")
        self._closed = "class_names" in metadata  # labels other than these are mistakes
        self._codes = Codes()
        self._codes(list(metadata.get("class_names", ())))
        self._groups = Codes()
        self._soft_count = len(self._codes.numbers) or None
        self._parts: dict[str, list[Any]] = {}

    def add(self, block: Block) -> None:
        """Check and pack the rows of `block`."""
        for name in block.columns:
            self._parts.setdefault(name, []).append(self._read(block, name))

    def _read(self, block: Block, name: str) -> Any:
        readers: dict[str, Callable[[Block], Any]] = {
            "path": lambda block: pack_texts(read_texts(block, "path")),
            "label": self._read_labels,
            "split": read_splits,
            "sha256": read_hashes,
            "bytes": lambda block: read_numbers(block, "bytes", NO_FILE),
            "modified_ns": lambda block: read_numbers(block, "modified_ns", 0),
            "findings": lambda block: read_lists(block, "findings"),
            "exclude": lambda block: read_flags(block, "exclude"),
            "group": self._read_groups,
            "fold": lambda block: read_numbers(block, "fold", NONE),
            "soft_label": self._read_soft_labels,
        }
        return readers[name](block)

    def _read_labels(self, block: Block) -> Any:
        many = self._task == "multi-label"
        lists = read_lists(block, "label") if many else None
        texts = [] if many else read_texts(block, "label", required="exclude" not in block.columns)
        if "exclude" in block.columns and not many:
            kept = ~read_flags(block, "exclude")
            bare = next((row for row, text in enumerate(texts) if not text and kept[row]), None)
            if bare is not None:
                raise block.mistake(bare, "has no label; every image needs one.")
        if self._closed:
            for row, names in enumerate(lists or [(text,) for text in texts]):
                self._refuse_unknown(block, row, names)
        return (
            self._codes(texts) if lists is None else [self._codes(list(names)) for names in lists]
        )

    def _refuse_unknown(self, block: Block, row: int, names: tuple[str, ...]) -> None:
        for name in names:
            if name and name not in self._codes.numbers:
                near = difflib.get_close_matches(name, self._codes.numbers, n=1)
                hint = f" Did you mean {near[0]!r}?" if near else ""
                raise block.mistake(
                    row, f"has the label {name!r}, which is none of the manifest's classes.{hint}"
                )

    def _read_groups(self, block: Block) -> np.ndarray:
        values = block.columns["group"]
        if any(isinstance(value, str) for value in values):
            return self._groups(read_texts(block, "group", required=False))
        return read_numbers(block, "group", NONE)

    def _read_soft_labels(self, block: Block) -> np.ndarray:
        if self._soft_count is None:
            self._soft_count = soft_label_length(block)
        return read_soft_labels(block, self._soft_count or 0, self._task == "single-label")

    def finish(self) -> ManifestTable:
        """The table of all rows that were added."""
        parts = self._parts
        found = tuple(self._codes.numbers)
        names = found if self._closed else sort_class_names(found)
        places = np.array([names.index(name) for name in found] + [NONE], np.int64)
        paths = concatenate_texts(parts.pop("path", []))
        labels, findings = parts.pop("label", []), parts.pop("findings", None)
        columns = {name: np.concatenate(part) for name, part in parts.items()}
        soft = columns.get("soft_label")
        if soft is not None and soft.shape[1] not in (0, len(names)):
            raise UserError(
                f"{self._manifest}: the soft labels have {soft.shape[1]} numbers; needed are "
                f"{len(names)}, one for each class: {', '.join(names[:10])}."
            )
        return ManifestTable(
            class_names=names,
            paths=paths,
            labels=_join_labels(labels, places, self._task),
            splits=columns.get("split"),
            sha256=columns.get("sha256"),
            sizes=columns.get("bytes"),
            modified_ns=columns.get("modified_ns"),
            findings=None if findings is None else list(chain.from_iterable(findings)),
            exclude=columns.get("exclude", np.zeros(len(paths), bool)),
            group=columns.get("group"),
            fold=columns.get("fold"),
            soft_labels=soft if soft is not None and soft.shape[1] else None,
            task=self._task,
            source=self._metadata.get("source", ""),
            checked=bool(self._metadata.get("checked")),
            notes=self._metadata.get("notes", {}),
            digest=file_digest(self._manifest),
        )


def _join_labels(parts: list[Any], places: np.ndarray, task: Task) -> np.ndarray:
    """Codes of all blocks as class numbers int64 [N], or as indicators float32 [N,K]."""
    if task == "single-label":
        return places[np.concatenate([np.zeros(0, np.int64), *parts])]
    rows = list(chain.from_iterable(parts))
    indicators = np.zeros((len(rows), len(places) - 1), np.float32)
    for row, codes in enumerate(rows):
        indicators[row, places[codes]] = 1
    return indicators


def _known_columns(manifest: Path, columns: list[str]) -> list[str]:
    missing = [name for name in REQUIRED if name not in columns]
    if missing:
        raise UserError(
            f"{manifest}: the column(s) {', '.join(missing)} are missing; needed are path, "
            "label and optionally split, the columns found are "
            f"{list_columns(columns)}. Rename or add them."
        )
    return [name for name in (*REQUIRED, *OPTIONAL, SOFT_LABEL) if name in columns]


def _refuse_duplicates(manifest: Path, paths: TextColumn) -> None:
    keys = text_keys(paths)
    order = np.argsort(keys, kind="stable")
    same = np.flatnonzero(keys[order][1:] == keys[order][:-1])
    for place in same.tolist():
        first, second = sorted((int(order[place]), int(order[place + 1])))
        if paths[first] == paths[second]:
            raise UserError(
                f"{manifest}: rows {first + 1} and {second + 1} (without the header) have the same "
                f"path {paths[first]!r}; needed is one row per image: remove one of them."
            )


def file_digest(path: Path) -> str:
    """SHA-256 (hex) of a file, by which a package knows the manifest it was trained with."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
