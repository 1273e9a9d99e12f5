"""Gradients at the pixels: complete, guided through every ReLU, smoothed by the seed's noise."""

from __future__ import annotations

import pytest
import torch
from captum.attr import NoiseTunnel, Saliency
from explanation_nets import NETWORKS, LinearNetwork, build_network, draw_images
from torch.nn import functional as F

from resnetkit.explanation.attribution import attribute
from resnetkit.explanation.attribution_settings import AttributionSettings
from resnetkit.models.blocks import BlockConfig
from resnetkit.types import UserError

pytestmark = pytest.mark.usefixtures("one_thread")


def gradient_of(network, images, targets):
    inputs = images.clone().requires_grad_()
    scores = network(inputs).gather(1, targets[:, None])
    return torch.autograd.grad(scores.sum(), inputs)[0]


def test_integrated_gradients_are_exact_on_a_linear_network():
    network = LinearNetwork(bias=True)
    images, targets = draw_images(channels=2)
    settings = AttributionSettings(integration_steps=1)
    found = attribute(network, images, targets, "integrated-gradients", settings=settings)
    expected = (gradient_of(network, images, targets) * images).sum(1)
    torch.testing.assert_close(found.signed, expected)
    assert max(found.facts["completeness_error"]) < 1e-4


@pytest.mark.parametrize("kind", ["basic", "preact-grouped", "lenet"])
def test_integrated_gradients_add_up_to_the_difference_of_logits(kind):
    network = build_network(kind)
    images, targets = draw_images(count=2)
    with torch.no_grad():
        whole, none = network(images), network(torch.zeros_like(images))
    difference = (whole - none).gather(1, targets[:, None])[:, 0]
    errors = {}
    for steps in (2, 80):
        settings = AttributionSettings(integration_steps=steps, batch_size=3)
        found = attribute(network, images, targets, "integrated-gradients", settings=settings)
        told = torch.tensor(found.facts["logit_difference"])
        torch.testing.assert_close(told, difference, rtol=1e-4, atol=1e-4)
        missing = (found.signed.sum((1, 2)) - difference).abs() / difference.abs()
        error = torch.tensor(found.facts["completeness_error"])
        torch.testing.assert_close(error, missing, rtol=1e-2, atol=1e-4)
        errors[steps] = float(error.max())
    assert errors[80] < 0.08
    assert errors[80] < errors[2]


class GuidedReLU(torch.autograd.Function):
    """The rule of Springenberg 2015, figure 1: both masks."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.clamp(min=0)

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return gradient * (x > 0) * (gradient > 0)


@pytest.mark.parametrize("kind", NETWORKS)
def test_every_relu_is_guided(kind, monkeypatch):
    network = build_network(kind)
    images, targets = draw_images()
    ours = attribute(network, images, targets, "guided-backprop").maps
    plain = gradient_of(network, images, targets).abs().sum(1)
    monkeypatch.setattr(torch, "relu", GuidedReLU.apply)
    monkeypatch.setattr(F, "relu", lambda x, inplace=False: GuidedReLU.apply(x))
    expected = gradient_of(network, images, targets).abs().sum(1)
    torch.testing.assert_close(ours, expected)
    assert not torch.allclose(ours, plain)


@pytest.mark.parametrize(
    ("activation", "name"), [("gelu", "GELU"), ("silu", "SiLU"), ("leaky_relu", "LeakyReLU")]
)
def test_other_activations_cannot_be_guided(activation, name):
    network = build_network("basic", block=BlockConfig(activation=activation))
    images, targets = draw_images()
    with pytest.raises(UserError, match=f"all ReLUs, got one with {name}; use smoothgrad"):
        attribute(network, images, targets, "guided-backprop")
    assert attribute(network, images, targets, "gradcam").maps.max() > 0


def test_smooth_gradients_are_the_mean_gradient_of_noisy_copies():
    network = build_network("bottleneck")
    images, targets = draw_images()
    settings = AttributionSettings(noise_samples=6, noise_level=0.2, seed=9)
    found = attribute(network, images, targets, "smoothgrad", settings=settings).maps
    for row, (image, target) in enumerate(zip(images, targets, strict=True)):
        deviation = 0.2 * float(image.max() - image.min())
        generator = torch.Generator().manual_seed(9)
        spread = torch.full((6, *image.shape), deviation)
        noise = torch.normal(0.0, spread, generator=generator)
        gradients = gradient_of(network, image + noise, target.expand(6))
        expected = gradients.mean(0).abs().sum(0)
        torch.testing.assert_close(found[row], expected, rtol=1e-4, atol=1e-6)


def test_smooth_gradients_are_captums_and_follow_the_seed_alone():
    network = build_network("basic")
    images, targets = draw_images(count=1)
    one = AttributionSettings(noise_samples=5, noise_level=0.1, seed=4)
    torch.manual_seed(1)
    found = attribute(network, images, targets, "smoothgrad", settings=one).maps
    torch.manual_seed(2)
    again = attribute(network, images, targets, "smoothgrad", settings=one).maps
    assert torch.equal(found, again)
    other = AttributionSettings(noise_samples=5, noise_level=0.1, seed=5)
    differs = attribute(network, images, targets, "smoothgrad", settings=other).maps
    assert not torch.allclose(found, differs)
    deviation = 0.1 * float(images.max() - images.min())
    torch.manual_seed(4)
    theirs = NoiseTunnel(Saliency(network)).attribute(
        images, nt_samples=5, stdevs=deviation, target=int(targets[0]), abs=False
    )
    torch.testing.assert_close(found, theirs.abs().sum(1))


def test_an_even_image_meets_no_noise():
    network = build_network("basic")
    _, targets = draw_images(count=1)
    images = torch.full((1, 3, 16, 24), 0.3)
    found = attribute(network, images, targets, "smoothgrad").maps
    expected = gradient_of(network, images, targets).abs().sum(1)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-6)
