import json
import warnings

import numpy as np
import pytest
import torch
import torchmetrics.functional.classification as reference
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    confusion_matrix,
    log_loss,
    precision_recall_fscore_support,
    roc_auc_score,
    top_k_accuracy_score,
)

from resnetkit.evaluation.intervals import f1_interval, wilson_interval
from resnetkit.evaluation.metrics import compute_metrics
from resnetkit.evaluation.probabilities import softmax
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


def torchmetrics_on(logits, labels):
    """torchmetrics' figures by class and averages, from the same probabilities."""
    shares, truth = torch.from_numpy(softmax(logits)), torch.from_numpy(labels)
    said = torch.from_numpy(logits.argmax(1))  # its own order of equal logits is left open
    classes = logits.shape[1]
    figures = {}
    for kind in (None, "macro", "weighted", "micro"):
        figures[kind] = {
            name: getattr(reference, f"multiclass_{name}")(said, truth, classes, average=kind)
            for name in ("precision", "recall", "f1_score", "accuracy")
        }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of a class that is absent, or alone
        figures[None]["auroc"] = reference.multiclass_auroc(shares, truth, classes, average=None)
    return figures


@settings(max_examples=50, deadline=None)
@given(judged())
def test_equal_to_torchmetrics(case):
    logits, labels = case
    figures = torchmetrics_on(logits, labels)
    metrics = compute_metrics(logits, labels, names(logits.shape[1]), resamples=1)
    rows = metrics.per_class
    # Where there is nothing to divide by torchmetrics says 0.
    for field, name in (("precision", "precision"), ("recall", "recall"), ("f1", "f1_score")):
        ours = [getattr(row, field) or 0.0 for row in rows]
        assert ours == pytest.approx(figures[None][name].tolist(), abs=1e-6), field
        weighted = figures["weighted"][name].item()
        assert getattr(metrics.weighted, field) == pytest.approx(weighted, abs=1e-6)
        if all(row.support for row in rows if row.predicted):  # else it counts these as well
            macro = figures["macro"][name].item()
            assert getattr(metrics.macro, field) == pytest.approx(macro, abs=1e-6)
    assert metrics.top1 == pytest.approx(figures["micro"]["accuracy"].item(), abs=1e-6)
    for row, area in zip(rows, figures[None]["auroc"].tolist(), strict=True):
        if 0 < row.support < metrics.images:
            assert row.auroc == pytest.approx(area, abs=1e-6)


@settings(max_examples=50, deadline=None)
@given(judged())
def test_auroc_equals_scikit_learns(case):
    logits, labels = case
    classes = logits.shape[1]
    metrics = compute_metrics(logits, labels, names(classes), resamples=1)
    shares = softmax(logits)
    expected = {
        k: roc_auc_score(labels == k, shares[:, k])
        for k in range(classes)
        if 0 < (labels == k).sum() < len(labels)
    }
    for k, row in enumerate(metrics.per_class):
        assert row.auroc == (pytest.approx(expected[k]) if k in expected else None)
    if not expected:
        assert (metrics.auroc, metrics.auroc_interval) == (None, None)
    else:
        assert metrics.auroc == pytest.approx(np.mean(list(expected.values())))
    if len(np.unique(labels)) == classes > 2:
        whole = roc_auc_score(labels, shares, multi_class="ovr", average="macro")
        assert metrics.auroc == pytest.approx(whole)


def test_top5_equals_torchmetrics():
    generator = np.random.default_rng(0)
    logits = generator.normal(size=(200, 12)).astype(np.float32)
    labels = generator.integers(0, 12, 200)
    metrics = compute_metrics(logits, labels, names(12))
    expected = reference.multiclass_accuracy(
        torch.from_numpy(logits), torch.from_numpy(labels), 12, average="micro", top_k=5
    )
    assert metrics.top5 == pytest.approx(expected.item())
    assert metrics.top5_interval == wilson_interval(round(200 * metrics.top5), 200)


