from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torchvision.transforms.v2 import functional as reference

from resnetkit.data.contract import InputContract, normalise
from resnetkit.data.loader import Loader, LoaderConfig
from resnetkit.data.source_types import Split
from resnetkit.data.transforms import decode_split
from resnetkit.evaluation.evaluate import evaluate
from resnetkit.evaluation.test_time import (
    PAPER_SIDES,
    average_predictions,
    build_test_time_predict,
    evaluate_views,
    mirror_caution,
    plan_views,
)
from resnetkit.models.zoo import ModelConfig, build_model, resolve_model
from resnetkit.types import Batch, UserError

pytestmark = pytest.mark.usefixtures("one_thread")

CONTRACT = InputContract(
    class_names=("ant", "bee", "cat"),
    resize=20,
    crop=(16, 16),
    mean=(0.4, 0.5, 0.6),
    std=(0.2, 0.25, 0.3),
)
LOGITS = arrays(np.float32, (3, 2, 4), elements=st.floats(-500, 500, width=32))


@pytest.fixture(scope="module")
def split():
    """Pictures higher than wide, which come as arrays of one shape."""
    images = np.random.default_rng(0).integers(0, 256, (7, 3, 44, 33)).astype(np.uint8)
    return Split(
        labels=np.arange(7) % 3, names=[f"{number}.png" for number in range(7)], images=images
    )


@pytest.fixture(scope="module")
def predict():
    model = build_model(resolve_model(ModelConfig(name="digits-resnet8"), 3, 3), seed=1).eval()
    return lambda batch: model(normalise(batch.images, CONTRACT))


def load(split, contract):
    images, failures = decode_split(split, contract, threads=1)
    assert not failures
    config = LoaderConfig(batch_size=4, workers=0, seed=0, shuffle=False)
    return Loader(replace(split, images=images), contract, config).batches(0)


def looks(view, batch):
    """What the network is shown of a batch, in order."""
    seen = []
    judged = build_test_time_predict(
        lambda one: seen.append(one.images.clone()) or torch.zeros(len(one.images), 3),
        view,
        "single-label",
    )
    judged(batch)
    assert len(seen) == view.passes
    return seen


def _probabilities(predict, batch, images):
    with torch.no_grad():
        return predict(replace(batch, images=images)).softmax(1).numpy()


def test_ten_crops_are_those_of_the_square_in_the_middle(split):
    (view,) = plan_views(CONTRACT, "ten-crop")
    (batch, *_) = load(split, view.geometry)
    assert batch.images.shape == (4, 3, 20, 20)
    seen = looks(view, batch)
    expected = reference.ten_crop(batch.images, [16, 16])  # mirrors first: corners change sides
    torch.testing.assert_close(seen, [expected[n] for n in (0, 6, 1, 5, 2, 8, 3, 7, 4, 9)])
    (own, *_) = load(split, CONTRACT)
    assert torch.equal(seen[8], own.images), "the crop in the middle is the contract's own"
    (five,) = plan_views(CONTRACT, "five-crop")
    torch.testing.assert_close(looks(five, batch), seen[::2])


def test_flipping_shows_both_ways_round(split, predict):
    (view,) = plan_views(CONTRACT, "flip")
    assert view.geometry == CONTRACT
    batch = next(load(split, CONTRACT))
    one, other = looks(view, batch)
    assert torch.equal(one, batch.images)
    assert torch.equal(other, batch.images.flip(3))
    judged = build_test_time_predict(predict, view, "single-label")
    mirrored = replace(batch, images=batch.images.flip(3))
    with torch.no_grad():
        torch.testing.assert_close(judged(batch), judged(mirrored))
        assert not torch.allclose(judged(batch), predict(batch))


@pytest.mark.parametrize("kind", ["multi-scale", "multi-scale-flip"])
def test_scales_are_the_papers_in_proportion(kind):
    views = plan_views(replace(CONTRACT, resize=256, crop=(224, 224)), kind)
    assert [view.geometry.resize for view in views] == list(PAPER_SIDES)
    assert [view.geometry.crop for view in views] == [(side, side) for side in PAPER_SIDES]
    assert {view.passes for view in views} == {2 if kind.endswith("flip") else 1}
    small = plan_views(replace(CONTRACT, resize=32, crop=(32, 32)), kind)
    assert [view.size[0] for view in small] == [32, 37, 55, 69, 91]
    oblong = plan_views(replace(CONTRACT, resize=256, crop=(224, 112)), kind)
    assert [view.geometry.crop for view in oblong][2] == (384, 192)


