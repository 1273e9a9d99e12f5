from __future__ import annotations

import pytest
import torch
from torch import nn

from resnetkit.models.blocks import BlockConfig
from resnetkit.models.resnet import ResNet, ResNetConfig
from resnetkit.models.stems import STEM_POOLS
from resnetkit.types import UserError

PREACTIVATION = BlockConfig(kind="preact-bottleneck")


def network(**settings) -> ResNet:
    return ResNet(ResNetConfig(stage_depths=(1,), stage_widths=(4,), stem_width=4, **settings))


@pytest.mark.parametrize("size", [4, 5, 56, 57])
def test_pools_round_alike_and_differ_at_the_border_only(size):
    x = -torch.rand(1, 2, size, size, generator=torch.Generator().manual_seed(0))
    pooled = {name: pool()(x) for name, pool in STEM_POOLS.items()}
    padded, zeros = pooled["padded"], pooled["zero-padded"]
    assert padded.shape == zeros.shape == (1, 2, -(-size // 2), -(-size // 2))
    inner = (slice(None), slice(None), slice(1, size // 2 - 1), slice(1, size // 2 - 1))
    assert torch.equal(padded[inner], zeros[inner])
    assert torch.equal(zeros[:, :, 0], torch.zeros_like(zeros[:, :, 0]))
    assert (padded[:, :, 0] < 0).all()
    # Unpadded windows start at the corner: those of a map that lacks its first row and column.
    shifted = STEM_POOLS["padded"]()(x[:, :, 1:, 1:])
    unpadded = pooled["unpadded"]
    assert unpadded.shape[-1] == -(-(size - 3) // 2) + 1
    assert unpadded[0, 0, 0, 0] == x[0, 0, :3, :3].max()
    height = min(shifted.shape[-1] - 1, unpadded.shape[-1] - 1)
    assert torch.equal(shifted[:, :, 1:height, 1:height], unpadded[:, :, 1:height, 1:height])


def test_the_usual_stem_has_no_bias_and_the_keys_stay():
    assert "conv1.bias" not in network().state_dict()
    assert network().state_dict().keys() == network(stem_pool="unpadded").state_dict().keys()


def test_before_zeros_the_stem_has_a_bias_that_starts_at_zero():
    built = network(stem_pool="zero-padded", block=PREACTIVATION)
    assert isinstance(built.conv1, nn.Conv2d)
    assert torch.equal(built.conv1.bias, torch.zeros(4))
    with torch.no_grad():
        built.conv1.bias.fill_(-100.0)
    stem = built.forward_until("stage1", torch.zeros(1, 3, 32, 32))
    assert (stem[:, :, 0] == 0).all()
    assert (stem[:, :, 1:, 1:] == -100).all()


@pytest.mark.parametrize("stem", ["strided", "cifar"])
def test_a_pool_without_a_pooling_stem_is_refused(stem):
    with pytest.raises(UserError, match=rf"needs a stem that pools .* got stem '{stem}'"):
        network(stem=stem, stem_pool="unpadded")


@pytest.mark.parametrize(
    "settings", [{}, {"stem": "deep", "block": PREACTIVATION}], ids=["basic", "deep"]
)
def test_zeros_without_preactivation_are_refused(settings):
    with pytest.raises(UserError, match="'zero-padded' needs pre-activation blocks after"):
        network(stem_pool="zero-padded", **settings)


def test_an_unknown_pool_is_refused():
    with pytest.raises(UserError, match="stem_pool: needs one of padded, unpadded, zero-padded"):
        network(stem_pool="ceiled")
