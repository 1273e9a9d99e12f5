import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import brier_score_loss, log_loss
from torchmetrics.functional.classification import (
    binary_calibration_error,
    multiclass_calibration_error,
)

from resnetkit.evaluation.calibration_error import (
    BINS,
    class_errors,
    equal_mass_bins,
    equal_width_bins,
    measure_calibration,
    reliability_bins,
)
from resnetkit.evaluation.intervals import wilson_interval
from resnetkit.evaluation.probabilities import probabilities

TASKS = ("single-label", "multi-label")


def draw(task, images=400, classes=5, seed=0, sharper=2.0):
    """Logits that are `sharper` than the truth their labels are drawn from; 1 is calibrated."""
    generator = np.random.default_rng(seed)
    true = generator.normal(0, 1.5, (images, classes))
    logits = (true * sharper).astype(np.float32)
    if task == "multi-label":
        labels = generator.random(true.shape) < 1 / (1 + np.exp(-true))
        return logits, labels.astype(np.float32)
    sums = probabilities(true, task).cumsum(1)
    return logits, (generator.random((images, 1)) > sums[:, :-1]).sum(1).astype(np.int64)


@settings(deadline=None, max_examples=30)
@given(
    seed=st.integers(0, 10**6),
    images=st.integers(1, 80),
    classes=st.integers(2, 6),
    bins=st.sampled_from([1, 10, 15]),
)
def test_errors_of_one_label_are_torchmetrics_and_scikit_learn_s(seed, images, classes, bins):
    logits, labels = draw("single-label", images, classes, seed)
    shares = probabilities(logits, "single-label")
    found = measure_calibration(logits, labels, "single-label", bins)
    theirs, numbers = torch.from_numpy(shares), torch.from_numpy(labels)
    columns = theirs.T.contiguous()
    ece = multiclass_calibration_error(theirs, numbers, classes, n_bins=bins, norm="l1")
    assert found.ece == pytest.approx(float(ece), abs=1e-6)
    per_class = [
        float(binary_calibration_error(columns[k], (numbers == k).long(), n_bins=bins, norm="l1"))
        for k in range(classes)
    ]
    np.testing.assert_allclose(
        class_errors(logits, labels, "single-label", bins), per_class, atol=1e-6
    )
    assert found.class_ece == pytest.approx(np.mean(per_class), abs=1e-6)
    brier = sum(brier_score_loss(labels == k, shares[:, k], pos_label=1) for k in range(classes))
    assert found.brier == pytest.approx(brier, abs=1e-12)
    assert found.nll == pytest.approx(log_loss(labels, shares, labels=range(classes)), rel=1e-9)
    assert found.images == images


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 10**6), images=st.integers(1, 60), classes=st.integers(1, 4))
def test_errors_of_several_labels_are_torchmetrics_and_scikit_learn_s(seed, images, classes):
    logits, labels = draw("multi-label", images, classes, seed)
    shares, shown = probabilities(logits, "multi-label"), labels.astype(int)
    found = measure_calibration(logits, labels, "multi-label")
    theirs, numbers = torch.from_numpy(shares), torch.from_numpy(shown)
    columns, rows = theirs.T.contiguous(), numbers.T.contiguous()
    pooled = binary_calibration_error(theirs.flatten(), numbers.flatten(), n_bins=BINS, norm="l1")
    assert found.ece == pytest.approx(float(pooled), abs=1e-6)
    each = [
        float(binary_calibration_error(columns[k], rows[k], n_bins=BINS, norm="l1"))
        for k in range(classes)
    ]
    assert found.class_ece == pytest.approx(np.mean(each), abs=1e-6)
    brier = sum(brier_score_loss(shown[:, k], shares[:, k], pos_label=1) for k in range(classes))
    assert found.brier == pytest.approx(brier, abs=1e-12)
    loss = sum(log_loss(shown[:, k], shares[:, k], labels=[0, 1]) for k in range(classes))
    assert found.nll == pytest.approx(loss, rel=1e-9)


def test_bins_reach_up_to_their_upper_edge():
    edges = np.linspace(0, 1, BINS + 1)
    assert equal_width_bins(edges, BINS).tolist() == [0, *range(BINS)]
    above = np.nextafter(edges[:-1], 1)
    assert equal_width_bins(above, BINS).tolist() == list(range(BINS))


def test_equal_mass_is_the_sorted_answers_in_equal_parts():
    sure = np.random.default_rng(0).random(15 * 8)
    bins = equal_mass_bins(sure, BINS)
    for place, part in enumerate(np.array_split(np.argsort(sure), BINS)):
        assert (bins[part] == place).all()
    logits, labels = draw("single-label", images=15 * 20)
    shares = probabilities(logits, "single-label")
    sure, right = shares.max(1), shares.argmax(1) == labels
    parts = np.array_split(np.argsort(sure), BINS)
    error = np.mean([abs(right[part].mean() - sure[part].mean()) for part in parts])
    found = measure_calibration(logits, labels, "single-label")
    assert found.ece_equal_mass == pytest.approx(error, abs=1e-12)


