"""The named networks: a plain dictionary, so that one more is one more line."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace

import torch
from torch import nn

from resnetkit.models.blocks import Activation, BlockConfig, Norm, Shortcut
from resnetkit.models.counting import count_multiply_adds, count_parameters
from resnetkit.models.families import (
    IMAGENET_STAGES,
    cifar_preact_resnet,
    cifar_resnet,
    cifar_resnext29,
    imagenet_resnet,
    preact_resnet,
    resnet_d,
    slim_resnet18,
    small_image_resnet,
    wide_resnet,
)
from resnetkit.models.heads import HeadConfig, HeadKind
from resnetkit.models.layers import drawing_from
from resnetkit.models.lenet import LeNet, LeNetConfig
from resnetkit.models.resnet import ResNet, ResNetConfig, Stem
from resnetkit.models.setting_checks import nearest_name
from resnetkit.types import UserError

Architecture = ResNetConfig | LeNetConfig
Network = ResNet | LeNet


@dataclass(frozen=True, kw_only=True)
class ZooEntry:
    """A named network as its paper has it; `image_size` in pixels is the size it was made for."""

    architecture: Architecture
    image_size: int
    paper: str


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """A network by name, and what to change about it; None leaves it as the zoo has it."""

    name: str
    """A network's name, see `resnetkit models`."""
    stem: Stem | None = None
    """imagenet (7x7, stride 2, pooling), deep (three 3x3), strided (one 3x3, stride 2) or cifar
    (one 3x3, for small images)."""
    norm: Norm | None = None
    """Normalisation: batch or group."""
    activation: Activation | None = None
    """Activation function."""
    shortcut: Shortcut | None = None
    """A (zero-padded), B (projection where the shape changes), D (average pooled) or none."""
    zero_init_residual: bool | None = None
    """Whether every block starts as the identity."""
    head: HeadKind | None = None
    """The classifier: linear, cosine (scaled, of features and class vectors), mlp (two layers)."""
    head_hidden: int | None = None
    """Width of an mlp head's hidden layer; that of the features by default."""
    dropout: float | None = None
    """Rate before the classifier, and between the layers of an mlp head."""
    block_dropout: float | None = None
    """Rate between the convolutions of basic blocks."""
    stochastic_depth: float | None = None
    """Rate at which the last block is skipped; grows linearly from the first."""
    squeeze_excitation: bool | None = None
    """Whether blocks weigh their channels (SE)."""


HE_2015 = "He 2015, arXiv:1512.03385"
HE_2016 = "He 2016, arXiv:1603.05027"
ZAGORUYKO_2016 = "Zagoruyko 2016, arXiv:1605.07146"
XIE_2017 = "Xie 2017, arXiv:1611.05431"
HU_2018 = "Hu 2018, arXiv:1709.01507"
HE_2019 = "He 2019, arXiv:1812.01187"


def _for_imagenet(architecture: ResNetConfig, paper: str) -> ZooEntry:
    return ZooEntry(architecture=architecture, image_size=224, paper=paper)


def _for_cifar(architecture: ResNetConfig, paper: str) -> ZooEntry:
    return ZooEntry(architecture=architecture, image_size=32, paper=paper)


PLAIN = BlockConfig(shortcut="none")
SE = BlockConfig(squeeze_excitation=True)
DIGITS_RESNET = replace(cifar_resnet(8), stage_widths=(32, 64, 128), stem_width=32, in_channels=1)