@pytest.mark.parametrize("kind", ["flip", "five-crop", "ten-crop", "multi-scale-flip"])
def test_all_looks_count_the_same(split, predict, kind):
    views = plan_views(CONTRACT, kind)
    logits, labels, indices = evaluate_views(
        predict, views, lambda contract: load(split, contract), "single-label"
    )
    np.testing.assert_array_equal(labels, split.labels)
    np.testing.assert_array_equal(indices, np.arange(7))
    mean = np.zeros((7, 3))
    for view in views:
        for batch in load(split, view.geometry):
            shares = [_probabilities(predict, batch, images) for images in looks(view, batch)]
            mean[batch.indices] += np.mean(shares, axis=0) / len(views)
    assert logits.dtype == np.float32
    np.testing.assert_allclose(np.exp(logits), mean, atol=1e-6)
    own, _, _ = evaluate(predict, load(split, CONTRACT))
    assert not np.allclose(logits, own)


@settings(max_examples=50, deadline=None)
@given(LOGITS)
def test_averages_are_of_probabilities(values):
    logits = torch.from_numpy(values)
    single = average_predictions(list(logits), "single-label")
    expected = logits.double().softmax(2).mean(0)
    torch.testing.assert_close(single.double().softmax(1), expected, rtol=1e-4, atol=1e-7)
    several = average_predictions(list(logits), "multi-label")
    expected = logits.double().sigmoid().mean(0)
    torch.testing.assert_close(several.double().sigmoid(), expected, rtol=1e-4, atol=1e-7)
    assert bool(single.isfinite().all() and several.isfinite().all())
    alone = average_predictions([logits[0]], "multi-label")
    torch.testing.assert_close(alone, logits[0], rtol=1e-5, atol=1e-5)


def test_crops_need_a_larger_image_to_be_cut_from():
    small = replace(CONTRACT, resize=32, crop=(32, 32))
    message = "larger than the network's input of 32 x 32 pixels.*shorter side of 32.*resize: 36"
    for kind in ("five-crop", "ten-crop"):
        with pytest.raises(UserError, match=message):
            plan_views(small, kind)
        with pytest.raises(UserError, match="shorter side of 30"):
            plan_views(small, kind, resize=30)
        (view,) = plan_views(small, kind, resize=36)
        assert view.geometry.crop == (36, 36)
        assert view.corners == ((0, 0), (0, 4), (4, 0), (4, 4), (2, 2))


def test_a_mean_per_pixel_fits_one_size_only():
    contract = replace(CONTRACT, mean=(0.5,) * (3 * 16 * 16))
    with pytest.raises(UserError, match=r"subtracts a mean for each pixel of \(16, 16\)"):
        plan_views(contract, "multi-scale")
    (view,) = plan_views(contract, "ten-crop")  # each crop has that size
    assert view.geometry.crop == (20, 20)


def test_unknown_kinds_and_foreign_batches():
    with pytest.raises(UserError, match=r"needed one of flip, five-crop, .*, got 'twelve-crop'"):
        plan_views(CONTRACT, "twelve-crop")
    (view,) = plan_views(CONTRACT, "ten-crop")
    images = torch.zeros(1, 3, 16, 16, dtype=torch.uint8)
    batch = Batch(images=images, labels=torch.zeros(1), indices=torch.zeros(1))
    with pytest.raises(AssertionError):
        looks(view, batch)


def test_characters_are_not_to_be_mirrored():
    digits = [str(number) for number in range(10)]
    for kind in ("flip", "ten-crop", "multi-scale-flip"):
        assert "which are others when mirrored" in mirror_caution(kind, digits)
        assert mirror_caution(kind, ("ant", "bee", "x")) is None
        assert mirror_caution(kind, ("猫", "犬")) is None
    for kind in ("five-crop", "multi-scale"):
        assert mirror_caution(kind, digits) is None
