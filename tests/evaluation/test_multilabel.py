"""Average precision and F1 against scikit-learn."""

import json
import warnings

import numpy as np
import pytest
import torch
import torchmetrics.functional.classification as reference
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import (
    average_precision_score,
    log_loss,
    precision_recall_fscore_support,
    roc_auc_score,
)

from resnetkit.evaluation.intervals import f1_interval, wilson_interval
from resnetkit.evaluation.multilabel import compute_multilabel_metrics
from resnetkit.types import UserError


def draw(seed, images=60, classes=5, *, ties=False):
    generator = np.random.default_rng(seed)
    labels = (generator.random((images, classes)) < generator.random(classes)).astype(np.float32)
    logits = generator.normal(size=(images, classes)) + labels
    return (np.round(logits) if ties else logits).astype(np.float32), labels


def names(classes):
    return [f"class {index}" for index in range(classes)]


@settings(deadline=None, max_examples=50)
@given(
    seed=st.integers(0, 2**32 - 1),
    images=st.integers(1, 60),
    classes=st.integers(1, 6),
    ties=st.booleans(),
)
def test_every_figure_equals_scikit_learns(seed, images, classes, ties):
    logits, labels = draw(seed, images, classes, ties=ties)
    metrics = compute_multilabel_metrics(logits, labels, names(classes), resamples=0)
    occurring = np.flatnonzero(labels.sum(0))
    expected = [average_precision_score(labels[:, k], logits[:, k]) for k in occurring]
    ours = [metrics.per_class[k].average_precision for k in occurring]
    assert ours == pytest.approx(expected)
    said = (logits > 0).astype(int)
    if len(occurring):
        assert metrics.mean_average_precision == pytest.approx(np.mean(expected))
        for average, kinds in ((metrics.macro, "macro"), (metrics.micro, "micro")):
            kept = occurring if kinds == "macro" else np.arange(classes)
            # An idle column, because scikit-learn takes a single one for two classes.
            truth, answers = (np.pad(table, ((0, 0), (0, 1))) for table in (labels, said))
            precision, recall, f1, _ = precision_recall_fscore_support(
                truth, answers, labels=kept, average=kinds, zero_division=0
            )
            assert (average.precision, average.recall, average.f1) == pytest.approx(
                (precision, recall, f1)
            )
    else:
        assert metrics.mean_average_precision is None
        assert metrics.score == 0
    assert [row.support for row in metrics.per_class] == labels.sum(0).tolist()
    assert [row.predicted for row in metrics.per_class] == said.sum(0).tolist()


def test_one_figure_by_hand():
    # Ranked: image 1 (shows it), 0 and 2 together (one does), 3 (does).
    logits = np.array([[1.0], [2.0], [1.0], [-1.0]], np.float32)
    labels = np.array([[1], [1], [0], [1]], np.float32)
    metrics = compute_multilabel_metrics(logits, labels, ["cat"], resamples=0)
    assert metrics.mean_average_precision == pytest.approx((1 / 1 + 2 / 3 + 3 / 4) / 3)
    (row,) = metrics.per_class
    assert (row.precision, row.recall, row.f1) == pytest.approx((2 / 3, 2 / 3, 2 / 3))


def test_the_loss_is_the_mean_binary_cross_entropy():
    logits, labels = draw(3)
    metrics = compute_multilabel_metrics(logits, labels, names(5), resamples=0)
    shares = 1 / (1 + np.exp(-logits.astype(float)))
    by_class = [log_loss(labels[:, k], shares[:, k], labels=[0, 1]) for k in range(5)]
    assert metrics.loss == pytest.approx(sum(by_class), rel=1e-6)
    extreme = np.array([[1000.0, -1000.0]], np.float32)
    metrics = compute_multilabel_metrics(extreme, np.array([[0, 0]], np.float32), names(2), 0)
    assert metrics.loss == 1000.0


