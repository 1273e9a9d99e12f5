"""What every source is read into: labelled images by split, decoded or still encoded."""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, overload

import numpy as np

from resnetkit.data.columns import FileColumn, concatenate_texts, encode_texts, take_texts
from resnetkit.data.encoded import Encoded, identify
from resnetkit.types import Task

if TYPE_CHECKING:  # it imports torch and torchvision, which listing files need not wait for
    from resnetkit.data.packed import PackedImages

SPLIT_NAMES = ("train", "val", "test")
SPLIT_ALIASES = {name: name for name in SPLIT_NAMES} | {"valid": "val", "validation": "val"}


class Selected(Sequence[Encoded]):
    """The encoded images at `indices`, without copying any: a view for `Split.subset`."""

    def __init__(self, base: Sequence[Encoded], indices: np.ndarray) -> None:
        if isinstance(base, Selected):
            base, indices = base._base, base._indices[indices]
        self._base, self._indices = base, indices

    def __len__(self) -> int:
        return len(self._indices)

    @overload
    def __getitem__(self, index: int) -> Encoded: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Encoded]: ...
    def __getitem__(self, index: int | slice) -> Encoded | Sequence[Encoded]:
        if isinstance(index, slice):
            return Selected(self._base, self._indices[index])
        return self._base[int(self._indices[index])]


class Chained(Sequence[Encoded]):
    """Several sequences of encoded images one after the other, without copying any."""

    def __init__(self, parts: Sequence[Sequence[Encoded]]) -> None:
        self._parts = [part for part in parts if len(part)]
        self._starts = np.cumsum([0, *map(len, self._parts)]).tolist()

    def __len__(self) -> int:
        return self._starts[-1]

    @overload
    def __getitem__(self, index: int) -> Encoded: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Encoded]: ...
    def __getitem__(self, index: int | slice) -> Encoded | Sequence[Encoded]:
        if isinstance(index, slice):
            return Selected(self, np.arange(len(self))[index])
        position = range(len(self))[index]
        part = bisect_right(self._starts, position) - 1
        return self._parts[part][position - self._starts[part]]


def chain_encoded(parts: Sequence[Sequence[Encoded]]) -> Sequence[Encoded]:
    """`parts` as one sequence: still a column of files where all are, below one root."""
    files = [part for part in parts if isinstance(part, FileColumn)]
    if len(files) == len(parts) and len({column.root for column in files}) == 1:
        return FileColumn(files[0].root, concatenate_texts([column.names for column in files]))
    return Chained(parts)


@dataclass(frozen=True, kw_only=True, eq=False)
class Split:
    """Labelled images of one split: decoded in `images`, or to be decoded from `encoded`.

    `names` say where each image came from: "cat/001.jpg", "test.parquet[12]", "digits[5]".
    `labels` are class numbers int64 [N], or float32 [N,K] in 0…1: of a single-label source soft
    labels, whose rows sum to 1; of a multi-label source 1 where an image shows the class, else 0.
    """

    labels: np.ndarray  # [N] int64 or [N,K] float32
    names: Sequence[str]
    images: np.ndarray | None = None  # [N,C,H,W] uint8, where the source has arrays of one size
    encoded: Sequence[Encoded] | None = None  # otherwise: files, their bytes, or parts of them
    packed: PackedImages | None = None  # and the same images decoded before, see `find_pack`

    def __post_init__(self) -> None:
        assert (self.images is None) != (self.encoded is None), "one of images and encoded"
        content = self.images if self.images is not None else self.encoded
        assert content is not None
        assert len(content) == len(self.names) == len(self.labels)
        if self.packed is not None:
            assert self.encoded is not None
            assert len(self.packed) == len(self.encoded)
        kind = (self.labels.ndim, self.labels.dtype)
        assert kind in ((1, np.int64), (2, np.float32)), kind

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def class_numbers(self) -> np.ndarray:
        """The class of each image of a single-label source, int64 [N]; of soft labels the largest.

        Images of a multi-label source have no single class: look at `labels`.
        """
        return self.labels if self.labels.ndim == 1 else self.labels.argmax(axis=1)

    def subset(self, indices: Sequence[int] | np.ndarray) -> Split:
        """The images at `indices`, in that order."""
        chosen = np.asarray(indices, dtype=np.int64)
        return Split(
            labels=self.labels[chosen],
            names=take_texts(self.names, chosen),
            images=None if self.images is None else self.images[chosen],
            encoded=None if self.encoded is None else _select(self.encoded, chosen),
            packed=None if self.packed is None else self.packed.take(chosen),
        )

    def digest(self) -> str:
        """SHA-256 (hex) over names, labels and content: the same data, in the same order.

        The content is the pixels or the encoded bytes; of a file its size and time of change,
        because reading every file of a large folder at each start would take minutes.
        """
        state = hashlib.sha256()
        _add_all(state, encode_texts(self.names))
        _add(state, np.ascontiguousarray(self.labels).tobytes())
        if self.images is not None:
            _add(state, repr(self.images.shape).encode())
            state.update(np.ascontiguousarray(self.images).data)
        if isinstance(self.encoded, FileColumn):  # as `identify` does, without a million Paths
            facts = zip(*self.encoded.facts(), strict=True)
            _add_all(state, (f"{size} {time}".encode() for size, time in facts))
            return state.hexdigest()
        for content in self.encoded or ():
            _add(state, identify(content))
        return state.hexdigest()


def _select(encoded: Sequence[Encoded], indices: np.ndarray) -> Sequence[Encoded]:
    return encoded.take(indices) if isinstance(encoded, FileColumn) else Selected(encoded, indices)


def _add_all(state: hashlib._Hash, parts: Iterable[bytes]) -> None:
    """`_add` each of `parts`, a few thousand at a time: a million updates would take seconds."""
    iterator = iter(parts)
    while chunk := [len(part).to_bytes(8, "little") + part for part in islice(iterator, 4096)]:
        state.update(b"".join(chunk))


def _add(state: hashlib._Hash, part: bytes) -> None:
    state.update(len(part).to_bytes(8, "little"))  # so that "ab","c" and "a","bc" differ
    state.update(part)


@dataclass(frozen=True, kw_only=True, eq=False)
class Source:
    """A location read: its class names in label order and the splits that were asked for."""

    location: str
    class_names: tuple[str, ...]
    splits: dict[str, Split]  # of "train", "val", "test": those asked for and present
    present: tuple[str, ...]  # all splits the location has, whether read or not
    task: Task = "single-label"
