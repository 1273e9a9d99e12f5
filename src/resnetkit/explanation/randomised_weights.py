"""Does a map change when the network forgets what it has learnt? Adebayo et al. 2018.

"Sanity Checks for Saliency Maps", arXiv:1810.03292, section 3.1: parts of the network get initial
weights again, from the head down (cascading) or each alone (independent). A map that still looks
the same shows the picture, as an edge detector does, and not why the network decides.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from resnetkit.explanation.examples import (
    Attribute,
    Examples,
    Mean,
    collect_maps,
    mean_of,
    spread_rows,
)
from resnetkit.explanation.map_similarity import rank_correlation, structural_similarity
from resnetkit.models.zoo import Network, architecture_of, build_model
from resnetkit.types import UserError

Explain = Callable[[Network], Attribute]  # the method, for whichever network
LARGEST_SIMILARITY = 0.5  # see `RandomisedWeights`


@dataclass(frozen=True, kw_only=True)
class RandomisedConfig:
    """On how many pictures, how often, and how much at a time."""

    pictures: int = 32
    """Of those the other checks are made on, spread evenly: each is explained anew in every step,
    which is the longest part of all checks."""
    draws: int = 4
    """Networks drawn for each step; picture i is shown to number i mod this. One alone decides by
    the luck of its draw: all maps of a class come from the same random weights."""
    batch_size: int = 32
    """Pictures explained at a time."""
    seed: int = 0
    """Of the initial weights."""

    def __post_init__(self) -> None:
        for name, least in (("pictures", 2), ("draws", 1), ("batch_size", 1)):
            if getattr(self, name) < least:
                raise UserError(
                    f"Randomised weights: {name} must be {least} or more, got "
                    f"{getattr(self, name)}."
                )


@dataclass(frozen=True, kw_only=True)
class RandomisedStep:
    """How alike maps are to those of the trained network once `parts` have forgotten.

    `similarity` is Spearman's rank correlation of the maps, or of their absolute values if those
    are more alike on average: maps with signs can keep the picture's structure while signs flip.
    """

    parts: tuple[str, ...]
    similarity: Mean
    rank_correlation: float
    absolute_rank_correlation: float
    structural_similarity: float
    decisions_kept: float  # share of pictures of which the likeliest class is still the same


@dataclass(frozen=True, kw_only=True)
class RandomisedWeights:
    """The check of one method: `cascade` from the head alone to all parts, and each part alone.

    `depends` says that the maps of networks that have forgotten everything have less than
    `LARGEST_SIMILARITY` in common with those of the trained one. Let a map's ranks be the sum of
    what the picture gives whatever the weights, and of what the weights give: then the correlation
    of maps by different weights is the first one's share of the variance. From one half on, the map
    shows the picture more than the network. The steps before do not decide: where the lower parts
    alone find the object, a faithful map of their network still shows it. They tell what a map
    depends on, and stand beside what has become of the decisions.
    """

    cascade: tuple[RandomisedStep, ...]
    independent: tuple[RandomisedStep, ...]
    pictures: int

    @property
    def decisive(self) -> RandomisedStep:
        """The last step of the cascade: no weight is a learnt one."""
        return self.cascade[-1]

    @property
    def halfway(self) -> RandomisedStep:
        """The step in which the upper half of the parts, or just more, has forgotten."""
        return self.cascade[(len(self.cascade) - 1) // 2]

    @property
    def depends(self) -> bool:
        """Whether the maps depend on the weights."""
        return self.decisive.similarity.mean < LARGEST_SIMILARITY


@dataclass(frozen=True, kw_only=True, eq=False)
class _Shown:
    """What one network gave for the pictures at `rows`: maps [n,H,W] and likeliest classes [n]."""

    rows: np.ndarray
    maps: np.ndarray
    classes: np.ndarray


def check_randomised(
    network: Network,
    examples: Examples,
    explain: Explain,
    config: RandomisedConfig,
    name: str = "the method",
) -> RandomisedWeights:
    """Compare the maps of `network` with those of networks that have forgotten.

    Where a method also tells what speaks against a class, `explain` shall: a map cut off at 0 has
    ties where that was, and no signs that could flip. `network` is left as it is. Raises UserError
    for fewer than two pictures, with which the statistics of BatchNorm cannot be measured anew, and
    as `collect_maps` does.
    """
    if len(examples) < 2:
        raise UserError(
            f"Randomised weights: two pictures or more are needed, got {len(examples)}; give more."
        )
    chosen = spread_rows(len(examples), config.pictures)
    every, examples = examples.images, examples.take(chosen)
    maps = collect_maps(explain(network), examples, config.batch_size, name)
    classes = likeliest_classes(network, examples.images, config.batch_size)
    steps = cascade_steps(tuple(network.parts()))
    shown: dict[tuple[str, ...], list[_Shown]] = {step: [] for step in steps}
    for draw in range(min(config.draws, len(examples))):
        rows = np.arange(draw, len(examples), config.draws)
        part = examples.take(rows)
        fresh = draw_fresh(network, config.seed, draw)
        for step in steps:
            forgetful = forget(network, fresh, step, every, config.batch_size)
            found = _Shown(
                rows=rows,
                maps=collect_maps(explain(forgetful), part, config.batch_size, name),
                classes=likeliest_classes(forgetful, part.images, config.batch_size),
            )
            shown[step].append(found)
    compared = {step: _compare(step, maps, classes, shown[step]) for step in steps}
    count = len(network.parts())
    return RandomisedWeights(
        cascade=tuple(compared[step] for step in steps[:count]),
        independent=tuple(compared[step] for step in (steps[0], *steps[count:])),
        pictures=len(examples),
    )


def cascade_steps(parts: Sequence[str]) -> list[tuple[str, ...]]:
    """Which of `parts`, in forward order, forget in each step: cascading, then the others alone.

    The last part alone is the first step of both.
    """
    from_above = list(reversed(parts))
    cascading = [tuple(from_above[:count]) for count in range(1, len(parts) + 1)]
    return [*cascading, *((part,) for part in from_above[1:])]


def draw_fresh(network: Network, seed: int, draw: int) -> Network:
    """A network like `network` as training would have found it: number `draw` of a seed's."""
    own = int(np.random.SeedSequence((seed, draw)).generate_state(1)[0])
    device = next(network.parameters()).device
    return build_model(architecture_of(network), own).to(device).eval()