MODELS: dict[str, ZooEntry] = {
    "lenet": ZooEntry(architecture=LeNetConfig(), image_size=28, paper="LeCun 1998, Proc. IEEE 86"),
    "digits-resnet8": ZooEntry(architecture=DIGITS_RESNET, image_size=8, paper=HE_2015),
    **{f"resnet{n}": _for_imagenet(imagenet_resnet(n), HE_2015) for n in IMAGENET_STAGES},
    **{f"plain{n}": _for_imagenet(imagenet_resnet(n, PLAIN), HE_2015) for n in (18, 34)},
    **{f"preact-resnet{n}": _for_imagenet(preact_resnet(n), HE_2016) for n in IMAGENET_STAGES},
    "wide-resnet50-2": _for_imagenet(
        imagenet_resnet(50, BlockConfig(kind="bottleneck", width_per_group=128)), ZAGORUYKO_2016
    ),
    "wide-resnet101-2": _for_imagenet(
        imagenet_resnet(101, BlockConfig(kind="bottleneck", width_per_group=128)), ZAGORUYKO_2016
    ),
    "resnext50-32x4d": _for_imagenet(
        imagenet_resnet(50, BlockConfig(kind="bottleneck", groups=32, width_per_group=4)), XIE_2017
    ),
    "resnext101-32x8d": _for_imagenet(
        imagenet_resnet(101, BlockConfig(kind="bottleneck", groups=32, width_per_group=8)), XIE_2017
    ),
    **{f"se-resnet{n}": _for_imagenet(imagenet_resnet(n, SE), HU_2018) for n in IMAGENET_STAGES},
    **{f"resnet{n}-d": _for_imagenet(resnet_d(n), HE_2019) for n in IMAGENET_STAGES},
    "resnet18-slim": ZooEntry(architecture=slim_resnet18(), image_size=64, paper=HE_2019),
    **{f"resnet{n}-cifar": _for_cifar(small_image_resnet(n), HE_2015) for n in (18, 34, 50)},
    **{
        f"cifar-resnet{n}": _for_cifar(cifar_resnet(n), HE_2015)
        for n in (20, 32, 44, 56, 110, 1202)
    },
    **{
        f"cifar-plain{n}": _for_cifar(cifar_resnet(n, shortcut="none"), HE_2015)
        for n in (20, 32, 44, 56, 110)
    },
    **{f"cifar-preact-resnet{n}": _for_cifar(cifar_preact_resnet(n), HE_2016) for n in (164, 1001)},
    "wide-resnet40-4": _for_cifar(wide_resnet(40, factor=4), ZAGORUYKO_2016),
    "wide-resnet28-10": _for_cifar(wide_resnet(28, factor=10), ZAGORUYKO_2016),
    "resnext29-16x64d": _for_cifar(cifar_resnext29(groups=16, width_per_group=64), XIE_2017),
}


def find_entry(name: str) -> ZooEntry:
    """The zoo's entry of this name; UserError suggesting the nearest name."""
    if name not in MODELS:
        raise UserError(
            f"model.name: the name of a network in the zoo is needed, got {name!r}; did you mean "
            f"{nearest_name(name, MODELS)!r}? `resnetkit models` lists all {len(MODELS)}."
        )
    return MODELS[name]


def resolve_model(config: ModelConfig, num_classes: int, in_channels: int) -> Architecture:
    """The complete architecture; UserError for a setting the named network does not have."""
    architecture = find_entry(config.name).architecture
    settings = {key: value for key, value in asdict(config).items() if value is not None}
    name = settings.pop("name")
    head = architecture.head
    kind, hidden = settings.pop("head", head.kind), settings.pop("head_hidden", head.hidden)
    settings["head"] = HeadConfig(kind=kind, hidden=hidden)
    own = {setting.name for setting in fields(architecture)}
    of_block = {setting.name for setting in fields(BlockConfig)}
    if isinstance(architecture, ResNetConfig):
        changes = {key: settings.pop(key) for key in of_block & settings.keys()}
        settings["block"] = replace(architecture.block, **changes)
    if foreign := sorted(settings.keys() - own):
        available = sorted({field.name for field in fields(ModelConfig)} & {*own, "head_hidden"})
        raise UserError(
            f"model.{foreign[0]}: {name!r} has no such setting, it has {', '.join(available)}; "
            "leave it out or choose a residual network."
        )
    return replace(architecture, num_classes=num_classes, in_channels=in_channels, **settings)


def architecture_of(network: nn.Module) -> Architecture:
    """What a network of ours is built from, as it is now."""
    assert isinstance(network, ResNet | LeNet), type(network)
    return network.config


def build_model(architecture: Architecture, seed: int = 0) -> Network:
    """The network with initial weights drawn from `seed`; the global random state stays as is."""
    with drawing_from(seed):
        return (
            LeNet(architecture) if isinstance(architecture, LeNetConfig) else ResNet(architecture)
        )


@dataclass(frozen=True, kw_only=True)
class ModelSummary:
    """One row of `resnetkit models`."""

    name: str
    parameters: int
    multiply_adds: int  # per image of image_size x image_size
    image_size: int
    paper: str


def summarise_model(name: str) -> ModelSummary:
    """Size and source of a named network, without allocating its weights."""
    entry = find_entry(name)
    with torch.device("meta"):
        network = build_model(entry.architecture).eval()  # counts in half the time
    return ModelSummary(
        name=name,
        parameters=count_parameters(network),
        multiply_adds=count_multiply_adds(network, entry.image_size),
        image_size=entry.image_size,
        paper=entry.paper,
    )
