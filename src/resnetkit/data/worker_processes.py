"""Decoding in worker processes: for many cores, where threads would wait for Python's one lock."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import forkserver, resource_tracker
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from resnetkit.data.reading import Item, Reading, list_items, new_rows, read_encoded
from resnetkit.data.source_types import Split
from resnetkit.types import Interrupted


class WorkerProcesses:
    """Worker processes that decode batches of one split; they live on from epoch to epoch."""

    def __init__(self, split: Split, reading: Reading, workers: int) -> None:
        self._plan = _Plan(split)
        self._decoder = DataLoader(
            _Decoding(reading),
            batch_sampler=self._plan,
            num_workers=workers,
            persistent_workers=True,
            multiprocessing_context=_process_context(),
            worker_init_fn=_start_worker,
            collate_fn=_unchanged,
            pin_memory=torch.cuda.is_available(),
        )

    def batches(self, epoch: int, chunks: Sequence[np.ndarray]) -> Iterator[Tensor]:
        """The images of each chunk of numbers: uint8 [N,H,W,C]; ends an iteration begun before."""
        self._plan.epoch, self._plan.chunks = epoch, chunks
        try:
            with _script_hidden():
                decoded = iter(self._decoder)
            yield from decoded
        except (RuntimeError, OSError, EOFError) as error:
            # What torch and the pipes say of a dead worker; trouble with an image is a UserError.
            if isinstance(error, RuntimeError) and "DataLoader worker" not in str(error):
                raise
            raise Interrupted(
                "a decoding process was ended from outside: stopped, or out of memory"
            ) from error


class _Task(NamedTuple):
    """An image to be decoded, with its epoch: workers hold no copy of the data or of the plan."""

    epoch: int
    item: Item


class _Plan:
    """A batch sampler over what the loader wants next."""

    def __init__(self, split: Split) -> None:
        self._split = split
        self.epoch = 0
        self.chunks: Sequence[np.ndarray] = []

    def __iter__(self) -> Iterator[list[_Task]]:
        return self._batches(self.epoch, self.chunks)

    def __len__(self) -> int:
        return len(self.chunks)

    def _batches(self, epoch: int, chunks: Sequence[np.ndarray]) -> Iterator[list[_Task]]:
        for chunk in chunks:
            yield [_Task(epoch, item) for item in list_items(self._split, chunk)]


class _Decoding(Dataset):
    """Decodes, and crops where asked: tasks of one epoch -> uint8 [N,H,W,C]."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading

    def __getitems__(self, tasks: Sequence[_Task]) -> Tensor:
        rows = new_rows(self._reading, len(tasks))
        items = [task.item for task in tasks]
        read_encoded(self._reading, tasks[0].epoch, items, rows.numpy())
        return rows


def _unchanged(rows: Any) -> Any:
    # The batch is whole already. A plain tensor, not a Batch: DataLoader pins only what it knows.
    return rows


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
