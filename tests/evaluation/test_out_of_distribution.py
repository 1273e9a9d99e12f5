import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score, roc_curve
from sklearn.neighbors import NearestNeighbors

from resnetkit.evaluation.out_of_distribution import (
    CHUNK,
    detect_by_features,
    detect_by_logits,
    energy,
    feature_distance,
    max_softmax,
    measure_detection,
)

GENERATOR = np.random.default_rng(0)


@settings(deadline=None, max_examples=40)
@given(
    own=st.lists(st.sampled_from([0.0, 0.1, 0.5, 0.9]), min_size=1, max_size=40),
    foreign=st.lists(st.sampled_from([0.1, 0.5, 0.9, 1.0]), min_size=1, max_size=40),
)
def test_figures_are_scikit_learn_s(own, foreign):
    found = measure_detection("some score", np.array(own), np.array(foreign))
    truth, scores = [0] * len(own) + [1] * len(foreign), np.array([*own, *foreign])
    assert found.auroc == pytest.approx(roc_auc_score(truth, scores))
    # The literature's positives are own images: those with a low score.
    false, true, _ = roc_curve([1 - one for one in truth], -scores, drop_intermediate=False)
    assert found.fpr95 == pytest.approx(false[np.flatnonzero(true >= 0.95 - 1e-12)[0]])
    assert (found.own, found.foreign) == (len(own), len(foreign))
    if found.auroc_interval is not None:
        low, high = found.auroc_interval
        assert 0 <= low <= found.auroc <= high <= 1


@pytest.mark.parametrize("task", ["single-label", "multi-label"])
def test_scores_are_those_of_the_papers(task):
    logits = GENERATOR.normal(0, 4, (30, 6)).astype(np.float32)
    values = torch.from_numpy(logits).double()
    if task == "single-label":
        shares, free = values.softmax(1), -values.logsumexp(1)
    else:
        shares, free = values.sigmoid(), -torch.log1p(values.exp()).sum(1)
    np.testing.assert_allclose(max_softmax(logits, task), 1 - shares.max(1).values, atol=1e-12)
    np.testing.assert_allclose(energy(logits, task), free, rtol=1e-10)
    huge = np.array([[1e30, 0.0]], np.float32)
    assert np.isfinite(energy(huge, task)).all()


@pytest.mark.parametrize("neighbours", [1, 5])
def test_feature_distance_is_scikit_learn_s_cosine(neighbours):
    training = GENERATOR.normal(0, 1, (70, 8)).astype(np.float32)
    features = GENERATOR.normal(0, 1, (CHUNK + 9, 8)).astype(np.float32)
    search = NearestNeighbors(n_neighbors=neighbours, metric="cosine").fit(training)
    expected = search.kneighbors(features)[0][:, -1]
    found = feature_distance(features, training, neighbours)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_allclose(
        feature_distance(features * 7, training, neighbours), found, atol=1e-5
    )


def test_the_number_of_neighbours_goes_with_the_training_images():
    training = GENERATOR.normal(0, 1, (2500, 4)).astype(np.float32)
    features = GENERATOR.normal(0, 1, (20, 4)).astype(np.float32)
    by_itself = feature_distance(features, training)
    assert np.array_equal(by_itself, feature_distance(features, training, 2))
    assert np.array_equal(
        feature_distance(features, training[:900]), feature_distance(features, training[:900], 1)
    )


def test_a_feature_of_length_zero_is_far_from_all():
    training = GENERATOR.normal(0, 1, (10, 4)).astype(np.float32)
    assert feature_distance(np.zeros((1, 4), np.float32), training).tolist() == [1.0]


def test_another_source_is_told_apart():
    own = GENERATOR.normal(0, 1, (400, 5))
    own[np.arange(400), np.arange(400) % 5] += 6
    foreign = GENERATOR.normal(0, 1, (300, 5))
    for found in detect_by_logits(own, foreign):
        assert found.auroc > 0.9
        assert found.auroc_interval is not None
        assert found.fpr95 < 0.5
    features = GENERATOR.normal(0, 0.2, (400, 6)) + np.eye(6)[0]
    strange = GENERATOR.normal(0, 0.2, (300, 6)) + np.eye(6)[1]
    found = detect_by_features(features[200:], strange, features[:200])
    assert (found.score, found.own, found.foreign) == ("feature distance", 200, 300)
    assert found.auroc > 0.99
    same = detect_by_features(features[200:300], features[300:], features[:200])
    assert 0.35 < same.auroc < 0.65
    assert [one.score for one in detect_by_logits(own, foreign)] == ["max softmax", "energy"]
