"""The residual blocks: a block computes `shortcut(x) + residual(x)`.

The shortcut is the identity wherever the shape allows it, so signal and gradient have one way
through the network that no layer disturbs, and a block that has nothing to add learns zero.

Modules are called conv1, bn1, ..., downsample because torchvision's checkpoints use these keys:
with other options a `bn1` is a GroupNorm, or a `downsample` the identity.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor, nn

from resnetkit.models.layers import (
    ACTIVATIONS,
    NORMS,
    SqueezeExcitation,
    convolution,
    dropout,
    stochastic_depth,
)
from resnetkit.models.setting_checks import check_choice, check_positive, check_rate
from resnetkit.models.shortcuts import SHORTCUTS, build_shortcut
from resnetkit.types import UserError

BlockKind = Literal["basic", "bottleneck", "preact-basic", "preact-bottleneck"]
Shortcut = Literal["A", "B", "D", "none"]
Norm = Literal["batch", "group"]
Activation = Literal["relu", "leaky_relu", "silu", "gelu"]


@dataclass(frozen=True, kw_only=True)
class BlockConfig:
    """What all blocks of a network have in common; the stem shares norm and activation.

    `shortcut` says what stands where the identity does not fit: A zero-padding, B projection
    (He 2015, section 3.3), D pooled projection (He 2019, section 4), or "none" for plain blocks.
    `groups` and `width_per_group` are ResNeXt's cardinality and width, at 64 channels of width.
    """

    kind: BlockKind = "basic"
    shortcut: Shortcut = "B"
    norm: Norm = "batch"
    activation: Activation = "relu"
    groups: int = 1
    width_per_group: int = 64
    stride_in_first_convolution: bool = False  # He 2015; in the 3x3 it is called "ResNet v1.5"
    stride_in_last_block: bool = False  # of a stage, past a subsampled identity: Keras' ResNetV2
    squeeze_excitation: bool = False
    block_dropout: float = 0.0  # between the convolutions: Wide ResNet, section 2.4

    def __post_init__(self) -> None:
        check_choice("kind", self.kind, BLOCKS)
        check_choice("shortcut", self.shortcut, [*SHORTCUTS, "none"])
        check_choice("norm", self.norm, NORMS)
        check_choice("activation", self.activation, ACTIVATIONS)
        check_positive("groups", self.groups)
        check_positive("width_per_group", self.width_per_group)
        check_rate("block_dropout", self.block_dropout)
        if self.kind.endswith("bottleneck"):
            if self.block_dropout:
                raise _misplaced("block_dropout", "basic", self.kind, "use dropout instead")
        elif (self.groups, self.width_per_group) != (1, 64):
            remedy = "leave them 1 and 64, and widen stage_widths instead"
            raise _misplaced("groups, width_per_group", "bottleneck", self.kind, remedy)
        elif self.stride_in_first_convolution:
            remedy = "leave it out: basic blocks always stride there"
            raise _misplaced("stride_in_first_convolution", "bottleneck", self.kind, remedy)

    @property
    def preactivation(self) -> bool:
        """Whether norm and activation come before each convolution instead of after it."""
        return self.kind.startswith("preact")

    def shortcut_between(self, in_channels: int, out_channels: int) -> str:
        """The shortcut of one block: at a stage's end, where no channels are added, option A."""
        subsamples = self.stride_in_last_block and in_channels == out_channels
        return "A" if subsamples and self.shortcut != "none" else self.shortcut

    def projects(self, in_channels: int, out_channels: int, stride: int) -> bool:
        """Whether a pre-activation block's shortcut starts from the activated input."""
        strides = stride != 1 and not self.stride_in_last_block
        return strides or in_channels != out_channels

    def out_channels(self, width: int) -> int:
        """Channels that leave a block in a stage of this width."""
        return width * BLOCKS[self.kind].expansion

    def inner_channels(self, width: int) -> int:
        """Channels of a bottleneck's 3x3 convolution in a stage of this width."""
        return width * self.width_per_group // 64 * self.groups

    def inner_strides(self, stride: int) -> tuple[int, int]:
        """Strides of a bottleneck's first 1x1 and of its 3x3 convolution."""
        return (stride, 1) if self.stride_in_first_convolution else (1, stride)


def _misplaced(setting: str, needed: str, kind: str, remedy: str) -> UserError:
    return UserError(f"{setting}: needs {needed} blocks, got kind {kind!r}; {remedy}.")


class BasicBlock(nn.Module):
    """Two 3x3 convolutions, around which the input is added back: He 2015, figure 2."""

    expansion: ClassVar[int] = 1

    def __init__(
        self, in_channels: int, width: int, stride: int, config: BlockConfig, drop_rate: float
    ) -> None:
        super().__init__()
        norm = NORMS[config.norm]
        self.conv1 = convolution(in_channels, width, 3, stride)
        self.bn1 = norm(width)
        self.conv2 = convolution(width, width, 3)
        self.bn2 = norm(width)
        self.activation = ACTIVATIONS[config.activation]()
        self.dropout = dropout(config.block_dropout)
        self.se = SqueezeExcitation(width) if config.squeeze_excitation else nn.Identity()
        self.stochastic_depth = stochastic_depth(drop_rate)
        shortcut = config.shortcut_between(in_channels, width)
        self.downsample = build_shortcut(shortcut, in_channels, width, stride, norm)

    def forward(self, x: Tensor) -> Tensor:
        """[N,C,H,W] -> [N,width,H/stride,W/stride]."""
        residual = self.activation(self.bn1(self.conv1(x)))
        residual = self.bn2(self.conv2(self.dropout(residual)))
        residual = self.stochastic_depth(self.se(residual))
        if self.downsample is not None:  # None in plain networks
            residual += self.downsample(x)
        return self.activation(residual)


