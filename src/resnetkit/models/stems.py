"""The stems: from images to the feature maps the first stage starts from."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Literal

from torch import nn

from resnetkit.models.layers import ACTIVATIONS, NORMS, convolution

if TYPE_CHECKING:  # resnet imports this module
    from resnetkit.models.resnet import ResNetConfig

Stem = Literal["imagenet", "deep", "strided", "cifar"]
StemPool = Literal["padded", "unpadded", "zero-padded"]


def imagenet_stem(config: ResNetConfig) -> nn.Module:
    """One 7x7 convolution of stride 2: He 2015, table 1."""
    # Elsewhere a norm holds the bias; zeros that are pooled in between do not move along with it.
    bias = config.stem_pool == "zero-padded"
    return convolution(config.in_channels, config.stem_width, 7, stride=2, bias=bias)


def deep_stem(config: ResNetConfig) -> nn.Module:
    """Three 3x3 convolutions, the first of stride 2, half as wide: He 2019, figure 2b."""
    half = config.stem_width // 2
    norm, activation = NORMS[config.block.norm], ACTIVATIONS[config.block.activation]
    return nn.Sequential(
        convolution(config.in_channels, half, 3, stride=2),
        norm(half),
        activation(),
        convolution(half, half, 3),
        norm(half),
        activation(),
        convolution(half, config.stem_width, 3),
    )


def strided_stem(config: ResNetConfig) -> nn.Module:
    """One 3x3 convolution of stride 2: what of the first two steps small images can afford."""
    return convolution(config.in_channels, config.stem_width, 3, stride=2)


def cifar_stem(config: ResNetConfig) -> nn.Module:
    """One 3x3 convolution at full resolution: He 2015, section 4.2."""
    return convolution(config.in_channels, config.stem_width, 3)


STEMS = {
    "imagenet": imagenet_stem,
    "deep": deep_stem,
    "strided": strided_stem,
    "cifar": cifar_stem,
}
POOLING_STEMS = ("imagenet", "deep")


def zero_padded_pool() -> nn.Module:
    """As `padded`, but a border of zeros competes for the maximum: Keras' ResNetV2."""
    return nn.Sequential(nn.ZeroPad2d(1), nn.MaxPool2d(3, stride=2))


STEM_POOLS = {
    "padded": partial(nn.MaxPool2d, 3, stride=2, padding=1),
    "unpadded": partial(nn.MaxPool2d, 3, stride=2, ceil_mode=True),
    "zero-padded": zero_padded_pool,
}
