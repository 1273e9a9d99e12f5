"""Class activation maps against Captum, the papers' formulas and a calculation by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from captum.attr import LayerAttribution, LayerGradCam
from explanation_nets import NETWORKS, LinearNetwork, build_network, draw_images
from torch.nn import functional as F

from resnetkit.explanation.attribution import attribute
from resnetkit.explanation.class_activation import grad_cam_plus_plus_weights
from resnetkit.explanation.layer_gradients import layer_gradients

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("kind", NETWORKS)
def test_grad_cam_is_captums(kind):
    network = build_network(kind)
    images, targets = draw_images()
    layers = {"stem": network.maxpool, "stage1": network.layer1} if kind != "lenet" else {}
    last = "final_activation" if kind.startswith("preact") else "layer3"
    layers[None] = network.pool2 if kind == "lenet" else getattr(network, last)
    for stage, layer in layers.items():
        theirs = LayerGradCam(network, layer).attribute(
            images.clone().requires_grad_(), target=targets, relu_attributions=True
        )
        enlarged = LayerAttribution.interpolate(theirs, (16, 24), "bilinear")[:, 0].detach()
        ours = attribute(network, images, targets, "gradcam", stage=stage)
        torch.testing.assert_close(ours.maps, enlarged)
        assert ours.maps.max() > 0


def test_all_three_by_hand_on_a_linear_network():
    network = LinearNetwork()
    images, targets = draw_images(count=5, channels=2, size=(6, 8))
    features = network.conv(images).detach()
    # The logit is the mean of each map times its weight: every pixel has the same gradient.
    gradients = network.fc.weight[targets].detach()[:, :, None, None] / 48
    sums = features.sum((2, 3), keepdim=True)
    expected = {
        "gradcam": gradients,
        "layercam": gradients.clamp(min=0),
        "gradcam++": torch.where(
            (gradients > 0) & (2 + sums * gradients > 0),
            48 * gradients / (2 + sums * gradients),
            0.0,
        ),
    }
    for method, weights in expected.items():
        found = attribute(network, images, targets, method)
        signed = (weights * features).sum(1)
        torch.testing.assert_close(found.maps, signed.clamp(min=0))
        if method == "gradcam":
            torch.testing.assert_close(found.signed, signed)
        assert found.resolution == (6, 8)


def test_grad_cam_plus_plus_weights_are_equation_19():
    generator = torch.Generator().manual_seed(0)
    features = torch.relu(torch.randn(2, 3, 4, 5, generator=generator, dtype=torch.float64))
    gradients = torch.randn(2, 3, 4, 5, generator=generator, dtype=torch.float64)
    gradients[0, 0, 0, 0] = 0
    expected = torch.zeros(2, 3, 1, 1, dtype=torch.float64)
    for image, number, y, x in np.ndindex(2, 3, 4, 5):
        g = float(gradients[image, number, y, x])
        total = float(features[image, number].sum())
        bottom = 2 * g**2 + total * g**3
        alpha = g**2 / bottom if bottom != 0 else 0.0
        expected[image, number] += alpha * max(g, 0.0)
    torch.testing.assert_close(grad_cam_plus_plus_weights(features, gradients), expected)


def test_grad_cam_plus_plus_survives_small_gradients_and_features_below_0():
    features = torch.full((1, 1, 2, 2), -1.0)
    gradients = torch.tensor([[[[1e-25, 0.5], [1.0, 0.25]]]])  # 2 + S G: 2, 0, -2, 1
    weights = grad_cam_plus_plus_weights(features, gradients)
    assert weights.item() == pytest.approx(0.25)
    tiny = grad_cam_plus_plus_weights(torch.ones(1, 1, 1, 1), torch.full((1, 1, 1, 1), 1e-25))
    assert tiny.item() == pytest.approx(0.5e-25)


def test_layer_cam_is_equation_8_in_an_early_stage():
    network = build_network("bottleneck")
    images, targets = draw_images()
    found = layer_gradients(network, images, targets, "stage2")
    signed = (found.gradients.relu() * found.features).sum(1).relu()
    expected = F.interpolate(signed[:, None], (16, 24), mode="bilinear")[:, 0]
    ours = attribute(network, images, targets, "layercam", stage="stage2")
    torch.testing.assert_close(ours.maps, expected)
