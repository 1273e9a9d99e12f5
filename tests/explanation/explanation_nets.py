"""Tiny networks of every kind to be explained, and what is to be the same afterwards."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from resnetkit.models.blocks import BlockConfig
from resnetkit.models.heads import HeadConfig
from resnetkit.models.layers import GlobalAveragePool, drawing_from
from resnetkit.models.lenet import LeNet, LeNetConfig
from resnetkit.models.resnet import ResNet, ResNetConfig

CLASSES = 4
BLOCKS = {
    "basic": BlockConfig(shortcut="A"),
    "bottleneck": BlockConfig(kind="bottleneck", shortcut="D"),
    "preact": BlockConfig(kind="preact-basic"),
    "squeeze": BlockConfig(kind="bottleneck", squeeze_excitation=True),
    "preact-grouped": BlockConfig(
        kind="preact-bottleneck", groups=2, width_per_group=32, squeeze_excitation=True
    ),
    "group-norm": BlockConfig(norm="group"),
    "plain": BlockConfig(shortcut="none"),
}
HEADS = {"basic": "mlp", "preact": "cosine"}
NETWORKS = (*BLOCKS, "lenet")


def build_network(kind: str, channels: int = 3, **changes: Any) -> ResNet | LeNet:
    """A network in evaluation mode, its norms as after training; three stages, or LeNet's two."""
    with drawing_from(11):
        if kind == "lenet":
            network = LeNet(LeNetConfig(in_channels=channels, num_classes=CLASSES, dropout=0.2))
        else:
            settings = {
                "stage_depths": (1, 2, 1),
                "stage_widths": (8, 16, 16),
                "block": BLOCKS[kind],
                "stem": "cifar",
                "stem_width": 8,
                "in_channels": channels,
                "num_classes": CLASSES,
                "head": HeadConfig(kind=HEADS.get(kind, "linear")),
                "dropout": 0.2,
                "stochastic_depth": 0.0 if kind == "plain" else 0.2,
            }
            network = ResNet(ResNetConfig(**(settings | changes)))
        for layer in network.modules():
            if isinstance(layer, nn.BatchNorm2d):
                assert layer.running_mean is not None
                assert layer.running_var is not None
                layer.running_mean.normal_(0, 0.2)
                layer.running_var.uniform_(0.5, 1.5)
    return network.eval()


def draw_images(
    count: int = 3, channels: int = 3, size: tuple[int, int] = (16, 24), seed: int = 5
) -> tuple[Tensor, Tensor]:
    """Images that are not square, and a class of each."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(count, channels, *size, generator=generator)
    return images, torch.randint(CLASSES, (count,), generator=generator)


class LinearNetwork(nn.Module):
    """One convolution, a mean over each map, one linear layer: gradients can be written down."""

    def __init__(self, channels: int = 2, maps: int = 3, bias: bool = False) -> None:
        super().__init__()
        with drawing_from(3):
            self.conv = nn.Conv2d(channels, maps, 3, padding=1, bias=bias)
            self.pool = GlobalAveragePool()
            self.fc = nn.Linear(maps, CLASSES, bias=bias)

    def parts(self) -> dict[str, tuple[nn.Module, ...]]:
        return {"stem": (self.conv,), "head": (self.pool, self.fc)}

    def forward(self, images: Tensor) -> Tensor:
        return self.fc(self.pool(self.conv(images)))


def state_of(network: nn.Module) -> dict[str, Any]:
    """All that explaining must not change, by name."""
    state: dict[str, Any] = {"random": torch.get_rng_state()}
    for name, module in network.named_modules():
        hooks = {
            key: len(value) for key, value in vars(module).items() if "_hooks" in key and value
        }
        state[f"module {name}"] = (module.training, hooks)
    for name, parameter in network.named_parameters():
        state[f"gradient {name}"] = parameter.grad
        state[f"requires {name}"] = parameter.requires_grad
    return state | {name: value.clone() for name, value in network.state_dict().items()}


def same_state(before: dict[str, Any], after: dict[str, Any]) -> bool:
    if before.keys() != after.keys():
        return False
    return all(
        torch.equal(value, after[key])
        if isinstance(value, Tensor) and isinstance(after[key], Tensor)
        else value is after[key] or value == after[key]
        for key, value in before.items()
    )


def make_untidy(network: nn.Module) -> None:
    """In the midst of a fine-tuning: parts train, others are frozen, gradients lie around."""
    network.train()
    for number, (name, module) in enumerate(network.named_modules()):
        if name and number % 3 == 0:
            module.training = False
    for number, parameter in enumerate(network.parameters()):
        parameter.requires_grad_(number % 2 == 0)
        if number % 4 == 0:
            parameter.grad = torch.full_like(parameter, 0.5)
