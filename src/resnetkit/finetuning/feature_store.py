"""Features on the disk: one memory-mapped file, whole or absent, and continued where it was killed.

A store is a folder of `features.npy` and `store.json`. It grows in a hidden folder beside its place
by appending, since a full disk then is an error, where a mapped file would kill the process. Each
chunk's CRC-32 is taken while it is in memory and compared when the store is opened, which also
brings the file into memory for the training that follows. `runtime.commit_folder` would read
gigabytes once more to hash them.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
import tempfile
import time
import weakref
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from resnetkit.data.threads import map_in_order
from resnetkit.runtime import DamagedFolder, held, write_file_atomically

if sys.platform != "win32":
    import fcntl

FEATURES, STORE, JOURNAL = "features.npy", "store.json", "journal.json"
SAVE_SECONDS = 5.0


@dataclass(frozen=True, kw_only=True, eq=False)
class FeatureStore:
    """Features of all images of a split: image i in view v is row v N + i of `rows`.

    `folder` is None where they are only in memory. While a store object lives, no process removes
    its folder from the cache.
    """

    rows: Tensor  # [V*N,D], or [V*N,H,W,C] of feature maps: float32, possibly mapped
    views: int
    folder: Path | None = None

    @property
    def images(self) -> int:
        """N, the images of the split."""
        return len(self.rows) // self.views

    def take(self, views: Tensor, images: Tensor) -> Tensor:
        """Images int64 [n], each in its view int64 [n]: [n,D], or [n,C,H,W] channels last."""
        # Not `[numbers]`, which copies element by element.
        features = self.rows.index_select(0, views * self.images + images)
        return features if features.ndim == 2 else features.permute(0, 3, 1, 2)

    def pooled(self) -> Tensor:
        """Features as the head gets them, by view: [V,N,D]."""
        assert self.rows.ndim == 2, f"feature maps {list(self.rows.shape)} are not pooled"
        return self.rows.view(self.views, self.images, -1)


@dataclass(frozen=True, kw_only=True)
class Layout:
    """What a store holds: its `key`, the rows of each chunk and the shape of a row."""

    key: str
    views: int
    chunk_rows: tuple[int, ...]
    row_shape: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Of all rows."""
        return (sum(self.chunk_rows), *self.row_shape)

    @property
    def bytes(self) -> int:
        """Of all rows."""
        return int(np.prod(self.shape, dtype=np.int64)) * 4


def load_store(folder: Path, layout: Layout, *, verify: bool = True) -> FeatureStore | None:
    """The store in `folder`, or None where there is none. Raises DamagedFolder if it is not whole.

    Without `verify` its rows are taken on trust.
    """
    if (lock := _share(folder)) is None:
        return None
    with contextlib.ExitStack() as stack:
        stack.callback(_unlock, lock)
        try:
            described = json.loads((folder / STORE).read_bytes())
            rows = np.load(folder / FEATURES, mmap_mode="c", allow_pickle=False)
        except FileNotFoundError as error:
            if not folder.exists():  # removed while we waited for the lock
                return None
            raise _damaged(folder, f"{Path(error.filename).name} is missing") from None
        except (OSError, ValueError) as error:
            raise _damaged(folder, str(error)) from None
        _check(folder, layout, described, rows, verify)
        # A plain array over the map; copied on write, since torch has no read-only tensors.
        tensor = torch.from_numpy(rows.view(np.ndarray))
        store = FeatureStore(rows=tensor, views=layout.views, folder=folder)
        stack.pop_all()
    weakref.finalize(store, _unlock, lock)
    with contextlib.suppress(OSError):  # a cache that others share may not be ours to mark
        os.utime(folder / STORE)
    return store


def _check(folder: Path, layout: Layout, described: Any, rows: np.ndarray, verify: bool) -> None:
    if not isinstance(described, dict) or described.get("key") != layout.key:
        raise _damaged(folder, f"{STORE} is not that of this store")
    if (rows.shape, rows.dtype) != (layout.shape, np.dtype("<f4")):
        raise _damaged(folder, f"{FEATURES} has {rows.dtype} {rows.shape}, not {layout.shape}")
    if verify and described.get("checksums") != _checksums(layout, rows):
        raise _damaged(folder, f"{FEATURES} is not what was written")


def _checksums(layout: Layout, rows: np.ndarray) -> list[int]:
    """CRC-32 of each chunk; by threads, for zlib leaves Python's lock to others."""
    stops = np.cumsum(layout.chunk_rows).tolist()
    starts = [0, *stops[:-1]]
    pieces = zip(starts, stops, strict=True)
    return list(map_in_order(lambda piece: zlib.crc32(rows[piece[0] : piece[1]].data), pieces))