def test_every_class_has_its_intervals():
    logits = np.array([[2, 0, 0], [0, 2, 0], [2, 0, 0], [2, 0, 0]], np.float32)
    metrics = compute_metrics(logits, np.array([0, 0, 0, 1]), names(3))
    first, second, third = metrics.per_class
    assert first.precision_interval == wilson_interval(2, 3)
    assert first.recall_interval == wilson_interval(2, 3)
    assert first.f1_interval == f1_interval(2, 3, 3)
    assert second.precision_interval == wilson_interval(0, 1)
    assert (third.precision_interval, third.recall_interval, third.f1_interval) == (None,) * 3
    assert (third.auroc, third.auroc_interval) == (None, None)
    assert first.auroc == pytest.approx(1 / 3)
    assert second.auroc_interval is None  # one image of it


def noisy(seed, images, classes, *, right=0.7):
    """Answers right with a probability, else anything; classes of unequal size."""
    generator = np.random.default_rng(seed)
    labels = generator.choice(
        classes, images, p=np.arange(1, classes + 1) / (classes * (classes + 1) / 2)
    )
    said = np.where(
        generator.random(images) < right, labels, generator.integers(0, classes, images)
    )
    return np.eye(classes, dtype=np.float32)[said], labels


def averages_by_hand(labels, said, classes):
    """Precision, recall and F1 as (macro, weighted), of classes that all have images."""
    table = np.bincount(classes * labels + said, minlength=classes**2).reshape(classes, classes)
    hits, supports, answers = table.diagonal(), table.sum(1), table.sum(0)
    f1 = 2 * hits / (supports + answers)
    rows = np.array([hits / np.maximum(answers, 1), hits / supports, f1])
    return rows.mean(1), rows @ supports / len(labels)


def test_the_intervals_of_the_averages_are_a_bootstrap_within_classes():
    logits, labels = noisy(0, 400, 5)
    metrics = compute_metrics(logits, labels, names(5), resamples=2000)
    generator = np.random.default_rng(1)
    groups = [np.flatnonzero(labels == k) for k in range(5)]
    said = logits.argmax(1)
    draws = [
        np.concatenate([generator.choice(group, len(group)) for group in groups])
        for _ in range(1000)
    ]
    drawn = [averages_by_hand(labels[rows], said[rows], 5) for rows in draws]
    bounds = np.quantile(drawn, (0.025, 0.975), axis=0)  # [2, macro or weighted, figure]
    for kind, average in enumerate((metrics.macro, metrics.weighted)):
        for place, field in enumerate(("precision", "recall", "f1")):
            found = getattr(average, f"{field}_interval")
            assert found == pytest.approx(tuple(bounds[:, kind, place]), abs=0.01), (kind, field)
            assert found[0] < getattr(average, field) < found[1]


def test_the_interval_of_macro_f1_holds_the_truth():
    logits, labels = noisy(0, 200_000, 5)
    truth = compute_metrics(logits, labels, names(5), resamples=0).macro.f1
    generator = np.random.default_rng(2)
    held = 0
    for _ in range(100):
        rows = generator.integers(200_000, size=150)
        low, high = compute_metrics(logits[rows], labels[rows], names(5), 200).macro.f1_interval
        held += low <= truth <= high
    assert held >= 88  # 95 % is the aim; the smallest class has 10 images


def test_without_resamples_only_what_is_cheap_is_there():
    logits, labels = noisy(3, 60, 7)
    full = compute_metrics(logits, labels, names(7))
    quick = compute_metrics(logits, labels, names(7), resamples=0)
    assert quick.auroc is None
    assert quick.per_class[0].auroc is None
    assert quick.macro.f1_interval is quick.weighted.recall_interval is None
    assert quick.per_class[0].f1_interval == full.per_class[0].f1_interval
    assert quick.headline() == full.headline()
    assert full.auroc_interval[0] < full.auroc < full.auroc_interval[1]


def test_faultless_answers_leave_the_averages_without_an_interval():
    labels = np.arange(12) % 3
    metrics = compute_metrics(np.eye(3, dtype=np.float32)[labels], labels, names(3))
    assert metrics.macro.f1 == 1.0
    assert metrics.macro.f1_interval is None
    assert metrics.top1_interval[1] == 1.0
    assert metrics.per_class[0].f1_interval[0] < 1.0


def test_one_image_has_every_figure_that_one_image_can_have():
    metrics = compute_metrics(np.array([[1.0, 0.0]], np.float32), np.array([0]), names(2))
    assert (metrics.top1, metrics.macro.f1, metrics.auroc) == (1.0, 1.0, None)
    assert json.dumps(metrics.as_dict(), allow_nan=False)
