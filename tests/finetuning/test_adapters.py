from __future__ import annotations

import copy

import pytest
import torch
from finetuning_nets import BLOCKS, NETWORKS, build_network, copy_state, draw_batch, train
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from resnetkit.finetuning.adapters import (
    AdaptedConvolution,
    adapter_fits,
    insert_adapters,
    merge_adapters,
)
from resnetkit.finetuning.settings import FinetuneConfig
from resnetkit.finetuning.strategies import build_plan
from resnetkit.types import UserError


def adapted(network: nn.Module) -> list[AdaptedConvolution]:
    return [layer for layer in network.modules() if isinstance(layer, AdaptedConvolution)]


@pytest.mark.parametrize("kind", NETWORKS)
def test_they_start_without_effect_and_merge_into_the_old_architecture(kind):
    network = build_network(kind)
    images, _ = draw_batch(9)
    keys, logits = list(network.state_dict()), network(images)
    insert_adapters(network, rank=2, seed=1)
    assert adapted(network)
    assert torch.equal(network(images), logits)

    config = FinetuneConfig(strategy="adapters")
    (phase,) = build_plan(list(network.parts()), config, 1.0).phases
    train(network, phase)
    network.eval()
    trained = network(images)
    assert not torch.allclose(trained, logits, atol=1e-3)
    merge_adapters(network)
    assert list(network.state_dict()) == keys
    torch.testing.assert_close(network(images), trained, rtol=1e-5, atol=1e-5)


def test_only_kernels_change_by_merging():
    network = build_network("basic")
    before = copy_state(network)
    insert_adapters(network, rank=2, seed=1)
    (phase,) = build_plan(list(network.parts()), FinetuneConfig(strategy="adapters"), 1.0).phases
    train(network, phase)
    merge_adapters(network)
    changed = {key for key, value in network.state_dict().items() if not value.equal(before[key])}
    assert changed - {"fc.weight", "fc.bias"} == {key for key in before if before[key].ndim == 4}


@settings(deadline=None, max_examples=30)
@given(
    groups=st.sampled_from([1, 2, 4]),
    kernel=st.sampled_from([1, 3, 5]),
    stride=st.integers(1, 2),
    bias=st.booleans(),
    rank=st.integers(1, 3),
)
def test_the_sum_is_one_convolution(groups, kernel, stride, bias, rank):
    generator = torch.Generator().manual_seed(0)
    layer = nn.Conv2d(8, 12, kernel, stride, kernel // 2, groups=groups, bias=bias)
    both = AdaptedConvolution(layer, rank)
    for value in both.parameters():
        value.data = torch.randn(value.shape, generator=generator)
    images = torch.randn(2, 8, 7, 7, generator=generator)
    expected = both(images)
    torch.testing.assert_close(both.merged()(images), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", BLOCKS)
def test_they_stand_where_they_are_smaller(kind):
    network = build_network(kind)
    convolutions = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d)]
    fitting = [layer for layer in convolutions if adapter_fits(layer, 3)]
    insert_adapters(network, rank=3, seed=1)
    assert [layer.convolution for layer in adapted(network)] == fitting
    for layer in adapted(network):
        size = sum(value.numel() for value in layer.adapter_parameters())
        assert size < layer.convolution.weight.numel()


def test_they_follow_from_the_seed_and_leave_the_global_state_alone():
    torch.manual_seed(5)
    state = torch.get_rng_state()
    first, second, other = (copy.deepcopy(build_network("basic")) for _ in range(3))
    insert_adapters(first, rank=2, seed=1)
    assert torch.equal(torch.get_rng_state(), state)
    insert_adapters(second, rank=2, seed=1)
    insert_adapters(other, rank=2, seed=2)
    assert all(torch.equal(v, second.state_dict()[k]) for k, v in first.state_dict().items())
    key = "layer1.0.conv1.down.weight"
    assert not torch.equal(first.state_dict()[key], other.state_dict()[key])


def test_mode_and_precision_are_the_convolutions():
    network = build_network("basic").double().train()
    insert_adapters(network, rank=2, seed=1)
    for layer in adapted(network):
        assert layer.training
        assert layer.up.weight.dtype == torch.float64


def test_a_network_without_convolutions_is_refused():
    with pytest.raises(UserError, match="this network has none: choose strategy bn-only or full"):
        insert_adapters(nn.Sequential(nn.Linear(2, 2)), rank=1, seed=0)
