"""Hugging Face data sets by name, through their own library, which is an extra: `hf:NAME[:CONFIG]`.

https://huggingface.co/docs/datasets
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import numpy as np

from resnetkit.data.class_names import encode_labels, sort_class_names
from resnetkit.data.columns import pack_texts
from resnetkit.data.formats.parquet import IMAGE_COLUMNS, LABEL_COLUMNS
from resnetkit.data.source_types import SPLIT_ALIASES, SPLIT_NAMES, Source, Split
from resnetkit.types import Task, UserError


class HubImages(Sequence[Path | bytes]):
    """The images of a `datasets.Dataset`, still encoded: its table stays on the disk."""

    def __init__(self, rows: Any, column: str) -> None:
        self._rows, self._column = rows, column

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, index: int) -> Path | bytes: ...
    @overload
    def __getitem__(self, index: slice) -> list[Path | bytes]: ...
    def __getitem__(self, index: int | slice) -> Path | bytes | list[Path | bytes]:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        stored = self._rows[int(index)][self._column]
        return Path(stored["path"]) if stored["bytes"] is None else stored["bytes"]


@dataclass(frozen=True, kw_only=True)
class _Columns:
    image: str
    label: str
    class_names: tuple[str, ...] | None  # where the labels are numbers of named classes
    task: Task  # "multi-label" where each row has a list of labels


def load_huggingface(name: str, splits: Sequence[str]) -> Source:
    """Read the `splits` of data set `name` ("beans", "uoft-cs/cifar100", with ":CONFIG" or not).

    It is downloaded once, as a whole, into the library's own cache, and found there without a
    network from then on; the rows of other splits are not opened. Code from the hub never runs.
    Labels are class numbers, text, or a list of class numbers ("multi-label").
    """
    location = f"hf:{name}"
    datasets = _import_datasets(location)
    builder = _prepare(datasets, name, location)
    hub_names = {
        SPLIT_ALIASES[s.lower()]: s for s in builder.info.splits if s.lower() in SPLIT_ALIASES
    }
    present = tuple(split for split in SPLIT_NAMES if split in hub_names)
    if not present:
        raise UserError(
            f"{location}: none of its splits is called {', '.join(SPLIT_ALIASES)}; it has "
            f"{', '.join(builder.info.splits) or 'none'}."
        )
    columns = _find_columns(datasets, builder.info.features, location)
    tables = {
        split: builder.as_dataset(split=hub_names[split]) for split in present if split in splits
    }
    class_names = columns.class_names
    if class_names is None:
        reference = tables.get(present[0])
        reference = (
            builder.as_dataset(split=hub_names[present[0]]) if reference is None else reference
        )
        class_names = sort_class_names(_label_texts(reference, columns.label, location))
    return Source(
        location=location,
        class_names=class_names,
        splits={
            split: _build_split(datasets, rows, columns, class_names, f"{location} ({split})")
            for split, rows in tables.items()
        },
        present=present,
        task=columns.task,
    )


def _import_datasets(location: str) -> Any:
    try:
        return importlib.import_module("datasets")
    except ModuleNotFoundError as error:
        if error.name != "datasets":
            raise
    raise UserError(f"{location}: this needs the library datasets: pip install 'resnetkit[hf]'.")


def _prepare(datasets: Any, name: str, location: str) -> Any:
    hub_name, _, config = name.partition(":")
    try:
        builder = datasets.load_dataset_builder(hub_name, config or None)
        builder.download_and_prepare()
    except Exception as error:  # network, hub, cache and every file format raise their own kinds
        reason = f"{type(error).__name__}: {error}".strip()
        raise UserError(
            f"{location}: cannot be loaded. {reason}\nNeeded is hf:NAME or hf:NAME:CONFIG of a "
            "data set on huggingface.co, and a network the first time; from then on it is found in "
            "the cache, also with HF_HUB_OFFLINE=1."
        ) from None
    return builder


def _find_columns(datasets: Any, features: Any, location: str) -> _Columns:
    images = [name for name, kind in features.items() if isinstance(kind, datasets.Image)]
    labels = [name for name, kind in features.items() if _class_label(datasets, kind) is not None]
    image = next((name for name in (*IMAGE_COLUMNS, *images) if name in images), None)
    label = next((name for name in (*LABEL_COLUMNS, *labels) if name in features), None)
    if image is None or label is None:
        raise UserError(
            f"{location}: needed are a column of images and one of labels, called "
            f"{', '.join(LABEL_COLUMNS)} or of the type ClassLabel; the columns are "
            f"{', '.join(features)}."
        )
    kind = _class_label(datasets, features[label])
    several = kind is not None and not isinstance(features[label], datasets.ClassLabel)
    return _Columns(
        image=image,
        label=label,
        class_names=None if kind is None else tuple(kind.names),
        task="multi-label" if several else "single-label",
    )


def _class_label(datasets: Any, kind: Any) -> Any:
    """The ClassLabel that a column has, or has a list of."""
    inner = kind[0] if isinstance(kind, list) else getattr(kind, "feature", kind)
    return inner if isinstance(inner, datasets.ClassLabel) else None


def _build_split(
    datasets: Any, rows: Any, columns: _Columns, class_names: tuple[str, ...], where: str
) -> Split:
    values = _label_values(rows, columns.label, where)
    if columns.task == "multi-label":
        labels = _indicators(values, class_names, where)
    elif columns.class_names is None:
        labels = encode_labels(_label_texts(rows, columns.label, where), class_names, where, where)
    else:
        labels = np.array(values, np.int64)
        _refuse_outside(labels, np.arange(len(labels)), class_names, where)
    images = rows.select_columns([columns.image]).cast_column(
        columns.image, datasets.Image(decode=False)
    )
    if missing := images.data.column(columns.image).null_count:
        raise UserError(f"{where}: {missing} row(s) have no image; needed is one in every row.")
    return Split(
        labels=labels,
        names=pack_texts(f"{rows.split}[{row}]" for row in range(len(rows))),
        encoded=HubImages(images, columns.image),
    )


def _label_values(rows: Any, column: str, where: str) -> list[Any]:
    values = rows.select_columns([column]).with_format("arrow")[:].column(column)
    if values.null_count:
        raise UserError(f"{where}: {values.null_count} row(s) have no label; choose another split.")
    return values.to_pylist()


def _label_texts(rows: Any, column: str, where: str) -> list[str]:
    values = _label_values(rows, column, where)
    if strange := [value for value in values if not isinstance(value, int | str)]:
        raise UserError(
            f"{where}: the column {column!r} holds {strange[0]!r}; needed are whole numbers, text, "
            "or lists of the type ClassLabel, which says what all classes are."
        )
    return [str(value) for value in values]


def _indicators(values: list[list[int]], class_names: tuple[str, ...], where: str) -> np.ndarray:
    """Float32 [N,K]: 1 for each class in a row's list."""
    rows = np.repeat(np.arange(len(values)), [len(row) for row in values])
    numbers = np.array([number for row in values for number in row], np.int64)
    _refuse_outside(numbers, rows, class_names, where)
    labels = np.zeros((len(values), len(class_names)), np.float32)
    labels[rows, numbers] = 1
    return labels


def _refuse_outside(
    numbers: np.ndarray, rows: np.ndarray, class_names: tuple[str, ...], where: str
) -> None:
    outside = np.flatnonzero((numbers < 0) | (numbers >= len(class_names)))
    if len(outside):
        raise UserError(
            f"{where}: row {rows[outside[0]]} has the label {numbers[outside[0]]}; needed is 0 to "
            f"{len(class_names) - 1}. A test set with its labels removed cannot be used."
        )
