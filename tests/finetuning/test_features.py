from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_features import (
    AUGMENT,
    CONTRACT,
    COUNT,
    EXECUTION,
    changed,
    request_for,
    tiny_network,
    tiny_split,
)
from torch import nn

from resnetkit.data.augment import AugmentConfig, augment_images
from resnetkit.data.contract import normalise
from resnetkit.data.draws import Draws
from resnetkit.finetuning.features import (
    CHUNK,
    feature_chunks,
    feature_key,
    feature_shape,
    why_not_cacheable,
)

PARTS = ("stage1", "stage2", "head")


@pytest.fixture(autouse=True)
def _quick(one_thread):
    pass


def rows_of(network: nn.Module, request, first: int = 0) -> np.ndarray:
    return np.concatenate(list(feature_chunks(network, request, first)))


def expected(network, images: torch.Tensor, part: str) -> np.ndarray:
    """What enters `part`, by the network itself."""
    with torch.no_grad():
        features = network.forward_until(part, images.contiguous(memory_format=torch.channels_last))
    features = features.permute(0, 2, 3, 1) if features.ndim == 4 else features
    return features.numpy()


@pytest.mark.parametrize("part", PARTS)
def test_plain_features_are_the_bits_that_the_network_computes(part):
    network, request = tiny_network(), request_for(part)
    pixels = torch.from_numpy(request.split.images)
    ordered = network.to(memory_format=torch.channels_last)
    rows = rows_of(network, request)
    parts = [expected(ordered, normalise(some, CONTRACT), part) for some in pixels.split(CHUNK)]
    np.testing.assert_array_equal(rows, np.concatenate(parts))
    assert rows.shape[1:] == feature_shape(network, request)


def test_from_the_features_on_the_network_gives_its_own_logits():
    network = tiny_network().to(memory_format=torch.channels_last)
    request = request_for("stage2")
    images = normalise(torch.from_numpy(request.split.images[:CHUNK]), CONTRACT)
    images = images.contiguous(memory_format=torch.channels_last)
    [rows, _] = feature_chunks(network, request)
    with torch.no_grad():
        ours = network.forward_from("stage2", torch.from_numpy(rows).permute(0, 3, 1, 2))
        assert torch.equal(ours, network(images))


def test_view_v_is_augmented_as_epoch_v_would_be():
    network, request = tiny_network(), request_for(augment=AUGMENT, views=2, seed=5)
    rows = rows_of(network, request).reshape(2, COUNT, -1)
    assert not np.array_equal(rows[0], rows[1])
    pixels, device = torch.from_numpy(request.split.images), torch.device("cpu")
    for view in range(2):
        shuffled = torch.randperm(COUNT, generator=torch.Generator().manual_seed(view))
        draws = Draws(5, view, shuffled, device)
        images = augment_images(pixels[shuffled], draws, AUGMENT, CONTRACT, crop=True)
        np.testing.assert_allclose(
            rows[view][shuffled], expected(network, images, "head"), rtol=1e-4, atol=1e-5
        )


@pytest.mark.parametrize("first", [1, 2, 3])
def test_chunks_can_begin_anywhere(first):
    network, request = tiny_network(), request_for(augment=AUGMENT, views=2)
    whole = rows_of(network, request)
    assert len(whole) == 2 * COUNT
    rest = rows_of(network, request, first)
    np.testing.assert_array_equal(rest, whole[request.rows_before(first) :])


def test_a_training_network_is_computed_with_in_eval_mode_and_left_alone():
    network, request = tiny_network(), request_for()
    rows = rows_of(network, request)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    network.train()
    np.testing.assert_array_equal(rows_of(network, request), rows)
    assert all(module.training for module in network.modules())
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


def test_features_that_depend_on_the_batch_are_our_bug():
    class Mixing(nn.Module):
        def forward(self, x):
            return x + x.mean(0, keepdim=True)

    network = tiny_network()
    network.layer1.append(Mixing())
    with pytest.raises(AssertionError, match="what enters stage2 depends on the batch"):
        rows_of(network, request_for("stage2"))


def test_what_the_network_is_below_the_part_decides_the_key():
    key = feature_key(tiny_network(), request_for("stage2"))
    assert key == feature_key(tiny_network(), request_for("stage2"))
    assert key == feature_key(changed(tiny_network(), "fc.weight"), request_for("stage2"))
    assert key == feature_key(
        changed(tiny_network(), "layer2.0.conv1.weight"), request_for("stage2")
    )
    for name in ("conv1.weight", "bn1.running_mean", "layer1.0.bn2.bias"):
        assert key != feature_key(changed(tiny_network(), name), request_for("stage2")), name


OTHER_CONTRACT = replace(CONTRACT, mean=(0.4,) * 3)


@pytest.mark.parametrize(
    "settings",
    [
        {"part": "stage2"},
        {"contract": OTHER_CONTRACT},
        {"split": tiny_split(seed=1)},
        {"split": tiny_split(COUNT - 1)},
        {"views": 3},
        {"seed": 1},
        {"augment": replace(AUGMENT, pad_crop=2)},
        {"augment": None, "views": 1},
        {"execution": replace(EXECUTION, precision="bfloat16")},
        {"execution": replace(EXECUTION, memory_order="channels_first")},
    ],
    ids=str,
)
def test_whatever_else_features_depend_on_decides_the_key(settings):
    usual = {"part": "head", "augment": AUGMENT, "views": 2}
    key = feature_key(tiny_network(), request_for(**usual))
    assert key == feature_key(tiny_network(), request_for(**usual))
    assert key != feature_key(tiny_network(), request_for(**(usual | settings)))


def test_threads_decide_the_key_and_workers_do_not():
    key = feature_key(tiny_network(), request_for())
    assert key == feature_key(tiny_network(), request_for(workers=1))
    torch.set_num_threads(2)
    other = feature_key(tiny_network(), request_for())
    torch.set_num_threads(1)
    assert key != other


def test_the_seed_of_plain_features_plays_no_part():
    assert feature_key(tiny_network(), request_for(seed=1)) == feature_key(
        tiny_network(), request_for(seed=2)
    )


@pytest.mark.parametrize(
    ("part", "augment", "message"),
    [
        ("stem", AugmentConfig(), "the stem trains, and nothing lies below it"),
        ("head", AugmentConfig(mixup_alpha=0.2), "augment.mixup_alpha mixes the images of a batch"),
        ("head", AugmentConfig(cutmix_alpha=1), "augment.cutmix_alpha mixes the images"),
        (
            "stage2",
            AugmentConfig(early_size=6, early_share=0.5),
            "augment.early_size shows",
        ),
    ],
)
def test_what_cannot_be_computed_once_is_said(part, augment, message):
    assert message in str(why_not_cacheable(part, augment))


def test_everything_else_can_be_computed_once():
    policies = AugmentConfig(policy="trivialaugment", cutout=2, resized_crop_scale=(0.3, 1.0))
    assert why_not_cacheable("head", policies) is None
