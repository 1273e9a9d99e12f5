"""The cells of a manifest: read in blocks of rows, checked, and packed into arrays."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from resnetkit.data.source_types import SPLIT_ALIASES, SPLIT_NAMES
from resnetkit.types import UserError

ROWS = 1 << 16  # rows that exist as Python objects at one time
HASH_BYTES = 32
SHOWN = 12  # columns in a message
METADATA_KEY = b"resnetkit"
_FLAGS = (
    {"": False, "0": False, "no": False, "false": False} | {"1": True, "yes": True} | {"true": True}
)
_LARGEST_DEVIATION = 1e-3  # of a soft label's sum from 1: labels may have been rounded


@dataclass(frozen=True, kw_only=True)
class Block:
    """Some rows of a manifest by columns; `first` is the number of its first row, from 1."""

    manifest: Path
    first: int
    columns: dict[str, list[Any]]

    def mistake(self, row: int, problem: str) -> UserError:
        """The error that names row `row` of this block."""
        return UserError(f"{self.manifest}: row {self.first + row} (without the header) {problem}")


class Codes:
    """Texts as numbers, in the order in which they first come."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}

    def __call__(self, texts: list[str]) -> np.ndarray:
        """The number of each text, -1 for an empty one: int64 [n]."""
        numbers = self.numbers
        return np.fromiter(
            (numbers.setdefault(text, len(numbers)) if text else -1 for text in texts),
            np.int64,
            len(texts),
        )


def open_blocks(
    manifest: Path, check: Callable[[list[str]], list[str]]
) -> tuple[dict[str, Any], Iterator[Block]]:
    """A manifest's metadata and its rows; `check` gets the columns there are, gives those to read.

    Raises `UserError` where the file is not a table of its kind.
    """
    if manifest.suffix.lower() not in (".csv", ".parquet"):
        raise UserError(
            f"{manifest}: a manifest is a table whose name ends in .csv or .parquet; "
            f"{manifest.suffix or 'no ending'} came. Give such a file, or rename it"
        )
    if manifest.suffix.lower() == ".parquet":
        return _open_parquet(manifest, check)
    return {}, _csv_blocks(manifest, check)


def _open_parquet(
    manifest: Path, check: Callable[[list[str]], list[str]]
) -> tuple[dict[str, Any], Iterator[Block]]:
    import pyarrow
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(manifest) as file:
            schema = file.schema_arrow
            text = (schema.metadata or {}).get(METADATA_KEY, b"{}")
    except (pyarrow.ArrowException, OSError) as error:
        raise _damaged(manifest, error) from None
    return json.loads(text), _parquet_blocks(manifest, check(schema.names))


def _parquet_blocks(manifest: Path, columns: list[str]) -> Iterator[Block]:
    import pyarrow
    from pyarrow import parquet

    first = 1
    try:
        with parquet.ParquetFile(manifest) as file:
            for batch in file.iter_batches(batch_size=ROWS, columns=columns):
                yield Block(manifest=manifest, first=first, columns=batch.to_pydict())
                first += batch.num_rows
    except (pyarrow.ArrowException, OSError) as error:
        raise _damaged(manifest, error) from None


def _damaged(manifest: Path, error: Exception) -> UserError:
    return UserError(f"{manifest}: not a whole parquet file ({error}).")


def _csv_blocks(manifest: Path, check: Callable[[list[str]], list[str]]) -> Iterator[Block]:
    try:
        with manifest.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file)
            header = [name.strip() for name in next(reader, [])]
            wanted = [(name, header.index(name)) for name in check(header)]
            rows = (
                row for row in reader if row
            )  # as csv.DictReader, which passes blank lines over
            first = 1
            while chunk := list(islice(rows, ROWS)):
                _refuse_long_rows(Block(manifest=manifest, first=first, columns={}), chunk, header)
                columns = {
                    name: [row[place].strip() if place < len(row) else "" for row in chunk]
                    for name, place in wanted
                }
                yield Block(manifest=manifest, first=first, columns=columns)
                first += len(chunk)
    except UnicodeDecodeError as error:
        raise UserError(
            f"{manifest}: not text in UTF-8 (byte {error.start}); save the table as CSV in UTF-8."
        ) from None
    except csv.Error as error:
        raise UserError(f"{manifest}: not a CSV table: {error}.") from None


def _refuse_long_rows(block: Block, rows: list[list[str]], header: list[str]) -> None:
    long = next((number for number, row in enumerate(rows) if len(row) > len(header)), None)
    if long is not None:
        raise block.mistake(
            long,
            "has more values than the header has columns; put values that contain a comma in "
            '"double quotes".',
        )


def list_columns(columns: list[str]) -> str:
    """The first columns of a table, for a message."""
    more = f" and {len(columns) - SHOWN} more" if len(columns) > SHOWN else ""
    return (", ".join(map(repr, columns[:SHOWN])) or "none") + more


def read_texts(block: Block, column: str, required: bool = True) -> list[str]:
    """The cells as text; refuses an empty one where `required`."""
    texts = [_text(value) for value in block.columns[column]]
    if column != "path":  # a file's name may end in a space
        texts = [text.strip() for text in texts]
    if required and "" in texts:
        raise block.mistake(texts.index(""), f"has no {column}; every image needs one.")
    return texts


