from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from resnetkit.models.lenet import LeNet, LeNetConfig, pool_to
from resnetkit.types import UserError


@settings(deadline=None, max_examples=25)
@given(height=st.integers(8, 64), width=st.integers(8, 64), in_channels=st.sampled_from([1, 3]))
def test_one_network_takes_images_from_8_to_64_pixels(height, width, in_channels):
    network = LeNet(LeNetConfig(in_channels=in_channels, num_classes=4)).eval()
    images = torch.randn(2, in_channels, height, width)
    features = network.forward_features(images)
    assert features.shape == (2, 20, 4, 4)
    assert torch.equal(network(images), network.forward_head(features))
    assert network(images).shape == (2, 4)


@settings(deadline=None, max_examples=50)
@given(height=st.integers(4, 40), width=st.integers(4, 40))
def test_pooling_covers_the_map_and_has_the_asked_size(height, width):
    x = torch.randn(1, 1, height, width)
    pooled = pool_to(x, 4)
    assert pooled.shape == (1, 1, 4, 4)
    assert pooled.max() == x.max()


def test_pooling_a_multiple_of_the_size_is_ordinary_max_pooling():
    x = torch.randn(2, 3, 8, 12)
    assert torch.equal(pool_to(x, 4), F.max_pool2d(x, (2, 3)))


def test_images_below_8_pixels_are_refused():
    with pytest.raises(UserError, match="at least 8 x 8 pixels are needed, got 7 x 9; enlarge"):
        LeNet(LeNetConfig())(torch.zeros(1, 1, 7, 9))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"activation": "tanh"}, "activation: needs one of"),
        ({"dropout": 1}, "dropout: needs a probability"),
        ({"num_classes": 0}, "num_classes: needs"),
    ],
)
def test_settings_out_of_range_are_refused(changes, message):
    with pytest.raises(UserError, match=message):
        replace(LeNetConfig(), **changes)