def test_the_interval_is_a_bootstrap_over_images():
    logits, labels = draw(1, images=80, classes=3, ties=True)
    metrics = compute_multilabel_metrics(logits, labels, names(3), resamples=150)
    generator = np.random.default_rng(0)
    means = []
    for _ in range(150):
        rows = generator.integers(80, size=80)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # where a class happens to be drawn never
            kept = [k for k in range(3) if labels[rows, k].any()]
            scores = [average_precision_score(labels[rows, k], logits[rows, k]) for k in kept]
        means.append(np.mean(scores))
    expected = 2 * metrics.mean_average_precision - np.quantile(means, (0.975, 0.025))
    assert metrics.mean_average_precision_interval == pytest.approx(tuple(expected))
    low, high = metrics.mean_average_precision_interval
    assert 0 < low < metrics.mean_average_precision < high < 1
    again = compute_multilabel_metrics(logits, labels, names(3), resamples=150)
    assert again == metrics


def test_the_interval_holds_the_truth_even_where_classes_are_rare():
    generator = np.random.default_rng(0)
    population = (generator.random((20_000, 8)) < 0.05).astype(np.float32)
    logits = (generator.normal(size=population.shape) + 1.5 * population).astype(np.float32)
    truth = np.mean([average_precision_score(population[:, k], logits[:, k]) for k in range(8)])
    held = 0
    for _ in range(60):
        rows = generator.integers(20_000, size=300)
        metrics = compute_multilabel_metrics(logits[rows], population[rows], names(8), 100)
        low, high = metrics.mean_average_precision_interval
        held += low <= truth <= high
    assert held >= 48  # 95 % is the aim; of percentile intervals about half hold it


def test_it_is_json_safe_and_says_itself_in_words():
    logits, labels = draw(2)
    labels[:, 1] = 0
    metrics = compute_multilabel_metrics(logits, labels, names(5))
    json.dumps([metrics.as_dict(), metrics.headline()], allow_nan=False)
    assert metrics.per_class[1].average_precision is None
    assert metrics.describe().startswith(f"mAP {100 * metrics.mean_average_precision:.2f} % (95 %")
    nothing = compute_multilabel_metrics(logits, np.zeros_like(labels), names(5))
    assert nothing.describe().startswith("mAP undefined, F1 0.00 %")
    json.dumps(nothing.as_dict(), allow_nan=False)


def test_refuses_nothing_and_what_is_not_finite():
    with pytest.raises(UserError, match="needed at least one image"):
        compute_multilabel_metrics(np.zeros((0, 2)), np.zeros((0, 2)), names(2))
    with pytest.raises(UserError, match=r"needed finite logits, got .*nan"):
        compute_multilabel_metrics(np.array([[np.nan, 0]]), np.zeros((1, 2)), names(2))


def test_too_little_evidence_has_no_interval():
    one = compute_multilabel_metrics(np.array([[3.0, -3.0]]), np.array([[1.0, 0.0]]), names(2))
    assert one.mean_average_precision == 1.0
    assert one.mean_average_precision_interval is None
    assert one.describe().startswith("mAP 100.00 %, F1")
    assert one.headline()["mean_average_precision_interval"] is None
    logits, labels = draw(3, images=200, classes=2)
    labels[:] = 0
    labels[:9, 0] = 1
    assert (
        compute_multilabel_metrics(logits, labels, names(2)).mean_average_precision_interval is None
    )
    labels[9, 1] = 1
    found = compute_multilabel_metrics(logits, labels, names(2)).mean_average_precision_interval
    assert found is not None
    faultless = compute_multilabel_metrics(labels - 0.5, labels, names(2))
    assert faultless.mean_average_precision_interval is None  # every resample is faultless too


