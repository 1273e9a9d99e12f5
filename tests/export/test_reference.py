"""Golden images and reference statistics of a package."""

import numpy as np
import pytest
import torch

from resnetkit.data.contract import InputContract, normalise
from resnetkit.data.source_types import Split
from resnetkit.export.reference import golden_images, reference_statistics
from resnetkit.models.zoo import ModelConfig, build_model, resolve_model


def case(count=20):
    contract = InputContract(
        class_names=("a", "b", "c"), resize=8, crop=(8, 8), mean=(0.5,) * 3, std=(0.25,) * 3
    )
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (count, 3, 8, 8), dtype=np.uint8)
    labels = np.arange(count, dtype=np.int64) % 4 // 2  # no image of class c
    names = [str(number) for number in range(count)]
    return contract, Split(labels=labels, names=names, images=images)


def test_golden_images_are_spread_over_the_split():
    contract, split = case()
    assert split.images is not None
    images = golden_images(split, contract, count=3).numpy()
    np.testing.assert_array_equal(images, split.images[[0, 9, 19]])
    assert len(golden_images(split, contract, count=100)) == 20


@pytest.mark.parametrize("name", ["digits-resnet8", "lenet"])
def test_statistics_are_those_of_the_images_and_their_features(name):
    contract, split = case()
    model = build_model(resolve_model(ModelConfig(name=name), 3, 3), 0).eval()
    found = reference_statistics(model, split, contract)
    np.testing.assert_allclose(found["class_share"], [0.5, 0.5, 0.0])
    assert split.images is not None
    scaled = torch.from_numpy(split.images).float() / 255
    torch.testing.assert_close(found["channel_mean"], scaled.mean(dim=(0, 2, 3)))
    with torch.inference_mode():
        inputs = normalise(torch.from_numpy(split.images), contract)
        features = model.forward_until("head", inputs)
        torch.testing.assert_close(model.classifier(features), model(inputs))
    torch.testing.assert_close(found["feature_mean"], features.mean(dim=0))
    torch.testing.assert_close(found["feature_std"], features.std(dim=0, unbiased=False))
