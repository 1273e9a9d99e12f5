"""Adapters: small trained convolutions beside frozen ones, merged into them at the end.

LoRA (Hu 2021, arXiv:2106.09685) for convolutions: the change of a kernel is the product of a thin
convolution of the same shape with `rank` outputs and a 1x1 convolution back. Being linear, the two
sum up with the kernel they stand beside, so the finished network has the architecture it began
with.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NoReturn

import torch
from torch import Tensor, nn

from resnetkit.models.layers import drawing_from
from resnetkit.types import UserError


class AdaptedConvolution(nn.Module):
    """A convolution plus its adapter, which starts as zero: the sum is the same to the bit."""

    def __init__(self, convolution: nn.Conv2d, rank: int) -> None:
        super().__init__()
        self.convolution = convolution
        groups, weight = convolution.groups, convolution.weight
        self.down = nn.Conv2d(
            convolution.in_channels,
            rank * groups,
            convolution.kernel_size,  # pyright: ignore[reportArgumentType]
            stride=convolution.stride,  # pyright: ignore[reportArgumentType]
            padding=convolution.padding,  # pyright: ignore[reportArgumentType]
            dilation=convolution.dilation,  # pyright: ignore[reportArgumentType]
            groups=groups,
            bias=False,
        )
        self.up = nn.Conv2d(rank * groups, convolution.out_channels, 1, groups=groups, bias=False)
        # Only one of the two may start as zero, or neither would ever have a gradient.
        nn.init.kaiming_normal_(self.down.weight, nonlinearity="linear")
        nn.init.zeros_(self.up.weight)
        for layer in (self.down, self.up):
            layer.to(weight.device, weight.dtype)

    def forward(self, x: Tensor) -> Tensor:
        """[N,C,H,W] -> what the convolution gives plus what the adapter adds."""
        return self.convolution(x) + self.up(self.down(x))

    def adapter_parameters(self) -> list[nn.Parameter]:
        """Those of the adapter alone."""
        return [*self.down.parameters(), *self.up.parameters()]

    @torch.no_grad()
    def merged(self) -> nn.Conv2d:
        """The convolution, its kernel changed in place by what the adapter adds."""
        kernel, groups = self.convolution.weight, self.convolution.groups
        up = self.up.weight.reshape(groups, -1, self.up.weight.shape[1])  # [G,O/G,R]
        down = self.down.weight.reshape(groups, up.shape[2], -1)  # [G,R,I/G*H*W]
        kernel += (up @ down).reshape(kernel.shape)
        return self.convolution


def insert_adapters(network: nn.Module, rank: int, seed: int) -> None:
    """Put an adapter beside each convolution of `network` that it is smaller than, in place.

    What the network computes stays the same to the bit until a step is taken. Initial weights are
    drawn from `seed`. Raises UserError when `rank` is so large that no adapter fits.
    """
    places = [place for place in _places(network) if adapter_fits(place[2], rank)]
    if not places:
        refuse_rank(network, rank)
    with drawing_from(seed):
        for parent, name, convolution in places:
            adapted = AdaptedConvolution(convolution, rank).train(convolution.training)
            setattr(parent, name, adapted)


def merge_adapters(network: nn.Module) -> None:
    """Add all adapters to the convolutions they stand beside and take them out, in place."""
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, AdaptedConvolution):
                setattr(parent, name, child.merged())


def adapter_fits(convolution: nn.Conv2d, rank: int) -> bool:
    """Whether an adapter of `rank` has fewer weights than the kernel of `convolution`."""
    return rank * _weights_per_rank(convolution) < convolution.weight.numel()


def refuse_rank(network: nn.Module, rank: int) -> NoReturn:
    """UserError that says which rank would fit."""
    fitting = [
        (convolution.weight.numel() - 1) // _weights_per_rank(convolution)
        for _, _, convolution in _places(network)
    ]
    if not fitting or max(fitting) < 1:
        raise UserError(
            "finetuning.strategy adapters needs convolutions that an adapter is smaller than, and "
            "this network has none: choose strategy bn-only or full"
        )
    raise UserError(
        f"finetuning.adapter_rank {rank}: such an adapter would be larger than every convolution "
        f"it could stand beside; give at most {max(fitting)}, or choose strategy full"
    )


def _weights_per_rank(convolution: nn.Conv2d) -> int:
    return convolution.weight[0].numel() * convolution.groups + convolution.out_channels


def _places(network: nn.Module) -> Iterator[tuple[nn.Module, str, nn.Conv2d]]:
    """Each convolution with its parent and its name there."""
    for parent in network.modules():
        for name, child in parent.named_children():
            if isinstance(child, nn.Conv2d):
                yield parent, name, child