@settings(deadline=None, max_examples=50)
@given(
    seed=st.integers(0, 2**32 - 1),
    images=st.integers(1, 60),
    classes=st.integers(2, 6),
    ties=st.booleans(),
)
def test_every_figure_equals_torchmetrics(seed, images, classes, ties):
    logits, labels = draw(seed, images, classes, ties=ties)
    metrics = compute_multilabel_metrics(logits, labels, names(classes), resamples=1)
    # Its single precision would make ties of what are none.
    scores, truth = torch.from_numpy(logits.astype(np.float64)), torch.from_numpy(labels).int()
    scores = scores.sigmoid()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of a class no image, or every one, shows
        theirs = {
            name: getattr(reference, f"multilabel_{name}")(scores, truth, classes, average=None)
            for name in ("average_precision", "auroc", "precision", "recall", "f1_score")
        }
    micro = reference.multilabel_f1_score(scores, truth, classes, average="micro").item()
    assert metrics.micro.f1 == pytest.approx(micro, abs=1e-6)
    for k, row in enumerate(metrics.per_class):
        figures = {name: values[k].item() for name, values in theirs.items()}
        for field, name in (("precision", "precision"), ("recall", "recall"), ("f1", "f1_score")):
            assert (getattr(row, field) or 0.0) == pytest.approx(figures[name], abs=1e-6)
        if row.support:
            expected = pytest.approx(figures["average_precision"], abs=1e-6)
            assert row.average_precision == expected
        if 0 < row.support < images:
            assert row.auroc == pytest.approx(figures["auroc"], abs=1e-6)
        else:
            assert row.auroc is None


def common(seed, images, classes=5, *, ties=False):
    """Every class is shown by about a third of the images."""
    generator = np.random.default_rng(seed)
    labels = (generator.random((images, classes)) < 0.3).astype(np.float32)
    logits = generator.normal(size=(images, classes)) + labels
    return (np.round(logits) if ties else logits).astype(np.float32), labels


def test_areas_equal_scikit_learns():
    logits, labels = common(4, 60, ties=True)
    metrics = compute_multilabel_metrics(logits, labels, names(5))
    expected = [roc_auc_score(labels[:, k], logits[:, k]) for k in range(5)]
    assert [row.auroc for row in metrics.per_class] == pytest.approx(expected)
    assert metrics.auroc == pytest.approx(roc_auc_score(labels, logits))
    assert metrics.auroc_interval[0] < metrics.auroc < metrics.auroc_interval[1]


def test_every_class_and_average_has_its_intervals():
    logits, labels = common(0, 200)
    metrics = compute_multilabel_metrics(logits, labels, names(5))
    for row in metrics.per_class:
        hits = round(row.recall * row.support)
        assert row.recall_interval == wilson_interval(hits, row.support)
        assert row.precision_interval == wilson_interval(hits, row.predicted)
        assert row.f1_interval == f1_interval(hits, row.support, row.predicted)
        low, high = row.average_precision_interval
        assert 0 <= low < row.average_precision < high <= 1
    quick = compute_multilabel_metrics(logits, labels, names(5), resamples=0)
    assert quick.per_class[0].average_precision_interval is None
    assert quick.per_class[0].auroc is quick.auroc is quick.micro.f1_interval is None
    assert quick.headline() == metrics.headline() | {"mean_average_precision_interval": None}


@pytest.mark.parametrize("kind", ["micro", "macro"])
def test_the_intervals_of_the_averages_are_a_bootstrap_over_images(kind):
    logits, labels = common(1, 80, 3)
    metrics = compute_multilabel_metrics(logits, labels, names(3), resamples=150)
    generator = np.random.default_rng(0)
    drawn = []
    for _ in range(150):
        rows = generator.integers(80, size=80)
        drawn.append(
            precision_recall_fscore_support(
                labels[rows], logits[rows] > 0, average=kind, zero_division=0
            )[:3]
        )
    bounds = np.quantile(drawn, (0.025, 0.975), axis=0)
    average = getattr(metrics, kind)
    for place, field in enumerate(("precision", "recall", "f1")):
        found = getattr(average, f"{field}_interval")
        assert found == pytest.approx(tuple(bounds[:, place])), field