class Bottleneck(nn.Module):
    """1x1 to fewer channels, 3x3, 1x1 to four times the width: He 2015, figure 5."""

    expansion: ClassVar[int] = 4

    def __init__(
        self, in_channels: int, width: int, stride: int, config: BlockConfig, drop_rate: float
    ) -> None:
        super().__init__()
        norm = NORMS[config.norm]
        inner, out = config.inner_channels(width), config.out_channels(width)
        stride_1x1, stride_3x3 = config.inner_strides(stride)
        self.conv1 = convolution(in_channels, inner, 1, stride_1x1)
        self.bn1 = norm(inner)
        self.conv2 = convolution(inner, inner, 3, stride_3x3, config.groups)
        self.bn2 = norm(inner)
        self.conv3 = convolution(inner, out, 1)
        self.bn3 = norm(out)
        self.activation = ACTIVATIONS[config.activation]()
        self.se = SqueezeExcitation(out) if config.squeeze_excitation else nn.Identity()
        self.stochastic_depth = stochastic_depth(drop_rate)
        shortcut = config.shortcut_between(in_channels, out)
        self.downsample = build_shortcut(shortcut, in_channels, out, stride, norm)

    def forward(self, x: Tensor) -> Tensor:
        """[N,C,H,W] -> [N,4*width,H/stride,W/stride]."""
        residual = self.activation(self.bn1(self.conv1(x)))
        residual = self.activation(self.bn2(self.conv2(residual)))
        residual = self.bn3(self.conv3(residual))
        residual = self.stochastic_depth(self.se(residual))
        if self.downsample is not None:  # None in plain networks
            residual += self.downsample(x)
        return self.activation(residual)


class PreActivationBasicBlock(nn.Module):
    """Norm and activation before each convolution, none after the addition: He 2016, figure 4e.

    Identities then chain from the first block to the last. Where the shape changes, the shortcut
    starts from the activated input and has no norm of its own, as in the authors' code.
    """

    expansion: ClassVar[int] = 1

    def __init__(
        self, in_channels: int, width: int, stride: int, config: BlockConfig, drop_rate: float
    ) -> None:
        super().__init__()
        norm = NORMS[config.norm]
        self.projects = config.projects(in_channels, width, stride)
        self.bn1 = norm(in_channels)
        self.conv1 = convolution(in_channels, width, 3, stride)
        self.bn2 = norm(width)
        self.conv2 = convolution(width, width, 3)
        self.activation = ACTIVATIONS[config.activation]()
        self.dropout = dropout(config.block_dropout)
        self.se = SqueezeExcitation(width) if config.squeeze_excitation else nn.Identity()
        self.stochastic_depth = stochastic_depth(drop_rate)
        shortcut = config.shortcut_between(in_channels, width)
        self.downsample = build_shortcut(shortcut, in_channels, width, stride, nn.Identity)

    def forward(self, x: Tensor) -> Tensor:
        """[N,C,H,W] -> [N,width,H/stride,W/stride]."""
        activated = self.activation(self.bn1(x))
        residual = self.activation(self.bn2(self.conv1(activated)))
        residual = self.conv2(self.dropout(residual))
        residual = self.stochastic_depth(self.se(residual))
        if self.downsample is not None:  # None in plain networks
            residual += self.downsample(activated if self.projects else x)
        return residual


class PreActivationBottleneck(nn.Module):
    """The bottleneck with norm and activation before each convolution: He 2016, section 4."""

    expansion: ClassVar[int] = 4

    def __init__(
        self, in_channels: int, width: int, stride: int, config: BlockConfig, drop_rate: float
    ) -> None:
        super().__init__()
        norm = NORMS[config.norm]
        inner, out = config.inner_channels(width), config.out_channels(width)
        stride_1x1, stride_3x3 = config.inner_strides(stride)
        self.projects = config.projects(in_channels, out, stride)
        self.bn1 = norm(in_channels)
        self.conv1 = convolution(in_channels, inner, 1, stride_1x1)
        self.bn2 = norm(inner)
        self.conv2 = convolution(inner, inner, 3, stride_3x3, config.groups)
        self.bn3 = norm(inner)
        self.conv3 = convolution(inner, out, 1)
        self.activation = ACTIVATIONS[config.activation]()
        self.se = SqueezeExcitation(out) if config.squeeze_excitation else nn.Identity()
        self.stochastic_depth = stochastic_depth(drop_rate)
        shortcut = config.shortcut_between(in_channels, out)
        self.downsample = build_shortcut(shortcut, in_channels, out, stride, nn.Identity)

    def forward(self, x: Tensor) -> Tensor:
        """[N,C,H,W] -> [N,4*width,H/stride,W/stride]."""
        activated = self.activation(self.bn1(x))
        residual = self.activation(self.bn2(self.conv1(activated)))
        residual = self.activation(self.bn3(self.conv2(residual)))
        residual = self.stochastic_depth(self.se(self.conv3(residual)))
        if self.downsample is not None:  # None in plain networks
            residual += self.downsample(activated if self.projects else x)
        return residual


Block = BasicBlock | Bottleneck | PreActivationBasicBlock | PreActivationBottleneck
BLOCKS: dict[str, type[Block]] = {
    "basic": BasicBlock,
    "bottleneck": Bottleneck,
    "preact-basic": PreActivationBasicBlock,
    "preact-bottleneck": PreActivationBottleneck,
}
