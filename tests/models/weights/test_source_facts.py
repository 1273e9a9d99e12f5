from __future__ import annotations

import pytest

from resnetkit.models.weights.source_facts import read_facts
from resnetkit.models.zoo import MODELS
from resnetkit.types import UserError

RESNET50 = MODELS["resnet50"].architecture
RESNET18 = MODELS["resnet18"].architecture


def test_without_a_config_nothing_is_known():
    facts = read_facts(None, RESNET50, "a.pth")
    assert facts.apply(RESNET50) == RESNET50
    assert facts.class_names is None


def test_huggingface_facts():
    labels = {str(number): f"class {number}" for number in reversed(range(1000))}
    config = {
        "model_type": "resnet",
        "downsample_in_bottleneck": True,
        "hidden_act": "relu",
        "id2label": labels,
    }
    facts = read_facts(config, RESNET50, "a")
    block = facts.apply(RESNET50).block
    assert block.stride_in_first_convolution
    assert facts.class_names is not None
    assert facts.class_names[:3] == ("class 0", "class 1", "class 2")
    assert facts.apply(RESNET50).stage_depths == (3, 4, 6, 3)
    basic = read_facts(config, RESNET18, "a").apply(RESNET18)  # basic blocks ignore it, as there
    assert not basic.block.stride_in_first_convolution


def test_names_of_another_number_of_classes_are_not_used_and_said():
    facts = read_facts({"model_type": "resnet", "id2label": {"0": "a"}}, RESNET18, "a")
    assert facts.class_names is None
    assert facts.notes == (
        "config.json names 1 classes, the head has 1000: its names were not used.",
    )


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            {"model_type": "vit"},
            "a: the config.json of a residual network .* got .*'vit'",
        ),
        (
            {"model_type": "resnet", "downsample_in_first_stage": True},
            "keeps the stem's resolution",
        ),
        ({"model_type": "resnet", "hidden_act": "gelu"}, "ReLU .* got hidden_act 'gelu'"),
        ({"model_type": "resnet", "id2label": {"cat": 0}}, r"by its number, got \['cat'\]"),
        ({"architecture": "resnetaa50d"}, "low-pass filters .* got timm's 'resnetaa50d'"),
        ({"architecture": "resnetblur50.bt_in1k"}, r"timm's 'resnetblur50\.bt"),
        ({"architecture": "seresnextaa101d_32x8d"}, "timm's 'seresnextaa101d_32x8d'"),
    ],
)
def test_networks_that_ours_cannot_be_are_refused(config, message):
    with pytest.raises(UserError, match=message):
        read_facts(config, RESNET50, "a")


@pytest.mark.parametrize("name", ["resnet50", "seresnext101d_32x8d", "wide_resnet50_2"])
def test_timms_plain_networks_pass(name):
    config = {"architecture": name, "pretrained_cfg": {"label_names": ["a"] * 1000}}
    assert read_facts(config, RESNET50, "a").class_names == ("a",) * 1000