@settings(deadline=None, max_examples=30)
@given(
    values=st.lists(st.sampled_from([0.2, 0.5, 0.51, 0.9, 1.0]), min_size=1, max_size=40),
    seed=st.integers(0, 1000),
)
def test_equal_answers_share_a_bin_whatever_their_order(values, seed):
    sure = np.array(values)
    order = np.random.default_rng(seed).permutation(len(sure))
    bins = equal_mass_bins(sure, BINS)
    assert np.array_equal(equal_mass_bins(sure[order], BINS), bins[order])
    assert all(len(np.unique(bins[sure == value])) == 1 for value in np.unique(sure))
    assert ((bins >= 0) & (bins < BINS)).all()


@pytest.mark.parametrize("task", TASKS)
def test_true_probabilities_are_off_by_chance_and_no_more(task):
    found = [measure_calibration(*draw(task, seed=seed, sharper=1.0), task) for seed in range(150)]
    chance = np.mean([one.ece_by_chance for one in found])
    assert np.mean([one.ece for one in found]) == pytest.approx(chance, rel=0.1)
    plain = np.mean([one.ece_equal_mass for one in found])
    assert np.mean([one.rms_debiased for one in found]) < 0.75 * plain
    # Without a floor at 0 it would be 0 on average: about half of them are.
    assert 0.25 < np.mean([one.rms_debiased == 0 for one in found]) < 0.75


@pytest.mark.parametrize("task", TASKS)
def test_sharpened_probabilities_are_worse_in_every_figure(task):
    true, labels = draw(task, images=3000, sharper=1.0)
    good = measure_calibration(true, labels, task).as_dict()
    bad = measure_calibration(true * np.float32(2.5), labels, task).as_dict()
    for name in ("ece", "ece_equal_mass", "rms_debiased", "class_ece", "brier", "nll"):
        assert bad[name] > good[name], name


@pytest.mark.parametrize("task", TASKS)
def test_a_reliability_diagram_holds_every_answer(task):
    logits, labels = draw(task, images=200)
    bins = reliability_bins(logits, labels, task)
    answers = sum(one.answers for one in bins)
    assert answers == (200 if task == "single-label" else 1000)
    gaps = [one.answers * abs(one.accuracy - one.probability) for one in bins]
    error = measure_calibration(logits, labels, task).ece
    assert sum(gaps) / answers == pytest.approx(error, abs=1e-12)
    for one in bins:
        assert one.low <= one.probability <= one.high
        hits = round(one.accuracy * one.answers)
        assert one.interval == wilson_interval(hits, one.answers)
    assert [one.low for one in bins] == sorted(one.low for one in bins)


def test_an_error_free_of_chance_is_unknown_where_every_bin_has_one_answer():
    logits = np.array([[0.3 * number, 0.0] for number in range(1, 11)], np.float32)
    wrong = np.ones(10, np.int64)  # all of them surely mistaken: not an error of 0
    assert measure_calibration(logits, wrong, "single-label").rms_debiased is None
    twice = measure_calibration(np.repeat(logits, 2, axis=0), np.repeat(wrong, 2), "single-label")
    assert twice.rms_debiased > 0.5


@pytest.mark.parametrize(
    ("logits", "labels"),
    [
        ([[2.0, 1.0]], [0]),
        ([[2.0, 1.0]], [1]),
        ([[5.0]], [0]),
        ([[0.0, 0.0], [0.0, 0.0]], [0, 1]),
        ([[900.0, 0.0], [900.0, 0.0]], [0, 0]),
    ],
)
def test_degenerate_inputs_have_figures(logits, labels):
    found = measure_calibration(np.array(logits, np.float32), np.array(labels), "single-label")
    known = {name: value for name, value in found.as_dict().items() if value is not None}
    assert all(np.isfinite(value) for value in known.values())
    assert ("rms_debiased" in known) == (len(labels) > 1)
    assert 0 <= found.ece <= 1
    assert reliability_bins(np.array(logits, np.float32), np.array(labels), "single-label")


def test_golden_figures():
    shares = np.array([[0.9, 0.1], [0.8, 0.2], [0.6, 0.4], [0.95, 0.05]])
    found = measure_calibration(np.log(shares), np.array([0, 1, 0, 0]), "single-label")
    # Bins of a fifteenth: 0.9 and 0.8, 0.6, 0.95 are each alone; gaps 0.1, 0.8, 0.4, 0.05.
    assert found.ece == pytest.approx((0.1 + 0.8 + 0.4 + 0.05) / 4)
    assert found.ece_equal_mass == pytest.approx(found.ece)
    # Of each class: gaps as above, alone in its bin.
    assert found.class_ece == pytest.approx(found.ece)
    assert found.brier == pytest.approx(2 * (0.01 + 0.64 + 0.16 + 0.0025) / 4)
    assert found.nll == pytest.approx(-np.log([0.9, 0.2, 0.6, 0.95]).mean())
    spread = np.sqrt(2 / np.pi * np.array([0.09, 0.16, 0.24, 0.0475]))
    assert found.ece_by_chance == pytest.approx(spread.mean())
