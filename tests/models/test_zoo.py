from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from pydantic import TypeAdapter
from torch import nn

from resnetkit.models.families import cifar_resnet
from resnetkit.models.heads import HeadConfig
from resnetkit.models.lenet import LeNetConfig
from resnetkit.models.resnet import ResNetConfig
from resnetkit.models.zoo import (
    MODELS,
    Architecture,
    ModelConfig,
    build_model,
    resolve_model,
    summarise_model,
)
from resnetkit.types import UserError

PUBLISHED_PARAMETERS = {
    "lenet": 21_840,
    "cifar-resnet20": 269_722,
    "cifar-resnet32": 464_154,
    "cifar-resnet44": 658_586,
    "cifar-resnet56": 853_018,
    "cifar-resnet110": 1_727_962,
    "cifar-resnet1202": 19_421_274,
    "cifar-plain20": 269_722,  # option A has no parameters, so leaving it out changes nothing
    "cifar-plain110": 1_727_962,
    "cifar-preact-resnet164": 1_703_258,
    "cifar-preact-resnet1001": 10_327_706,
    "wide-resnet40-4": 8_949_210,
    "wide-resnet28-10": 36_479_194,
    "resnext29-16x64d": 68_155_210,
    "resnet18-cifar": 11_173_962,
    # timm 1.0: legacy_seresnet18, legacy_seresnet50, resnet50d, resnet101d, resnetv2_18, _152
    "se-resnet18": 11_778_592,
    "se-resnet50": 28_088_024,
    "resnet50-d": 25_576_264,
    "resnet101-d": 44_568_392,
    "preact-resnet18": 11_687_720,
    "preact-resnet152": 60_185_128,
}


@pytest.mark.parametrize("name", PUBLISHED_PARAMETERS)
def test_parameter_counts_equal_the_published_ones(name):
    with torch.device("meta"):
        network = build_model(MODELS[name].architecture)
    assert (
        sum(parameter.numel() for parameter in network.parameters()) == PUBLISHED_PARAMETERS[name]
    )


@pytest.mark.parametrize(
    ("name", "depth"),
    [
        ("resnet18", 18),
        ("plain34", 34),
        ("preact-resnet152", 152),
        ("cifar-resnet20", 20),
        ("cifar-plain110", 110),
        ("cifar-preact-resnet164", 164),
        ("resnext29-16x64d", 29),
        ("wide-resnet40-4", 38),  # 6n+4 there: the paper counts projections, and not the head
    ],
)
def test_depth_counts_convolutions_and_the_head_without_projections(name, depth):
    with torch.device("meta"):
        network = build_model(MODELS[name].architecture)
    layers = [
        layer
        for layer, module in network.named_modules()
        if isinstance(module, nn.Conv2d | nn.Linear) and "downsample" not in layer
    ]
    assert len(layers) == depth


@pytest.mark.parametrize("name", ["lenet", "digits-resnet8", "cifar-resnet20", "wide-resnet40-4"])
def test_networks_run_at_the_size_they_were_made_for(name):
    entry = MODELS[name]
    network = build_model(entry.architecture).eval()
    shape = (2, entry.architecture.in_channels, entry.image_size, entry.image_size)
    with torch.inference_mode():
        logits = network(torch.zeros(shape))
    assert logits.shape == (2, entry.architecture.num_classes)


def test_a_summary_has_size_and_source_without_allocating_weights():
    summary = summarise_model("cifar-resnet20")
    assert (summary.parameters, summary.image_size) == (269_722, 32)
    assert round(summary.multiply_adds / 1e6, 1) == 40.6
    assert "1512.03385" in summary.paper


def test_overrides_change_what_they_name_and_nothing_else():
    config = ModelConfig(
        name="cifar-resnet20", shortcut="B", norm="group", dropout=0.1, block_dropout=0.2
    )
    resolved = resolve_model(config, num_classes=7, in_channels=1)
    base = cifar_resnet(20)
    block = replace(base.block, shortcut="B", norm="group", block_dropout=0.2)
    assert resolved == replace(base, num_classes=7, in_channels=1, dropout=0.1, block=block)


def test_every_override_reaches_the_architecture():
    values = {
        "stem": "deep",
        "norm": "group",
        "activation": "silu",
        "shortcut": "D",
        "zero_init_residual": True,
        "dropout": 0.1,
        "block_dropout": 0.2,
        "stochastic_depth": 0.3,
        "squeeze_excitation": True,
    }
    resolved = resolve_model(ModelConfig(name="resnet18", **values), 1000, 3)
    assert isinstance(resolved, ResNetConfig)
    for setting, value in values.items():
        owner = resolved if hasattr(resolved, setting) else resolved.block
        assert getattr(owner, setting) == value


def test_false_and_zero_are_overrides_and_none_is_not():
    resolved = resolve_model(ModelConfig(name="se-resnet50", squeeze_excitation=False), 1000, 3)
    assert resolved == MODELS["resnet50"].architecture
    assert resolve_model(ModelConfig(name="lenet"), 10, 1) == LeNetConfig()


def test_lenet_takes_only_the_settings_it_has():
    changed = resolve_model(ModelConfig(name="lenet", activation="gelu", dropout=0.5), 3, 3)
    assert changed == LeNetConfig(num_classes=3, in_channels=3, activation="gelu", dropout=0.5)
    message = (
        "model.shortcut: 'lenet' has no such setting, it has activation, dropout, head, "
        "head_hidden; leave it out"
    )
    with pytest.raises(UserError, match=message):
        resolve_model(ModelConfig(name="lenet", shortcut="A"), 10, 1)


@pytest.mark.parametrize("name", ["cifar-resnet20", "lenet"])
def test_the_head_is_a_setting_of_every_network(name):
    cosine = resolve_model(ModelConfig(name=name, head="cosine"), 7, 1)
    assert cosine.head == HeadConfig(kind="cosine")
    mlp = resolve_model(ModelConfig(name=name, head="mlp", head_hidden=12), 7, 1)
    assert mlp.head == HeadConfig(kind="mlp", hidden=12)
    assert replace(mlp, head=HeadConfig()) == resolve_model(ModelConfig(name=name), 7, 1)
    with pytest.raises(UserError, match="head_hidden: needs a head with a hidden layer"):
        resolve_model(ModelConfig(name=name, head_hidden=12), 7, 1)


def test_an_unknown_name_suggests_the_nearest():
    with pytest.raises(UserError, match="got 'cifar-resent20'; did you mean 'cifar-resnet20'"):
        resolve_model(ModelConfig(name="cifar-resent20"), 10, 3)


def test_an_override_without_effect_is_refused():
    with pytest.raises(UserError, match="zero_init_residual: needs shortcuts"):
        resolve_model(ModelConfig(name="cifar-plain20", zero_init_residual=True), 10, 3)


def test_initial_weights_follow_the_seed_and_leave_the_global_state_alone():
    architecture = MODELS["digits-resnet8"].architecture
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first, again, other = (build_model(architecture, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.rand(3), expected)
    assert torch.equal(first.conv1.weight, again.conv1.weight)
    assert torch.equal(first.fc.weight, again.fc.weight)
    assert not torch.equal(first.conv1.weight, other.conv1.weight)


def test_architectures_survive_json():
    adapter = TypeAdapter(Architecture)
    for entry in MODELS.values():
        assert adapter.validate_json(adapter.dump_json(entry.architecture)) == entry.architecture


def test_no_two_names_stand_for_one_network():
    architectures = sorted(
        (repr(entry.architecture), entry.image_size) for entry in MODELS.values()
    )
    assert all(first != second for first, second in pairwise(architectures))
