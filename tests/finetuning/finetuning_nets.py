"""Tiny networks of every kind, and a few training steps as the trainer takes them."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from resnetkit.finetuning.penalties import Penalty
from resnetkit.finetuning.plan import Phase, apply_phase, rate_factors, set_training_modes
from resnetkit.models.blocks import BlockConfig
from resnetkit.models.layers import drawing_from
from resnetkit.models.lenet import LeNet, LeNetConfig
from resnetkit.models.resnet import ResNet, ResNetConfig
from resnetkit.optim.optimizers import OptimizerConfig, build_optimizer

CLASSES = 3
BLOCKS = {
    "basic": BlockConfig(),
    "bottleneck": BlockConfig(kind="bottleneck", shortcut="D"),
    "preact": BlockConfig(kind="preact-basic"),
    "group-norm": BlockConfig(norm="group"),
    "grouped": BlockConfig(kind="preact-bottleneck", groups=2, width_per_group=32),
}
NETWORKS = (*BLOCKS, "lenet")


def build_network(kind: str, stages: int = 3) -> ResNet | LeNet:
    """Dropout and stochastic depth are there to show whether frozen parts use them."""
    with drawing_from(7):
        if kind == "lenet":
            network = LeNet(LeNetConfig(in_channels=3, num_classes=CLASSES, dropout=0.1))
        else:
            config = ResNetConfig(
                stage_depths=(1,) * stages,
                stage_widths=(8, 16, 16)[:stages],
                block=BLOCKS[kind],
                stem="cifar",
                stem_width=8,
                num_classes=CLASSES,
                dropout=0.1,
                stochastic_depth=0.1,
            )
            network = ResNet(config)
        for layer in network.modules():
            if isinstance(layer, nn.BatchNorm2d):  # as after training, not as at its start
                assert layer.running_mean is not None
                assert layer.running_var is not None
                layer.running_mean.normal_(0, 0.1)
                layer.running_var.uniform_(0.5, 1.5)
    return network.eval()


def part_names(kind: str, stages: int = 3) -> list[str]:
    return list(build_network(kind, stages).parts())


def draw_batch(seed: int, count: int = 6) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(count, 3, 8, 8, generator=generator)
    return images, torch.arange(count) % CLASSES


def train(
    network: ResNet | LeNet,
    phase: Phase,
    optimizer: OptimizerConfig | None = None,
    penalty: Penalty | None = None,
    steps: int = 3,
) -> None:
    config = optimizer or OptimizerConfig(learning_rate=0.05, weight_decay=0.01)
    apply_phase(network, phase)
    updates = build_optimizer(network, config, rate_factors(network, phase))
    for group in updates.param_groups:
        group["lr"] = config.learning_rate * group["rate_factor"]
    for step in range(steps):
        network.train()  # as a validation or a careless caller might leave it
        torch.manual_seed(step)
        set_training_modes(network, phase)
        images, labels = draw_batch(step)
        loss = F.cross_entropy(network(images), labels)
        if penalty is not None:
            loss = loss + penalty()
        loss.backward()
        updates.step()
        updates.zero_grad(set_to_none=True)


def copy_state(network: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items()}
