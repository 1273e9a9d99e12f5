from __future__ import annotations

import pytest
import torch
from torch import nn

from resnetkit.models.shortcuts import build_shortcut


def shortcut(option: str, in_channels=4, out_channels=8, stride=2) -> nn.Module:
    built = build_shortcut(option, in_channels, out_channels, stride, nn.BatchNorm2d)
    assert built is not None
    return built


@pytest.mark.parametrize("size", [6, 7])
def test_option_a_takes_every_second_pixel_and_pads_channels_with_zeros(size):
    images = torch.randn(2, 4, size, size)
    layer = shortcut("A")
    out = layer(images)
    assert not list(layer.parameters())
    assert torch.equal(out[:, :4], images[:, :, ::2, ::2])
    assert out.shape[1] == 8
    assert not out[:, 4:].any()


def test_option_a_keeps_the_channels_last_memory_order():
    images = torch.randn(2, 16, 8, 8).contiguous(memory_format=torch.channels_last)
    out = shortcut("A", in_channels=16, out_channels=32)(images)
    assert out.is_contiguous(memory_format=torch.channels_last)


def test_option_b_is_a_strided_1x1_convolution_with_norm():
    convolution, norm = shortcut("B").children()
    assert (convolution.kernel_size, convolution.stride) == ((1, 1), (2, 2))
    assert norm.num_features == 8


def test_option_d_averages_before_it_projects():
    layer = shortcut("D").eval()
    images = torch.randn(2, 4, 6, 6)
    _, convolution, norm = layer.children()
    pooled = images.unfold(2, 2, 2).unfold(3, 2, 2).mean((4, 5))
    assert convolution.stride == (1, 1)
    assert torch.allclose(layer(images), norm(convolution(pooled)), atol=1e-6)


@pytest.mark.parametrize("option", ["A", "B", "D"])
@pytest.mark.parametrize("size", [1, 5, 8])
def test_options_round_sizes_as_the_3x3_convolutions_beside_them(option, size):
    images = torch.randn(2, 4, size, size)
    beside = nn.Conv2d(4, 8, 3, stride=2, padding=1)
    assert shortcut(option).eval()(images).shape == beside(images).shape


@pytest.mark.parametrize("option", ["A", "B", "D"])
def test_the_shortcut_is_the_identity_where_the_shape_stays(option):
    assert isinstance(shortcut(option, in_channels=8, stride=1), nn.Identity)


def test_plain_networks_have_none_even_where_the_identity_would_fit():
    assert build_shortcut("none", 8, 8, 1, nn.BatchNorm2d) is None
