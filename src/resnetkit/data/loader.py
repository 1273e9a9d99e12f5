"""Batches in a stateless order: from memory for small images, from worker processes for large ones."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from resnetkit.data.color_mode import to_color_mode
from resnetkit.data.contract import InputContract
from resnetkit.data.decode import decode_image
from resnetkit.data.draws import epoch_order, stream, uniform_draws
from resnetkit.data.sources import Split
from resnetkit.data.transforms import (
    CROP_DRAWS,
    fit_image,
    random_resized_crop,
)
from resnetkit.types import Batch

Plan = list[list[tuple[int, int]]]  # batches of (epoch, image index)


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
        self._plan: Plan = []
        self._decoder = None if self._in_memory is not None else self._build_decoder(contract)

    @property
    def crops_in_worker(self) -> bool:
        """Whether a random resized crop is done while decoding, at full resolution."""
        return self._in_memory is None

    @property
    def image_count(self) -> int:
        """Images in the split."""
        return len(self._split)

    @property
    def steps_per_epoch(self) -> int:
        """Batches in an epoch: whole ones only when shuffling, all images otherwise."""
        count, size = len(self._split), self._config.batch_size
        return max(1, count // size) if self._config.shuffle else math.ceil(count / size)

    def batches(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of `epoch` from number `start` on."""
        count, size = len(self._split), self._config.batch_size
        order = epoch_order(self._config.seed, epoch, count) if self._config.shuffle else None
        order = np.arange(count) if order is None else order
        numbers = range(start, self.steps_per_epoch)
        chunks = [order[number * size : (number + 1) * size] for number in numbers]
        if self._in_memory is not None:
            yield from (self._memory_batch(chunk) for chunk in chunks)
            return
        assert self._decoder is not None
        self._plan[:] = [[(epoch, int(index)) for index in chunk] for chunk in chunks]
        yield from self._decoder

    def _memory_batch(self, chunk: np.ndarray) -> Batch:
        assert self._in_memory is not None
        indices = torch.from_numpy(chunk)
        return Batch(images=self._in_memory[indices], labels=self._labels[indices], indices=indices)

    def _build_decoder(self, contract: InputContract) -> DataLoader:
        # The plan is read in this process at the start of each epoch, so workers can live on from
        # epoch to epoch: an item carries all that its decoding depends on.
        return DataLoader(
            _DecodingDataset(self._split, contract, self._config),
            batch_sampler=_Planned(self._plan),
            num_workers=self._config.workers,
            persistent_workers=self._config.workers > 0,
            collate_fn=_collate,
            pin_memory=torch.cuda.is_available(),
        )


class _Planned:
    """A batch sampler that reads the loader's current plan."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        return iter(list(self._plan))

    def __len__(self) -> int:
        return len(self._plan)


class _DecodingDataset(Dataset):
    """Decodes, and crops where asked: (epoch, index) -> (uint8 [C,H,W], label, index)."""

    def __init__(self, split: Split, contract: InputContract, config: LoaderConfig) -> None:
        assert split.encoded is not None
        self._encoded, self._names, self._labels = split.encoded, split.names, split.labels
        self._contract, self._config = contract, config

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, item: tuple[int, int]) -> tuple[np.ndarray, int, int]:
        epoch, index = item
        image = decode_image(self._encoded[index], self._names[index])
        image = to_color_mode(image, self._contract.color_mode, self._contract.exif_transpose)
        scale = self._config.resized_crop_scale
        if scale is None:
            pixels = fit_image(image, self._contract)
        else:
            key = (self._config.seed, epoch, stream("resized_crop"))
            draws = uniform_draws(key, np.array([index]), CROP_DRAWS)[0]
            pixels = random_resized_crop(image, self._contract, draws, scale, (3 / 4, 4 / 3))
        return pixels, int(self._labels[index]), index


def _collate(items: list[tuple[np.ndarray, int, int]]) -> Batch:
    images, labels, indices = zip(*items, strict=True)
    return Batch(
        images=torch.from_numpy(np.stack(images)),
        labels=torch.tensor(labels),
        indices=torch.tensor(indices),
    )
