import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from resnetkit.evaluation.calibration import (
    IMAGES_PER_CLASS,
    LEAST_TEMPERATURE,
    MOST_TEMPERATURE,
    Calibration,
    calibrate,
    cross_calibrate,
    deal_folds,
    deciding_logits,
    fit_calibration,
    fit_temperature,
    fit_vector,
    scale_logits,
    wins_by_cross_validation,
)
from resnetkit.evaluation.probabilities import log_losses
from resnetkit.types import UserError

TASKS = ("single-label", "multi-label")


def draw(task, images=600, classes=4, seed=0, temperature=2.0, factors=1.0, shifts=0.0):
    """Logits whose truth is (logits / temperature) * factors + shifts, and labels drawn from it."""
    generator = np.random.default_rng(seed)
    true = generator.normal(0, 1.5, (images, classes))
    logits = ((true - shifts) / factors * temperature).astype(np.float32)
    if task == "multi-label":
        labels = (generator.random(true.shape) < 1 / (1 + np.exp(-true))).astype(np.float32)
        return logits, labels
    powers = np.exp(true)
    sums = (powers / powers.sum(1, keepdims=True)).cumsum(1)
    return logits, (generator.random((images, 1)) > sums[:, :-1]).sum(1).astype(np.int64)


def torch_loss(logits, labels, task):
    if task == "single-label":
        return F.cross_entropy(logits, torch.from_numpy(labels), reduction="none")
    targets = torch.from_numpy(labels).double()
    return F.binary_cross_entropy_with_logits(logits, targets, reduction="none").sum(1)


def torch_minimum(parameters, loss):
    optimizer = torch.optim.LBFGS(
        parameters,
        max_iter=2000,
        tolerance_grad=1e-12,
        tolerance_change=1e-14,
        history_size=20,
        line_search_fn="strong_wolfe",
    )

    def closure():
        optimizer.zero_grad()
        value = loss()
        value.backward()
        return value

    optimizer.step(closure)


# --- temperature ---


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("seed", [0, 1])
def test_the_temperature_is_that_of_torch_s_l_bfgs(task, seed):
    logits, labels = draw(task, seed=seed)
    inverse = torch.ones((), dtype=torch.float64, requires_grad=True)
    values = torch.from_numpy(logits).double()
    torch_minimum([inverse], lambda: torch_loss(values * inverse, labels, task).mean())
    ours = fit_temperature(logits, labels, task)
    assert ours.temperature == pytest.approx(1 / float(inverse.detach()), rel=1e-6)
    assert ours == fit_temperature(logits, labels, task)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("temperature", [0.4, 1.0, 3.0])
def test_the_temperature_behind_the_labels_is_found(task, temperature):
    logits, labels = draw(task, images=8000, temperature=temperature)
    assert fit_temperature(logits, labels, task).temperature == pytest.approx(temperature, rel=0.06)


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 10**6),
    images=st.integers(2, 60),
    classes=st.integers(1, 5),
    factor=st.sampled_from([0.5, 2.0]),
    task=st.sampled_from(TASKS),
)
def test_a_temperature_never_loses_on_its_own_images_and_goes_with_the_scale(
    seed, images, classes, factor, task
):
    generator = np.random.default_rng(seed)
    logits = generator.normal(0, 3, (images, classes)).astype(np.float32)
    labels = generator.integers(0, classes, images)
    if task == "multi-label":
        labels = (generator.random(logits.shape) < 0.4).astype(np.float32)
    found = fit_temperature(logits, labels, task).temperature
    assert LEAST_TEMPERATURE <= found <= MOST_TEMPERATURE
    before = log_losses(logits, labels, task).mean()
    scaled = scale_logits(logits, Calibration(temperature=found))
    assert log_losses(scaled, labels, task).mean() <= before + 1e-12
    again = fit_temperature(logits * np.float32(factor), labels, task).temperature
    if found != 1.0 and all(0.2 < one < 5 for one in (found, again)):
        assert again == pytest.approx(found * factor, rel=1e-6)


