"""The size of a network: parameters, and multiply-adds per image."""

from __future__ import annotations

from contextlib import ExitStack

import torch
from torch import Tensor, nn
from torch.func import functional_call

from resnetkit.models.heads import CosineClassifier
from resnetkit.models.lenet import LeNet
from resnetkit.models.resnet import ResNet

Weighing = nn.Conv2d | nn.Linear | CosineClassifier  # layers that multiply by a `weight`


def count_parameters(model: nn.Module) -> int:
    """All parameters, trained or frozen; buffers such as BatchNorm's statistics do not count."""
    return sum(parameter.numel() for parameter in model.parameters())


def count_multiply_adds(model: ResNet | LeNet, image_size: int) -> int:
    """Multiply-adds of one square image, in convolutions and linear layers only.

    That is the convention of the papers (their "FLOPs") and of torchvision's tables. Runs on the
    meta device: nothing is computed and the model is left as it is.
    """
    counts: list[int] = []

    def count(layer: Weighing, _: tuple[Tensor], output: Tensor) -> None:
        counts.append(output[0].numel() * layer.weight[0].numel())

    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    shapes = {name: tensor.detach().to("meta") for name, tensor in tensors.items()}
    # Two images: BatchNorm in training mode refuses a single value per channel.
    images = torch.empty(2, model.config.in_channels, image_size, image_size, device="meta")
    with ExitStack() as hooks, torch.no_grad():
        for module in model.modules():
            if isinstance(module, Weighing):
                hooks.enter_context(module.register_forward_hook(count))
        functional_call(model, shapes, images)
    return sum(counts)
