from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_features import (
    AUGMENT,
    CLASSES,
    CONTRACT,
    COUNT,
    EXECUTION,
    request_for,
    tiny_network,
    tiny_split,
)

from resnetkit.data.augment import augment_images
from resnetkit.data.contract import normalise
from resnetkit.data.draws import Draws
from resnetkit.data.loader import Loader, LoaderConfig
from resnetkit.finetuning.feature_batches import (
    FeatureBatches,
    FromPart,
    build_feature_predict,
    build_feature_preparation,
)
from resnetkit.finetuning.feature_cache import compute_features
from resnetkit.finetuning.feature_store import FeatureStore
from resnetkit.types import Batch


def numbered_store(count: int, views: int) -> FeatureStore:
    """Features that say whose they are: (view, image)."""
    pairs = [(view, image) for view in range(views) for image in range(count)]
    return FeatureStore(rows=torch.tensor(pairs).float(), views=views)


@settings(deadline=None, max_examples=50)
@given(
    count=st.integers(3, 30),
    size=st.integers(1, 10),
    views=st.integers(1, 3),
    epoch=st.integers(0, 7),
    start=st.integers(0, 3),
    shuffle=st.booleans(),
    sampling=st.sampled_from(["as-is", "balanced", "square-root"]),
    soft=st.booleans(),
)
def test_batches_are_those_of_the_loader(count, size, views, epoch, start, shuffle, sampling, soft):
    split = tiny_split(count)
    split.labels[3:] = 0  # unbalanced, so that images come again
    if soft:
        split = replace(split, labels=np.eye(CLASSES, dtype=np.float32)[split.labels])
    config = LoaderConfig(batch_size=size, workers=0, seed=4, shuffle=shuffle, sampling=sampling)
    loader = Loader(split, CONTRACT, config)
    ours = FeatureBatches(numbered_store(count, views), split.labels, "single-label", config)
    assert ours.steps_per_epoch == loader.steps_per_epoch
    batches = list(ours.batches(epoch, start))
    expected = list(loader.batches(epoch, start))
    assert len(batches) == len(expected)
    for one, other in zip(batches, expected, strict=True):
        assert torch.equal(one.indices, other.indices)
        assert torch.equal(one.labels, other.labels)
        view, image = one.images.long().T
        assert torch.equal(image, one.indices % count)
        assert torch.equal(view, (epoch + one.indices // count) % views)


@pytest.fixture
def training(one_thread):
    """A network, features of two views before its second stage, and their loader settings."""
    request = request_for("stage2", augment=AUGMENT, views=2, seed=3)
    network = tiny_network()
    store = compute_features(network, request, None, lambda *_: None, print)
    config = LoaderConfig(batch_size=16, workers=0, seed=3, shuffle=True)
    return network, FeatureBatches(store, request.split.labels, "single-label", config), request


@pytest.mark.parametrize("order", ["channels_first", "channels_last"])
def test_a_step_on_features_is_a_step_on_images(training, order):
    network, batches, request = training
    execution = replace(EXECUTION, memory_order=order)
    prepare = build_feature_preparation(CONTRACT, execution)
    for epoch in (0, 1, 2):
        batch = next(batches.batches(epoch))
        features, targets = prepare(batch, epoch)
        layout = torch.contiguous_format if order == "channels_first" else torch.channels_last
        assert features.is_contiguous(memory_format=layout)
        assert torch.equal(targets.argmax(1), batch.labels)
        shown = replace(request, split=request.split.subset(batch.indices.numpy()))
        pixels = torch.from_numpy(shown.split.images)
        draws = Draws(3, epoch % 2, batch.indices, torch.device("cpu"))
        images = augment_images(pixels, draws, AUGMENT, CONTRACT, crop=True)
        with torch.no_grad():
            logits = FromPart(network, "stage2")(features)
            torch.testing.assert_close(logits, network(images), rtol=1e-4, atol=1e-4)


def test_gradients_reach_the_upper_end_and_nothing_below(training):
    network, batches, _ = training
    features, _ = build_feature_preparation(CONTRACT, EXECUTION)(next(batches.batches(0)), 0)
    FromPart(network, "stage2")(features).sum().backward()
    assert all(p.grad is not None for p in network.layer2.parameters())
    assert all(p.grad is None for p in network.layer1.parameters())


def test_judging_on_features_is_judging_on_images(one_thread):
    network, request = tiny_network().train(), request_for()
    store = compute_features(network, request, None, lambda *_: None, print)
    config = LoaderConfig(batch_size=COUNT, workers=0, seed=0, shuffle=False)
    [batch] = FeatureBatches(store, request.split.labels, "single-label", config).batches(0)
    with torch.no_grad():
        logits = build_feature_predict(network, "head")(batch)
        assert not network.training
        images = normalise(torch.from_numpy(request.split.images), CONTRACT)
        torch.testing.assert_close(logits, network(images), rtol=1e-4, atol=1e-4)


def test_pooled_features_move_like_images():
    features = torch.ones(2, 5)
    batch = Batch(images=features, labels=torch.zeros(2).long(), indices=torch.arange(2))
    assert torch.equal(batch.to(torch.device("cpu")).images, features)
