"""Quick trainings that each leave a fold out: who sees what, and what they say of wrong labels."""

from __future__ import annotations

import numpy as np
import pytest

from resnetkit import out_of_fold
from resnetkit.data.source_types import Split
from resnetkit.out_of_fold import (
    plan_folds,
    predict_out_of_fold,
    quick_contract,
    shrink_into_memory,
)

pytestmark = pytest.mark.usefixtures("one_thread")

NAMES = ("blue", "green", "red")


@pytest.fixture(scope="module")
def split():
    """60 noisy pictures of three colours, four of them under a wrong label: the first ones."""
    generator = np.random.default_rng(0)
    labels = np.arange(60) % 3
    colors = np.array([(40, 60, 210), (50, 190, 70), (220, 60, 40)], np.float64)
    pictures = colors[labels][:, :, None, None] + generator.normal(0, 25, (60, 3, 12, 12))
    labels[:4] = (labels[:4] + 1) % 3
    names = [f"{number:02d}.png" for number in range(60)]
    return Split(labels=labels, names=names, images=pictures.clip(0, 255).astype(np.uint8))


def test_every_image_is_left_out_once_with_its_group(split):
    contract = quick_contract(split, NAMES, 12, grey=False)
    groups = np.arange(60) // 2
    plan = plan_folds(split, contract, groups, 1.0)
    assert plan.count == 5
    assert len(plan.folds) == 60
    np.testing.assert_array_equal(plan.folds[::2], plan.folds[1::2])
    assert np.bincount(plan.folds).min() >= 8
    assert "5 trainings of digits-resnet8 at 12 pixels on about 48 images each" in plan.describe()


def test_one_more_image_hardly_moves_the_others(split):
    contract = quick_contract(split, NAMES, 12, grey=False)
    whole = plan_folds(split, contract, np.arange(60), 1.0).folds
    without = plan_folds(split.subset(np.arange(59)), contract, np.arange(59), 1.0).folds
    assert (whole[:59] != without).mean() < 0.2


def test_inputs_are_small_and_smaller_where_there_are_many(split, monkeypatch):
    assert quick_contract(split, NAMES, 12, grey=False).crop == (12, 12)
    assert quick_contract(split, NAMES, 500, grey=False).crop == (64, 64)
    assert quick_contract(split, NAMES, 500, grey=True).color_mode == "L"
    monkeypatch.setattr(out_of_fold, "MANY_IMAGES", 60)
    assert quick_contract(split, NAMES, 500, grey=False).crop == (32, 32)
    contract = quick_contract(split, NAMES, 12, grey=False)
    assert plan_folds(split, contract, np.arange(60), 1.0).count == 3


def test_wrong_labels_get_little_probability_from_networks_that_did_not_see_them(
    split, monkeypatch
):
    monkeypatch.setattr(out_of_fold, "MOST_EPOCHS", 5.0)
    contract = quick_contract(split, NAMES, 12, grey=False)
    plan = plan_folds(split, contract, np.arange(60), 5.0)
    said = []
    probabilities = predict_out_of_fold(split, plan, lambda *words: said.append(words))
    assert probabilities.shape == (60, 3)
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    given = probabilities[np.arange(60), split.labels]
    assert given[:4].max() < 0.5
    assert np.median(given[4:]) > 0.6
    whats = {what for what, _, _ in said}
    assert {f"training {number} of 5 for labels" for number in range(1, 6)} <= whats


def test_what_does_not_fit_the_memory_stays_encoded(split, monkeypatch, pictures):
    files = sorted(pictures.rglob("*.png"))
    encoded = Split(
        labels=np.zeros(len(files), np.int64), names=list(map(str, files)), encoded=files
    )
    contract = quick_contract(encoded, NAMES, 12, grey=False)
    assert shrink_into_memory(encoded, contract, lambda *_: None).images.shape == (36, 3, 12, 12)
    monkeypatch.setattr(out_of_fold, "MEMORY_LIMIT_BYTES", 1000)
    assert shrink_into_memory(encoded, contract, lambda *_: None) is encoded
