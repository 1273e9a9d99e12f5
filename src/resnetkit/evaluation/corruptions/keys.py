"""Where the corruptions' randomness comes from: (seed, corruption, image index), nothing else."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import numpy as np


def image_keys(seed: int, name: str, indices: np.ndarray) -> np.ndarray:
    """A key for each image's draws: uint64 [N,2], from the indices int64 [N] within their split.

    It does not depend on the severity: the noise of an image is the same at each, only stronger.
    """
    shared = hashlib.blake2b(f"{name} {seed}".encode(), digest_size=8).digest()
    keys = np.empty((len(indices), 2), dtype=np.uint64)
    keys[:, 0] = int.from_bytes(shared, "little")
    keys[:, 1] = indices
    return keys


def draw_each(keys: np.ndarray, draw: Callable[[np.random.Generator], np.ndarray]) -> np.ndarray:
    """`draw` with the generator of each image, stacked: [N,...].

    Philox counts from its key (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"),
    so that an image has its own stream without any history.
    """
    return np.stack([draw(np.random.Generator(np.random.Philox(key=key))) for key in keys])
