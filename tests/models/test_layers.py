from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from resnetkit.models.layers import (
    SqueezeExcitation,
    StochasticDepth,
    group_norm,
    initialise_convolutions,
    stochastic_depth,
)


@pytest.mark.parametrize(
    ("channels", "groups"), [(1, 1), (7, 1), (16, 8), (32, 16), (48, 16), (64, 32), (160, 32)]
)
def test_group_norm_has_32_groups_or_fewer_but_never_one_channel_each(channels, groups):
    layer = group_norm(channels)
    assert isinstance(layer, nn.GroupNorm)
    assert layer.num_groups == groups


def test_stochastic_depth_keeps_the_expectation_and_decides_per_image():
    torch.manual_seed(0)
    images = torch.ones(20_000, 2, 3, 3)
    dropped = StochasticDepth(0.25)(images)
    assert dropped.flatten(1).std(dim=1).max() == 0  # one decision for all values of an image
    assert dropped.unique().tolist() == pytest.approx([0, 1 / 0.75])
    assert dropped.mean().item() == pytest.approx(1, abs=0.02)


def test_stochastic_depth_is_the_identity_in_evaluation_and_at_rate_0():
    images = torch.randn(4, 2, 3, 3)
    assert StochasticDepth(0.9).eval()(images) is images
    assert isinstance(stochastic_depth(0.0), nn.Identity)


def test_stochastic_depth_follows_the_seed():
    layer, images = StochasticDepth(0.5), torch.ones(64, 1, 1, 1)
    draws = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        draws.append(layer(images))
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


def test_squeeze_excitation_scales_each_channel_by_a_gate_of_the_image_mean():
    torch.manual_seed(0)
    layer, images = SqueezeExcitation(32), torch.randn(3, 32, 5, 5)
    ratio = layer(images) / images
    assert layer.fc1.out_channels == 2  # reduction 16
    assert torch.allclose(ratio, ratio[:, :, :1, :1].expand_as(ratio), atol=1e-5)
    means = images.mean((2, 3), keepdim=True)
    expected = torch.sigmoid(layer.fc2(torch.relu(layer.fc1(means))))
    assert torch.allclose(ratio[:, :, 0, 0], expected[:, :, 0, 0], atol=1e-5)


def test_squeeze_excitation_keeps_one_hidden_channel_in_narrow_blocks():
    assert SqueezeExcitation(8).fc1.out_channels == 1


def test_he_initialisation_has_the_variance_of_equation_14():
    torch.manual_seed(0)
    layer = nn.Conv2d(64, 256, 3)
    initialise_convolutions(nn.Sequential(layer))
    expected = math.sqrt(2 / (256 * 3 * 3))
    assert layer.weight.std().item() == pytest.approx(expected, rel=0.01)
    assert layer.weight.mean().item() == pytest.approx(0, abs=expected / 100)
