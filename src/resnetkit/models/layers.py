"""The parts that blocks and stems share: convolution, norm, activation, regularisers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn

NormLayer = Callable[[int], nn.Module]  # channels -> layer


def convolution(
    in_channels: int,
    out_channels: int,
    kernel_size: int,
    stride: int = 1,
    groups: int = 1,
    bias: bool = False,
) -> nn.Conv2d:
    """A convolution that keeps H and W (up to the stride); the norm after it holds the bias."""
    layer = nn.Conv2d(
        in_channels,
        out_channels,
        kernel_size,
        stride=stride,
        padding=kernel_size // 2,
        groups=groups,
        bias=bias,
    )
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)  # as the norm's would start
    return layer


def group_norm(channels: int) -> nn.Module:
    """GroupNorm of 32 groups (Wu & He 2018), fewer where that leaves a group one channel."""
    groups = math.gcd(32, channels)
    if groups == channels > 1:
        groups //= 2
    return nn.GroupNorm(groups, channels)


# In place where the gradient needs only the output: saves one feature map per activation.
ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": partial(nn.ReLU, inplace=True),
    "leaky_relu": partial(nn.LeakyReLU, inplace=True),
    "silu": nn.SiLU,
    "gelu": nn.GELU,
}
NORMS: dict[str, NormLayer] = {"batch": nn.BatchNorm2d, "group": group_norm}


class SqueezeExcitation(nn.Module):
    """Reweight channels by what the whole image shows: Hu 2018, section 3, reduction 16."""

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        hidden = max(1, channels // reduction)
        self.fc1 = nn.Conv2d(channels, hidden, kernel_size=1)
        self.fc2 = nn.Conv2d(hidden, channels, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        """[N,C,H,W] -> [N,C,H,W]."""
        squeezed = x.mean((2, 3), keepdim=True)
        return x * torch.sigmoid(self.fc2(torch.relu(self.fc1(squeezed))))


class StochasticDepth(nn.Module):
    """Drop the whole residual of an image with probability `rate`: Huang 2016.

    What is kept is scaled up, so that the expectation stays and evaluation needs no change.
    Draws from the device's default generator, as dropout does: whoever trains seeds it.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """[N,C,H,W] -> [N,C,H,W]."""
        if not self.training:
            return x
        kept = 1 - self.rate
        return x * x.new_empty(len(x), 1, 1, 1).bernoulli_(kept).div_(kept)

    def extra_repr(self) -> str:
        """What `print(model)` shows."""
        return f"rate={self.rate}"


def stochastic_depth(rate: float) -> nn.Module:
    """Stochastic depth, or nothing at rate 0."""
    return StochasticDepth(rate) if rate else nn.Identity()


def dropout(rate: float) -> nn.Module:
    """Dropout of single values, or nothing at rate 0."""
    return nn.Dropout(rate) if rate else nn.Identity()


class GlobalAveragePool(nn.Module):
    """The mean over each whole feature map."""

    def forward(self, x: Tensor) -> Tensor:
        """[N,C,H,W] -> [N,C]."""
        return x.mean((2, 3))


@contextmanager
def drawing_from(seed: int) -> Iterator[None]:
    """Draw initial weights from `seed`; the process's own random state comes out unchanged."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would reseed GPUs as well
        yield


def initialise_convolutions(network: nn.Module) -> None:
    """He initialisation: normal, with the variance of gradients kept (He 2015b, equation 14).

    Norms start as the identity and linear layers as PyTorch makes them, as in torchvision.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
