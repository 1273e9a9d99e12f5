from __future__ import annotations

import pytest
import torch
from torch import nn

from resnetkit.models.blocks import BLOCKS, Block, BlockConfig
from resnetkit.models.layers import StochasticDepth
from resnetkit.types import UserError


def build(config: BlockConfig, in_channels: int, width: int, stride=1, drop_rate=0.0) -> Block:
    torch.manual_seed(0)
    return BLOCKS[config.kind](in_channels, width, stride, config, drop_rate)


def call_order(block: nn.Module, images: torch.Tensor) -> list[str]:
    """Names of the block's parts in the order they run, without those that do nothing."""
    order: list[str] = []
    for name, part in block.named_children():
        if not isinstance(part, nn.Identity):
            part.register_forward_hook(lambda *_, name=name: order.append(name))
    block(images)
    return order


A, C, N = "activation", "conv", "bn"
ORDERS = {
    "basic": ["conv1", "bn1", A, "conv2", "bn2", A],
    "bottleneck": ["conv1", "bn1", A, "conv2", "bn2", A, "conv3", "bn3", A],
    "preact-basic": ["bn1", A, "conv1", "bn2", A, "conv2"],
    "preact-bottleneck": ["bn1", A, "conv1", "bn2", A, "conv2", "bn3", A, "conv3"],
}


@pytest.mark.parametrize("kind", BLOCKS)
def test_order_of_convolution_norm_and_activation(kind):
    config = BlockConfig(kind=kind)
    block = build(config, config.out_channels(16), 16)
    assert call_order(block, torch.randn(2, config.out_channels(16), 4, 4)) == ORDERS[kind]


@pytest.mark.parametrize("kind", BLOCKS)
def test_a_block_adds_its_input_and_a_plain_block_does_not(kind):
    config, plain = BlockConfig(kind=kind), BlockConfig(kind=kind, shortcut="none")
    channels = config.out_channels(16)
    residual_block, plain_block = build(config, channels, 16), build(plain, channels, 16)
    images = torch.rand(2, channels, 4, 4)
    for block in (residual_block, plain_block):
        last = list(block.modules())  # silence the residual: all convolutions to zero
        for module in last:
            if isinstance(module, nn.Conv2d):
                nn.init.zeros_(module.weight)
    assert torch.equal(residual_block.eval()(images), images)
    assert not plain_block.eval()(images).any()


@pytest.mark.parametrize("kind", ["preact-basic", "preact-bottleneck"])
def test_preactivation_leaves_negative_values_on_the_identity_path(kind):
    config = BlockConfig(kind=kind)
    block = build(config, config.out_channels(16), 16).eval()
    (block.conv3 if kind.endswith("bottleneck") else block.conv2).weight.data.zero_()
    images = -torch.rand(2, config.out_channels(16), 4, 4)
    assert torch.equal(block(images), images)


@pytest.mark.parametrize("kind", ["preact-basic", "preact-bottleneck"])
def test_preactivation_projects_the_activated_input_without_a_norm(kind):
    block = build(BlockConfig(kind=kind), 8, 16, stride=2).eval()
    (block.conv3 if kind.endswith("bottleneck") else block.conv2).weight.data.zero_()
    images = torch.randn(2, 8, 4, 4)
    projected = block.downsample[0](torch.relu(block.bn1(images)))
    assert torch.allclose(block(images), projected)
    assert not any(isinstance(part, nn.BatchNorm2d) for part in block.downsample)


@pytest.mark.parametrize("kind", ["bottleneck", "preact-bottleneck"])
@pytest.mark.parametrize(("first", "strides"), [(False, (1, 2)), (True, (2, 1))])
def test_a_bottleneck_strides_in_its_3x3_or_in_its_first_1x1(kind, first, strides):
    config = BlockConfig(kind=kind, stride_in_first_convolution=first)
    block = build(config, 16, 16, stride=2)
    assert (block.conv1.stride[0], block.conv2.stride[0]) == strides
    assert block(torch.randn(2, 16, 8, 8)).shape == (2, 64, 4, 4)


def test_groups_and_width_shape_the_middle_of_a_bottleneck():
    config = BlockConfig(kind="bottleneck", groups=32, width_per_group=4)
    block = build(config, 64, 64)
    assert block.conv2.weight.shape == (128, 4, 3, 3)


def test_block_dropout_sits_between_the_convolutions():
    for kind in ("basic", "preact-basic"):
        config = BlockConfig(kind=kind, block_dropout=0.3)
        order = call_order(build(config, 16, 16), torch.randn(2, 16, 4, 4))
        assert order[order.index("conv2") - 1] == "dropout"


@pytest.mark.parametrize("kind", BLOCKS)
def test_squeeze_excitation_and_stochastic_depth_act_on_the_residual_only(kind):
    config = BlockConfig(kind=kind, squeeze_excitation=True)
    channels = config.out_channels(16)
    block = build(config, channels, 16, drop_rate=0.99)
    images = torch.rand(2, channels, 4, 4)
    assert call_order(block, images)[-3:].count("se") == 1
    block.stochastic_depth = StochasticDepth(1 - 1e-12)  # drops all
    assert torch.equal(block(images), images)


@pytest.mark.parametrize("kind", BLOCKS)
def test_at_a_stages_end_the_shortcut_is_the_subsampled_input(kind):
    config = BlockConfig(kind=kind, stride_in_last_block=True)
    channels = config.out_channels(16)
    block = build(config, channels, 16, stride=2)
    block.stochastic_depth = StochasticDepth(1 - 1e-12)  # drops the residual
    images = torch.rand(2, channels, 5, 5)
    expected = images[:, :, ::2, ::2].clone()
    assert torch.equal(block(images), expected)
    assert not [name for name in block.state_dict() if name.startswith("downsample")]


@pytest.mark.parametrize("kind", BLOCKS)
def test_at_a_stages_end_new_channels_are_still_projected(kind):
    config = BlockConfig(kind=kind, stride_in_last_block=True)
    block = build(config, 8, 16, stride=2)
    assert block.downsample[0].stride == (2, 2)
    plain = build(BlockConfig(kind=kind, shortcut="none", stride_in_last_block=True), 8, 16)
    assert plain.downsample is None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "botleneck"}, "kind: needs one of .*'botleneck'.*'bottleneck'"),
        ({"shortcut": "C"}, "shortcut: needs one of A, B, D, none, got 'C'"),
        ({"norm": "layer"}, "norm: needs one of batch, group, got 'layer'"),
        ({"activation": "relu6"}, "activation: needs one of .*did you mean 'relu'"),
        ({"groups": 32}, "groups, width_per_group: needs bottleneck blocks, got kind 'basic'"),
        ({"width_per_group": 128}, "groups, width_per_group: needs bottleneck"),
        ({"stride_in_first_convolution": True}, "stride_in_first_convolution: needs bottleneck"),
        ({"kind": "bottleneck", "block_dropout": 0.1}, "block_dropout: needs basic blocks"),
        ({"block_dropout": 1.0}, "block_dropout: needs a probability"),
        ({"kind": "bottleneck", "groups": 0}, "groups: needs whole numbers"),
    ],
)
def test_options_out_of_range_or_without_effect_are_refused(settings, message):
    with pytest.raises(UserError, match=message):
        BlockConfig(**settings)
