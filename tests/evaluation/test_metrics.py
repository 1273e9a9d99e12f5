import json
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    confusion_matrix,
    log_loss,
    precision_recall_fscore_support,
    top_k_accuracy_score,
)

from resnetkit.evaluation.metrics import compute_metrics, wilson_interval
from resnetkit.types import UserError


def names(classes):
    return [f"class {index}" for index in range(classes)]


@st.composite
def judged(draw):
    """Logits and labels, among them one image, absent classes, one class present, all wrong."""
    classes = draw(st.integers(2, 8))
    images = draw(st.integers(1, 30))
    generator = np.random.default_rng(draw(st.integers(0, 2**31)))
    present = draw(st.integers(1, classes))
    labels = generator.integers(0, present, images)
    logits = generator.normal(size=(images, classes)).astype(np.float32) * draw(
        st.sampled_from([0.0, 1.0, 1e4])
    )
    push = draw(st.sampled_from([-10.0, 0.0, 10.0]))
    logits[np.arange(images), labels] += push
    return logits, labels


def undefined_as_nan(values):
    return np.array([np.nan if value is None else value for value in values])


@settings(max_examples=50, deadline=None)
@given(judged())
def test_equal_to_scikit_learn(case):
    logits, labels = case
    classes = logits.shape[1]
    metrics = compute_metrics(logits, labels, names(classes))
    predicted, every, present = logits.argmax(1), list(range(classes)), np.unique(labels).tolist()
    assert metrics.images == len(labels)
    assert metrics.top1 == pytest.approx(accuracy_score(labels, predicted))
    np.testing.assert_array_equal(
        metrics.confusion, confusion_matrix(labels, predicted, labels=every)
    )
    expected = precision_recall_fscore_support(
        labels, predicted, labels=every, zero_division=np.nan
    )
    rows = metrics.per_class
    for column, field in enumerate(("precision", "recall", "f1", "support")):
        ours = undefined_as_nan(getattr(row, field) for row in rows)
        np.testing.assert_allclose(ours, expected[column], err_msg=field)
    for kind in ("macro", "weighted"):
        expected = precision_recall_fscore_support(
            labels, predicted, labels=present, average=kind, zero_division=0
        )
        average = getattr(metrics, kind)
        assert (average.precision, average.recall, average.f1) == pytest.approx(expected[:3])
    # scikit-learn warns when a class that has no images is predicted; the figure is the same.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        assert metrics.macro.recall == pytest.approx(balanced_accuracy_score(labels, predicted))


@settings(max_examples=50, deadline=None)
@given(judged())
def test_loss_and_top5_equal_scikit_learn(case):
    logits, labels = case
    classes = logits.shape[1]
    metrics = compute_metrics(logits, labels, names(classes))
    shifted = logits.astype(np.float64) - logits.max(1, keepdims=True)
    log_probabilities = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    if log_probabilities.min() > -30:  # scikit-learn clips probabilities near 0
        expected = log_loss(labels, np.exp(log_probabilities), labels=range(classes))
        assert metrics.loss == pytest.approx(expected, rel=1e-5)
    assert metrics.loss == pytest.approx(-log_probabilities[np.arange(len(labels)), labels].mean())
    if classes <= 5:
        assert metrics.top5 is None
    elif len(np.unique(logits)) == logits.size:  # ties are ranked the other way round there
        expected = top_k_accuracy_score(labels, logits, k=5, labels=range(classes))
        assert metrics.top5 == pytest.approx(expected)


def test_equal_logits_rank_in_class_order():
    logits = np.zeros((7, 7), np.float32)
    metrics = compute_metrics(logits, np.arange(7), names(7))
    assert metrics.top1 == pytest.approx(1 / 7)
    assert metrics.top5 == pytest.approx(5 / 7)


def test_known_values_and_json_without_nan():
    logits = np.array([[2, 0, 0], [0, 2, 0], [2, 0, 0]], np.float32)
    metrics = compute_metrics(logits, np.array([0, 0, 0]), names(3))
    first, second, third = metrics.per_class
    assert (first.support, first.predicted, first.recall) == (3, 2, 2 / 3)
    assert (second.support, second.recall, second.recall_interval, second.precision) == (
        0,
        None,
        None,
        0.0,
    )
    assert (third.precision, third.recall, third.f1) == (None, None, None)
    assert metrics.macro.recall == pytest.approx(2 / 3)
    assert json.loads(json.dumps(metrics.as_dict(), allow_nan=False))["top5"] is None
    assert json.dumps(metrics.headline(), allow_nan=False)
    assert metrics == compute_metrics(logits, np.array([0, 0, 0]), names(3))


def test_a_class_never_predicted_counts_as_precision_zero_in_the_average():
    logits = np.array([[1, 0], [1, 0]], np.float32)
    metrics = compute_metrics(logits, np.array([0, 1]), names(2))
    assert metrics.per_class[1].precision is None
    assert metrics.macro.precision == pytest.approx(0.25)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2000), st.integers(1, 2000), st.sampled_from([0.5, 0.9, 0.95, 0.99]))
def test_wilson_interval_equals_scipy(correct, total, confidence):
    correct = min(correct, total)
    expected = binomtest(correct, total).proportion_ci(confidence, method="wilson")
    low, high = wilson_interval(correct, total, confidence)
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert 0 <= low <= correct / total <= high <= 1


def test_unusable_logits_are_named():
    with pytest.raises(UserError, match="needed at least one image, got none"):
        compute_metrics(np.zeros((0, 3), np.float32), np.zeros(0, np.int64), names(3))
    logits = np.zeros((4, 3), np.float32)
    logits[2, 1] = np.nan
    with pytest.raises(UserError, match=r"got \[0\.0, nan, 0\.0\] for image 2 \(1 of 4 images\)"):
        compute_metrics(logits, np.zeros(4, np.int64), names(3))


def test_our_own_mistakes_are_asserted():
    logits = np.zeros((2, 3), np.float32)
    for labels, class_names in ([0], names(3)), ([0, 3], names(3)), ([0, 1], names(4)):
        with pytest.raises(AssertionError):
            compute_metrics(logits, np.array(labels), class_names)
