"""Deletion and insertion: a class's probability while the pixels a map names first go, or come.

Petsiuk, Das & Saenko 2018, "RISE", arXiv:1806.07421. A map that names what the network uses makes
the probability fall fast when its pixels are taken away (small area below the deletion curve) and
rise fast when they are put into an empty picture (large area below the insertion curve).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from resnetkit.explanation.examples import Examples, Mean, Score, mean_of
from resnetkit.explanation.map_controls import pixel_ranks
from resnetkit.types import UserError

Baseline = Literal["blur", "mean", "zero"]
BLUR_SIGMA, BLUR_SIDE = 5.0, 224  # RISE's Gaussian of 11 pixels, for images of this side
LEAST_SIGMA = 2.0  # pixels; below, small images would lose nothing


@dataclass(frozen=True, kw_only=True)
class CurveConfig:
    """How the curves are taken; the baselines are RISE's own."""

    pictures: int = 64
    """Of those there are, spread evenly."""
    steps: int = 20
    """Points on each curve besides the first: the more, the finer and the slower."""
    deletion: Baseline = "zero"
    """What pixels become that are taken away: zero (of the network's input, which is the training
    images' mean colour), mean (the picture's own) or blur."""
    insertion: Baseline = "blur"
    """What pixels are before they are put in."""
    batch_size: int = 64
    """Changed pictures per forward pass."""
    seed: int = 0
    """Of the order of equal pixels, and of the controls."""

    def __post_init__(self) -> None:
        if self.steps < 2:
            raise UserError(f"Curves: steps must be 2 or more, got {self.steps}.")
        for name in ("pictures", "batch_size"):
            if getattr(self, name) < 1:
                raise UserError(f"Curves: {name} must be 1 or more, got {getattr(self, name)}.")
        for name in (self.deletion, self.insertion):
            if name not in BASELINES:
                known = ", ".join(BASELINES)
                raise UserError(f"Curves: a baseline is one of {known}; got {name!r}.")


@dataclass(frozen=True, kw_only=True, eq=False)
class Curves:
    """The target's probability in each picture after each step, of deletion and of insertion."""

    shares: np.ndarray  # [S+1] float64: of the pixels that went or came, from 0 to 1
    deletion: np.ndarray  # [N,S+1] float32
    insertion: np.ndarray  # [N,S+1] float32

    @property
    def deletion_areas(self) -> np.ndarray:
        """Area below each deletion curve, [N] in 0…1: small is good."""
        return _areas(self.deletion, self.shares)

    @property
    def insertion_areas(self) -> np.ndarray:
        """Area below each insertion curve, [N] in 0…1: large is good."""
        return _areas(self.insertion, self.shares)

    @property
    def differences(self) -> np.ndarray:
        """Insertion's area less deletion's, [N]: one figure in which neither can be traded."""
        return self.insertion_areas - self.deletion_areas

    def gain_over(self, control: Curves) -> Mean:
        """By how much `differences` exceed the control's on the same pictures."""
        return mean_of(self.differences - control.differences)


def measure_curves(
    score: Score, examples: Examples, maps: np.ndarray, config: CurveConfig
) -> Curves:
    """Both curves for `maps` float32 [N,H,W] of `examples`; the higher a pixel, the earlier."""
    ranks = torch.from_numpy(pixel_ranks(maps, examples.numbers, config.seed))
    pixels = ranks.shape[1]
    thresholds = torch.linspace(0, pixels, min(config.steps, pixels) + 1).round().long()
    emptied = BASELINES[config.deletion](examples.images)
    base = BASELINES[config.insertion](examples.images)
    device = examples.images.device
    order = (ranks.to(device), thresholds.to(device))
    return Curves(
        shares=thresholds.double().numpy() / pixels,
        deletion=_follow(score, examples, (examples.images, emptied), order, config.batch_size),
        insertion=_follow(score, examples, (base, examples.images), order, config.batch_size),
    )


def _follow(
    score: Score,
    examples: Examples,
    ends: tuple[Tensor, Tensor],
    order: tuple[Tensor, Tensor],
    batch_size: int,
) -> np.ndarray:
    """Probabilities [N,S+1] while the first of `ends` turns into the second, pixel by pixel.

    `order` are the pixels' ranks [N,H*W] and the number that has turned after each step [S+1].
    """
    (start, finish), (ranks, thresholds) = ends, order
    count, steps = len(examples), len(thresholds)
    places = torch.arange(count * steps, device=start.device)
    scores = []
    with torch.inference_mode():
        for part in places.split(batch_size):
            rows, at = part // steps, part % steps
            turned = ranks[rows] < thresholds[at][:, None]
            turned = turned.view(len(part), 1, *start.shape[-2:])
            mixed = torch.where(turned, finish[rows], start[rows])
            found = score(mixed).gather(1, examples.targets[rows][:, None])
            scores.append(found[:, 0].float().cpu())
    return torch.cat(scores).view(count, steps).numpy()


def _areas(curves: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """The areas below `curves` [N,S+1] by the trapezoidal rule, as RISE's code has it: [N]."""
    heights = (curves[:, 1:] + curves[:, :-1]).astype(np.float64) / 2
    return heights @ np.diff(shares)


def _blurred(images: Tensor) -> Tensor:
    """Without detail: RISE's Gaussian in proportion to the picture, of `LEAST_SIGMA` at least."""
    from torchvision.transforms.functional import gaussian_blur

    side = min(images.shape[-2:])
    sigma = max(LEAST_SIGMA, BLUR_SIGMA * side / BLUR_SIDE)
    reach = min(int(1.1 * sigma), side - 1)  # 11 pixels for a sigma of 5
    return gaussian_blur(images, [2 * reach + 1] * 2, [sigma] * 2)


def _averaged(images: Tensor) -> Tensor:
    """Each picture's own mean colour."""
    return images.mean((2, 3), keepdim=True).expand_as(images)


BASELINES: dict[str, Callable[[Tensor], Tensor]] = {
    "blur": _blurred,
    "mean": _averaged,
    "zero": torch.zeros_like,
}
