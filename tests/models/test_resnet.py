from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from resnetkit.models.blocks import BLOCKS, BlockConfig
from resnetkit.models.families import cifar_resnet, imagenet_resnet, resnet_d
from resnetkit.models.layers import ACTIVATIONS, NORMS, StochasticDepth
from resnetkit.models.resnet import STEMS, ResNet, ResNetConfig, stochastic_depth_rates
from resnetkit.types import UserError

TINY = ResNetConfig(
    stage_depths=(1, 2), stage_widths=(8, 16), stem="cifar", stem_width=8, num_classes=5
)


def build(config: ResNetConfig) -> ResNet:
    torch.manual_seed(0)
    return ResNet(config)


@st.composite
def tiny_configs(draw: st.DrawFn) -> ResNetConfig:
    """Any combination of options that has an effect."""
    kind = draw(st.sampled_from(list(BLOCKS)))
    shortcut = draw(st.sampled_from(["A", "B", "D", "none"]))
    bottleneck, has_shortcut = kind.endswith("bottleneck"), shortcut != "none"
    block = BlockConfig(
        kind=kind,
        shortcut=shortcut,
        norm=draw(st.sampled_from(list(NORMS))),
        activation=draw(st.sampled_from(list(ACTIVATIONS))),
        squeeze_excitation=draw(st.booleans()),
        groups=draw(st.sampled_from([1, 2])) if bottleneck else 1,
        stride_in_first_convolution=bottleneck and draw(st.booleans()),
        block_dropout=0.0 if bottleneck else draw(st.sampled_from([0.0, 0.3])),
    )
    return replace(
        TINY,
        block=block,
        stem=draw(st.sampled_from(list(STEMS))),
        in_channels=draw(st.sampled_from([1, 3])),
        dropout=draw(st.sampled_from([0.0, 0.3])),
        zero_init_residual=has_shortcut and not block.preactivation and draw(st.booleans()),
        stochastic_depth=draw(st.sampled_from([0.0, 0.5])) if has_shortcut else 0.0,
    )


@settings(deadline=None, max_examples=50)
@given(config=tiny_configs(), size=st.integers(16, 25), training=st.booleans())
def test_every_combination_of_options_works(config, size, training):
    network = build(config).train(training)
    images = torch.randn(3, config.in_channels, size, size)
    logits = network(images)
    assert logits.shape == (3, 5)
    assert logits.isfinite().all()
    logits.sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
    assert network.eval().forward_features(images).shape[:2] == (3, network.num_features)


def test_forward_is_the_head_on_the_features():
    network, images = build(TINY).eval(), torch.randn(2, 3, 32, 32)
    features = network.forward_features(images)
    assert features.shape == (2, 16, 16, 16)
    assert torch.equal(network(images), network.forward_head(features))


def test_evaluation_ignores_dropout_and_stochastic_depth():
    block = BlockConfig(block_dropout=0.5)
    regularised = build(replace(TINY, block=block, dropout=0.5, stochastic_depth=0.5))
    plain = build(TINY)
    plain.load_state_dict(regularised.state_dict())
    images = torch.randn(4, 3, 16, 16)
    assert torch.equal(plain.eval()(images), regularised.eval()(images))
    assert not torch.equal(plain.train()(images), regularised.train()(images))


@pytest.mark.parametrize("kind", ["basic", "bottleneck"])
def test_zero_init_makes_every_block_start_as_its_shortcut(kind):
    block = BlockConfig(kind=kind, squeeze_excitation=True)
    network = build(replace(TINY, block=block, zero_init_residual=True))
    images = torch.randn(4, 3, 16, 16)
    width = network.num_features
    features = torch.rand(4, width, 8, 8)
    last_block = network.stages()[-1][-1]
    assert torch.equal(last_block(features), features)
    assert network(images).isfinite().all()
    assert not torch.equal(build(replace(TINY, block=block)).stages()[-1][-1](features), features)


def test_convolutions_start_with_the_he_standard_deviation():
    for module in build(imagenet_resnet(18)).modules():
        if isinstance(module, nn.Conv2d) and module.weight.numel() > 30_000:
            fan_out = module.out_channels * math.prod(module.kernel_size)
            assert module.weight.std().item() == pytest.approx(math.sqrt(2 / fan_out), rel=0.02)


