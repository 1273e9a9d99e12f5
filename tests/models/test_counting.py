from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torchvision import models as torchvision_models

from resnetkit.models.counting import count_multiply_adds, count_parameters
from resnetkit.models.families import cifar_resnet
from resnetkit.models.lenet import LeNet, LeNetConfig
from resnetkit.models.resnet import ResNet
from resnetkit.models.zoo import summarise_model

TORCHVISION_WEIGHTS = {
    "resnet18": torchvision_models.ResNet18_Weights.IMAGENET1K_V1,
    "resnet34": torchvision_models.ResNet34_Weights.IMAGENET1K_V1,
    "resnet50": torchvision_models.ResNet50_Weights.IMAGENET1K_V1,
    "resnet101": torchvision_models.ResNet101_Weights.IMAGENET1K_V1,
    "resnet152": torchvision_models.ResNet152_Weights.IMAGENET1K_V1,
    "wide-resnet50-2": torchvision_models.Wide_ResNet50_2_Weights.IMAGENET1K_V1,
    "wide-resnet101-2": torchvision_models.Wide_ResNet101_2_Weights.IMAGENET1K_V1,
    "resnext50-32x4d": torchvision_models.ResNeXt50_32X4D_Weights.IMAGENET1K_V1,
    "resnext101-32x8d": torchvision_models.ResNeXt101_32X8D_Weights.IMAGENET1K_V1,
}


@pytest.mark.parametrize("name", TORCHVISION_WEIGHTS)
def test_multiply_adds_and_parameters_equal_torchvisions_published_figures(name):
    published = TORCHVISION_WEIGHTS[name].meta
    summary = summarise_model(name)
    assert round(summary.multiply_adds / 1e9, 3) == published["_ops"]
    assert summary.parameters == published["num_params"]


def test_multiply_adds_of_lenet_by_hand():
    first, second = 28 * 28 * 10 * 25, 14 * 14 * 20 * 10 * 25
    linear = 20 * 16 * 50 + 50 * 10
    assert count_multiply_adds(LeNet(LeNetConfig()), 28) == first + second + linear


def test_counting_leaves_the_network_as_it_was():
    network = ResNet(replace(cifar_resnet(8), in_channels=1)).train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    count_multiply_adds(network, 4)
    after = network.state_dict()
    assert network.training
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert not any(module._forward_hooks for module in network.modules())


def test_frozen_parameters_count():
    network = LeNet(LeNetConfig())
    network.conv1.requires_grad_(False)
    assert count_parameters(network) == 21_840
