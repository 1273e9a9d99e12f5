"""Columns of a million names or files in a few bytes each; a str or Path is made when asked for."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import overload

import numpy as np

CHUNK = 1 << 16  # texts that exist as Python strings at one time
NO_FILE = -1  # the size of a file that is not there, or may not be seen


class TextColumn(Sequence[str]):
    """Texts in one buffer: 16 bytes each beside their UTF-8; `take` shares the buffer.

    It compares as the list of its texts would. `pack_texts` makes one.
    """

    def __init__(self, data: bytes, starts: np.ndarray, stops: np.ndarray) -> None:
        self._data, self._starts, self._stops = data, starts, stops

    def __len__(self) -> int:
        return len(self._starts)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> TextColumn: ...
    def __getitem__(self, index: int | slice) -> str | TextColumn:
        if isinstance(index, slice):
            return TextColumn(self._data, self._starts[index], self._stops[index])
        part = self._data[int(self._starts[index]) : int(self._stops[index])]
        return part.decode("utf-8", "surrogateescape")

    def __iter__(self) -> Iterator[str]:
        for part in self.encoded():
            yield part.decode("utf-8", "surrogateescape")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or isinstance(other, str | bytes):
            return NotImplemented
        return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]  # as of a list

    def encoded(self) -> Iterator[bytes]:
        """Each text in UTF-8; bytes that were not Unicode in a file's name come back as they were.

        The start and stop of each are made Python numbers in chunks: one by one would take seconds.
        """
        for first in range(0, len(self), CHUNK):
            starts: list[int] = self._starts[first : first + CHUNK].tolist()
            stops: list[int] = self._stops[first : first + CHUNK].tolist()
            yield from (self._data[a:b] for a, b in zip(starts, stops, strict=True))

    def take(self, indices: np.ndarray) -> TextColumn:
        """The texts at `indices` int64 [M], in that order."""
        return TextColumn(self._data, self._starts[indices], self._stops[indices])


class FileColumn(Sequence[Path]):
    """Files below `root` (or anywhere, by absolute name): a Path is made when one is asked for."""

    def __init__(self, root: str, names: TextColumn) -> None:
        self.root, self.names = root, names

    def __len__(self) -> int:
        return len(self.names)

    @overload
    def __getitem__(self, index: int) -> Path: ...
    @overload
    def __getitem__(self, index: slice) -> FileColumn: ...
    def __getitem__(self, index: int | slice) -> Path | FileColumn:
        if isinstance(index, slice):
            return FileColumn(self.root, self.names[index])
        return Path(self.root, self.names[index])

    def __iter__(self) -> Iterator[Path]:
        return (Path(self.root, name) for name in self.names)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence):
            return NotImplemented
        return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]  # as of a list

    def take(self, indices: np.ndarray) -> FileColumn:
        """The files at `indices` int64 [M], in that order."""
        return FileColumn(self.root, self.names.take(indices))

    def facts(self) -> tuple[np.ndarray, np.ndarray]:
        """Each file's size in bytes (`NO_FILE` without one) and time of change in ns: int64 [N]."""
        sizes, times = np.zeros(len(self), np.int64), np.zeros(len(self), np.int64)
        start = os.path.join(self.root, "")  # noqa: PTH118 - a million Paths would take seconds
        for number, name in enumerate(self.names):
            try:
                status = os.stat(name if name.startswith("/") else start + name)  # noqa: PTH116
                sizes[number], times[number] = status.st_size, status.st_mtime_ns
            except OSError:
                sizes[number] = NO_FILE
        return sizes, times


def pack_texts(texts: Iterable[str]) -> TextColumn:
    """`texts` as a column; the strings themselves need not exist all at one time."""
    if isinstance(texts, TextColumn):
        return texts
    iterator = iter(texts)
    buffers: list[bytes] = []
    lengths = [np.zeros(0, np.int64)]
    while chunk := [text.encode("utf-8", "surrogateescape") for text in islice(iterator, CHUNK)]:
        buffers.append(b"".join(chunk))
        lengths.append(np.fromiter(map(len, chunk), np.int64, len(chunk)))
    stops = np.cumsum(np.concatenate(lengths))
    starts = np.concatenate([np.zeros(min(1, len(stops)), np.int64), stops[:-1]])
    return TextColumn(b"".join(buffers), starts, stops)


def concatenate_texts(parts: Sequence[Sequence[str]]) -> TextColumn:
    """Several sequences of texts as one column."""
    columns = [pack_texts(part) for part in parts]
    shifts = np.cumsum([0, *(len(column._data) for column in columns)])[:-1]
    moved = list(zip(columns, shifts, strict=True))
    none = np.zeros(0, np.int64)
    return TextColumn(
        b"".join(column._data for column in columns),
        np.concatenate([none, *(column._starts + shift for column, shift in moved)]),
        np.concatenate([none, *(column._stops + shift for column, shift in moved)]),
    )


def take_texts(texts: Sequence[str], indices: np.ndarray) -> Sequence[str]:
    """The texts at `indices`: a column of a column, a list of anything else."""
    if isinstance(texts, TextColumn):
        return texts.take(indices)
    positions: list[int] = indices.tolist()
    return [texts[position] for position in positions]


def encode_texts(texts: Sequence[str]) -> Iterator[bytes]:
    """Each text in UTF-8, see `TextColumn.encoded`."""
    if isinstance(texts, TextColumn):
        return texts.encoded()
    return (text.encode("utf-8", "surrogateescape") for text in texts)


def text_keys(texts: Sequence[str]) -> np.ndarray:
    """A number for each text that depends on nothing else: uint64 [N], of BLAKE2b."""
    encoded = encode_texts(texts)
    keys = np.empty(len(texts), "<u8")
    for first in range(0, len(texts), CHUNK):
        part = islice(encoded, CHUNK)
        digests = b"".join(hashlib.blake2b(text, digest_size=8).digest() for text in part)
        keys[first : first + CHUNK] = np.frombuffer(digests, dtype="<u8")
    return keys
