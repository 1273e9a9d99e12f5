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

from dataclasses import dataclass, field
from itertools import pairwise

from torch import Tensor, nn

from resnetkit.models.blocks import BLOCKS, BasicBlock, BlockConfig, Bottleneck
from resnetkit.models.heads import HeadConfig, build_head
from resnetkit.models.layers import (
    ACTIVATIONS,
    NORMS,
    GlobalAveragePool,
    dropout,
    initialise_convolutions,
)
from resnetkit.models.parts import run_from, run_until
from resnetkit.models.setting_checks import check_choice, check_positive, check_rate
from resnetkit.models.stems import POOLING_STEMS, STEM_POOLS, STEMS, Stem, StemPool
from resnetkit.types import UserError


@dataclass(frozen=True, kw_only=True)
class ResNetConfig:
    """A residual network in full: what `ResNet` is built from and what a package stores.

    The first stage keeps the stem's resolution, each later one has half of it. Stage widths are the
    paper's: a bottleneck puts out four times as many channels. Stems: "imagenet" 7x7 stride 2 and
    max-pooling, "deep" the same with three 3x3 convolutions (ResNet-D), "strided" one 3x3 of stride
    2 without pooling, for images of 64 to 128 pixels, "cifar" one 3x3 without stride, for 32.
    `stem_pool` is the border of the max-pooling: "padded" by what never is a maximum, "unpadded"
    where the authors' Caffe models begin at the corner, "zero-padded" for Keras' pre-activation.

    Raises UserError for values out of range and for options without effect.
    """

    stage_depths: tuple[int, ...]  # blocks in each stage
    stage_widths: tuple[int, ...] = (64, 128, 256, 512)
    block: BlockConfig = field(default_factory=BlockConfig)
    stem: Stem = "imagenet"
    stem_pool: StemPool = "padded"
    stem_width: int = 64
    in_channels: int = 3
    num_classes: int = 1000
    zero_init_residual: bool = False  # every block starts as the identity: Goyal 2017, section 5.1
    head: HeadConfig = field(default_factory=HeadConfig)
    dropout: float = 0.0  # before the classifier, and between the layers of an mlp
    stochastic_depth: float = 0.0  # of the last block; grows linearly from the first: Huang 2016

    def __post_init__(self) -> None:
        check_choice("stem", self.stem, STEMS)
        check_choice("stem_pool", self.stem_pool, STEM_POOLS)
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
        self._check_stem_pool()
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

    def _check_stem_pool(self) -> None:
        if self.stem_pool != "padded" and self.stem not in POOLING_STEMS:
            raise UserError(
                f"stem_pool: needs a stem that pools ({', '.join(POOLING_STEMS)}), got stem "
                f"{self.stem!r}; leave it 'padded'."
            )
        if self.stem_pool == "zero-padded" and not (
            self.block.preactivation and self.stem == "imagenet"
        ):
            raise UserError(
                "stem_pool: 'zero-padded' needs pre-activation blocks after the stem 'imagenet', "
                f"got kind {self.block.kind!r} and stem {self.stem!r}; leave it 'padded', which is "
                "the same after a ReLU."
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
        pools = config.stem in POOLING_STEMS
        self.maxpool = STEM_POOLS[config.stem_pool]() if pools else nn.Identity()
        for number, stage in enumerate(build_stages(config), start=1):
            self.add_module(f"layer{number}", stage)  # torchvision's key
        # Nothing follows the last addition in its block, so it comes here: He 2016, appendix.
        self.final_norm = norm(self.num_features) if preactivation else nn.Identity()
        self.final_activation = self._activation() if preactivation else nn.Identity()
        self.avgpool = GlobalAveragePool()
        self.dropout = dropout(config.dropout)
        self.fc = build_head(config, self.num_features)

        initialise_convolutions(self)
        if config.zero_init_residual:
            zero_last_norms(self)

    def _activation(self) -> nn.Module:
        return ACTIVATIONS[self.config.block.activation]()

    @property
    def classifier(self) -> nn.Module:
        """The module that maps pooled features [N,D] to logits [N,K]."""
        return self.fc

    def stages(self) -> list[nn.Module]:
        """The stages in order, each a sequence of blocks."""
        count = len(self.config.stage_depths)
        return [getattr(self, f"layer{number}") for number in range(1, count + 1)]

    def parts(self) -> dict[str, tuple[nn.Module, ...]]:
        """All modules by part, in forward order: stem, stage1, ..., head; see `models.parts`."""
        stem = (self.conv1, self.bn1, self.stem_activation, self.maxpool)
        stages: list[tuple[nn.Module, ...]] = [(stage,) for stage in self.stages()]
        stages[-1] += (self.final_norm, self.final_activation, self.avgpool)
        named = {f"stage{number}": stage for number, stage in enumerate(stages, start=1)}
        return {"stem": stem, **named, "head": (self.dropout, self.fc)}

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
        return self.fc(self.dropout(self.avgpool(features)))

    def forward_until(self, part: str, images: Tensor) -> Tensor:
        """Images -> what enters `part`: images, feature maps, or pooled [N,D] for the head."""
        return run_until(self.parts(), part, images)

    def forward_from(self, part: str, x: Tensor) -> Tensor:
        """What `forward_until` gave for `part` -> logits [N,K], to the bit those of `forward`."""
        return run_from(self.parts(), part, x)


def build_stages(config: ResNetConfig) -> list[nn.Module]:
    """Stages of blocks; between two stages the resolution halves."""
    block = BLOCKS[config.block.kind]
    last_stage = len(config.stage_depths) - 1
    rates = iter(stochastic_depth_rates(config))
    in_channels = config.stem_width
    stages: list[nn.Module] = []
    for depth, width in zip(config.stage_depths, config.stage_widths, strict=True):
        blocks = []
        for position in range(depth):
            if config.block.stride_in_last_block:
                halves = position == depth - 1 and len(stages) < last_stage
            else:
                halves = position == 0 and len(stages) > 0
            stride = 2 if halves else 1
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
