"""What an attribution method finds in a batch of images: a map for each, and figures about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

HOTTEST = 0.1  # share of the pixels in `concentration`


@dataclass(frozen=True, kw_only=True, eq=False)
class Evidence:
    """Maps float32 [N,H,W], 0 and above, for one class each: where the evidence is.

    `signed` [N,H,W] is the map before evidence against the class was cut off; None where a sign
    means nothing. `resolution` is the (height, width) at which the method looks, before its map was
    enlarged to the image's size. `facts` hold a figure per image [N] by name. `settings` are those
    that followed from the images. `stage` is what the feature maps are of, where there are any.
    """

    maps: Tensor
    signed: Tensor | None
    resolution: tuple[int, int]
    stage: str | None = None
    facts: Mapping[str, Tensor] = field(default_factory=dict)
    settings: Mapping[str, int] = field(default_factory=dict)


def signed_evidence(values: Tensor, facts: Mapping[str, Tensor] | None = None) -> Evidence:
    """Evidence for a class, and where negative against it, at the pixels: values [N,H,W]."""
    return Evidence(
        maps=values.clamp(min=0),
        signed=values,
        resolution=(values.shape[1], values.shape[2]),
        facts=facts or {},
    )


def unsigned_evidence(gradients: Tensor) -> Evidence:
    """How much each pixel matters, by the gradients [N,C,H,W] of the logit.

    A gradient's sign says whether a pixel should be brighter, not whether it speaks for the class:
    absolute values are added up over the channels (Smilkov 2017, section 3.1 and its code).
    """
    maps = gradients.abs().sum(1)
    return Evidence(maps=maps, signed=None, resolution=(maps.shape[1], maps.shape[2]))


def join_evidence(found: Sequence[Evidence]) -> Evidence:
    """The evidence of several batches of the same size of image as one."""
    first = found[0]
    signed = [each.signed for each in found if each.signed is not None]
    return Evidence(
        maps=torch.cat([each.maps for each in found]),
        signed=torch.cat(signed) if signed else None,
        resolution=first.resolution,
        stage=first.stage,
        facts={name: torch.cat([each.facts[name] for each in found]) for name in first.facts},
        settings=first.settings,
    )


def describe_spread(evidence: Evidence) -> dict[str, Tensor]:
    """How the evidence spreads, per image [N]; not a number where there is none.

    `concentration` is the share of the map that lies in its hottest tenth of pixels: 0.1 where all
    are alike, 1 where no other pixel counts. `share_for` is that of the evidence for the class
    among all of it, for and against.
    """
    heat = evidence.maps.flatten(1)
    hottest = heat.topk(max(1, round(HOTTEST * heat.shape[1])), dim=1).values
    facts = {"concentration": hottest.sum(1) / heat.sum(1)}
    if evidence.signed is not None:
        signed = evidence.signed.flatten(1)
        facts["share_for"] = signed.clamp(min=0).sum(1) / signed.abs().sum(1)
    return facts
