"""What every source is read into: labelled images by split, decoded or still encoded."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

import numpy as np

SPLIT_NAMES = ("train", "val", "test")
SPLIT_ALIASES = {name: name for name in SPLIT_NAMES} | {"valid": "val", "validation": "val"}

Encoded = Path | bytes


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


@dataclass(frozen=True, kw_only=True, eq=False)
class Split:
    """Labelled images of one split: decoded in `images`, or to be decoded from `encoded`.

    `names` say where each image came from: "cat/001.jpg", "test.parquet[12]", "digits[5]".
    """

    labels: np.ndarray  # [N] int64
    names: Sequence[str]
    images: np.ndarray | None = None  # [N,C,H,W] uint8, where the source has arrays of one size
    encoded: Sequence[Encoded] | None = None  # otherwise: image files, or their bytes

    def __post_init__(self) -> None:
        assert (self.images is None) != (self.encoded is None), "one of images and encoded"
        content = self.images if self.images is not None else self.encoded
        assert content is not None
        assert len(content) == len(self.names) == len(self.labels)
        assert self.labels.dtype == np.int64, self.labels.dtype

    def __len__(self) -> int:
        return len(self.labels)

    def subset(self, indices: Sequence[int] | np.ndarray) -> Split:
        """The images at `indices`, in that order."""
        chosen = np.asarray(indices, dtype=np.int64)
        positions: list[int] = chosen.tolist()
        return Split(
            labels=self.labels[chosen],
            names=[self.names[i] for i in positions],
            images=None if self.images is None else self.images[chosen],
            encoded=None if self.encoded is None else Selected(self.encoded, chosen),
        )

    def digest(self) -> str:
        """SHA-256 (hex) over names, labels and content: the same data, in the same order.

        The content is the pixels or the encoded bytes; of a file its size and time of change,
        because reading every file of a large folder at each start would take minutes.
        """
        state = hashlib.sha256()
        for name in self.names:
            _add(state, name.encode("utf-8", "surrogateescape"))
        _add(state, np.ascontiguousarray(self.labels).tobytes())
        if self.images is not None:
            _add(state, repr(self.images.shape).encode())
            state.update(np.ascontiguousarray(self.images).data)
        for content in self.encoded or ():
            _add(state, _identity(content))
        return state.hexdigest()


def _add(state: hashlib._Hash, part: bytes) -> None:
    state.update(len(part).to_bytes(8, "little"))  # so that "ab","c" and "a","bc" differ
    state.update(part)


def _identity(content: Encoded) -> bytes:
    if isinstance(content, bytes):
        return content
    status = content.stat()
    return f"{status.st_size} {status.st_mtime_ns}".encode()


@dataclass(frozen=True, kw_only=True, eq=False)
class Source:
    """A location read: its class names in label order and the splits that were asked for."""

    location: str
    class_names: tuple[str, ...]
    splits: dict[str, Split]  # of "train", "val", "test": those asked for and present
    present: tuple[str, ...]  # all splits the location has, whether read or not