def read_lists(block: Block, column: str) -> list[tuple[str, ...]]:
    """Lists of texts; in CSV the texts are divided by ';'. Equal lists are one object."""
    known: dict[tuple[str, ...], tuple[str, ...]] = {}
    lists = []
    for value in block.columns[column]:
        parts = value.split(";") if isinstance(value, str) else value or ()
        texts = tuple(part for part in map(_text, parts) if part)
        lists.append(known.setdefault(texts, texts))
    return lists


def read_splits(block: Block) -> np.ndarray:
    """Positions in `SPLIT_NAMES`: int8 [n]; an empty cell is refused."""
    given = [_text(value).strip().lower() for value in block.columns["split"]]
    splits = [SPLIT_ALIASES.get(name, "") for name in given]
    if "" in splits:
        row = splits.index("")
        raise block.mistake(
            row,
            f"has the split {given[row]!r}; needed is one of {', '.join(SPLIT_ALIASES)}.",
        )
    return np.fromiter(map(SPLIT_NAMES.index, splits), np.int8, len(splits))


def read_hashes(block: Block) -> np.ndarray:
    """SHA-256 from its 64 hexadecimal digits: uint8 [n,32], zeros for an empty cell."""
    texts = [_text(value) for value in block.columns["sha256"]]
    for row, text in enumerate(texts):
        if text and len(text) != 2 * HASH_BYTES:
            raise _no_hash(block, row, text)
    try:
        joined = bytes.fromhex("".join(text or "0" * (2 * HASH_BYTES) for text in texts))
    except ValueError:
        row = next(
            row for row, text in enumerate(texts) if set(text.lower()) - set("0123456789abcdef")
        )
        raise _no_hash(block, row, texts[row]) from None
    return np.frombuffer(joined, np.uint8).reshape(-1, HASH_BYTES)


def _no_hash(block: Block, row: int, text: str) -> UserError:
    return block.mistake(
        row, f"has the sha256 {text[:70]!r}; needed are 64 hexadecimal digits, or nothing."
    )


def read_numbers(block: Block, column: str, missing: int) -> np.ndarray:
    """Whole numbers from 0: int64 [n], `missing` for an empty cell."""
    values = block.columns[column]
    numbers = np.full(len(values), missing, np.int64)
    for row, value in enumerate(values):
        text = _text(value)
        if not text:
            continue
        if not (text.isascii() and text.isdigit()):
            raise block.mistake(
                row, f"has the {column} {text!r}; needed is a whole number from 0, or nothing."
            )
        numbers[row] = int(text)
    return numbers


def read_flags(block: Block, column: str) -> np.ndarray:
    """Yes or no: bool [n]; an empty cell is no."""
    texts = [_text(value).lower() for value in block.columns[column]]
    unknown = next((row for row, text in enumerate(texts) if text not in _FLAGS), None)
    if unknown is not None:
        raise block.mistake(
            unknown, f"has {column} {texts[unknown]!r}; needed is true or false, or nothing."
        )
    return np.fromiter(map(_FLAGS.__getitem__, texts), bool, len(texts))


def read_soft_labels(block: Block, count: int, sums_to_one: bool) -> np.ndarray:
    """Soft labels over `count` classes: float32 [n,count], a row of NaN for an empty cell.

    In CSV a cell is a JSON list. Refused are other lengths, values outside 0…1 and, with
    `sums_to_one`, sums that are not 1 (to 0.001); the rest is brought to exactly 1.
    """
    labels = np.full((len(block.columns["soft_label"]), count), np.nan, np.float32)
    for row, value in enumerate(block.columns["soft_label"]):
        if value is None or value == "":
            continue
        label = _numbers(value)
        if label is None:
            raise block.mistake(
                row,
                f"has the soft_label {str(value)[:70]!r}; needed is a JSON list with a number for "
                'each class in their order, in CSV with quotes: "[0.9, 0.1]"; or nothing.',
            )
        if len(label) != count:
            raise block.mistake(
                row,
                f"has a soft_label of {len(label)}; needed are {count} numbers, one for each class "
                "in their order.",
            )
        if not ((label >= 0) & (label <= 1)).all():  # NaN is neither
            raise block.mistake(row, "has a soft_label with values outside 0 to 1.")
        if sums_to_one and abs(label.sum() - 1) > _LARGEST_DEVIATION:
            raise block.mistake(
                row, f"has a soft_label that sums to {label.sum():.4g}; needed is 1: divide by it."
            )
        labels[row] = label / label.sum() if sums_to_one else label
    return labels


def soft_label_length(block: Block) -> int | None:
    """How many numbers the first soft label of the block has; None where there is none."""
    given = (value for value in block.columns["soft_label"] if value is not None and value != "")
    label = next(map(_numbers, given), None)
    return None if label is None else len(label)


def _numbers(value: Any) -> np.ndarray | None:
    try:
        label = np.asarray(json.loads(value) if isinstance(value, str) else value, np.float64)
    except (ValueError, TypeError):
        return None
    return label if label.ndim == 1 else None


def _text(value: Any) -> str:
    """A cell as text; pandas writes whole numbers as 1.0 where a column once had gaps."""
    if isinstance(value, str):
        return value
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)
