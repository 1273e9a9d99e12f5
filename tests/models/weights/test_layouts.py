from __future__ import annotations

import pytest
import torch

from resnetkit.models.weights.layouts import LAYOUTS, detect_layout, translate
from resnetkit.models.weights.unwrap import unwrap
from resnetkit.types import UserError


@pytest.mark.parametrize(
    ("names", "layout"),
    [
        (["conv1.weight", "layer1.0.conv1.weight", "fc.weight"], "torchvision"),
        (["conv1.weight", "layer2.0.downsample.0.weight"], "torchvision"),
        (["conv1.0.weight", "fc.weight"], "timm"),
        (["conv1.weight", "layer1.0.se.fc1.weight", "fc.weight"], "timm"),
        (["resnet.embedder.embedder.convolution.weight"], "huggingface"),
        (["embedder.embedder.convolution.weight"], "huggingface"),
        (["conv1.weight", "linear.weight"], "cifar"),
        (["conv1.weight", "layer2.0.shortcut.0.weight", "linear.weight"], "cifar"),
    ],
)
def test_layouts_are_told_apart_by_their_marks(names, layout):
    assert detect_layout(names, "a.pth") == layout


def test_marks_of_two_layouts_are_ambiguous():
    names = ["conv1.weight", "fc.weight", "linear.weight"]
    message = r"a\.pth: .* got those of several: fc.weight \(torchvision\), linear.weight \(cifar\)"
    with pytest.raises(UserError, match=message):
        detect_layout(names, "a.pth")


def test_unknown_names_are_shown():
    with pytest.raises(UserError, match=r"torchvision, timm, huggingface, cifar is needed, got "):
        detect_layout(["blocks.0.attn.qkv.weight"], "a.pth")


@pytest.mark.parametrize(
    ("layout", "theirs", "ours"),
    [
        ("huggingface", "resnet.embedder.embedder.normalization.bias", "bn1.bias"),
        (
            "huggingface",
            "resnet.encoder.stages.2.layers.11.layer.0.convolution.weight",
            "layer3.11.conv1.weight",
        ),
        (
            "huggingface",
            "encoder.stages.0.layers.0.shortcut.normalization.running_var",
            "layer1.0.downsample.1.running_var",
        ),
        ("huggingface", "classifier.1.bias", "fc.bias"),
        ("cifar", "layer2.0.shortcut.1.running_mean", "layer2.0.downsample.1.running_mean"),
        ("cifar", "linear.weight", "fc.weight"),
        ("timm", "layer3.5.se.fc2.bias", "layer3.5.se.fc2.bias"),
        ("torchvision", "conv1.6.weight", "conv1.6.weight"),
    ],
)
def test_rules(layout, theirs, ours):
    translated = translate(unwrap({theirs: torch.ones(1)}, "a"), layout, "a")
    assert dict(translated.source_names) == {ours: theirs}
    assert translated.left_over == ()


def test_names_that_no_rule_fits_are_left_over():
    raw = {"conv1.weight": torch.ones(1), "layer1.0.se.conv.weight": torch.ones(1)}
    translated = translate(unwrap(raw, "a"), "timm", "a")
    assert translated.left_over == ("layer1.0.se.conv.weight",)


def test_two_entries_for_one_key_are_refused():
    raw = {
        "resnet.embedder.embedder.convolution.weight": torch.ones(1),
        "embedder.embedder.convolution.weight": torch.ones(1),
    }
    with pytest.raises(UserError, match=r"which are both conv1.weight; save one network alone"):
        translate(unwrap(raw, "a"), "huggingface", "a")


def test_an_unknown_layout_is_refused():
    with pytest.raises(UserError, match=r"needs one of torchvision, timm.*mean 'torchvision'"):
        translate(unwrap({"conv1.weight": torch.ones(1)}, "a"), "torchvison", "a")
    assert list(LAYOUTS) == ["torchvision", "timm", "huggingface", "cifar"]
