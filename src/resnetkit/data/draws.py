"""Stateless randomness: every draw is a function of (seed, epoch, image index), never of history.

Worker counts and restarts therefore cannot change an augmentation, nor can an image's batch mates
(but for mixup and CutMix, which mix with them: the batch follows from seed, epoch and step). No
generator state needs saving. The generator is counter based: SplitMix64 (Steele, Lea & Flood 2014,
"Fast splittable pseudorandom number generators", section 3) applied to the counters themselves.
"""

from __future__ import annotations

import zlib

import numpy as np
import torch
from torch import Tensor

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_UINT64 = 1 << 64


def uniform_draws(key: tuple[int, ...], indices: np.ndarray, count: int) -> np.ndarray:
    """`count` uniform numbers in [0, 1) for each image: float32 [N, count].

    `key` holds what all images of the batch share (seed, epoch, stream); equal keys and indices
    give equal numbers, whatever else is in the batch.
    """
    base = np.zeros(1, dtype=np.uint64)
    for part in key:
        base = _mix(base ^ np.uint64(part % _UINT64)) + _GOLDEN
    per_image = _mix(base + (indices.astype(np.uint64) + np.uint64(1)) * _GOLDEN)
    counters = np.arange(1, count + 1, dtype=np.uint64) * _GOLDEN
    bits = _mix(per_image[:, None] + counters[None, :])
    return (bits >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-24)


def stream(name: str) -> int:
    """The number of a named stream of draws, so that flips and crops are independent."""
    return zlib.crc32(name.encode())


def epoch_order(seed: int, epoch: int, count: int) -> np.ndarray:
    """The order in which an epoch visits its images: a permutation of [0, count)."""
    return np.random.default_rng((seed, epoch)).permutation(count)


class Draws:
    """The draws of one batch: named streams of uniform numbers on `device`.

    `indices` int64 [N] number the batch's images, on the CPU: reading them back would stall a GPU.
    """

    def __init__(self, seed: int, epoch: int, indices: Tensor, device: torch.device) -> None:
        self._key = (seed, epoch)
        self._indices = indices.numpy()
        self._device = device

    def uniform(self, name: str, count: int) -> Tensor:
        """Uniform numbers of stream `name`: float32 [N, count] in [0, 1)."""
        return torch.from_numpy(self.numbers(name, count)).to(self._device)

    def numbers(self, name: str, count: int) -> np.ndarray:
        """What `uniform` gives, on the CPU."""
        return uniform_draws((*self._key, stream(name)), self._indices, count)

    def integers(self, name: str, count: int, bound: int) -> Tensor:
        """Whole numbers in [0, bound): int64 [N, count]."""
        return (self.uniform(name, count) * bound).long()

    def alternating(self, name: str) -> Tensor:
        """A coin for each image in the first epoch, turned over in every later one: bool [N]."""
        seed, epoch = self._key
        coin = uniform_draws((seed, stream(name)), self._indices, 1)[:, 0] < 0.5
        return torch.from_numpy(coin ^ bool(epoch % 2)).to(self._device)

    def generator(self, name: str) -> np.random.Generator:
        """A generator for draws that belong to the batch as a whole (mixing pairs, areas)."""
        return np.random.default_rng((*self._key, stream(name), int(self._indices[0])))


def _mix(value: np.ndarray) -> np.ndarray:
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))
