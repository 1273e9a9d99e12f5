from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from resnetkit.models.blocks import BlockConfig
from resnetkit.models.resnet import ResNetConfig
from resnetkit.models.weights.infer import (
    fitting_names,
    infer_architecture,
    visible_facts,
    without_training,
)
from resnetkit.models.zoo import MODELS, build_model
from resnetkit.types import UserError

NAMES = [
    name
    for name, entry in MODELS.items()
    if isinstance(entry.architecture, ResNetConfig) and sum(entry.architecture.stage_depths) < 40
]


def shapes(architecture: ResNetConfig) -> dict[str, torch.Tensor]:
    with torch.device("meta"):
        return build_model(architecture).state_dict()


@pytest.mark.parametrize("name", NAMES)
def test_every_network_of_the_zoo_is_recognised(name):
    architecture = MODELS[name].architecture
    inferred = infer_architecture(shapes(replace(architecture, num_classes=7, in_channels=2)))
    assert visible_facts(inferred) == visible_facts(architecture)
    assert (inferred.num_classes, inferred.in_channels) == (7, 2)
    assert name in fitting_names(inferred)
    if name.startswith("resnet") and "slim" not in name:
        assert fitting_names(inferred) == [name]
        assert without_training(inferred) == without_training(architecture)


@st.composite
def architectures(draw: st.DrawFn) -> ResNetConfig:
    kind = draw(st.sampled_from(["basic", "bottleneck", "preact-basic", "preact-bottleneck"]))
    groups, width_per_group = 1, 64
    if kind.endswith("bottleneck"):
        groups = draw(st.sampled_from([1, 2, 4]))
        width_per_group = draw(st.sampled_from([16, 64, 128]))
    stages = draw(st.integers(1, 4))
    widths = st.sampled_from([4, 8, 16])
    return ResNetConfig(
        stage_depths=tuple(draw(st.integers(1, 3)) for _ in range(stages)),
        stage_widths=tuple(draw(widths) for _ in range(stages)),
        block=BlockConfig(
            kind=kind,
            shortcut=draw(st.sampled_from(["B", "D"])),
            norm=draw(st.sampled_from(["batch", "group"])),
            groups=groups,
            width_per_group=width_per_group,
            squeeze_excitation=draw(st.booleans()),
        ),
        stem=draw(st.sampled_from(["imagenet", "deep", "cifar"])),
        stem_width=draw(st.sampled_from([2, 4, 16])),
        in_channels=draw(st.integers(1, 4)),
        num_classes=draw(st.integers(1, 5)),
    )


@settings(deadline=None, max_examples=40)
@given(architectures())
def test_the_inferred_network_has_the_same_entries(architecture):
    entries = shapes(architecture)
    again = shapes(infer_architecture(entries))
    assert {name: entry.shape for name, entry in again.items()} == {
        name: entry.shape for name, entry in entries.items()
    }


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("conv1.weight", r"a\.pth: .* got weights without conv1.weight, which would say"),
        ("layer2.0.conv2.weight", "got weights without layer2.0.conv2.weight"),
    ],
)
def test_entries_that_decide_must_be_there(name, message):
    entries = shapes(MODELS["resnet18"].architecture)
    del entries[name]
    with pytest.raises(UserError, match=message):
        infer_architecture(entries, "a.pth")


def test_a_stage_that_is_missing_is_named():
    entries = shapes(MODELS["resnet18"].architecture)
    kept = {name: entry for name, entry in entries.items() if not name.startswith("layer2")}
    with pytest.raises(UserError, match="layer2, … is needed, got layer1, layer3, layer4; give"):
        infer_architecture(kept)
    with pytest.raises(UserError, match="is needed, got none; give"):
        infer_architecture({})


def test_another_stem_is_refused():
    entries = shapes(MODELS["resnet18"].architecture)
    entries["conv1.weight"] = torch.zeros(64, 3, 5, 5)
    with pytest.raises(UserError, match=r"7x7 or 3x3 is needed, got conv1.weight \[64, 3, 5, 5\]"):
        infer_architecture(entries)


def test_uneven_groups_are_refused():
    entries = shapes(MODELS["resnet50"].architecture)
    entries["layer1.0.conv2.weight"] = torch.zeros(47, 64, 3, 3)  # as in a pruned network
    with pytest.raises(UserError, match="got 47 channels, of which each sees 64"):
        infer_architecture(entries)
