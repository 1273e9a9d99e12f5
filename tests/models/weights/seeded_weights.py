"""Weights that are a function of their names: nobody need store them, everybody has the same.

Values come from Philox's raw bits, whose stream NumPy guarantees (NEP 19), keyed by the name's
SHA-256, and are scaled so that activations neither die nor grow.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor


def seeded_uniform(name: str, shape: Sequence[int], low: float, high: float) -> Tensor:
    """float32 of this shape, uniform in [low, high)."""
    key = int.from_bytes(hashlib.sha256(name.encode()).digest()[:16], "little")
    raw = np.random.Philox(key=key).random_raw(math.prod(shape))
    unit = (raw >> np.uint64(40)).astype(np.float32) * np.float32(2**-24)
    return torch.from_numpy(low + (high - low) * unit).reshape(tuple(shape))


def seeded_entry(name: str, shape: Sequence[int]) -> Tensor:
    """One entry of a network: He's variance for weights, a norm's statistics as after training."""
    if name.endswith("num_batches_tracked"):
        return torch.tensor(100)
    if len(shape) > 1:
        bound = math.sqrt(6 / math.prod(shape[1:]))
        return seeded_uniform(name, shape, -bound, bound)
    if name.endswith("running_var"):
        return seeded_uniform(name, shape, 0.5, 1.5)
    if name.endswith("weight"):
        return seeded_uniform(name, shape, 0.2, 0.8)
    return seeded_uniform(name, shape, -0.2, 0.2)


def seeded_state(shapes: Mapping[str, Sequence[int]]) -> dict[str, Tensor]:
    """All entries of a network."""
    return {name: seeded_entry(name, shape) for name, shape in shapes.items()}


def seeded_images(count: int, size: int) -> Tensor:
    """Images of noise, float32 [N,3,size,size]."""
    return seeded_uniform("images", (count, 3, size, size), -1.7, 1.7)
