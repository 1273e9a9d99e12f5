"""Which images make up which batch of an epoch: a function of seed and epoch, never of history."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from resnetkit.data.balance import sampled_order
from resnetkit.data.draws import epoch_order


@dataclass(frozen=True, kw_only=True, eq=False)
class BatchOrder:
    """The batches of every epoch over `count` images, whatever is read for them."""

    count: int
    batch_size: int
    seed: int
    shuffle: bool
    weights: np.ndarray | None = None  # [N]: how likely each image is drawn; None visits each once

    @property
    def steps_per_epoch(self) -> int:
        """Batches in an epoch: whole ones only when shuffling, all images otherwise."""
        count, size = self.count, self.batch_size
        return max(1, count // size) if self.shuffle else math.ceil(count / size)

    def batches(self, epoch: int, start: int = 0) -> list[np.ndarray]:
        """The images of each batch from number `start` on: int64 [N], as `Batch.indices`."""
        size, order = self.batch_size, self._images(epoch)
        numbers = range(start, self.steps_per_epoch)
        return [order[number * size : (number + 1) * size] for number in numbers]

    def _images(self, epoch: int) -> np.ndarray:
        """The images of an epoch in order, int64 [N]."""
        if self.weights is not None:
            return sampled_order(self.weights, self.seed, epoch)
        return epoch_order(self.seed, epoch, self.count) if self.shuffle else np.arange(self.count)
