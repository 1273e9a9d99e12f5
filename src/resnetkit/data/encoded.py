"""Where an encoded image lies, small enough to travel to a worker: a file, bytes, a part of one."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

import numpy as np

from resnetkit.types import UserError


@dataclass(frozen=True, kw_only=True, slots=True)
class FileRegion:
    """An image that is `size` bytes of a file from byte `offset` on: a member of a tar archive."""

    path: Path
    offset: int
    size: int


Stored = Path | bytes | FileRegion  # a whole encoded picture
Box = tuple[int, int, int, int]  # left, top, right, bottom in pixels; right and bottom excluded


@dataclass(frozen=True, kw_only=True, slots=True)
class Crop:
    """The part of a picture inside `box`; what of the box lies outside the picture is cut off.

    The box counts in the picture once upright, as annotation tools show it (and as Detectron2's
    `read_image` has it), whatever EXIF orientation it is stored in.
    """

    of: Stored
    box: Box


Encoded = Stored | Crop


def open_encoded(encoded: Encoded) -> io.BufferedReader | io.BytesIO:
    """The encoded bytes as a stream; of a crop those of the picture that it is cut from."""
    stored = encoded.of if isinstance(encoded, Crop) else encoded
    if isinstance(stored, Path):
        return stored.open("rb")
    if isinstance(stored, bytes):
        return io.BytesIO(stored)
    with stored.path.open("rb") as file:
        file.seek(stored.offset)
        content = file.read(stored.size)
    if len(content) < stored.size:
        raise UserError(f"{stored.path} has become shorter since it was listed; start again")
    return io.BytesIO(content)


def hash_encoded(encoded: Encoded) -> str:
    """SHA-256 (hex) of the encoded bytes; of a crop, of the whole picture's and of its box."""
    with open_encoded(encoded) as stream:
        state = hashlib.file_digest(stream, "sha256")
    if isinstance(encoded, Crop):
        state.update(repr(encoded.box).encode())
    return state.hexdigest()


def identify(encoded: Encoded) -> bytes:
    """What changes when the image does, without reading a file: bytes, or size and time of change.

    Reading every file of a large folder at each start would take minutes.
    """
    if isinstance(encoded, bytes):
        return encoded
    if isinstance(encoded, Crop):
        return identify(encoded.of) + repr(encoded.box).encode()
    path = encoded.path if isinstance(encoded, FileRegion) else encoded
    status = path.stat()
    place = f" {encoded.offset} {encoded.size}" if isinstance(encoded, FileRegion) else ""
    return f"{status.st_size} {status.st_mtime_ns}{place}".encode()


class FileRegions(Sequence[FileRegion]):
    """Regions of a few files by columns, 20 bytes each; one is made when it is asked for."""

    def __init__(
        self, files: Sequence[Path], numbers: np.ndarray, offsets: np.ndarray, sizes: np.ndarray
    ) -> None:
        assert len(numbers) == len(offsets) == len(sizes)
        self._files = files
        self._numbers, self._offsets, self._sizes = numbers, offsets, sizes  # [N]

    def __len__(self) -> int:
        return len(self._numbers)

    @overload
    def __getitem__(self, index: int) -> FileRegion: ...
    @overload
    def __getitem__(self, index: slice) -> list[FileRegion]: ...
    def __getitem__(self, index: int | slice) -> FileRegion | list[FileRegion]:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        return FileRegion(
            path=self._files[self._numbers[index]],
            offset=int(self._offsets[index]),
            size=int(self._sizes[index]),
        )


class Crops(Sequence[Crop]):
    """Boxes cut out of pictures, by columns, 20 bytes each: crop i of picture `numbers[i]`."""

    def __init__(self, pictures: Sequence[Stored], numbers: np.ndarray, boxes: np.ndarray) -> None:
        assert len(numbers) == len(boxes)
        self._pictures = pictures
        self.numbers, self._boxes = numbers, boxes  # [N] and [N,4] int32

    def __len__(self) -> int:
        return len(self.numbers)

    @overload
    def __getitem__(self, index: int) -> Crop: ...
    @overload
    def __getitem__(self, index: slice) -> list[Crop]: ...
    def __getitem__(self, index: int | slice) -> Crop | list[Crop]:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        left, top, right, bottom = self._boxes[index].tolist()
        return Crop(of=self._pictures[int(self.numbers[index])], box=(left, top, right, bottom))


def picture_groups(encoded: Sequence[Encoded]) -> np.ndarray | None:
    """A number for each image that crops of one picture share, int64 [N]; None without crops.

    Crops overlap and show the same scene: those of one picture belong on one side of a split.
    """
    if isinstance(encoded, Crops):
        return np.asarray(encoded.numbers, np.int64)
    if not len(encoded) or not isinstance(encoded[0], Crop):
        return None
    numbers: dict[Encoded, int] = {}
    wholes = (item.of if isinstance(item, Crop) else item for item in encoded)
    return np.fromiter(
        (numbers.setdefault(whole, len(numbers)) for whole in wholes), np.int64, len(encoded)
    )
