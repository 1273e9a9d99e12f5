"""Residual networks: a stem, stages of residual blocks, a head.

Why residuals: a deeper network can represent all that a shallower one can, yet plain deep ones
train worse (He 2015, figure 1; `plain34` against `plain18` in the zoo), because every layer must
learn to pass on what it received. A residual block passes it on by construction and learns only
what to add. Read `blocks.BasicBlock.forward` first, then `ResNet.forward_features`.

Papers: He 2015 arXiv:1512.03385, He 2015b arXiv:1502.01852 (initialisation), He 2016
arXiv:1603.05027 (pre-activation), Huang 2016 arXiv:1603.09382 (stochastic depth), Zagoruyko 2016
arXiv:1605.07146 (Wide), Xie 2017 arXiv:1611.05431 (ResNeXt), Goyal 2017 arXiv:1706.02677,
Hu 2018 arXiv:1709.01507 (SE), Wu 2018 arXiv:1803.08494 (GroupNorm), He 2019 arXiv:1812.01187
(ResNet-D).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Literal

from torch import Tensor, nn

from resnetkit.models.blocks import BLOCKS, BasicBlock, BlockConfig, Bottleneck
from resnetkit.models.layers import (
    ACTIVATIONS,
    NORMS,
    convolution,
    dropout,
    initialise_convolutions,
    new_classifier,
)
from resnetkit.models.setting_checks import check_choice, check_positive, check_rate
from resnetkit.types import UserError

Stem = Literal["imagenet", "deep", "strided", "cifar"]


@dataclass(frozen=True, kw_only=True)
class ResNetConfig:
    """A residual network in full: what `ResNet` is built from and what a package stores.

    The first stage keeps the stem's resolution, each later one halves it. Stage widths are the
    paper's: a bottleneck puts out four times as many channels. Stems: "imagenet" 7x7 stride 2 and
    max-pooling, "deep" the same with three 3x3 convolutions (ResNet-D), "strided" one 3x3 of stride
    2 without pooling, for images of 64 to 128 pixels, "cifar" one 3x3 without stride, for 32.

    Raises UserError for values out of range and for options without effect.
    """

    stage_depths: tuple[int, ...]  # blocks in each stage
    stage_widths: tuple[int, ...] = (64, 128, 256, 512)
    block: BlockConfig = field(default_factory=BlockConfig)
    stem: Stem = "imagenet"
    stem_width: int = 64
    in_channels: int = 3
    num_classes: int = 1000
    zero_init_residual: bool = False  # every block starts as the identity: Goyal 2017, section 5.1
    dropout: float = 0.0  # before the classifier
    stochastic_depth: float = 0.0  # of the last block; grows linearly from the first: Huang 2016

    def __post_init__(self) -> None:
        check_choice("stem", self.stem, STEMS)
        check_positive("stage_depths", *self.stage_depths)
        check_positive("stage_widths", *self.stage_widths)
        check_positive("stem_width, in_channels", self.stem_width, self.in_channels)
        check_positive("num_classes", self.num_classes)
        check_rate("dropout", self.dropout)
        check_rate("stochastic_depth", self.stochastic_depth)
        self._check_shapes()
        self._check_effects()

    def _check_shapes(self) -> None:
        if len(self.stage_depths) != len(self.stage_widths):
            raise UserError(
                "stage_depths and stage_widths: one of each is needed per stage, got "
                f"{len(self.stage_depths)} depths and {len(self.stage_widths)} widths; match them."
            )
        if self.stem == "deep" and self.stem_width % 2:
            raise UserError(
                "stem_width: the deep stem starts with half of it, so an even number is needed, "
                f"got {self.stem_width}; make it even."
            )
        if self.block.inner_channels(min(self.stage_widths)) < 1:
            raise UserError(
                "width_per_group: a group needs at least one channel in every stage, got "
                f"{self.block.width_per_group} at a stage width of {min(self.stage_widths)} "
                "(it is scaled by width/64); widen the stage or the groups."
            )
        channels = [self.stem_width, *map(self.block.out_channels, self.stage_widths)]
        if self.block.shortcut == "A" and any(
            after < before for before, after in pairwise(channels)
        ):
            raise UserError(
                "shortcut: option A pads channels and cannot remove any, so they must not shrink, "
                f"got {channels} from the stem on; use shortcut B or widen the stages."
            )

    def _check_effects(self) -> None:
        plain = self.block.shortcut == "none"
        if self.stochastic_depth and plain:
            raise UserError(
                "stochastic_depth: needs shortcuts to skip along, got shortcut 'none'; a plain "
                "network would lose the image. Leave it 0 or choose shortcut A, B or D."
            )
        if self.zero_init_residual and plain:
            raise UserError(
                "zero_init_residual: needs shortcuts, got shortcut 'none'; a plain network would "
                "put out zeros. Leave it out or choose shortcut A, B or D."
            )
        if self.zero_init_residual and self.block.preactivation:
            raise UserError(
                "zero_init_residual: needs blocks whose residual ends in a norm, got kind "
                f"{self.block.kind!r}, whose residual ends in a convolution; leave it out."
            )


class ResNet(nn.Module):
    """A residual network; with torchvision's options its state dict has torchvision's keys."""

    def __init__(self, config: ResNetConfig) -> None:
        super().__init__()
        self.config = config
        self.num_features = config.block.out_channels(config.stage_widths[-1])
        norm = NORMS[config.block.norm]
        preactivation = config.block.preactivation

        self.conv1 = STEMS[config.stem](config)
        # With pre-activation, the first block norms and activates what the stem puts out.
        self.bn1 = nn.Identity() if preactivation else norm(config.stem_width)
        self.stem_activation = nn.Identity() if preactivation else self._activation()
        pools = config.stem in ("imagenet", "deep")
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1) if pools else nn.Identity()
        for number, stage in enumerate(build_stages(config), start=1):
            self.add_module(f"layer{number}", stage)  # torchvision's key
        # Nothing follows the last addition in its block, so it comes here: He 2016, appendix.
        self.final_norm = norm(self.num_features) if preactivation else nn.Identity()
        self.final_activation = self._activation() if preactivation else nn.Identity()
        self.dropout = dropout(config.dropout)
        self.fc = nn.Linear(self.num_features, config.num_classes)

        initialise_convolutions(self)
        if config.zero_init_residual:
            zero_last_norms(self)

    def _activation(self) -> nn.Module:
        return ACTIVATIONS[self.config.block.activation]()

    def stages(self) -> list[nn.Module]:
        """The stages in order, each a sequence of blocks."""
        count = len(self.config.stage_depths)
        return [getattr(self, f"layer{number}") for number in range(1, count + 1)]

    def forward(self, images: Tensor) -> Tensor:
        """Images [N,C,H,W] float -> logits [N,K]."""
        return self.forward_head(self.forward_features(images))

    def forward_features(self, images: Tensor) -> Tensor:
        """Images [N,C,H,W] float -> feature maps [N,D,H',W']."""
        x = self.stem_activation(self.bn1(self.conv1(images)))
        x = self.maxpool(x)
        for stage in self.stages():
            x = stage(x)
        return self.final_activation(self.final_norm(x))

    def forward_head(self, features: Tensor) -> Tensor:
        """Feature maps [N,D,H',W'] -> logits [N,K]."""
        return self.fc(self.dropout(features.mean((2, 3))))

    def reset_head(self, num_classes: int, seed: int = 0) -> None:
        """Replace the classifier by a new one for `num_classes` classes, drawn from `seed`."""
        self.config = replace(self.config, num_classes=num_classes)
        self.fc = new_classifier(self.fc, num_classes, seed)


def imagenet_stem(config: ResNetConfig) -> nn.Module:
    """One 7x7 convolution of stride 2: He 2015, table 1."""
    return convolution(config.in_channels, config.stem_width, 7, stride=2)


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


def build_stages(config: ResNetConfig) -> list[nn.Module]:
    """Stages of blocks; the first block of each later stage halves the resolution."""
    block = BLOCKS[config.block.kind]
    rates = iter(stochastic_depth_rates(config))
    in_channels = config.stem_width
    stages: list[nn.Module] = []
    for depth, width in zip(config.stage_depths, config.stage_widths, strict=True):
        blocks = []
        for position in range(depth):
            stride = 2 if stages and position == 0 else 1
            blocks.append(block(in_channels, width, stride, config.block, next(rates)))
            in_channels = config.block.out_channels(width)
        stages.append(nn.Sequential(*blocks))
    return stages


def stochastic_depth_rates(config: ResNetConfig) -> list[float]:
    """Drop rate of each block, l/L of the last one's: Huang 2016, equation 4."""
    blocks = sum(config.stage_depths)
    return [config.stochastic_depth * number / blocks for number in range(1, blocks + 1)]


def zero_last_norms(network: nn.Module) -> None:
    """Let every block start as its shortcut: the last norm of each residual scales by zero."""
    for module in network.modules():
        if isinstance(module, BasicBlock):
            nn.init.zeros_(module.bn2.get_parameter("weight"))
        elif isinstance(module, Bottleneck):
            nn.init.zeros_(module.bn3.get_parameter("weight"))