def build_store(
    final: Path,
    layout: Layout,
    chunks_from: Callable[[int], Iterable[np.ndarray]],
    progress: Callable[[int], None],
) -> FeatureStore:
    """Fill a new store at `final` with the chunks from a number on, and open it.

    Continues what a killed process left. Where another process builds the same store, both do all
    the work, apart from each other, and one result is kept. Raises OSError when the disk does.
    """
    final.parent.mkdir(parents=True, exist_ok=True)
    with _workplace(final) as folder:
        try:
            building = _Building(folder, layout)
            for rows in chunks_from(len(building.checksums)):
                building.append(rows)
                progress(sum(layout.chunk_rows[: len(building.checksums)]))
            building.finish()
            _put_in_place(folder, final)
        except OSError:
            shutil.rmtree(folder, ignore_errors=True)  # above all of a full disk
            raise
    store = load_store(final, layout, verify=False)
    if store is None:
        raise FileNotFoundError(f"{final}: removed by another process just after it was made")
    return store


def _put_in_place(folder: Path, final: Path) -> None:
    try:
        folder.rename(final)
    except OSError:
        if not final.is_dir():
            raise
        shutil.rmtree(folder, ignore_errors=True)  # another process was faster


def remove_store(folder: Path) -> None:
    """Remove a store in one step as others see it; who has it open keeps its rows."""
    aside = folder.with_name(f".{folder.name.strip('.')}.tmp-{os.getpid()}-removed")
    with contextlib.suppress(FileNotFoundError):  # another process was faster
        folder.rename(aside)
        shutil.rmtree(aside, ignore_errors=True)


@contextlib.contextmanager
def _workplace(final: Path) -> Iterator[Path]:
    """A hidden folder to build in, locked: the one that can be continued, or one of our own."""
    shared = final.with_name(f".{final.name}.part")
    shared.mkdir(exist_ok=True)
    with held(shared) as alone:
        # The lock may have come free because its holder has just renamed the folder.
        if alone and shared.exists() and not final.exists():
            yield shared
            return
    own = tempfile.mkdtemp(prefix=f".{final.name}.tmp-{os.getpid()}-", dir=final.parent)
    with held(Path(own)):
        yield Path(own)


class _Building:
    """A store in the making: `FEATURES`, which only grows, and a journal of what is whole in it."""

    def __init__(self, folder: Path, layout: Layout) -> None:
        self._folder, self._layout = folder, layout
        self.checksums = self._recover()
        with (folder / FEATURES).open("r+b" if self.checksums else "wb") as file:
            header = {"descr": "<f4", "fortran_order": False, "shape": layout.shape}
            np.lib.format.write_array_header_1_0(file, header)
            file.truncate(file.tell() + self._bytes_of(len(self.checksums)))
        self._saved_at = time.monotonic()

    def append(self, rows: np.ndarray) -> None:
        """Add a chunk; it survives a kill after the next save, which comes every few seconds."""
        layout = self._layout
        expected = (layout.chunk_rows[len(self.checksums)], *layout.row_shape)
        assert rows.shape == expected, (rows.shape, expected)
        assert rows.dtype == np.float32, rows.dtype
        content = np.ascontiguousarray(rows, "<f4").data
        with (self._folder / FEATURES).open("ab") as file:
            file.write(content)
        self.checksums.append(zlib.crc32(content))
        if time.monotonic() - self._saved_at > SAVE_SECONDS:
            self._save(JOURNAL)

    def finish(self) -> None:
        """Have everything on the disk, and say that it is whole."""
        assert len(self.checksums) == len(self._layout.chunk_rows), "chunks are missing"
        self._save(STORE)
        (self._folder / JOURNAL).unlink(missing_ok=True)

    def _save(self, name: str) -> None:
        """Have the rows on the disk, then the line that says they are there."""
        with (self._folder / FEATURES).open("ab") as file:
            os.fsync(file.fileno())
        described = {"key": self._layout.key, "checksums": self.checksums}
        write_file_atomically(self._folder / name, json.dumps(described) + "\n")
        self._saved_at = time.monotonic()

    def _recover(self) -> list[int]:
        """Checksums of the chunks that are on the disk."""
        try:
            described = json.loads((self._folder / JOURNAL).read_bytes())
            checksums: list[int] = described["checksums"]
            size = (self._folder / FEATURES).stat().st_size
        except (OSError, ValueError, KeyError, TypeError):
            return []
        whole = described["key"] == self._layout.key and size >= self._bytes_of(len(checksums))
        return checksums if whole else []

    def _bytes_of(self, chunks: int) -> int:
        rows: Sequence[int] = self._layout.chunk_rows[:chunks]
        return sum(rows) * int(np.prod(self._layout.row_shape)) * 4


def _share(folder: Path) -> int | None:
    """Hold a lock that lets others read and nobody remove; None where there is no such folder.

    It waits for whoever is just putting the folder in place, or removing it. -1 stands for no lock,
    where the system has none.
    """
    if sys.platform == "win32":
        return -1 if folder.is_dir() else None
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except (FileNotFoundError, NotADirectoryError):
        return None
    with contextlib.suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_SH)
    return descriptor


def _unlock(descriptor: int) -> None:
    if descriptor >= 0:
        os.close(descriptor)


def _damaged(folder: Path, what: str) -> DamagedFolder:
    return DamagedFolder(f"{folder}: {what}")
