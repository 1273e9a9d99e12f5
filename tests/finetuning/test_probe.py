from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from resnetkit.finetuning import probe as probe_module
from resnetkit.finetuning.probe import (
    FOLDS,
    GRID,
    USUAL,
    Objective,
    deal_folds,
    fit_probe,
    probe_objective,
)
from resnetkit.training.config import TrainingConfig

CLASSES, FEATURES = 3, 6


@pytest.fixture(autouse=True)
def _quick(one_thread):
    pass


def objective_for(labels: np.ndarray, sampling="as-is", task="single-label", **config) -> Objective:
    classes = CLASSES if labels.ndim == 1 else labels.shape[1]
    return probe_objective(TrainingConfig(**config), sampling, task, labels, classes)


def draw(count: int, seed: int = 0, apart: float = 1.5) -> tuple[torch.Tensor, np.ndarray]:
    """Features of overlapping classes, the last of which is rarer, of various scales."""
    generator = np.random.default_rng(seed)
    labels = np.minimum(np.arange(count) % (2 * CLASSES - 1), CLASSES - 1).astype(np.int64)
    labels = np.minimum(labels, CLASSES - 1)
    centres = np.random.default_rng(99).normal(size=(CLASSES, FEATURES)) * apart
    features = centres[labels] + generator.normal(size=(count, FEATURES))
    features = features * np.logspace(-1, 1, FEATURES) + 3
    return torch.from_numpy(features).float(), labels


def scaled(features: torch.Tensor) -> np.ndarray:
    values = features.double().numpy()
    return (values - values.mean(0)) / np.sqrt((values.var(0) + values.var(0).mean()) / 2)


@pytest.mark.parametrize("balanced", [None, "balanced"])
def test_it_is_the_logistic_regression_of_scikit_learn(balanced):
    from sklearn.linear_model import LogisticRegression

    features, labels = draw(120)
    found = fit_probe(features, labels, objective_for(labels, balanced or "as-is"))
    reference = LogisticRegression(
        C=found.regularisation, class_weight=balanced, tol=1e-9, max_iter=10_000
    ).fit(scaled(features), labels)
    theirs = reference.decision_function(scaled(features))
    ours = (features @ found.weight.T + found.bias).double().numpy()
    # Softmax leaves one constant an image open.
    ours, theirs = (z - z.mean(1, keepdims=True) for z in (ours, theirs))
    np.testing.assert_allclose(ours, theirs, atol=2e-3)


def test_several_labels_are_as_many_regressions():
    from sklearn.linear_model import LogisticRegression

    features, numbers = draw(90)
    labels = np.stack([numbers == 0, numbers > 0, features[:, 0].numpy() > 3], 1).astype("f4")
    found = fit_probe(features, labels, objective_for(labels, task="multi-label"))
    assert found.score_name == "mean_average_precision"
    logits = (features @ found.weight.T + found.bias).numpy()
    for k in range(labels.shape[1]):
        reference = LogisticRegression(C=found.regularisation, tol=1e-9, max_iter=10_000)
        theirs = reference.fit(scaled(features), labels[:, k])
        theirs = theirs.decision_function(scaled(features))
        np.testing.assert_allclose(logits[:, k], theirs, atol=5e-3)


def test_the_linear_head_gives_the_logits_of_the_regression():
    features, labels = draw(60)
    found = fit_probe(features, labels, objective_for(labels))
    head = nn.Linear(FEATURES, CLASSES)
    found.install(head)
    with torch.no_grad():
        expected = features.double() @ found.weight.double().T + found.bias.double()
        torch.testing.assert_close(head(features).double(), expected, rtol=0, atol=1e-4)
        accuracy = (head(features).argmax(1).numpy() == labels).mean()
    assert accuracy > 0.8


def test_a_head_that_is_not_linear_is_our_bug():
    features, labels = draw(30)
    with pytest.raises(AssertionError, match="a probe is linear"):
        fit_probe(features, labels, objective_for(labels)).install(nn.Identity())


def test_the_regularisation_is_the_best_of_those_tried():
    features, labels = draw(100, apart=0.3)
    told = []
    found = fit_probe(
        features, labels, objective_for(labels), progress=lambda *counts: told.append(counts)
    )
    assert [row.regularisation for row in found.tried] == list(GRID[: len(found.tried)])
    best = min(found.tried, key=lambda row: row.loss)
    assert (found.regularisation, found.score) == (best.regularisation, best.score)
    assert GRID[0] < found.regularisation < GRID[-1]
    assert "5-fold cross-validation" in found.reason
    assert told[-1][1:] == (len(found.tried), len(GRID))
    assert found.seconds > 0


def test_left_out_images_fare_as_they_would_by_hand():
    from sklearn.linear_model import LogisticRegression

    features, labels = draw(60)
    found = fit_probe(features, labels, objective_for(labels))
    folds, losses = deal_folds(labels, "single-label", 0), []
    row = found.tried[-1]
    for fold in range(FOLDS):
        known, left = folds != fold, folds == fold
        values = features.double().numpy()
        variance = values[known].var(0)
        shown = (values - values[known].mean(0)) / np.sqrt((variance + variance.mean()) / 2)
        reference = LogisticRegression(C=row.regularisation, tol=1e-9, max_iter=10_000)
        reference.fit(shown[known], labels[known])
        log_p = reference.predict_log_proba(shown[left])
        losses += list(-log_p[np.arange(left.sum()), labels[left]])
    assert row.loss == pytest.approx(np.mean(losses), abs=1e-3)