def test_where_nothing_says_how_sure_to_be_logits_stay():
    rows = np.array([[3.0, 0, 0], [0, 1.0, 0], [0, 0, 0.5]], np.float32)
    numbers = np.array([0, 1, 2])
    assert fit_temperature(rows, numbers, "single-label") == Calibration()  # no mistake
    assert fit_temperature(rows[:1], numbers[:1], "single-label") == Calibration()
    same = np.full((5, 3), 0.7, np.float32)
    assert fit_temperature(same, np.array([0, 1, 2, 0, 1]), "single-label") == Calibration()
    one_class = np.linspace(-3, 3, 4, dtype=np.float32)[:, None]
    assert fit_temperature(one_class, np.zeros(4, np.int64), "single-label") == Calibration()
    right = np.where(np.eye(3) > 0, 2.0, -1.0).astype(np.float32)
    assert fit_temperature(right, np.eye(3, dtype=np.float32), "multi-label") == Calibration()
    zeros = np.zeros((4, 3), np.float32)
    labels = np.eye(4, 3, dtype=np.float32)
    assert fit_temperature(zeros, labels, "multi-label") == Calibration()


def test_a_network_that_is_always_wrong_ends_at_the_bound():
    rows = np.array([[3.0, 0, 0], [0, 5.0, 0]], np.float32)
    wrong = np.array([1, 2])
    assert fit_temperature(rows, wrong, "single-label").temperature == MOST_TEMPERATURE
    assert fit_temperature(rows[:1], wrong[:1], "single-label").temperature == MOST_TEMPERATURE
    other = 1 - np.eye(3, dtype=np.float32)
    found = fit_temperature(np.where(np.eye(3) > 0, 2.0, -1.0), other, "multi-label")
    assert found.temperature == MOST_TEMPERATURE


def test_a_network_far_too_unsure_ends_at_the_other_bound():
    logits, labels = draw("single-label", images=2000, temperature=0.001)
    assert fit_temperature(logits, labels, "single-label").temperature == LEAST_TEMPERATURE


def test_enormous_logits_are_no_trouble():
    logits, labels = draw("single-label")
    found = fit_temperature(logits * np.float32(1e6), labels, "single-label")
    assert found.temperature == MOST_TEMPERATURE


# --- what a calibration does to logits ---


def test_a_temperature_changes_no_answer_and_a_vector_may():
    logits, _ = draw("single-label", images=3000)
    cooler = Calibration(temperature=1.7)
    assert (scale_logits(logits, cooler).argmax(1) == logits.argmax(1)).all()
    assert deciding_logits(logits, cooler) is logits
    assert deciding_logits(logits, None) is logits
    assert calibrate(logits, None) is logits
    vector = Calibration(temperature=2.0, scale=(1.0, 2.0, 1, 1), bias=(0.0, 0.0, 5.0, -1.0))
    calibrated = calibrate(logits, vector)
    assert calibrated.dtype == np.float32
    expected = logits / 2 * np.array([1, 2, 1, 1]) + np.array([0, 0, 5, -1])
    np.testing.assert_allclose(calibrated, expected, rtol=1e-6, atol=1e-6)
    assert np.array_equal(deciding_logits(logits, vector), calibrated)
    assert (calibrated.argmax(1) != logits.argmax(1)).any()


def test_logits_a_hair_apart_stay_in_order():
    close = np.array([[1.9999999, 2.0, 1.0]], np.float32)
    for temperature in (1.3, 7.7, 0.3):
        assert scale_logits(close, Calibration(temperature=temperature)).argmax() == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature": 0.0}, r"calibration\.temperature must be above 0, got 0\.0"),
        ({"temperature": math.nan}, r"calibration\.temperature must be above 0, got nan"),
        ({"scale": (1.0,)}, r"calibration\.scale and calibration\.bias go together"),
        ({"scale": (1.0, 1.0), "bias": (0.0,)}, "one number a class each, got 2 and 1"),
        ({"scale": (1.0, -1.0), "bias": (0.0, 0.0)}, r"scale must be above 0, got -1\.0"),
    ],
)
def test_a_calibration_that_cannot_be_is_refused(settings, message):
    with pytest.raises(UserError, match=message):
        Calibration(**settings)


# --- vector scaling ---


@pytest.mark.parametrize("task", TASKS)
def test_vector_scaling_is_that_of_torch_s_l_bfgs(task):
    logits, labels = draw(task, images=300, shifts=np.array([0.5, 0, -0.5, 0]))
    ours = fit_vector(logits, labels, task)
    assert ours.scale is not None
    assert ours.bias is not None
    values = torch.from_numpy(logits).double() / ours.temperature
    factors = torch.ones(4, dtype=torch.float64, requires_grad=True)
    shifts = torch.zeros(4, dtype=torch.float64, requires_grad=True)

    def loss():
        held = ((factors - 1) ** 2).sum() + (shifts**2).sum()
        return torch_loss(values * factors + shifts, labels, task).mean() + held / 600

    torch_minimum([factors, shifts], loss)
    np.testing.assert_allclose(ours.scale, factors.detach(), rtol=1e-4)
    np.testing.assert_allclose(ours.bias, shifts.detach(), atol=1e-4)
    assert ours == fit_vector(logits, labels, task)


