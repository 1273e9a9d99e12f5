"""Every method on every kind of network: a map for each image, and the network as it was."""

from __future__ import annotations

import pytest
import torch
from explanation_nets import (
    NETWORKS,
    build_network,
    draw_images,
    make_untidy,
    same_state,
    state_of,
)

from resnetkit.explanation.attribution import METHODS, attribute
from resnetkit.explanation.attribution_settings import AttributionSettings
from resnetkit.types import UserError

pytestmark = pytest.mark.usefixtures("one_thread")

QUICK = AttributionSettings(
    integration_steps=3, noise_samples=3, occlusion_window=6, occlusion_stride=6, batch_size=4
)
each_network = pytest.mark.parametrize("kind", NETWORKS)
each_method = pytest.mark.parametrize("method", METHODS)


@each_network
@each_method
def test_every_image_gets_a_map_and_the_network_stays_as_it_was(kind, method):
    network = build_network(kind)
    images, targets = draw_images()
    tidy = attribute(network, images, targets, method, settings=QUICK)
    make_untidy(network)
    before, given = state_of(network), images.clone()
    found = attribute(network, images, targets, method, settings=QUICK)
    assert same_state(before, state_of(network))
    assert torch.equal(images, given)
    assert not images.requires_grad
    assert found.maps.shape == (3, 16, 24)
    assert found.maps.dtype == torch.float32
    assert not found.maps.requires_grad
    assert found.maps.isfinite().all()
    assert (found.maps >= 0).all()
    assert found.maps.flatten(1).std(1).max() > 0
    # Training mode, frozen weights and gradients that lay around make no difference.
    assert torch.equal(found.maps, tidy.maps)
    assert all(len(values) == 3 for values in found.facts.values())
    assert (found.stage is not None) == METHODS[method].at_stage
    if found.signed is not None:
        assert found.signed.shape == found.maps.shape
        assert found.signed.min() < 0
        assert torch.equal(found.signed.clamp(min=0) > 0, found.maps > 0) or found.stage


@each_method
def test_grey_images(method):
    for kind in ("basic", "lenet"):
        images, targets = draw_images(channels=1)
        found = attribute(build_network(kind, channels=1), images, targets, method, settings=QUICK)
        assert found.maps.shape == (3, 16, 24)
        assert found.maps.isfinite().all()


@each_method
def test_an_image_has_the_same_map_alone_and_in_any_company(method):
    network = build_network("preact-grouped")
    images, targets = draw_images(count=5)
    together = attribute(network, images, targets, method, settings=QUICK).maps
    assert len(together) == 5
    for row in (0, 4):
        one = slice(row, row + 1)
        alone = attribute(network, images[one], targets[one], method, settings=QUICK).maps
        torch.testing.assert_close(alone, together[one], rtol=1e-3, atol=1e-5)


@each_method
def test_the_memory_order_and_the_mode_of_the_caller_change_nothing(method):
    network = build_network("bottleneck")
    images, targets = draw_images()
    expected = attribute(network, images, targets, method, settings=QUICK).maps
    with torch.inference_mode():
        made_there = images + 0
        inside = attribute(network, made_there, targets, method, settings=QUICK).maps
        torch.testing.assert_close(inside, expected)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        inside = attribute(network, images.double(), targets, method, settings=QUICK).maps
    torch.testing.assert_close(inside, expected)
    network.to(memory_format=torch.channels_last)
    ordered = images.to(memory_format=torch.channels_last)
    found = attribute(network, ordered, targets, method, settings=QUICK).maps
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5)


@each_method
def test_the_network_is_as_it_was_after_an_exception_too(method):
    network = build_network("squeeze")
    images, targets = draw_images()
    make_untidy(network)

    def fail(*_):
        raise RuntimeError("in the middle")

    network.fc.register_forward_pre_hook(fail)
    before = state_of(network)
    with pytest.raises(RuntimeError, match="in the middle"):
        attribute(network, images, targets, method, settings=QUICK)
    assert same_state(before, state_of(network))
    assert torch.is_grad_enabled()


@pytest.mark.parametrize("method", ["gradcam", "gradcam++", "layercam"])
def test_another_stage_and_another_class_give_another_map(method):
    network = build_network("preact")
    images, targets = draw_images()
    maps = [
        attribute(network, images, targets, method, stage=stage, settings=QUICK)
        for stage in ("stem", "stage1", "stage2", "stage3", None, "layer2.1.conv1")
    ]
    assert [found.resolution for found in maps] == [
        *((16, 24), (16, 24), (8, 12), (4, 6), (4, 6), (8, 12))
    ]
    assert maps[4].stage == "stage3"
    assert torch.equal(maps[3].maps, maps[4].maps)
    other = attribute(network, images, (targets + 1) % 4, method, settings=QUICK)
    assert not torch.allclose(other.maps, maps[4].maps)


def test_facts_and_settings_are_those_of_the_method():
    network = build_network("basic")
    images, targets = draw_images()
    found = {name: attribute(network, images, targets, name, settings=QUICK) for name in METHODS}
    assert found["gradcam"].settings == {}
    assert found["integrated-gradients"].settings == {"integration_steps": 3}
    assert found["smoothgrad"].settings == {"noise_samples": 3, "noise_level": 0.15, "seed": 0}
    assert found["occlusion"].settings == {"occlusion_window": 6, "occlusion_stride": 6}
    for name in ("guided-backprop", "smoothgrad", "gradcam++", "layercam"):
        assert set(found[name].facts) == {"concentration"}
        assert found[name].signed is None
    assert set(found["gradcam"].facts) == {"concentration", "share_for"}
    assert {"completeness_error", "logit_difference"} <= set(found["integrated-gradients"].facts)
    default = attribute(network, images, targets, "occlusion").settings
    assert default == {"occlusion_window": 2, "occlusion_stride": 1}


def test_a_map_without_evidence_has_no_facts():
    network = build_network("basic")
    images, targets = draw_images()
    with torch.no_grad():
        for parameter in network.fc.parameters():
            parameter.zero_()
    found = attribute(network, images, targets, "gradcam")
    assert not found.maps.any()
    assert found.facts == {"concentration": (None,) * 3, "share_for": (None,) * 3}


def test_what_cannot_be_is_said():
    network = build_network("basic")
    images, targets = draw_images()
    with pytest.raises(
        UserError, match=r"method: needed one of gradcam, .*got 'grad-cam'; did you"
    ):
        attribute(network, images, targets, "grad-cam")
    with pytest.raises(UserError, match=r"stage: has no effect on occlusion.*gradcam, gradcam\+\+"):
        attribute(network, images, targets, "occlusion", stage="stage1")
    with pytest.raises(UserError, match=r"noise_level: needs .* above 0, got nan; the paper"):
        AttributionSettings(noise_level=float("nan"))
    with pytest.raises(UserError, match=r"occlusion_stride: needs a whole number .* got 0"):
        AttributionSettings(occlusion_stride=0)
    with pytest.raises(UserError, match=r"batch_size: needs a whole number .* got -1"):
        AttributionSettings(batch_size=-1)
