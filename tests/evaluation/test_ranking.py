"""Average precision and AUROC: by definition, against scikit-learn and torchmetrics, by trial."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from resnetkit.evaluation.ranking import (
    FEWEST_SHOWING,
    Ranking,
    areas_under_roc,
    mean_average_precision,
    mean_of_known,
    precision_interval,
    rank_classes,
    resampled_precisions,
)


def draw(seed, images=60, classes=4, *, ties=False):
    generator = np.random.default_rng(seed)
    shown = generator.random((images, classes)) < generator.random(classes)
    scores = generator.normal(size=(images, classes)) + shown
    return (np.round(scores) if ties else scores), shown


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 2**32 - 1), st.integers(1, 60), st.booleans())
def test_areas_equal_scikit_learns(seed, images, ties):
    scores, shown = draw(seed, images, ties=ties)
    areas = areas_under_roc(scores, shown)
    expected = []
    for k in range(4):
        if shown[:, k].all() or not shown[:, k].any():
            assert areas.per_class[k] is None
            assert areas.intervals[k] is None
            continue
        expected.append(roc_auc_score(shown[:, k], scores[:, k]))
        assert areas.per_class[k] == pytest.approx(expected[-1])
        if areas.intervals[k] is not None:
            low, high = areas.intervals[k]
            assert 0 < low < areas.per_class[k] < high < 1
    assert areas.mean == (pytest.approx(np.mean(expected)) if expected else None)


def test_the_interval_is_delongs():
    """Against the definition: every pair of an image that shows it with one that does not."""
    scores, shown = draw(5, 40, 1, ties=True)
    above, below = scores[shown[:, 0], 0], scores[~shown[:, 0], 0]
    wins = (above[:, None] > below) + 0.5 * (above[:, None] == below)
    variance = wins.mean(axis=1).var(ddof=1) / len(above)
    variance += wins.mean(axis=0).var(ddof=1) / len(below)
    area = wins.mean()
    areas = areas_under_roc(scores, shown)
    assert areas.mean == areas.per_class[0] == pytest.approx(area)
    half = 1.959964 * np.sqrt(variance) / (area * (1 - area))
    center = np.log(area / (1 - area))
    expected = 1 / (1 + np.exp(-np.array([center - half, center + half])))
    assert areas.intervals[0] == pytest.approx(tuple(expected), rel=1e-6)
    assert areas.mean_interval == pytest.approx(areas.intervals[0])


def test_the_interval_of_the_mean_holds_the_truth_though_classes_go_together():
    generator = np.random.default_rng(0)

    def sample(images):
        labels = generator.integers(0, 5, images)
        ease = generator.normal(size=(images, 1))  # an image that is hard is so for all classes
        scores = generator.normal(size=(images, 5)) + 1.5 * ease * np.eye(5)[labels]
        return scores, labels[:, None] == np.arange(5)

    truth = areas_under_roc(*sample(100_000)).mean
    held = 0
    for _ in range(200):
        low, high = areas_under_roc(*sample(120)).mean_interval
        held += low <= truth <= high
    assert 180 <= held <= 199


def test_areas_without_evidence_have_no_interval():
    scores = np.array([[0.0, 3], [1, 2], [2, 1], [3, 0]])
    shown = np.array([[0, 1], [0, 0], [1, 0], [1, 0]], bool)
    areas = areas_under_roc(scores, shown)
    assert areas.per_class == (1.0, 1.0)
    assert areas.intervals == (None, None)  # all right; one image
    assert (areas.mean, areas.mean_interval) == (1.0, None)
    nothing = areas_under_roc(scores, np.zeros_like(shown))
    assert (nothing.per_class, nothing.mean, nothing.mean_interval) == ((None, None), None, None)
    flat = areas_under_roc(np.zeros((4, 1)), shown[:, :1])
    assert flat.per_class == (0.5,)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32 - 1), st.booleans())
def test_weights_stand_for_images_that_come_again(seed, ties):
    scores, shown = draw(seed, 30, 1, ties=ties)
    weights = np.random.default_rng(seed).integers(0, 3, 30)
    rows = np.repeat(np.arange(30), weights)
    ours = Ranking(scores[:, 0], shown[:, 0]).average_precision(weights)
    if shown[rows].any():
        expected = average_precision_score(shown[rows, 0], scores[rows, 0])
        assert ours == pytest.approx(expected)
    else:
        assert ours is None


def test_resampled_precisions_are_nan_where_a_class_is_not_drawn():
    scores, shown = draw(1, 40, 3)
    shown[:] = False
    shown[:12, 0] = True
    shown[12, 1] = True
    resampled = resampled_precisions(rank_classes(scores, shown), 50)
    assert resampled.shape == (50, 3)
    assert np.isnan(resampled[:, 2]).all()
    assert 0 < np.isnan(resampled[:, 1]).sum() < 50
    mean, interval = mean_average_precision(rank_classes(scores, shown), resampled, shown)
    known = [average_precision_score(shown[:, k], scores[:, k]) for k in (0, 1)]
    assert mean == pytest.approx(np.mean(known))
    assert interval[0] <= mean <= interval[1]


def test_means_of_what_is_known():
    values = np.array([[1.0, np.nan, 3.0], [np.nan] * 3])
    np.testing.assert_array_equal(mean_of_known(values), [2.0, np.nan])


def test_few_images_have_no_interval_of_their_average_precision():
    values = np.linspace(0.2, 0.8, 100)
    assert precision_interval(values, 0.5, FEWEST_SHOWING) is not None
    assert precision_interval(values, 0.5, FEWEST_SHOWING - 1) is None
    assert precision_interval(values, None, 50) is None
