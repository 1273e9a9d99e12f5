"""A pack in the making: it grows by chunks, and what a killed process left is continued from."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from resnetkit.data.contract import CHANNELS
from resnetkit.data.packed import COLUMNS, FORMAT, IMAGES, INDEX, SETTINGS, PackSettings
from resnetkit.data.source_types import Split
from resnetkit.data.transforms import image_sizes
from resnetkit.runtime import commit_folder, held
from resnetkit.types import UserError

JOURNAL = "journal.jsonl"
SAVE_SECONDS = 2.0
DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
ROWS_AT_A_TIME = 1 << 16
SAMPLE = 500  # images whose headers tell how large a pack will be
JPEG_SHARE = 0.2  # of the raw size, at the quality of a pack; photographs take less


class PackRow(NamedTuple):
    """One image of a pack, a row of its index; `problem` says why an image is unreadable."""

    name: str
    key: int
    fingerprint: int
    sha256: str
    bytes: int
    modified_ns: int
    stored: int
    crc32: int
    height: int
    width: int
    problem: str | None


class Building:
    """`IMAGES`, which only grows, and a journal of what is whole in it, one line for a chunk.

    A line is written when the bytes it speaks of are on the disk; what follows the last whole line
    is cut off. So are lines that speak of images not in `wanted` (key -> fingerprint): then the
    source has changed and everything begins anew.
    """

    def __init__(self, folder: Path, settings: PackSettings, wanted: dict[int, int]) -> None:
        self.folder, self.settings = folder, settings
        self.done: set[int] = set()  # keys
        self._end = 0
        self._unsaved: list[str] = []
        self._saved_at = time.monotonic()
        folder.mkdir(parents=True, exist_ok=True)
        described = _describe(settings)
        if _read(folder / SETTINGS) != described or not self._recover(wanted):
            self.done, self._end = set(), 0
            for name in (IMAGES, JOURNAL):
                (folder / name).write_bytes(b"")
            (folder / SETTINGS).write_text(described)

    def append(self, rows: Sequence[PackRow], contents: Sequence[bytes]) -> None:
        """Add images; they survive a kill after the next `save`, which comes every few seconds."""
        with (self.folder / IMAGES).open("ab") as images:
            for content in contents:
                images.write(content)
        begin, self._end = self._end, self._end + sum(row.stored for row in rows)
        self._unsaved.append(json.dumps({"begin": begin, "end": self._end, "rows": rows}) + "\n")
        self.done.update(row.key for row in rows)
        if time.monotonic() - self._saved_at > SAVE_SECONDS:
            self.save()

    def save(self) -> None:
        """Have the images' bytes on the disk, then the lines that say they are there."""
        for name, lines in ((IMAGES, []), (JOURNAL, self._unsaved)):
            with (self.folder / name).open("a") as file:
                file.writelines(lines)
                file.flush()
                os.fsync(file.fileno())
        self._unsaved, self._saved_at = [], time.monotonic()

    def commit(self, final: Path) -> int:
        """Put the finished pack at `final` in one step; its size in bytes."""

        def write(folder: Path) -> None:
            try:  # a second name: should this be killed, the images are still here
                os.link(self.folder / IMAGES, folder / IMAGES)
            except OSError:  # a file system without links
                shutil.move(self.folder / IMAGES, folder / IMAGES)
            self._write_index(folder / INDEX)
            (folder / SETTINGS).write_text(_describe(self.settings))

        self.save()
        commit_folder(final, write)
        self.discard()
        return self._end

    def discard(self) -> None:
        """Remove it with all that was done."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _recover(self, wanted: dict[int, int]) -> bool:
        """Take up what is there; False when it is of no use."""
        with contextlib.suppress(OSError):
            available = (self.folder / IMAGES).stat().st_size
            whole = 0  # bytes of the journal
            for line in _lines(self.folder / JOURNAL):
                record = _parse(line)
                if record is None or record["end"] > available:
                    break
                rows = [PackRow(*row) for row in record["rows"]]
                if any(wanted.get(row.key) != row.fingerprint for row in rows):
                    return False
                self.done.update(row.key for row in rows)
                self._end, whole = record["end"], whole + len(line)
            os.truncate(self.folder / JOURNAL, whole)
            os.truncate(self.folder / IMAGES, self._end)
            return True
        return False

    def _write_index(self, path: Path) -> None:
        """The journal as a Parquet table."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        types = {
            name: pa.binary(kind) if isinstance(kind, int) else getattr(pa, kind)()
            for name, kind in COLUMNS.items()
        }
        schema = pa.schema(types)
        with pq.ParquetWriter(path, schema, compression="zstd") as writer:
            rows: list[dict[str, Any]] = []
            for row in self._rows():
                rows.append(row)
                if len(rows) == ROWS_AT_A_TIME:
                    writer.write_table(pa.Table.from_pylist(rows, schema))
                    rows = []
            writer.write_table(pa.Table.from_pylist(rows, schema))

    def _rows(self) -> Iterator[dict[str, Any]]:
        for line in _lines(self.folder / JOURNAL):
            record = json.loads(line)
            rows = [PackRow(*row) for row in record["rows"]]
            offsets = record["begin"] + np.cumsum([0, *(row.stored for row in rows)])
            for row, offset in zip(rows, offsets.tolist(), strict=False):
                name = row.name.encode("utf-8", "surrogateescape")
                digest = bytes.fromhex(row.sha256)
                yield {**row._asdict(), "name": name, "sha256": digest, "offset": offset}


