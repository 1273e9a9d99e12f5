"""The pointing game: whether a map's highest point lies on the object, and how much of it does.

Zhang et al. 2016, "Top-down Neural Attention by Excitation Backprop", arXiv:1608.00507, section
4.1; the share of a map inside boxes is the "energy-based pointing game" of Wang et al. 2020,
"Score-CAM", arXiv:1910.01279, section 4.3. Both judge map and network together: a network that
decides by the background cannot have a faithful map that points at the object.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from resnetkit.evaluation.intervals import Interval, wilson_interval
from resnetkit.explanation.examples import Examples, Mean, mean_of
from resnetkit.explanation.map_controls import highest_pixels

TOLERANCE = 15 / 375  # of the shorter side: 15 pixels in VOC's pictures, mostly 500 x 375
HARD_SHARE = 0.25  # of the picture; smaller objects make the paper's "difficult" subset


@dataclass(frozen=True, kw_only=True)
class Hits:
    """How often a point lay on the object, with Wilson's 95 % interval."""

    hits: int
    trials: int

    @property
    def share(self) -> float:
        """Hits per trial."""
        return self.hits / self.trials

    @property
    def interval(self) -> Interval:
        """Where the true share lies."""
        return wilson_interval(self.hits, self.trials)


@dataclass(frozen=True, kw_only=True)
class PointingGame:
    """How a method's maps fare against boxes, and what pointing without looking would have got."""

    points: Hits
    hard: Hits | None  # where the boxes cover less than `HARD_SHARE` of the picture; None: nowhere
    centre: Hits  # of the picture's middle
    random: float  # share of hits of a random point, exactly
    classes: float  # share of hits of each class, averaged over classes as in the paper
    energy: Mean | None  # share of the maps' positive values inside boxes; None: no map has any
    area: float  # share of the picture inside boxes: the energy of a map that is grey all over
    tolerance: float  # pixels of the network's input

    @property
    def finds(self) -> bool:
        """Whether it points at objects more often than chance, and not less often than the middle.

        95 % intervals decide: the lower end must lie above chance, the upper not below the middle.
        """
        low, high = self.points.interval
        return low > self.random and high >= self.centre.share


@dataclass(frozen=True, kw_only=True, eq=False)
class Regions:
    """For each of N pictures the pixels that lie in boxes of the target class, and near them."""

    inside: np.ndarray  # [N,H,W] bool
    near: np.ndarray  # [N,H,W] bool: within the tolerance
    tolerance: float  # pixels


def mark_regions(boxes: Sequence[np.ndarray], size: tuple[int, int]) -> Regions:
    """The regions of pictures of `size` (height, width) by their boxes, each float [m,4] of m ≥ 1.

    Boxes are left, top, right, bottom in pixels of the network's input. A pixel belongs to a box
    when its centre does; a box between the centres has the pixel its own centre lies in.
    """
    tolerance = TOLERANCE * min(size)
    marked = [_distances(corners, size) for corners in boxes]
    inside = np.stack([distances == 0 for distances in marked])
    for row, corners in enumerate(boxes):
        down, right = _centre_pixels(corners, size)
        inside[row, down, right] = True
    near = np.stack([distances <= tolerance for distances in marked]) | inside
    return Regions(inside=inside, near=near, tolerance=tolerance)


def play(maps: np.ndarray, examples: Examples, regions: Regions, seed: int) -> PointingGame:
    """The pointing game of maps float32 [N,H,W] of `examples`."""
    count, (height, width) = len(maps), examples.size
    assert maps.shape == regions.near.shape, (maps.shape, regions.near.shape)
    rows = np.arange(count)
    points = highest_pixels(maps, examples.numbers, seed)
    hits = regions.near[rows, points[:, 0], points[:, 1]]
    middle = regions.near[:, (height - 1) // 2, (width - 1) // 2]
    covered = regions.inside.mean(axis=(1, 2))
    hard = covered < HARD_SHARE
    targets = examples.targets.cpu().numpy()
    per_class = [float(hits[targets == target].mean()) for target in np.unique(targets)]
    return PointingGame(
        points=_count(hits),
        hard=_count(hits[hard]) if hard.any() else None,
        centre=_count(middle),
        random=float(regions.near.mean()),
        classes=float(np.mean(per_class)),
        energy=measure_energy(maps, regions),
        area=float(covered.mean()),
        tolerance=regions.tolerance,
    )


def measure_energy(maps: np.ndarray, regions: Regions) -> Mean | None:
    """The share of each map's positive values that lies in boxes, averaged over those with any."""
    positive = np.maximum(maps, 0).astype(np.float64)
    whole = positive.sum(axis=(1, 2))
    there = whole > 0
    if not there.any():
        return None
    within = (positive * regions.inside).sum(axis=(1, 2))
    return mean_of(within[there] / whole[there])


def _count(hits: np.ndarray) -> Hits:
    return Hits(hits=int(hits.sum()), trials=len(hits))


def _distances(corners: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """From the centre of each pixel to the nearest of the boxes [m,4], 0 inside: float64 [H,W]."""
    assert len(corners), "a picture without boxes"
    rows, columns = (np.arange(side) + 0.5 for side in size)
    left, top, right, bottom = (edge[:, None] for edge in corners.T)
    across = np.maximum(np.maximum(left - columns, columns - right), 0)  # [m,W]
    along = np.maximum(np.maximum(top - rows, rows - bottom), 0)  # [m,H]
    return np.hypot(along[:, :, None], across[:, None, :]).min(axis=0)


def _centre_pixels(corners: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Row and column of the pixel in which the centre of each box lies: int64 [m] each."""
    height, width = size
    across = ((corners[:, 0] + corners[:, 2]) / 2).astype(np.int64)
    along = ((corners[:, 1] + corners[:, 3]) / 2).astype(np.int64)
    return np.clip(along, 0, height - 1), np.clip(across, 0, width - 1)
