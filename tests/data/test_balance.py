"""Sampling by class: the shares it promises, no history in its order, repeats told apart."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resnetkit.data.augment import AugmentConfig, augment_images
from resnetkit.data.balance import (
    POWERS,
    class_counts,
    expected_draws,
    image_weights,
    sampled_order,
)
from resnetkit.data.contract import InputContract
from resnetkit.data.draws import Draws
from resnetkit.data.loader import Loader, LoaderConfig
from resnetkit.data.source_types import Split

LABELS = np.random.default_rng(0).permutation(np.repeat([0, 1, 2], [90, 9, 1]))
SEVERAL = np.array([[1, 0, 0]] * 6 + [[1, 1, 0]] * 2 + [[0, 0, 1]] + [[0, 0, 0]] * 3, np.float32)
CONTRACT = InputContract(
    class_names=("a", "b", "c"), resize=8, crop=(8, 8), mean=(0.0,) * 3, std=(1.0,) * 3
)


@settings(deadline=None, max_examples=50)
@given(
    counts=st.lists(st.integers(0, 40), min_size=1, max_size=6).filter(any),
    sampling=st.sampled_from(sorted(POWERS)),
)
def test_a_class_is_drawn_by_its_size_to_the_power(counts, sampling):
    labels = np.repeat(np.arange(len(counts)), counts)
    weights = image_weights(labels, "single-label", sampling)
    assert weights.sum() == pytest.approx(1)
    present = np.array(counts, float)
    shares = np.where(present > 0, np.maximum(present, 1) ** POWERS[sampling], 0)
    expected = len(labels) * shares / shares.sum()
    np.testing.assert_allclose(expected_draws(labels, weights, len(counts)), expected)
    soft = np.eye(len(counts), dtype=np.float32)[labels] * 0.6 + 0.4 / len(counts)
    np.testing.assert_allclose(image_weights(soft, "single-label", sampling), weights)


def test_an_image_of_several_classes_is_drawn_by_its_rarest():
    weights = image_weights(SEVERAL, "multi-label", "balanced")
    # Four groups: only class 0, class 1 (with 0), class 2, none; each drawn as often.
    groups = (slice(0, 6), slice(6, 8), slice(8, 9), slice(9, 12))
    assert [float(weights[group].sum()) for group in groups] == pytest.approx([0.25] * 4)
    np.testing.assert_allclose(expected_draws(SEVERAL, weights, 3), [6, 3, 3])
    np.testing.assert_array_equal(class_counts(SEVERAL, 3), [8, 2, 1])


def test_counts_of_class_numbers_and_of_soft_labels():
    np.testing.assert_array_equal(class_counts(LABELS, 4), [90, 9, 1, 0])
    soft = np.array([[0.75, 0.25], [0.5, 0.5]], np.float32)
    np.testing.assert_allclose(class_counts(soft, 2), [1.25, 0.75])


def test_the_order_follows_from_seed_and_epoch_and_has_the_promised_shares():
    weights = image_weights(LABELS, "single-label", "balanced")
    order = sampled_order(weights, 3, 7)
    np.testing.assert_array_equal(order, sampled_order(weights, 3, 7))
    assert not np.array_equal(order, sampled_order(weights, 3, 8))
    assert not np.array_equal(order, sampled_order(weights, 4, 7))
    epochs = np.concatenate([sampled_order(weights, 0, epoch) for epoch in range(200)])
    drawn = np.bincount(LABELS[epochs % 100]) / len(epochs)
    np.testing.assert_allclose(drawn, 1 / 3, atol=0.015)  # 4 standard deviations


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 300), st.integers(0, 2**40))
def test_each_repeat_in_an_epoch_has_a_number_of_its_own(count, seed):
    generator = np.random.default_rng(seed % 2**32)
    order = sampled_order(generator.random(count) ** 8 + 1e-300, seed, 0)
    assert len(order) == len(set(order.tolist())) == count
    images, repeats = order % count, order // count
    for image in set(images.tolist()):
        assert repeats[images == image].tolist() == list(range((images == image).sum()))


def build_split(encoded=False):
    images = np.random.default_rng(0).integers(0, 256, (100, 3, 8, 8)).astype(np.uint8)
    images[:, 0, 0, 0] = np.arange(100)
    names = [str(index) for index in range(100)]
    if not encoded:
        return Split(labels=LABELS, names=names, images=images)
    return Split(labels=LABELS, names=names, encoded=[to_png(image) for image in images])


def to_png(image):
    import io

    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(image.transpose(1, 2, 0)).save(buffer, format="PNG")
    return buffer.getvalue()


@pytest.mark.parametrize("encoded", [False, True])
def test_the_loader_draws_what_the_order_says(encoded):
    config = LoaderConfig(batch_size=20, workers=0, seed=5, shuffle=True, sampling="balanced")
    loader = Loader(build_split(encoded), CONTRACT, config)
    batches = list(loader.batches(2))
    assert len(batches) == loader.steps_per_epoch == 5
    order = sampled_order(image_weights(LABELS, "single-label", "balanced"), 5, 2)
    numbers = np.concatenate([batch.indices.numpy() for batch in batches])
    np.testing.assert_array_equal(numbers, order)
    for batch in batches:
        image = batch.indices.numpy() % 100
        np.testing.assert_array_equal(batch.images[:, 0, 0, 0].numpy(), image)
        np.testing.assert_array_equal(batch.labels.numpy(), LABELS[image])
    rest = list(loader.batches(2, start=3))
    np.testing.assert_array_equal(rest[0].indices.numpy(), batches[3].indices.numpy())
    assert np.bincount(LABELS[numbers % 100]).min() > 20  # 33 of each class on average


def test_the_loader_ignores_sampling_where_it_does_not_shuffle():
    config = LoaderConfig(batch_size=50, workers=0, seed=5, shuffle=False, sampling="balanced")
    batches = list(Loader(build_split(), CONTRACT, config).batches(0))
    assert np.concatenate([b.indices.numpy() for b in batches]).tolist() == list(range(100))


def test_repeats_of_an_image_are_augmented_differently():
    config = LoaderConfig(batch_size=100, workers=0, seed=5, shuffle=True, sampling="balanced")
    (batch,) = Loader(build_split(), CONTRACT, config).batches(0)
    the_one = LABELS.tolist().index(2)
    repeats = np.flatnonzero(batch.indices.numpy() % 100 == the_one)
    assert len(repeats) > 20
    draws = Draws(5, 0, batch.indices, batch.images.device)
    augment = AugmentConfig(pad_crop=3, horizontal_flip=True)
    images = augment_images(batch.images, draws, augment, CONTRACT, crop=False)[repeats]
    assert len({image.numpy().tobytes() for image in images}) > 10


@pytest.mark.parametrize("encoded", [False, True])
def test_labels_of_several_classes_come_through_the_loader(encoded):
    split = build_split(encoded).subset(range(12))
    several = Split(labels=SEVERAL, names=split.names, images=split.images, encoded=split.encoded)
    config = LoaderConfig(batch_size=5, workers=0, seed=5, shuffle=True)
    batches = list(Loader(several, CONTRACT, config).batches(0))
    assert len(batches) == 2
    for batch in batches:
        assert batch.labels.dtype.is_floating_point
        np.testing.assert_array_equal(batch.labels.numpy(), SEVERAL[batch.indices.numpy()])