@contextlib.contextmanager
def building_lock(folder: Path) -> Iterator[None]:
    """Have no second process make the same pack. Raises `UserError` when one does already."""
    folder.mkdir(parents=True, exist_ok=True)
    with held(folder) as alone:
        if not alone and os.name != "nt":
            raise UserError(
                f"{folder}: another process is making this pack; wait for it, or give another "
                "place with --out"
            )
        yield


@contextlib.contextmanager
def disk_trouble(part: Path) -> Iterator[None]:
    """Turn a full disk into a clear message, with nothing half-written left on it."""
    try:
        yield
    except OSError as error:
        if error.errno not in DISK_FULL:
            raise
        shutil.rmtree(part, ignore_errors=True)
        raise disk_full(
            part, "more than what was free", shutil.disk_usage(part.parent).free
        ) from None


def refuse_small_disk(building: Building, split: Split, left: int) -> None:
    """`UserError` when `left` more images will not fit, before hours are spent on finding out."""
    sizes = [(height, width) for height, width, _ in image_sizes(split, SAMPLE)]
    if not sizes:
        return
    shorter = np.minimum(1.0, building.settings.side / np.min(sizes, axis=1))
    pixels = float((np.prod(sizes, axis=1) * shorter**2).mean())
    share = 1.0 if building.settings.storage == "raw" else JPEG_SHARE
    needed = int(left * pixels * CHANNELS[building.settings.color_mode] * share)
    free = shutil.disk_usage(building.folder).free
    if needed > free:
        building.discard()
        raise disk_full(building.folder, f"about {needed / 1e6:,.0f} MB more", free)


def disk_full(part: Path, needed: str, free: int) -> UserError:
    """What to say of it; `needed` completes "it needs", `free` is in bytes."""
    return UserError(
        f"{part.parent}: the disk is too full for this pack: it needs {needed}, "
        f"{free / 1e6:,.0f} MB are free now. What was there before is untouched. Free some space, "
        "choose another place with --out, a smaller --side, or --storage jpeg"
    )


def _describe(settings: PackSettings) -> str:
    return json.dumps({"format": FORMAT, "settings": asdict(settings)}, indent=1) + "\n"


def _read(path: Path) -> str | None:
    return path.read_text() if path.is_file() else None


def _lines(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        yield from file


def _parse(line: bytes) -> dict[str, Any] | None:
    """A whole line of the journal; None of one that was cut short."""
    if not line.endswith(b"\n"):
        return None
    try:
        return json.loads(line)
    except ValueError:
        return None
