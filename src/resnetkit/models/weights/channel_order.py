"""Option A as akamaster/pytorch_resnet_cifar10 pads it: half of the zeros before the old channels.

He 2015 only says that zeros are added; our shortcut adds them all behind. Both are the same network
with its channels in another order, so the weights are put into ours, exactly, once.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import pairwise

import torch
from torch import Tensor

from resnetkit.models.resnet import ResNetConfig

LAST_CONVOLUTION = {"basic": 2, "bottleneck": 3}


def reorder_channels(state: Mapping[str, Tensor], architecture: ResNetConfig) -> dict[str, Tensor]:
    """The same network with option A's new channels behind the old ones, not around them.

    Only the channels that a stage hands on move, so only what writes or reads them is reordered:
    in each block the first convolution's inputs and the last one's outputs and norm, and the head.
    """
    orders = stage_orders(architecture)
    last = LAST_CONVOLUTION[architecture.block.kind]
    reordered = dict(state)
    for name, tensor in state.items():
        if name == "fc.weight":
            reordered[name] = tensor[:, orders[-1]]
        elif found := re.fullmatch(r"layer(\d+)\.(\d+)\.(conv|bn)(\d)\.(\w+)", name):
            stage, block, number = int(found[1]), int(found[2]), int(found[4])
            if number == last and tensor.dim():  # dimensionless are the counters
                reordered[name] = tensor[orders[stage]]
            elif number == 1 and found[3] == "conv":
                reordered[name] = tensor[:, orders[stage if block else stage - 1]]
    return reordered


def stage_orders(architecture: ResNetConfig) -> list[Tensor]:
    """For the stem and every stage: which of the source's channels stands at each of our places."""
    widths = [
        architecture.stem_width,
        *map(architecture.block.out_channels, architecture.stage_widths),
    ]
    orders = [torch.arange(widths[0])]
    for before, after in pairwise(widths):
        shift = (after - before) // 2
        new = torch.cat([torch.arange(shift), torch.arange(shift + before, after)])
        orders.append(torch.cat([orders[-1] + shift, new]))
    return orders
