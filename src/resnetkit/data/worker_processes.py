"""Decoding in worker processes: for many cores, where threads would wait for Python's one lock."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from resnetkit.data.processes import clean_server, script_hidden, start_worker
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
            multiprocessing_context=clean_server(__name__),
            worker_init_fn=start_worker,
            collate_fn=_unchanged,
            pin_memory=torch.cuda.is_available(),
        )

    def batches(self, epoch: int, chunks: Sequence[np.ndarray]) -> Iterator[Tensor]:
        """The images of each chunk of numbers: uint8 [N,H,W,C]; ends an iteration begun before."""
        self._plan.epoch, self._plan.chunks = epoch, chunks
        try:
            with script_hidden():
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