def forget(
    network: Network, fresh: Network, parts: Sequence[str], images: Tensor, batch_size: int
) -> Network:
    """A copy of `network` in evaluation mode with the weights of `fresh` in `parts`.

    BatchNorm's statistics belong to the weights before them. Those of `parts` are measured anew on
    `images`: with a fresh layer's (mean 0, variance 1), signals would grow or fade from block to
    block, and maps would change because of numbers out of range.
    """
    forgetful = copy.deepcopy(network).eval()
    mine, theirs = forgetful.parts(), fresh.parts()
    assert mine.keys() == theirs.keys(), (mine.keys(), theirs.keys())
    for part in parts:
        for module, initial in zip(mine[part], theirs[part], strict=True):
            module.load_state_dict(initial.state_dict())
    drawn = [module for part in parts for module in mine[part]]
    _measure_norms(drawn, forgetful, images, batch_size)
    return forgetful


def _measure_norms(
    modules: Sequence[nn.Module], network: Network, images: Tensor, batch_size: int
) -> None:
    """Give the BatchNorms in `modules` the mean statistics of batches of `images`."""
    norms = [
        norm for module in modules for norm in module.modules() if isinstance(norm, nn.BatchNorm2d)
    ]
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # PyTorch's name for the mean over all batches
        norm.train()
    with torch.no_grad():
        for piece in _even_pieces(images, batch_size):
            network(piece)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.eval()


def _even_pieces(images: Tensor, batch_size: int) -> Iterator[Tensor]:
    """`images` in pieces of about the same size, none of one alone: it has no variance."""
    pieces = max(1, len(images) // max(2, batch_size))
    yield from images.tensor_split(pieces)


@torch.no_grad()
def likeliest_classes(network: Network, images: Tensor, batch_size: int) -> np.ndarray:
    """The class with the largest logit of each picture: int64 [N]."""
    found = [network(part).argmax(dim=1).cpu() for part in images.split(batch_size)]
    return torch.cat(found).numpy()


def _compare(
    parts: tuple[str, ...], maps: np.ndarray, classes: np.ndarray, shown: Sequence[_Shown]
) -> RandomisedStep:
    """How the maps of forgetful networks compare with `maps`, in the order of the pictures."""
    rows = np.concatenate([one.rows for one in shown])
    own = maps[rows]
    other = np.concatenate([one.maps for one in shown])
    kept = np.concatenate([one.classes for one in shown]) == classes[rows]
    signed = rank_correlation(own, other)
    absolute = rank_correlation(np.abs(own), np.abs(other))
    worse = signed if signed.mean() >= absolute.mean() else absolute
    return RandomisedStep(
        parts=parts,
        similarity=mean_of(worse),
        rank_correlation=float(signed.mean()),
        absolute_rank_correlation=float(absolute.mean()),
        structural_similarity=float(structural_similarity(own, other).mean()),
        decisions_kept=float(kept.mean()),
    )
