"""The architectures of the papers, by depth: what the zoo's names stand for."""

from __future__ import annotations

from dataclasses import replace

from resnetkit.models.blocks import BlockConfig, BlockKind, Shortcut
from resnetkit.models.resnet import ResNetConfig, Stem

IMAGENET_STAGES: dict[int, tuple[BlockKind, tuple[int, ...]]] = {  # He 2015, table 1
    18: ("basic", (2, 2, 2, 2)),
    34: ("basic", (3, 4, 6, 3)),
    50: ("bottleneck", (3, 4, 6, 3)),
    101: ("bottleneck", (3, 4, 23, 3)),
    152: ("bottleneck", (3, 8, 36, 3)),
}
PREACTIVATED: dict[BlockKind, BlockKind] = {
    "basic": "preact-basic",
    "bottleneck": "preact-bottleneck",
}


def imagenet_resnet(
    depth: int, block: BlockConfig | None = None, stem: Stem = "imagenet"
) -> ResNetConfig:
    """The ImageNet family; `block` gives everything about its blocks except their kind."""
    kind, depths = IMAGENET_STAGES[depth]
    return ResNetConfig(
        stage_depths=depths, block=replace(block or BlockConfig(), kind=kind), stem=stem
    )


def resnet_d(depth: int) -> ResNetConfig:
    """ResNet-D: the deep stem, and pooling before the projections (He 2019, section 4)."""
    return imagenet_resnet(depth, BlockConfig(shortcut="D"), stem="deep")


def preact_resnet(depth: int) -> ResNetConfig:
    """The ImageNet family with pre-activation (He 2016, section 5)."""
    kind, depths = IMAGENET_STAGES[depth]
    return ResNetConfig(stage_depths=depths, block=BlockConfig(kind=PREACTIVATED[kind]))


def small_image_resnet(depth: int) -> ResNetConfig:
    """The ImageNet family for 32 or 64 pixels: no stride and no pooling in the stem."""
    return replace(imagenet_resnet(depth, stem="cifar"), num_classes=10)


def slim_resnet18() -> ResNetConfig:
    """ResNet-18 at half the width, with ResNet-D's shortcuts, for 64 to 128 pixels on few cores."""
    full = imagenet_resnet(18, BlockConfig(shortcut="D"), stem="strided")
    narrow = replace(full, stage_widths=(32, 64, 128, 256), stem_width=32)
    return replace(narrow, zero_init_residual=True, num_classes=200)


def cifar_resnet(depth: int, shortcut: Shortcut = "A") -> ResNetConfig:
    """The CIFAR family of 6n+2 layers: three stages of n basic blocks (He 2015, section 4.2)."""
    return _cifar((depth - 2) // 6, BlockConfig(shortcut=shortcut))


def cifar_preact_resnet(depth: int) -> ResNetConfig:
    """Pre-activation bottlenecks of 9n+2 layers in all (He 2016, section 4 and appendix)."""
    return _cifar((depth - 2) // 9, BlockConfig(kind="preact-bottleneck"))


def wide_resnet(depth: int, factor: int) -> ResNetConfig:
    """Pre-activation basic blocks, 6n+4 convolutions, `factor` times as wide (Zagoruyko 2016)."""
    narrow = _cifar((depth - 4) // 6, BlockConfig(kind="preact-basic"))
    return replace(narrow, stage_widths=(16 * factor, 32 * factor, 64 * factor))


def cifar_resnext29(groups: int, width_per_group: int) -> ResNetConfig:
    """Three stages of three bottlenecks for CIFAR (Xie 2017, section 5.3)."""
    block = BlockConfig(kind="bottleneck", groups=groups, width_per_group=width_per_group)
    return replace(_cifar(3, block), stage_widths=(64, 128, 256), stem_width=64)


def _cifar(blocks_per_stage: int, block: BlockConfig) -> ResNetConfig:
    return ResNetConfig(
        stage_depths=(blocks_per_stage,) * 3,
        stage_widths=(16, 32, 64),
        block=block,
        stem="cifar",
        stem_width=16,
        num_classes=10,
    )
