"""Weights prove themselves: where the source library is at hand, its logits must equal ours."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from resnetkit.models.weights.foreign import ForeignWeights
from resnetkit.models.zoo import Network, build_model
from resnetkit.types import UserError

LARGEST_DIFFERENCE = 1e-4  # of the largest logit; float32 sums in another order differ by 1e-6


def build_network(foreign: ForeignWeights) -> Network:
    """The network with these weights, in evaluation mode."""
    network = build_model(foreign.architecture).eval()
    network.load_state_dict(foreign.state, strict=True)
    return network


def prove_equal(
    foreign: ForeignWeights, source: Callable[[Tensor], Tensor], image_size: int
) -> float:
    """The largest difference between the source's logits and ours, relative to the largest logit.

    `source` maps images float32 [N,C,H,W] to logits [N,K], in evaluation mode; it sees two images
    of noise. What entries do not show (filters, strides, activations) shows here.
    Raises UserError if they differ by more than 1e-4.
    """
    generator = torch.Generator().manual_seed(0)
    channels = foreign.architecture.in_channels
    images = torch.randn(2, channels, image_size, image_size, generator=generator)
    with torch.inference_mode():
        theirs, ours = source(images), build_network(foreign)(images)
    difference = float((ours - theirs).abs().max() / theirs.abs().max())
    if not difference <= LARGEST_DIFFERENCE:
        raise UserError(
            f"{foreign.origin}: the source's logits are needed up to {LARGEST_DIFFERENCE:g} of the "
            f"largest, got a difference of {difference:.2g}. It computes something that its "
            "weights do not show (a filter, another stride or activation); use other weights."
        )
    return difference
