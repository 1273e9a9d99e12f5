from __future__ import annotations

from typing import Any

import pytest
import torch
from PIL import Image

from resnetkit.models.weights.foreign import Preprocessing
from resnetkit.models.weights.preprocessing import (
    from_cifar_repository,
    from_huggingface,
    from_timm,
    from_torchvision,
    torchvision_weights,
)
from resnetkit.types import UserError

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
IMAGENET = {"interpolation": "bilinear", "scale": 1 / 255, "mean": MEAN, "std": STD}
CONVNEXT: dict[str, Any] = {  # microsoft/resnet-50
    "crop_pct": 0.875,
    "do_normalize": True,
    "do_resize": True,
    "feature_extractor_type": "ConvNextFeatureExtractor",
    "image_mean": list(MEAN),
    "image_std": list(STD),
    "resample": 3,
    "size": 224,
}
BIT: dict[str, Any] = {
    "image_processor_type": "BitImageProcessor",
    "do_center_crop": True,
    "crop_size": {"height": 160, "width": 160},
    "do_resize": True,
    "size": {"shortest_edge": 182},
    "do_rescale": True,
    "rescale_factor": 0.5,
    "resample": 2,
    "do_normalize": False,
}


@pytest.mark.parametrize(
    ("name", "size", "resize"),
    [
        ("resnet50.IMAGENET1K_V1", 224, 256),
        ("resnet50.IMAGENET1K_V2", 224, 232),
        ("resnet50", 224, 232),
        ("wide_resnet50_2", 224, 232),
        ("resnet18", 224, 256),
    ],
)
def test_torchvisions(name, size, resize):
    weights = torchvision_weights(name)
    expected = Preprocessing(image_size=size, resize=resize, **IMAGENET)
    assert from_torchvision(weights) == expected
    assert len(weights.meta["categories"]) == 1000


def test_torchvisions_numbers_are_what_its_transform_computes():
    weights = torchvision_weights("resnet50")
    found = from_torchvision(weights)
    gray = weights.transforms()(Image.new("RGB", (500, 300), (10, 20, 30)))
    assert gray.shape == (3, found.image_size, found.image_size)
    pixels = torch.tensor([10.0, 20.0, 30.0])
    expected = (pixels * found.scale - torch.tensor(found.mean)) / torch.tensor(found.std)
    torch.testing.assert_close(gray[:, 0, 0], expected)


def test_unknown_torchvision_weights_are_refused():
    with pytest.raises(UserError, match="such as resnet50 or wide_resnet50_2, got 'resnet51'"):
        torchvision_weights("resnet51")
    with pytest.raises(UserError, match="IMAGENET1K_V1, IMAGENET1K_V2 is needed, got 'V3'"):
        torchvision_weights("resnet50.V3")


def test_timms():
    config = {
        "input_size": (3, 288, 288),
        "crop_pct": 0.95,
        "interpolation": "bicubic",
        "crop_mode": "center",
        "mean": MEAN,
        "std": STD,
    }
    found = from_timm(config, "timm:resnet50")
    assert (found.image_size, found.resize, found.interpolation) == (288, 303, "bicubic")
    assert (found.mean, found.std) == (MEAN, STD)
    assert from_timm({}, "x").resize == 256


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"crop_mode": "squash"}, "x: square crops .* crop_mode 'squash'"),
        ({"input_size": (3, 224, 192)}, r"input_size \[3, 224, 192\]"),
        ({"interpolation": "lanczos"}, "nearest, bilinear, bicubic is needed, got 'lanczos'"),
        ({"mean": (0.5,)}, "x: mean: one value for each of red, green and blue"),
    ],
)
def test_timms_others_are_refused(changes, message):
    with pytest.raises(UserError, match=message):
        from_timm(changes, "x")


def test_huggingfaces_own_processor():
    found = from_huggingface(CONVNEXT, "hf:microsoft/resnet-50")
    expected = {**IMAGENET, "interpolation": "bicubic"}
    assert found == Preprocessing(image_size=224, resize=256, **expected)
    newer = {**CONVNEXT, "size": {"shortest_edge": 224}}
    newer["image_processor_type"] = "ConvNextImageProcessor"
    assert from_huggingface(newer, "x") == found


def test_huggingfaces_cropping_processors():
    found = from_huggingface(BIT, "x")
    assert found == Preprocessing(
        image_size=160,
        resize=182,
        interpolation="bilinear",
        scale=0.5,
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
    )
    assert from_huggingface({**BIT, "do_rescale": False}, "x").scale == 1


@pytest.mark.parametrize(
    "config",
    [
        {**CONVNEXT, "size": 384},
        {**CONVNEXT, "do_resize": False},
        {**CONVNEXT, "resample": 1},
        {**BIT, "do_center_crop": False},
        {**BIT, "crop_size": {"height": 160, "width": 150}},
        {**BIT, "size": {"height": 160, "width": 160}},
        {},
    ],
)
def test_huggingface_processors_that_do_something_else_are_refused(config):
    with pytest.raises(UserError, match=r"x: a preprocessor_config.json that resizes the shorter"):
        from_huggingface(config, "x")


def test_huggingface_statistics_are_not_guessed():
    config = {name: value for name, value in CONVNEXT.items() if name != "image_mean"}
    with pytest.raises(UserError, match="x: image_mean: one value for each"):
        from_huggingface(config, "x")


def test_the_cifar_repositories():
    assert from_cifar_repository(option_a=True).mean == MEAN
    assert from_cifar_repository(option_a=False).std == (0.2023, 0.1994, 0.2010)