@pytest.mark.parametrize("task", TASKS)
def test_vector_scaling_is_chosen_where_it_wins(task):
    truth = {"factors": np.array([0.5, 1, 1.5, 1]), "shifts": np.array([1.0, 0, -1.0, 0])}
    logits, labels = draw(task, images=3000, **truth)
    found = fit_calibration(logits, labels, task)
    assert found.method == "vector"
    assert fit_calibration(logits, labels, task, ("temperature",)).method == "temperature"
    other, other_labels = draw(task, images=3000, seed=9, **truth)
    by_temperature = calibrate(other, fit_temperature(logits, labels, task))
    by_vector = calibrate(other, found)
    losses = [log_losses(one, other_labels, task).mean() for one in (by_temperature, by_vector)]
    assert losses[1] < losses[0]


@pytest.mark.parametrize("task", TASKS)
def test_vector_scaling_is_not_chosen_for_noise(task):
    chosen = [
        fit_calibration(*draw(task, images=200, seed=seed), task).method for seed in range(15)
    ]
    assert chosen.count("vector") <= 1


def test_vector_scaling_is_not_tried_with_few_images_of_a_class():
    truth = {"factors": np.array([0.5, 1, 1.5, 1]), "shifts": np.array([3.0, 0, -3.0, 0])}
    images = 4 * IMAGES_PER_CLASS - 1
    logits, labels = draw("single-label", images=images, **truth)
    assert wins_by_cross_validation(logits, labels, "single-label")
    assert fit_calibration(logits, labels, "single-label").method == "temperature"
    assert fit_calibration(logits, labels, "single-label", ("vector",)).method == "vector"


@pytest.mark.parametrize("task", TASKS)
def test_vector_scaling_stays_finite_where_a_class_says_nothing(task):
    logits, labels = draw(task, images=200)
    if task == "multi-label":
        labels[:, 1] = 0  # never shown
        labels[:, 2] = (logits[:, 2] > 0).astype(np.float32)  # never mistaken
    else:
        labels[labels == 1] = 0
    found = fit_vector(logits, labels, task)
    assert np.isfinite(found.scale).all()
    assert np.isfinite(found.bias).all()
    assert found.bias[1] < 0


# --- folds ---


def test_folds_are_even_in_every_class_and_always_the_same():
    labels = np.repeat([0, 1, 2], [50, 23, 7])
    folds = deal_folds(labels, 5)
    assert np.array_equal(folds, deal_folds(labels, 5))
    for number in range(3):
        counts = np.bincount(folds[labels == number], minlength=5)
        assert counts.max() - counts.min() <= 1
    assert np.ptp(np.bincount(folds)) <= 1
    several = deal_folds(np.zeros((80, 3), bool), 5)
    assert np.bincount(several).tolist() == [16] * 5


@pytest.mark.parametrize("method", ["temperature", "vector"])
def test_no_image_is_calibrated_by_itself(method):
    logits, labels = draw("single-label", images=200)
    folds = deal_folds(labels, 5)
    calibrated = cross_calibrate(logits, labels, "single-label", method)
    changed = logits.copy()
    row = int(np.flatnonzero(folds == 2)[0])
    changed[row] *= 100
    again = cross_calibrate(changed, labels, "single-label", method)
    same = [r for r in np.flatnonzero(folds == 2) if r != row]
    assert np.array_equal(again[same], calibrated[same])
    others = np.flatnonzero(folds != 2)
    assert not np.array_equal(again[others], calibrated[others])


def test_one_image_is_cross_calibrated_by_nothing():
    logits = np.array([[1.0, 2.0]], np.float32)
    assert np.array_equal(
        cross_calibrate(logits, np.array([0]), "single-label", "temperature"), logits
    )


# --- fixed figures ---


def test_golden_figures():
    rows = np.arange(120)
    logits = np.stack([np.sin(rows * k + k) * 4 for k in (1.0, 1.7, 2.3)], axis=1)
    labels = np.where(rows % 3 == 0, rows % 2, logits.argmax(1))
    temperature = fit_temperature(logits.astype(np.float32), labels, "single-label").temperature
    assert temperature == pytest.approx(GOLDEN_TEMPERATURE, rel=1e-6)


GOLDEN_TEMPERATURE = 2.741074609