@pytest.mark.parametrize("per_class", [1, 2, 3, 4, 10])
def test_few_images_need_no_care(per_class):
    labels = np.repeat(np.arange(CLASSES), per_class)
    features = torch.eye(CLASSES)[labels] + 0.01 * torch.from_numpy(
        np.random.default_rng(0).normal(size=(len(labels), CLASSES))
    )
    found = fit_probe(features.float(), labels, objective_for(labels))
    logits = features.float() @ found.weight.T + found.bias
    np.testing.assert_array_equal(logits.argmax(1).numpy(), labels)
    if per_class == 1:
        assert (found.regularisation, found.tried, found.score) == (USUAL, (), None)
        assert "no class has a second image" in found.reason
    else:
        assert found.score == 1.0


def test_one_image_alone_is_not_divided_by_its_spread():
    labels = np.zeros(1, np.int64)
    found = fit_probe(torch.ones(1, FEATURES), labels, objective_for(labels))
    assert torch.isfinite(found.weight).all()
    assert torch.isfinite(found.bias).all()


def test_a_class_without_images_is_never_named():
    features, _ = draw(40)
    labels = (np.arange(40) % 2).astype(np.int64)
    found = fit_probe(features, labels, objective_for(labels))
    assert not ((features @ found.weight.T + found.bias).argmax(1) == 2).any()


def test_features_that_never_vary_do_no_harm():
    features, labels = draw(60)
    constant = torch.cat([features, torch.full((60, 1), 7.0)], 1)
    found = fit_probe(constant, labels, objective_for(labels))
    assert float(found.weight[:, -1].abs().max()) == 0
    nothing = fit_probe(torch.ones(60, 2), labels, objective_for(labels))
    assert float(nothing.weight.abs().max()) == 0


def test_soft_labels_are_met():
    features, labels = draw(60)
    hard = np.eye(CLASSES, dtype=np.float32)[labels]
    found = fit_probe(features, labels, objective_for(labels))
    same = fit_probe(features, hard, objective_for(hard))
    torch.testing.assert_close(found.weight, same.weight, rtol=1e-4, atol=1e-4)
    half = (0.5 * hard + 0.5 / CLASSES).astype(np.float32)
    softer = fit_probe(features, half, objective_for(half))
    surest = [
        float(torch.softmax(features @ fit.weight.T + fit.bias, 1).max()) for fit in (same, softer)
    ]
    assert surest[1] < 0.85 < 0.95 < surest[0]
    smooth = fit_probe(features, labels, objective_for(labels, label_smoothing=0.5))
    torch.testing.assert_close(smooth.weight, softer.weight, rtol=1e-3, atol=1e-3)


def test_balance_by_sampling_is_balance_by_weights():
    _, labels = draw(60)
    sampled = objective_for(labels, "balanced").terms.weights
    weighted = objective_for(labels, class_weights="inverse").terms.weights
    torch.testing.assert_close(sampled, weighted)
    np.testing.assert_allclose(sampled[labels].mean(), 1)
    between = objective_for(labels, "square-root").terms.weights
    torch.testing.assert_close(between / between[0], (sampled / sampled[0]).sqrt())
    assert objective_for(labels).terms.weights is None


def test_logit_adjustment_shifts_while_fitting_only():
    features, labels = draw(60, apart=0.3)
    plain = fit_probe(features, labels, objective_for(labels))
    adjusted = fit_probe(features, labels, objective_for(labels, logit_adjustment=1.0))
    shares = np.bincount(labels) / len(labels)
    often = int(shares.argmax())
    named = [
        int(((features @ found.weight.T + found.bias).argmax(1) == often).sum())
        for found in (plain, adjusted)
    ]
    assert named[1] < named[0]


def test_views_of_an_image_count_as_one():
    features, labels = draw(60)
    one = fit_probe(features, labels, objective_for(labels))
    three = fit_probe(features.expand(3, -1, -1), labels, objective_for(labels))
    assert three.regularisation == one.regularisation
    torch.testing.assert_close(three.weight, one.weight, rtol=1e-3, atol=1e-3)
    assert three.score == one.score  # had views of one image been on both sides, it would be 1


def test_equal_inputs_give_equal_bits_whatever_the_random_state():
    features, labels = draw(80)
    one = fit_probe(features, labels, objective_for(labels), seed=3)
    torch.manual_seed(1)
    np.random.seed(1)
    with torch.inference_mode():
        two = fit_probe(features.clone(), labels, objective_for(labels), seed=3)
    assert torch.equal(one.weight, two.weight)
    assert torch.equal(one.bias, two.bias)
    assert one.tried == two.tried


@settings(deadline=None, max_examples=50)
@given(
    counts=st.lists(st.integers(0, 9), min_size=2, max_size=6).filter(any),
    seed=st.integers(0, 3),
)
def test_every_fit_sees_every_class(counts, seed):
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    folds = deal_folds(labels, "single-label", seed)
    np.testing.assert_array_equal(folds < 0, np.bincount(labels)[labels] == 1)
    for fold in range(FOLDS):
        assert set(labels[folds != fold]) == set(labels)
    sizes = np.bincount(folds[folds >= 0], minlength=FOLDS)
    assert sizes.max() - sizes.min() <= 1


def test_of_many_images_an_even_selection_is_judged(monkeypatch):
    monkeypatch.setattr(probe_module, "MOST_JUDGED", 30)
    features, labels = draw(300)
    folds = deal_folds(labels, "single-label", 0)
    assert (folds >= 0).sum() == 30
    shares = np.bincount(labels[folds >= 0]) / 30
    np.testing.assert_allclose(shares, np.bincount(labels) / 300, atol=0.05)
    found = fit_probe(features, labels, objective_for(labels))
    assert found.tried[0].score <= 1
