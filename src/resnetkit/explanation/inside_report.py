"""What was found inside a network, and what of it is unusual and why.

The limits are rules of thumb, each with its reason; a value beyond one is worth a look, no more.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

FEW_IMAGES = 50  # fewer say little about what units do for others
DEAD = 0.1  # of a layer's channels: computed for nothing, and no gradient brings them back
DRIFT = 0.1  # nats: all means 0.45 deviations off, or all variances 1.9 times as large or small
CHANNEL_DRIFT = 1.0  # nats, of one channel: its mean 1.4 deviations off
JUMP = 30.0  # times as large or small as in the part before; norms keep it within a few
VANISHING = 100.0  # the largest gradient of a part to the smallest; shortcuts keep it near 1


@dataclass(frozen=True, kw_only=True)
class PartFacts:
    """One part of the network: of what leaves it, and of its weights.

    Gradients are of the loss of one image; `weight_gradient` of the mean loss. `effective_rank` is
    that of the outputs, averaged over each map, and can be `rank_limit` at most.
    """

    name: str
    activation: float  # root mean square
    gradient: float  # mean over the images of the L2 norm
    weights: float  # L2 norm of all kernels and matrices; norms and biases aside
    weight_gradient: float  # L2 norm, of the same
    effective_rank: float
    rank_limit: int


@dataclass(frozen=True, kw_only=True)
class UnitFacts:
    """One ReLU: `dead` of its `units` (channels) never answered, at no place of any image."""

    name: str
    units: int
    dead: int
    active_share: float  # of all values


@dataclass(frozen=True, kw_only=True)
class NormFacts:
    """One BatchNorm: how far its inputs are from its running statistics.

    `drift` is the mean over the channels of the symmetric Kullback-Leibler divergence of two
    Gaussians, in nats: 0.5 is a mean one deviation off.
    """

    name: str
    channels: int
    drift: float
    worst_drift: float
    worst_channel: int


@dataclass(frozen=True, kw_only=True)
class InsideReport:
    """What a network does inside on some images; `unusual` says in words what to look at."""

    images: int
    classes: int
    loss: float  # mean, in nats
    parts: tuple[PartFacts, ...]
    units: tuple[UnitFacts, ...]  # empty where no activation is a ReLU
    norms: tuple[NormFacts, ...]  # empty without BatchNorm

    @property
    def unusual(self) -> tuple[str, ...]:
        """Every value beyond its limit, with what it means; empty where all is as it should be."""
        return (
            *_few(self),
            *_broken(self),
            *_jumps(self),
            *_vanishing(self),
            *_collapsed(self),
            *_dead(self),
            *_drifted(self),
        )

    def as_dict(self) -> dict[str, Any]:
        """Everything as JSON-safe values; what is not finite is None."""
        return _safe({**asdict(self), "unusual": list(self.unusual)})


def _few(report: InsideReport) -> Iterator[str]:
    if report.images < FEW_IMAGES:
        yield (
            f"only {report.images} images: units may seem dead, statistics drifted and ranks low "
            f"for want of others; look at {FEW_IMAGES} or more."
        )


def _broken(report: InsideReport) -> Iterator[str]:
    for part in report.parts:
        values = (part.activation, part.gradient, part.weights, part.weight_gradient)
        if not all(map(math.isfinite, values)):
            yield f"{part.name}: not all values are finite; the network has diverged."
        elif part.weights == 0 and part.weight_gradient > 0:
            yield f"{part.name}: all weights are zero."


def _jumps(report: InsideReport) -> Iterator[str]:
    for before, after in pairwise(report.parts[:-1]):  # no norm holds the size of logits
        low, high = sorted((before.activation, after.activation))
        if low * JUMP < high < math.inf:
            yield (
                f"{after.name}: activations of {after.activation:.3g} after "
                f"{before.activation:.3g} in {before.name}: no norm holds them there, or its "
                "scales have run off."
            )


def _vanishing(report: InsideReport) -> Iterator[str]:
    parts = [part for part in report.parts if math.isfinite(part.gradient)]
    if not parts:
        return
    least = min(parts, key=lambda part: part.gradient)
    most = max(parts, key=lambda part: part.gradient)
    if most.gradient == 0:
        yield "the loss has no gradient anywhere: logits are saturated, or nothing reaches them."
    elif most.gradient > VANISHING * least.gradient:
        yield (
            f"{least.name}: a gradient of {least.gradient:.2e} where {most.name} has "
            f"{most.gradient:.2e}: it learns far more slowly, for want of a shortcut past what "
            "lies between, or of norms."
        )


def _collapsed(report: InsideReport) -> Iterator[str]:
    # Of features that tell K classes apart, the means span K - 1 directions, or close to it where
    # training went on (Papyan, Han & Donoho 2020, "neural collapse").
    *_, features, head = report.parts
    needed = (report.classes - 1) / 2
    if features.effective_rank < needed <= features.rank_limit / 2:
        yield (
            f"{features.name}: the features that enter the {head.name} use "
            f"{features.effective_rank:.1f} directions, where telling {report.classes} classes "
            f"apart takes up to {report.classes - 1}: some classes look the same to it."
        )


def _dead(report: InsideReport) -> Iterator[str]:
    for layer in report.units:
        if layer.dead > DEAD * layer.units:
            yield (
                f"{layer.name}: {layer.dead} of {layer.units} channels are 0 everywhere in every "
                "image: they do nothing and get no gradient, as after too high a learning rate."
            )


def _drifted(report: InsideReport) -> Iterator[str]:
    for layer in report.norms:
        if layer.drift > DRIFT:
            yield (
                f"{layer.name}: what it receives is {layer.drift:.2g} nats from its running "
                "statistics in the mean of its channels: these images are not like those they "
                "were gathered on, or weights changed since."
            )
        elif layer.worst_drift > CHANNEL_DRIFT:
            yield (
                f"{layer.name}: what channel {layer.worst_channel} receives is "
                f"{layer.worst_drift:.2g} nats from its running statistics."
            )


def _safe(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _safe(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_safe(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
