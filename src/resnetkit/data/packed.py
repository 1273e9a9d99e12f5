"""A pack: a source's images decoded once, in one memory-mapped file, with an index."""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torchvision.io import decode_jpeg

from resnetkit.data.columns import NO_FILE, FileColumn
from resnetkit.data.contract import CHANNELS, InputContract, Interpolation
from resnetkit.data.encoded import Encoded, identify
from resnetkit.runtime import MANIFEST, DamagedFolder

IMAGES, INDEX, SETTINGS = "images.bin", "index.parquet", "pack.json"
FORMAT = 1
JPEG_QUALITY = 95

Storage = Literal["raw", "jpeg"]


@dataclass(frozen=True, kw_only=True)
class PackSettings:
    """All that the stored pixels depend on besides the images."""

    side: int  # pixels of the shorter side; smaller images keep their size
    storage: Storage
    color_mode: Literal["RGB", "L"]
    interpolation: Interpolation = "bilinear"
    exif_transpose: bool = True

    @property
    def label(self) -> str:
        """A name for a folder: "raw-256-rgb-bilinear"."""
        upright = "" if self.exif_transpose else "-as-stored"
        return f"{self.storage}-{self.side}-{self.color_mode}-{self.interpolation}{upright}".lower()


@dataclass(frozen=True, kw_only=True, eq=False)
class PackIndex:
    """Where each image of a pack lies and what it was made from, by columns [N]."""

    keys: np.ndarray  # uint64, ascending: `text_keys` of the images' names
    fingerprints: np.ndarray  # uint64: `fingerprints` of the images
    hashes: np.ndarray  # [N,32] uint8: SHA-256 as `hash_encoded` gives it
    offsets: np.ndarray  # int64, in IMAGES
    stored: np.ndarray  # int64, bytes there
    checksums: np.ndarray  # uint32: CRC-32 of these bytes
    sizes: np.ndarray  # [N,2] int32: height, width in the pack; 0 of an unreadable image
    problems: dict[int, str]  # why an image is unreadable, by position

    def __len__(self) -> int:
        return len(self.keys)

    def positions(self, keys: np.ndarray) -> np.ndarray:
        """Where the images with these `keys` uint64 [M] are in the index: int64 [M], -1 nowhere."""
        places = np.searchsorted(self.keys, keys).clip(max=max(len(self) - 1, 0))
        if not len(self):
            return np.full(len(keys), -1)
        return np.where(self.keys[places] == keys, places, -1)


class Pack:
    """An opened pack. `pixels(position)` gives an image, from any thread and in any order."""

    def __init__(self, folder: Path, settings: PackSettings, index: PackIndex) -> None:
        self.folder, self.settings, self.index = folder, settings, index
        # A plain array over the map: a `np.memmap` would take microseconds for each slice.
        self._bytes = np.memmap(folder / IMAGES, np.uint8, "r").view(np.ndarray)
        self._seen_whole = np.zeros(len(index), bool)

    def content(self, position: int) -> np.ndarray:
        """The stored bytes of an image: uint8, a view of the map."""
        offset = self.index.offsets[position]
        return self._bytes[offset : offset + self.index.stored[position]]

    def is_whole(self, position: int) -> bool:
        """Whether the stored bytes of an image are those that were written."""
        return zlib.crc32(self.content(position).data) == self.index.checksums[position]

    def pixels(self, position: int) -> np.ndarray:
        """The pixels of an image: uint8 [H,W,C]; of a raw pack a read-only view of the map.

        Raises `DamagedFolder` where the disk has altered them; looked at once for each image.
        """
        if not self._seen_whole[position]:
            if not self.is_whole(position):
                raise DamagedFolder(
                    f"{self.folder}: stored images are not those that were written; repair it with "
                    "data pack"
                )
            self._seen_whole[position] = True
        content = self.content(position)
        if self.settings.storage == "jpeg":
            picture = decode_jpeg(torch.from_numpy(content.copy()))
            assert isinstance(picture, torch.Tensor)
            return picture.permute(1, 2, 0).numpy()
        height, width = self.index.sizes[position].tolist()
        return content.reshape(height, width, CHANNELS[self.settings.color_mode])

    def fits_exactly(self, contract: InputContract) -> bool:
        """Whether the network sees the very pixels it would see if the files were decoded."""
        return self.settings.storage == "raw" and self.settings.side == contract.resize

    @property
    def identity(self) -> str:
        """What the pixels depend on besides the source: training goes on only with the same."""
        return json.dumps(asdict(self.settings), sort_keys=True)


