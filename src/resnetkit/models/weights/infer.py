"""Which network a state dict under our keys makes: read off its keys and shapes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from torch import Tensor

from resnetkit.models.blocks import BLOCKS, BlockConfig, BlockKind, Norm, Shortcut
from resnetkit.models.heads import HeadConfig
from resnetkit.models.resnet import ResNetConfig, Stem
from resnetkit.models.zoo import MODELS
from resnetkit.types import UserError

BLOCK_KEY = re.compile(r"layer(\d+)\.(\d+)\.")
STEM_OF_KERNEL: dict[int, Stem] = {7: "imagenet", 3: "cifar"}


@dataclass(frozen=True, kw_only=True)
class VisibleFacts:
    """What keys and shapes tell of an architecture, its channels and classes aside.

    They tell neither activation nor the place of strides and poolings: a "strided" stem looks like
    a "cifar" one, option A like no shortcut at all.
    """

    stage_depths: tuple[int, ...]
    stage_widths: tuple[int, ...]
    block: str
    groups: int
    width_per_group: int
    norm: str
    squeeze_excitation: bool
    shortcut: str
    stem: str
    stem_width: int


def visible_facts(architecture: ResNetConfig) -> VisibleFacts:
    """The facts that a state dict of this architecture shows."""
    block = architecture.block
    return VisibleFacts(
        stage_depths=architecture.stage_depths,
        stage_widths=architecture.stage_widths,
        block=block.kind,
        groups=block.groups,
        width_per_group=block.width_per_group,
        norm=block.norm,
        squeeze_excitation=block.squeeze_excitation,
        shortcut={"A": "without parameters", "none": "without parameters"}.get(
            block.shortcut, block.shortcut
        ),
        stem={"cifar": "one 3x3", "strided": "one 3x3"}.get(architecture.stem, architecture.stem),
        stem_width=architecture.stem_width,
    )


def fitting_names(architecture: ResNetConfig) -> list[str]:
    """The zoo's names whose keys and shapes equal the architecture's, head and channels aside."""
    facts = visible_facts(architecture)
    return [
        name
        for name, entry in MODELS.items()
        if isinstance(entry.architecture, ResNetConfig)
        and visible_facts(entry.architecture) == facts
    ]


def without_training(architecture: ResNetConfig) -> ResNetConfig:
    """The architecture less its head's size, its channels and what only training knows."""
    return replace(
        architecture,
        block=replace(architecture.block, block_dropout=0.0),
        in_channels=3,
        num_classes=1,
        zero_init_residual=False,
        head=HeadConfig(),
        dropout=0.0,
        stochastic_depth=0.0,
    )


def infer_architecture(state: Mapping[str, Tensor], origin: str = "weights") -> ResNetConfig:
    """The architecture that has these entries; of what they do not tell, the usual.

    That is ReLU, strides in a bottleneck's 3x3 convolution, a 3x3 stem without stride, option A
    rather than no shortcuts; see `VisibleFacts`. Without a head, one class.
    Raises UserError where an entry that decides is missing or of no known shape.
    """
    depths = _stage_depths(state, origin)
    stem, stem_width, in_channels = _stem(state, origin)
    kind = _block_kind(state)
    last = "conv3" if kind.endswith("bottleneck") else "conv2"
    expansion = BLOCKS[kind].expansion
    widths = tuple(
        _entry(state, f"layer{number}.0.{last}.weight", origin).shape[0] // expansion
        for number in range(1, len(depths) + 1)
    )
    groups, width_per_group = 1, 64
    if kind.endswith("bottleneck"):
        groups, width_per_group = _cardinality(state, widths[0], origin)
    return ResNetConfig(
        stage_depths=depths,
        stage_widths=widths,
        block=BlockConfig(
            kind=kind,
            shortcut=_shortcut(state),
            norm=_norm(state),
            groups=groups,
            width_per_group=width_per_group,
            squeeze_excitation="layer1.0.se.fc1.weight" in state,
        ),
        stem=stem,
        stem_width=stem_width,
        in_channels=in_channels,
        num_classes=state["fc.weight"].shape[0] if "fc.weight" in state else 1,
    )


def _entry(state: Mapping[str, Tensor], name: str, origin: str) -> Tensor:
    if name not in state:
        raise UserError(
            f"{origin}: a residual network is needed, got weights without {name}, which would say "
            "of which kind it is; give the file of a complete network."
        )
    return state[name]


def _stage_depths(state: Mapping[str, Tensor], origin: str) -> tuple[int, ...]:
    depths: dict[int, int] = {}
    for name in state:
        if found := BLOCK_KEY.match(name):
            stage, block = int(found[1]), int(found[2])
            depths[stage] = max(depths.get(stage, 0), block + 1)
    if sorted(depths) != list(range(1, len(depths) + 1)) or not depths:
        raise UserError(
            f"{origin}: a residual network with stages layer1, layer2, … is needed, got "
            f"{', '.join(f'layer{stage}' for stage in sorted(depths)) or 'none'}; give the file "
            "of a complete network."
        )
    return tuple(depths[stage] for stage in sorted(depths))


def _stem(state: Mapping[str, Tensor], origin: str) -> tuple[Stem, int, int]:
    """Kind, width and input channels."""
    if "conv1.0.weight" in state:
        last = _entry(state, "conv1.6.weight", origin)
        return "deep", last.shape[0], state["conv1.0.weight"].shape[1]
    shape = tuple(_entry(state, "conv1.weight", origin).shape)
    kernel = shape[-1]
    if len(shape) != 4 or kernel not in STEM_OF_KERNEL:
        raise UserError(
            f"{origin}: a first convolution of 7x7 or 3x3 is needed, got conv1.weight "
            f"{list(shape)}; the networks here have no other stem."
        )
    return STEM_OF_KERNEL[kernel], shape[0], shape[1]


def _block_kind(state: Mapping[str, Tensor]) -> BlockKind:
    preactivated = "final_norm.weight" in state
    if "layer1.0.conv3.weight" in state:
        return "preact-bottleneck" if preactivated else "bottleneck"
    return "preact-basic" if preactivated else "basic"


def _cardinality(state: Mapping[str, Tensor], width: int, origin: str) -> tuple[int, int]:
    """Groups of a bottleneck's 3x3 convolution, and the width of each at 64 channels."""
    inner, in_group = _entry(state, "layer1.0.conv2.weight", origin).shape[:2]
    groups = max(1, inner // in_group)
    width_per_group, rest = divmod(inner * 64, max(1, width) * groups)
    if rest or inner != groups * in_group:
        raise UserError(
            f"{origin}: bottlenecks whose first stage is {width} wide (a quarter of what they put "
            f"out) need groups that share its 3x3 convolution evenly, got {inner} channels, of "
            f"which each sees {in_group}; the networks here have no such blocks."
        )
    return groups, width_per_group


def _shortcut(state: Mapping[str, Tensor]) -> Shortcut:
    shortcuts = {name: entry for name, entry in state.items() if ".downsample." in name}
    if any(name.endswith(".1.weight") and entry.dim() == 4 for name, entry in shortcuts.items()):
        return "D"
    return "B" if shortcuts else "A"


def _norm(state: Mapping[str, Tensor]) -> Norm:
    return "batch" if any(name.endswith("running_mean") for name in state) else "group"
