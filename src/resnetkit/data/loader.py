"""Batches in a stateless order: small images from memory, large ones from worker processes."""

from __future__ import annotations

import math
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import forkserver, resource_tracker
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from resnetkit.data.color_mode import to_color_mode
from resnetkit.data.contract import InputContract
from resnetkit.data.decode import decode_image
from resnetkit.data.draws import epoch_order, stream, uniform_draws
from resnetkit.data.sources import Split
from resnetkit.data.transforms import CROP_DRAWS, fit_image, random_resized_crop
from resnetkit.types import Batch, Interrupted


@dataclass(frozen=True, kw_only=True)
class LoaderConfig:
    """How one split is turned into batches."""

    batch_size: int
    workers: int
    seed: int
    shuffle: bool
    resized_crop_scale: tuple[float, float] | None = None


class Loader:
    """Batches of one split; `batches(epoch, start)` can begin anywhere and is always the same."""

    def __init__(self, split: Split, contract: InputContract, config: LoaderConfig) -> None:
        self._split = split
        self._labels = torch.from_numpy(split.labels)
        self._config = config
        self._in_memory = None if split.images is None else torch.from_numpy(split.images)
        self._plan = _Plan(split)
        self._decoder = None if self._in_memory is not None else self._build_decoder(contract)

    @property
    def crops_in_worker(self) -> bool:
        """Whether a random resized crop is done while decoding, at full resolution."""
        return self._in_memory is None

    @property
    def steps_per_epoch(self) -> int:
        """Batches in an epoch: whole ones only when shuffling, all images otherwise."""
        count, size = len(self._split), self._config.batch_size
        return max(1, count // size) if self._config.shuffle else math.ceil(count / size)

    def batches(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of `epoch` from number `start` on; ends an iteration begun before."""
        count, size = len(self._split), self._config.batch_size
        order = epoch_order(self._config.seed, epoch, count) if self._config.shuffle else None
        order = np.arange(count) if order is None else order
        numbers = range(start, self.steps_per_epoch)
        chunks = [order[number * size : (number + 1) * size] for number in numbers]
        if self._in_memory is not None:
            yield from (self._memory_batch(chunk) for chunk in chunks)
            return
        assert self._decoder is not None
        self._plan.epoch, self._plan.chunks = epoch, chunks
        try:
            with _script_hidden():
                decoded = iter(self._decoder)
            for images, labels, indices in decoded:
                yield Batch(images=images, labels=labels, indices=indices)
        except (RuntimeError, OSError, EOFError) as error:
            # What torch and the pipes say of a dead worker; trouble with an image is a UserError.
            if isinstance(error, RuntimeError) and "DataLoader worker" not in str(error):
                raise
            raise Interrupted(
                "a decoding process was ended from outside: stopped, or out of memory"
            ) from error

    def _memory_batch(self, chunk: np.ndarray) -> Batch:
        assert self._in_memory is not None
        indices = torch.from_numpy(chunk)
        return Batch(images=self._in_memory[indices], labels=self._labels[indices], indices=indices)

    def _build_decoder(self, contract: InputContract) -> DataLoader:
        workers = self._config.workers
        return DataLoader(
            _Decoding(contract, self._config.seed, self._config.resized_crop_scale),
            batch_sampler=self._plan,
            num_workers=workers,
            persistent_workers=workers > 0,
            multiprocessing_context=_process_context() if workers else None,
            worker_init_fn=_start_worker,
            collate_fn=_collate,
            pin_memory=torch.cuda.is_available(),
        )


class _Item(NamedTuple):
    """All that the decoding of one image depends on.

    It travels to a worker with each image, so workers hold no copy of the data and live on from
    epoch to epoch.
    """

    epoch: int
    index: int
    label: int
    name: str
    encoded: Path | bytes


class _Plan:
    """A batch sampler over what the loader wants next."""

    def __init__(self, split: Split) -> None:
        self._split = split
        self.epoch = 0
        self.chunks: list[np.ndarray] = []

    def __iter__(self) -> Iterator[list[_Item]]:
        return self._batches(self.epoch, self.chunks)

    def __len__(self) -> int:
        return len(self.chunks)

    def _batches(self, epoch: int, chunks: list[np.ndarray]) -> Iterator[list[_Item]]:
        labels, names, encoded = self._split.labels, self._split.names, self._split.encoded
        assert encoded is not None
        for chunk in chunks:
            yield [_Item(epoch, i, int(labels[i]), names[i], encoded[i]) for i in map(int, chunk)]


class _Decoding(Dataset):
    """Decodes, and crops where asked: item -> (uint8 [C,H,W], label, index)."""

    def __init__(
        self, contract: InputContract, seed: int, crop_scale: tuple[float, float] | None
    ) -> None:
        self._contract, self._seed, self._crop_scale = contract, seed, crop_scale

    def __getitem__(self, item: _Item) -> tuple[np.ndarray, int, int]:
        contract = self._contract
        image = decode_image(item.encoded, item.name)
        image = to_color_mode(image, contract.color_mode, contract.exif_transpose, item.name)
        if self._crop_scale is None:
            pixels = fit_image(image, contract, item.name)
        else:
            key = (self._seed, item.epoch, stream("resized_crop"))
            draws = uniform_draws(key, np.array([item.index]), CROP_DRAWS)[0]
            pixels = random_resized_crop(image, contract, draws, self._crop_scale, (3 / 4, 4 / 3))
        return pixels, item.label, item.index


def _collate(items: Sequence[tuple[np.ndarray, int, int]]) -> tuple[Tensor, Tensor, Tensor]:
    # Plain tensors, not yet a Batch: DataLoader pins only what it knows.
    images, labels, indices = zip(*items, strict=True)
    return torch.from_numpy(np.stack(images)), torch.tensor(labels), torch.tensor(indices)


def _process_context() -> BaseContext:
    """How workers start: from a clean server process that has imported this module once.

    Forking the training process itself would copy the locks of its threads (OpenMP, TensorBoard,
    progress bar) as they are, held or not, and with them possible deadlocks; Python 3.12 warns of
    it. The server costs about 1.5 s once, then a worker 0.05 s; `spawn` would cost 2.7 s each time.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")  # Windows
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    # Ctrl-C reaches every process of a terminal, but the trainer still finishes its step: the
    # server is born with it blocked, and its workers after it. (Not SIGTERM: Python ends them so.)
    resource_tracker.ensure_running()  # first, because it would unblock it
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    forkserver.ensure_running()
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return context


@contextmanager
def _script_hidden() -> Iterator[None]:
    """Have workers started inside leave the user's script alone.

    They need nothing of it, but would import it: a script without `if __name__ == "__main__"`
    would start to train once more in each of them.
    """
    script = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = script


def _start_worker(worker: int) -> None:
    # For a worker of a server that another library had started, and on Windows.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # DataLoader has a worker end with its parent process; but that is the server, which in turn
    # lives as long as its workers: after kill -9 of the trainer they would stay for ever.
    trainer = multiprocessing.parent_process()
    assert trainer is not None
    threading.Thread(target=_end_with, args=(trainer,), daemon=True).start()


def _end_with(process: BaseProcess) -> None:
    process.join()
    os._exit(1)
