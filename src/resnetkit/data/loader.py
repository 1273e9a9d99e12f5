"""Batches in a stateless order: from memory, from a pack, or from files decoded when needed."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from resnetkit.data.balance import Sampling, image_weights
from resnetkit.data.contract import InputContract
from resnetkit.data.order import BatchOrder
from resnetkit.data.reading import Reading, list_items, new_rows, read_encoded, read_packed
from resnetkit.data.source_types import Split
from resnetkit.data.worker_processes import WorkerProcesses
from resnetkit.types import Batch, Task

AHEAD = 2  # batches that threads make before they are asked for
PIECE = 16  # images of a batch that one thread makes at a time
MOST_THREADS = 4  # decoding files; see `choose_worker_kind`

WorkerKind = Literal["threads", "processes"]


@dataclass(frozen=True, kw_only=True)
class LoaderConfig:
    """How one split is turned into batches; none of the workers' settings changes what is in them.

    `worker_kind` is chosen by `choose_worker_kind` unless given.
    """

    batch_size: int
    workers: int
    seed: int
    shuffle: bool
    sampling: Sampling = "as-is"  # which images an epoch visits when shuffling
    resized_crop_scale: tuple[float, float] | None = None
    worker_kind: WorkerKind | None = None


def choose_worker_kind(split: Split, workers: int) -> WorkerKind:
    """Threads for a pack, and for files up to `MOST_THREADS` workers; else processes.

    Decoding, resizing and copying leave Python's lock to others; what remains is about a fifth of
    an image's time. So a few threads keep their cores busy, and save what processes cost: a second
    and 300 MB each, and copying the pixels from one to another; two of them on two cores decode
    files 8 to 18 % faster than two processes. More threads that decode would wait for each other,
    and hold up the one that trains.
    """
    if split.packed is not None or workers <= MOST_THREADS:
        return "threads"
    return "processes"


def build_order(labels: np.ndarray, task: Task, config: LoaderConfig) -> BatchOrder:
    """Which images with `labels` (see `Split`) come in which batch of an epoch."""
    sampled = config.shuffle and config.sampling != "as-is"
    return BatchOrder(
        count=len(labels),
        batch_size=config.batch_size,
        seed=config.seed,
        shuffle=config.shuffle,
        weights=image_weights(labels, task, config.sampling) if sampled else None,
    )


class Loader:
    """Batches of one split; `batches(epoch, start)` can begin anywhere and is always the same."""

    def __init__(self, split: Split, contract: InputContract, config: LoaderConfig) -> None:
        self._split = split
        self._labels = torch.from_numpy(split.labels)
        self._order = build_order(split.labels, contract.task, config)
        self._reading = Reading(
            contract=contract, seed=config.seed, crop_scale=config.resized_crop_scale
        )
        self._in_memory = None if split.images is None else torch.from_numpy(split.images)
        self._threads: ThreadPoolExecutor | None = None
        self._processes: WorkerProcesses | None = None
        if self._in_memory is None and config.workers:
            kind = config.worker_kind or choose_worker_kind(split, config.workers)
            if kind == "threads":
                self._threads = ThreadPoolExecutor(config.workers, "resnetkit-loader")
            else:
                assert split.packed is None, "packs are read by threads"
                self._processes = WorkerProcesses(split, self._reading, config.workers)

    @property
    def crops_in_worker(self) -> bool:
        """Whether a random resized crop is done while reading, at full resolution."""
        return self._in_memory is None

    @property
    def steps_per_epoch(self) -> int:
        """Batches in an epoch."""
        return self._order.steps_per_epoch

    def batches(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of `epoch` from number `start` on; ends an iteration begun before."""
        chunks = self._order.batches(epoch, start)
        for chunk, images in zip(chunks, self._images(epoch, chunks), strict=True):
            indices = torch.from_numpy(chunk)
            labels = self._labels[indices % len(self._split)]
            yield Batch(images=images, labels=labels, indices=indices)

    def _images(self, epoch: int, chunks: Sequence[np.ndarray]) -> Iterator[Tensor]:
        """The images of each chunk: uint8 [N,C,H,W]; channels last in memory, if read."""
        if self._in_memory is not None:
            for chunk in chunks:
                # Not `[indices]`, which copies byte by byte and takes twenty times as long.
                yield self._in_memory.index_select(0, torch.from_numpy(chunk % len(self._split)))
            return
        if self._processes is not None:
            read = self._processes.batches(epoch, chunks)
        else:
            read = self._read_ahead(epoch, chunks)
        yield from (rows.permute(0, 3, 1, 2) for rows in read)

    def _read_ahead(self, epoch: int, chunks: Sequence[np.ndarray]) -> Iterator[Tensor]:
        """Rows of each chunk, uint8 [N,H,W,C]: made by threads a little ahead, or here and now."""
        waiting: deque[tuple[Tensor, list[Future[None]]]] = deque()
        try:
            for chunk in chunks:
                waiting.append(self._begin(epoch, chunk))
                if self._threads is None or len(waiting) > AHEAD:
                    yield _finish(*waiting.popleft())
            while waiting:
                yield _finish(*waiting.popleft())
        finally:
            for _, pieces in waiting:
                for piece in pieces:
                    piece.cancel()

    def _begin(self, epoch: int, chunk: np.ndarray) -> tuple[Tensor, list[Future[None]]]:
        """Rows for `chunk`, and what will fill them."""
        rows = new_rows(self._reading, len(chunk), pinned=torch.cuda.is_available())
        pixels = rows.numpy()
        pieces: list[Future[None]] = []
        for start in range(0, len(chunk), PIECE):
            part = slice(start, start + PIECE)
            fill = partial(self._fill, epoch, chunk[part], pixels[part])
            if self._threads is None:
                fill()
            else:
                pieces.append(self._threads.submit(fill))
        return rows, pieces

    def _fill(self, epoch: int, numbers: np.ndarray, rows: np.ndarray) -> None:
        packed = self._split.packed
        if packed is not None:
            read_packed(self._reading, epoch, numbers, packed, rows)
        else:
            read_encoded(self._reading, epoch, list_items(self._split, numbers), rows)


def _finish(rows: Tensor, pieces: Sequence[Future[None]]) -> Tensor:
    for piece in pieces:
        piece.result()
    return rows
