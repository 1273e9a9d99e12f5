"""Maps that know nothing of the network, to hold others against; and the pixels of a map in order.

All draws are functions of the seed and of a picture's number.
"""

from __future__ import annotations

import numpy as np

from resnetkit.data.draws import stream, uniform_draws

CENTRE_WIDTH = 0.25  # standard deviation of the centre map, as a share of each side


def random_maps(numbers: np.ndarray, size: tuple[int, int], seed: int) -> np.ndarray:
    """Noise without any order: float32 [N,H,W]."""
    height, width = size
    draws = uniform_draws((seed, stream("random map")), numbers, height * width)
    return draws.reshape(len(numbers), height, width)


def centre_maps(count: int, size: tuple[int, int]) -> np.ndarray:
    """A Gaussian around the middle, the same for every picture: float32 [N,H,W].

    Photographers centre what they show: a map must be better than knowing only that.
    """
    rows, columns = (
        np.exp(-0.5 * ((np.arange(side) + 0.5 - side / 2) / (CENTRE_WIDTH * side)) ** 2)
        for side in size
    )
    one = np.outer(rows, columns).astype(np.float32)
    return np.repeat(one[None], count, axis=0)


def shifted_maps(maps: np.ndarray, numbers: np.ndarray, seed: int) -> np.ndarray:
    """The same maps in the wrong place: each moved by a random offset, around the edges.

    A control of the same values and the same smoothness. Random orders alone would flatter smooth
    maps or wrong them: pixels taken out here and there destroy a picture in another way than a
    patch does. The offset is between a quarter and three quarters of each side.
    """
    count, height, width = maps.shape
    draws = uniform_draws((seed, stream("shifted map")), numbers, 2)
    down, right = (
        side // 4 + (draws[:, axis] * (side - 2 * (side // 4) + 1)).astype(np.int64)
        for axis, side in enumerate((height, width))
    )
    rows = (np.arange(height)[None] - down[:, None]) % height  # [N,H]
    columns = (np.arange(width)[None] - right[:, None]) % width  # [N,W]
    return maps[np.arange(count)[:, None, None], rows[:, :, None], columns[:, None, :]]


def pixel_ranks(maps: np.ndarray, numbers: np.ndarray, seed: int) -> np.ndarray:
    """The place of each pixel in its map's order, 0 for the highest: int64 [N,H*W].

    Equal pixels, of which Grad-CAM's zeros are many, come in a random order: in that of memory
    they would go line by line, which no map has said.
    """
    count = len(maps)
    flat = maps.reshape(count, -1)
    ties = uniform_draws((seed, stream("equal pixels")), numbers, flat.shape[1])
    order = np.lexsort((ties, -flat), axis=-1)
    ranks = np.empty_like(order)
    np.put_along_axis(ranks, order, np.arange(flat.shape[1])[None], axis=1)
    return ranks


def highest_pixels(maps: np.ndarray, numbers: np.ndarray, seed: int) -> np.ndarray:
    """Row and column of each map's highest pixel, one at random among equals: int64 [N,2]."""
    flat = maps.reshape(len(maps), -1)
    ties = uniform_draws((seed, stream("equal pixels")), numbers, flat.shape[1])
    highest = np.where(flat == flat.max(axis=1, keepdims=True), ties, -1.0).argmax(axis=1)
    return np.stack(np.unravel_index(highest, maps.shape[1:]), axis=1)