@dataclass(frozen=True, kw_only=True, eq=False)
class PackedImages:
    """The images of a split as they lie in a pack: `images[i]` is uint8 [H,W,C]."""

    pack: Pack
    positions: np.ndarray  # [N] int64, in the pack's index

    def __len__(self) -> int:
        return len(self.positions)

    def __getitem__(self, index: int) -> np.ndarray:
        return self.pack.pixels(int(self.positions[index]))

    def take(self, indices: np.ndarray) -> PackedImages:
        """The images at `indices` int64 [M], in that order."""
        return PackedImages(pack=self.pack, positions=self.positions[indices])

    def problems(self) -> list[tuple[int, str]]:
        """Images that could not be read when the pack was made: (number here, message)."""
        bad = np.flatnonzero(np.isin(self.positions, list(self.pack.index.problems))).tolist()
        return [(i, self.pack.index.problems[int(self.positions[i])]) for i in bad]


def fingerprints(encoded: Sequence[Encoded]) -> np.ndarray:
    """What changes when an image does, as `identify` says, hashed: uint64 [N]; 0 of a lost file.

    Of files only size and time of change are read.
    """
    if isinstance(encoded, FileColumn):  # without a million Paths
        facts = zip(*(column.tolist() for column in encoded.facts()), strict=True)
        marks = (f"{size} {time}".encode() if size != NO_FILE else None for size, time in facts)
    else:
        marks = (_mark(content) for content in encoded)
    found = np.zeros(len(encoded), "<u8")
    for number, mark in enumerate(marks):
        if mark is not None:
            digest = hashlib.blake2b(mark, digest_size=8).digest()
            found[number] = int.from_bytes(digest, "little")
    return found


def _mark(content: Encoded) -> bytes | None:
    try:
        return identify(content)
    except OSError:
        return None


def load_pack(folder: Path) -> Pack:
    """The pack in `folder`. Raises `DamagedFolder` when it is not whole.

    Of the images only the size is compared with the manifest: hashing them would take minutes.
    """
    try:
        listed = json.loads((folder / MANIFEST).read_bytes())["files"]
        described = json.loads((folder / SETTINGS).read_bytes())
        if described["format"] != FORMAT:
            raise DamagedFolder(
                f"{folder}: a pack of format {described['format']}, needed is {FORMAT}; "
                "make it again with data pack"
            )
        settings = PackSettings(**described["settings"])
        whole = (folder / IMAGES).stat().st_size == listed[IMAGES]["bytes"]
        content = (folder / INDEX).read_bytes()
        whole &= hashlib.sha256(content).hexdigest() == listed[INDEX]["sha256"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, DamagedFolder):
            raise
        raise DamagedFolder(f"{folder}: not a whole pack ({error}); make it again") from None
    if not whole:
        raise DamagedFolder(f"{folder}: its files are not those it was made with; make it again")
    return Pack(folder, settings, _read_index(content))


def _read_index(content: bytes) -> PackIndex:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.read_table(pa.BufferReader(content), columns=list(COLUMNS)).combine_chunks()

    def column(name: str) -> np.ndarray:
        return table.column(name).to_numpy()

    keys = column("key")
    order = np.argsort(keys)
    hashes = np.frombuffer(b"".join(table.column("sha256").to_pylist()), np.uint8).reshape(-1, 32)
    reasons: list[str | None] = table.column("problem").to_pylist()
    return PackIndex(
        keys=keys[order],
        fingerprints=column("fingerprint")[order],
        hashes=hashes[order],
        offsets=column("offset")[order],
        stored=column("stored")[order],
        checksums=column("crc32")[order],
        sizes=np.stack([column("height"), column("width")], axis=1)[order],
        problems={
            position: reason
            for position, row in enumerate(order.tolist())
            if (reason := reasons[row]) is not None
        },
    )


# Column -> Arrow type, as `getattr(pyarrow, type)()` or the width of fixed binary.
COLUMNS: dict[str, Any] = {
    "name": "binary",  # UTF-8; file names that are not Unicode keep their bytes
    "key": "uint64",
    "fingerprint": "uint64",
    "sha256": 32,
    "bytes": "int64",
    "modified_ns": "int64",
    "offset": "int64",
    "stored": "int64",
    "crc32": "uint32",
    "height": "int32",
    "width": "int32",
    "problem": "string",
}
