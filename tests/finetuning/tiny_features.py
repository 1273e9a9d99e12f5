"""A network, images and requests small enough for features within milliseconds."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from resnetkit.data.augment import AugmentConfig
from resnetkit.data.contract import InputContract
from resnetkit.data.source_types import Split
from resnetkit.finetuning.features import FeatureRequest
from resnetkit.models.layers import drawing_from
from resnetkit.models.resnet import ResNet, ResNetConfig
from resnetkit.training.execution import ExecutionConfig

COUNT, SIDE, CLASSES = 70, 8, 3  # 70: a whole chunk of 64 and a smaller one
EXECUTION = ExecutionConfig(
    device="cpu", precision="float32", memory_order="channels_last", compile="no"
)
AUGMENT = AugmentConfig(pad_crop=1, horizontal_flip=True)
CONTRACT = InputContract(
    class_names=("a", "b", "c"), resize=SIDE, crop=(SIDE, SIDE), mean=(0.5,) * 3, std=(0.2,) * 3
)


def tiny_network() -> ResNet:
    config = ResNetConfig(
        stage_depths=(1, 1), stage_widths=(8, 16), stem="cifar", stem_width=8, num_classes=CLASSES
    )
    with drawing_from(0):
        network = ResNet(config)
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):  # statistics that are not those of a batch
                nn.init.normal_(module.running_mean)
                nn.init.uniform_(module.running_var, 0.5, 2)
    return network.eval()


def tiny_split(count: int = COUNT, seed: int = 0) -> Split:
    images = np.random.default_rng(seed).integers(0, 256, (count, 3, SIDE, SIDE), dtype=np.uint8)
    return Split(
        labels=np.arange(count, dtype=np.int64) % CLASSES,
        names=[f"{i}.png" for i in range(count)],
        images=images,
    )


def request_for(part: str = "head", **settings: Any) -> FeatureRequest:
    known: dict[str, Any] = {"split": tiny_split(), "contract": CONTRACT, "execution": EXECUTION}
    return FeatureRequest(part=part, **(known | settings))


def changed(network: ResNet, name: str) -> ResNet:
    """The network with one number of its state dict altered."""
    with torch.no_grad():
        network.state_dict()[name].view(-1)[0] += 1
    return network
