"""What an image's content is known by: its SHA-256, and its file's size and time of change."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path

import numpy as np

from resnetkit.data.columns import NO_FILE, FileColumn
from resnetkit.data.encoded import Crop, Encoded, hash_encoded
from resnetkit.data.source_types import Split
from resnetkit.types import UserError

CHUNK = 256  # images a thread hashes at a time
Progress = Callable[[str, int, int], None]  # what, done, total


def file_facts(split: Split) -> tuple[np.ndarray, np.ndarray]:
    """Size in bytes and time of change in ns of every image: int64 [N] each.

    The time is 0 of what lies in memory; the size is `NO_FILE` where the file is gone.
    """
    if split.images is not None:
        each = split.images[0].nbytes if len(split) else 0
        return np.full(len(split), each, np.int64), np.zeros(len(split), np.int64)
    assert split.encoded is not None
    if isinstance(split.encoded, FileColumn):
        return split.encoded.facts()
    shared = lru_cache(maxsize=4096)(_status)  # an archive's images ask for it one after the other
    facts = [_facts(content, shared) for content in split.encoded]
    return (
        np.fromiter((size for size, _ in facts), np.int64, len(facts)),
        np.fromiter((time for _, time in facts), np.int64, len(facts)),
    )


def hash_contents(
    split: Split, indices: np.ndarray | None = None, progress: Progress | None = None
) -> np.ndarray:
    """SHA-256 of the encoded bytes, or of the pixels of decoded arrays: uint8 [M,32].

    Of the images at `indices` int64 [M] (all by default). Zeros where a file cannot be read.
    """
    chosen = np.arange(len(split)) if indices is None else np.asarray(indices, dtype=np.int64)
    hashes = np.zeros((len(chosen), 32), np.uint8)

    def work_through(start: int) -> int:
        stop = min(start + CHUNK, len(chosen))
        for position in range(start, stop):
            hashes[position] = np.frombuffer(content_hash(split, int(chosen[position])), np.uint8)
        return stop

    executor = ThreadPoolExecutor()
    try:
        for done in executor.map(work_through, range(0, len(chosen), CHUNK)):
            if progress is not None:
                progress("hashing images", done, len(chosen))
    finally:
        executor.shutdown(wait=True, cancel_futures=True)  # Ctrl-C need not wait for the rest
    return hashes


def content_hash(split: Split, index: int) -> bytes:
    """SHA-256 of one image as in `hash_contents`: 32 bytes, zeros when its file cannot be read."""
    if split.images is not None:
        return hashlib.sha256(np.ascontiguousarray(split.images[index]).data).digest()
    assert split.encoded is not None
    try:
        return bytes.fromhex(hash_encoded(split.encoded[index]))
    except (OSError, UserError):
        return bytes(32)


def is_known(hashes: np.ndarray) -> np.ndarray:
    """Which of the hashes uint8 [N,32] are one, and not the zeros of "unknown": bool [N]."""
    return np.any(hashes, axis=1)


def _facts(content: Encoded, status: Callable[[Path], tuple[int, int]]) -> tuple[int, int]:
    stored = content.of if isinstance(content, Crop) else content
    if isinstance(stored, bytes):
        return len(stored), 0
    if isinstance(stored, Path):
        return status(stored)
    size, time = status(stored.path)
    return (size if size == NO_FILE else stored.size), time


def _status(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError:
        return NO_FILE, 0
    return status.st_size, status.st_mtime_ns
