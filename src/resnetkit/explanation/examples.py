"""What every check of a map starts from: pictures, the classes to explain, a method's maps."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from resnetkit.data.draws import epoch_order
from resnetkit.evaluation.intervals import CONFIDENCE, Interval
from resnetkit.types import Task, UserError

# Images float32 [N,C,H,W] as the network takes them and targets int64 [N] -> maps float32 [N,H,W].
Attribute = Callable[[Tensor, Tensor], Tensor]
Score = Callable[[Tensor], Tensor]  # such images -> the probability of each class, [N,K]


@dataclass(frozen=True, kw_only=True, eq=False)
class Examples:
    """N pictures, each with a class whose score is to be explained.

    `numbers` are what random draws for a picture follow from: the same picture gets the same ones,
    whatever other pictures are looked at.
    """

    images: Tensor  # [N,C,H,W] float32, as the network takes them, on its device
    targets: Tensor  # [N] int64, on the same device
    numbers: np.ndarray  # [N] int64

    def __post_init__(self) -> None:
        assert self.images.ndim == 4, self.images.shape
        assert len(self.images) == len(self.targets) == len(self.numbers)

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the pictures."""
        height, width = self.images.shape[-2:]
        return height, width

    def take(self, rows: np.ndarray) -> Examples:
        """Those at `rows` int64 [n]."""
        chosen = torch.from_numpy(rows).to(self.images.device)
        return Examples(
            images=self.images[chosen], targets=self.targets[chosen], numbers=self.numbers[rows]
        )


@dataclass(frozen=True, kw_only=True)
class Mean:
    """A mean over pictures, and Student's 95 % interval of it; None of fewer than two."""

    mean: float
    interval: Interval | None


def mean_of(values: np.ndarray) -> Mean:
    """The mean of one value per picture [N] and how far other pictures would move it."""
    from scipy.stats import t

    count = len(values)
    assert count, "the mean of nothing"
    mean = float(np.mean(values, dtype=np.float64))
    if count < 2:
        return Mean(mean=mean, interval=None)
    error = float(np.std(values, ddof=1, dtype=np.float64)) / math.sqrt(count)
    half = float(t.ppf((1 + CONFIDENCE) / 2, count - 1)) * error
    return Mean(mean=mean, interval=(mean - half, mean + half))


def collect_maps(
    attribute: Attribute, examples: Examples, batch_size: int, name: str
) -> np.ndarray:
    """The maps of all examples, float32 [N,H,W], made `batch_size` at a time.

    Raises UserError where the method called `name` gives values that are not finite: they have no
    order, and every check would be of something else.
    """
    made = []
    for start in range(0, len(examples), batch_size):
        part = slice(start, start + batch_size)
        maps = attribute(examples.images[part], examples.targets[part])
        made.append(torch.as_tensor(maps).detach().float().cpu().numpy())
    maps = np.concatenate(made)
    assert maps.shape == (len(examples), *examples.size), (maps.shape, len(examples), examples.size)
    bad = np.flatnonzero(~np.isfinite(maps).all(axis=(1, 2)))
    if len(bad):
        raise UserError(
            f"Explanation: the maps of {name} need finite values, got NaN or infinity in "
            f"{len(bad)} of {len(maps)} maps (the first for picture {int(bad[0])}); the network's "
            "weights or activations overflow there. Leave this method out with --methods."
        )
    return maps


def labelled_pairs(labels: np.ndarray, task: Task) -> tuple[np.ndarray, np.ndarray]:
    """Every picture with every class it shows, by labels as in `Split`: int64 [P] rows and classes.

    One class each in a single-label task (of soft labels the largest), in the other all marked.
    """
    if task == "multi-label":
        rows, classes = np.nonzero(labels > 0.5)
        return rows.astype(np.int64), classes.astype(np.int64)
    classes = labels if labels.ndim == 1 else labels.argmax(axis=1)
    return np.arange(len(labels)), classes.astype(np.int64)


def choose_evenly(classes: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Places of up to `count` of `classes` int64 [P], as equal a number of each as there is.

    Which they are follows from the seed; fewer are the first of more. int64 [n], ascending.
    """
    shuffled = epoch_order(seed, 0, len(classes))
    by_class = shuffled[np.argsort(classes[shuffled], kind="stable")]
    ordered = classes[by_class]
    rounds = np.arange(len(ordered)) - np.searchsorted(ordered, ordered)
    return np.sort(by_class[np.lexsort((ordered, rounds))[:count]])


def spread_rows(count: int, most: int) -> np.ndarray:
    """Up to `most` of `count` rows, evenly from the first to the last: int64 [n]."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.int64))
