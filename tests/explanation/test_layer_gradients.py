"""Feature maps at any stage or layer: which they are, and one clear reason where there are none."""

from __future__ import annotations

import copy
from functools import partial

import pytest
import torch
from explanation_nets import NETWORKS, build_network, draw_images, same_state, state_of
from torch import nn

from resnetkit.explanation.layer_gradients import layer_gradients
from resnetkit.types import UserError

pytestmark = pytest.mark.usefixtures("one_thread")


def reference(network, images, targets, layer):
    """Plain autograd: nothing works in place, and the layer's output is watched."""
    plain = copy.deepcopy(network)
    for module in plain.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False
    seen = []

    def watch(_module, _inputs, output):
        seen.append(output * 1)
        return seen[-1] * 1  # what follows may still add in place

    plain.get_submodule(layer).register_forward_hook(watch)
    scores = plain(images).gather(1, targets[:, None])
    return seen[-1].detach(), torch.autograd.grad(scores.sum(), seen[-1])[0]


def last_layer(kind, part):
    """The layer whose output is what leaves a part."""
    if kind == "lenet":
        return {"stem": "pool1", "stage1": "pool2"}[part]
    if part == "stem":
        return "maxpool"
    if part == "stage3" and kind.startswith("preact"):
        return "final_activation"
    return f"layer{part[-1]}"


@pytest.mark.parametrize("kind", NETWORKS)
def test_a_part_is_looked_at_where_its_feature_maps_end(kind):
    network = build_network(kind)
    images, targets = draw_images()
    for part in ["stem", "stage1"] if kind == "lenet" else ["stem", "stage1", "stage2", "stage3"]:
        found = layer_gradients(network, images, targets, part)
        features, gradients = reference(network, images, targets, last_layer(kind, part))
        torch.testing.assert_close(found.features, features)
        torch.testing.assert_close(found.gradients, gradients)
        assert found.stage == part
    last = layer_gradients(network, images, targets, None)
    assert last.stage == part  # of LeNet the convolutional one, not the linear layers behind it
    assert torch.equal(last.features, found.features)
    assert torch.equal(last.gradients, found.gradients)


@pytest.mark.parametrize(
    ("kind", "layer"),
    [
        ("basic", "conv1"),
        ("basic", "layer2.1.bn1"),  # an activation works in place on its output
        ("basic", "layer2.0.bn2"),  # the shortcut is added in place
        ("basic", "layer2.1.activation"),  # used twice: the second time counts
        ("basic", "layer2"),
        ("bottleneck", "layer3.0.downsample.1"),
        ("preact", "layer3.0.bn1"),
        ("preact", "final_norm"),
        ("squeeze", "layer1.0.se"),
        ("lenet", "conv2"),
        ("lenet", "activation"),
    ],
)
def test_a_layer_inside_a_part(kind, layer):
    network = build_network(kind)
    images, targets = draw_images()
    before = state_of(network)
    if (kind, layer) == ("lenet", "activation"):  # which is last used on vectors
        with pytest.raises(UserError, match=r"'activation' gives \[50\] per image"):
            layer_gradients(network, images, targets, layer)
        assert same_state(before, state_of(network))
        return
    found = layer_gradients(network, images, targets, layer)
    assert same_state(before, state_of(network))
    features, gradients = reference(network, images, targets, layer)
    torch.testing.assert_close(found.features, features)
    torch.testing.assert_close(found.gradients, gradients)
    assert found.stage == layer


def test_nothing_before_the_layer_needs_a_gradient(monkeypatch):
    network = build_network("basic")
    images, targets = draw_images()
    with_gradients = []
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            hook = lambda *_: with_gradients.append(torch.is_grad_enabled())
            layer.register_forward_hook(hook)
    layer_gradients(network, images, targets, "stage3")
    assert with_gradients == [False] * 9
    with_gradients.clear()
    layer_gradients(network, images, targets, "layer3.0.conv1")
    assert with_gradients == [False] * 8 + [True]


def test_the_default_is_the_last_stage_that_has_a_place():
    network = build_network("basic")
    images, targets = draw_images(size=(4, 4))
    assert layer_gradients(network, images, targets, None).stage == "stage2"
    with pytest.raises(UserError, match=r"more than one pixel, but 'stage3' gives \[16, 1, 1\]"):
        layer_gradients(network, images, targets, "stage3")
    small, _ = draw_images(size=(1, 1))
    with pytest.raises(UserError, match="or larger images"):
        layer_gradients(network, small, targets, None)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("stage4", "got 'stage4'; did you mean 'stage"),
        ("layer3.0.conv3", "got 'layer3.0.conv3'; did you mean 'layer3.0.conv"),
        ("", "got ''."),
        ("head", r"'head' gives \[\d+\] per image"),
        ("fc", r"'fc' gives \[4\] per image"),
        ("spare", "got 'spare', which the network has but never runs"),
    ],
)
def test_a_layer_that_is_not_there_or_has_no_maps(name, words):
    network = build_network("basic")
    network.add_module("spare", nn.Conv2d(3, 3, 1))
    images, targets = draw_images()
    before = state_of(network)
    look = partial(layer_gradients, network, images, targets)
    with pytest.raises(UserError, match=words) as caught:
        look(name)
    assert "one of stem, stage1, stage2, stage3, or a layer inside such as" in str(caught.value)
    assert same_state(before, state_of(network))