def test_stochastic_depth_grows_linearly_to_the_given_rate():
    config = replace(TINY, stage_depths=(2, 2), stochastic_depth=0.4)
    assert stochastic_depth_rates(config) == pytest.approx([0.1, 0.2, 0.3, 0.4])
    layers = [module for module in build(config).modules() if isinstance(module, StochasticDepth)]
    assert [layer.rate for layer in layers] == pytest.approx([0.1, 0.2, 0.3, 0.4])


def test_plain_networks_have_no_shortcut_anywhere():
    network = build(cifar_resnet(20, shortcut="none"))
    blocks = [block for stage in network.stages() for block in stage]
    assert len(blocks) == 9
    assert all(block.downsample is None for block in blocks)


def test_preactivation_ends_with_one_norm_and_activation_for_the_whole_network():
    network = build(replace(TINY, block=BlockConfig(kind="preact-basic"))).eval()
    features = network.forward_features(torch.randn(2, 3, 16, 16))
    assert isinstance(network.bn1, nn.Identity)
    assert isinstance(network.final_norm, nn.BatchNorm2d)
    assert (features >= 0).all()


@pytest.mark.parametrize(
    ("stem", "size"), [("imagenet", 8), ("deep", 8), ("strided", 16), ("cifar", 32)]
)
def test_stems_reduce_the_image_by_four_or_not_at_all(stem, size):
    network = build(replace(TINY, stage_depths=(1,), stage_widths=(8,), stem=stem))
    assert network.forward_features(torch.randn(1, 3, 32, 32)).shape == (1, 8, size, size)


def test_channels_last_images_stay_channels_last():
    network = build(cifar_resnet(8)).to(memory_format=torch.channels_last).eval()
    images = torch.randn(2, 3, 16, 16).contiguous(memory_format=torch.channels_last)
    features = network.forward_features(images)
    assert features.is_contiguous(memory_format=torch.channels_last)


def test_the_deep_stem_has_timm_keys():
    keys = build(replace(resnet_d(18), stage_depths=(1, 1, 1, 1))).state_dict().keys()
    assert {"conv1.0.weight", "conv1.3.weight", "conv1.6.weight", "bn1.weight"} <= keys
    assert {"layer2.0.downsample.1.weight", "layer2.0.downsample.2.weight"} <= keys


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stem": "cifr"}, "stem: needs one of .*did you mean 'cifar'"),
        ({"stage_depths": ()}, "stage_depths: needs whole numbers"),
        ({"stage_depths": (1, 2, 3)}, "one of each is needed per stage, got 3 depths and 2 widths"),
        ({"stem": "deep", "stem_width": 7}, "stem_width: .*even number is needed, got 7"),
        ({"num_classes": 0}, "num_classes: needs whole numbers"),
        ({"dropout": 1.5}, "dropout: needs a probability"),
        ({"stochastic_depth": -1}, "stochastic_depth: needs a probability"),
        (
            {"block": BlockConfig(kind="bottleneck", width_per_group=4)},
            "width_per_group: a group needs at least one channel .* got 4 at a stage width of 8",
        ),
        (
            {"block": BlockConfig(shortcut="A"), "stage_widths": (16, 8)},
            r"option A pads channels .* got \[8, 16, 8\]",
        ),
        (
            {"block": BlockConfig(shortcut="none"), "stochastic_depth": 0.1},
            "stochastic_depth: needs shortcuts",
        ),
        (
            {"block": BlockConfig(shortcut="none"), "zero_init_residual": True},
            "zero_init_residual: needs shortcuts",
        ),
        (
            {"block": BlockConfig(kind="preact-basic"), "zero_init_residual": True},
            "zero_init_residual: needs blocks whose residual ends in a norm",
        ),
    ],
)
def test_impossible_networks_and_options_without_effect_are_refused(changes, message):
    with pytest.raises(UserError, match=message):
        replace(TINY, **changes)


def test_stages_that_stride_in_their_last_block_hand_on_half_of_the_resolution():
    sizes = {}
    for at_the_end in (False, True):
        block = BlockConfig(kind="preact-basic", stride_in_last_block=at_the_end)
        config = ResNetConfig(
            stage_depths=(2, 2, 1), stage_widths=(4, 8, 8), stem="cifar", stem_width=4, block=block
        )
        network, images = ResNet(config), torch.rand(1, 3, 16, 16)
        parts = ("stage1", "stage2", "stage3")
        sizes[at_the_end] = [network.forward_until(part, images).shape[-1] for part in parts]
        assert network.forward_features(images).shape[-1] == 4
    assert sizes == {False: [16, 16, 8], True: [16, 8, 4]}
