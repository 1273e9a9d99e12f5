"""Every loss against the formula of its paper, written anew in float64, and what it refuses."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.utils.class_weight import compute_class_weight

from resnetkit.training.config import TrainingConfig
from resnetkit.training.loss import (
    LOSSES,
    LossTerms,
    build_loss,
    class_weights,
    jensen_shannon,
    logit_shifts,
    refuse_absent_classes,
    settle_loss,
)
from resnetkit.types import UserError

CPU = torch.device("cpu")
LABELS = np.repeat([0, 1, 2, 3], [12, 6, 2, 1])
NAMES = [(task, name) for task, losses in LOSSES.items() for name in losses]


def draw(seed=0, images=6, classes=4):
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(images, classes, generator=generator)
    targets = torch.rand(images, classes, generator=generator)
    return logits, targets / targets.sum(dim=1, keepdim=True)  # as mixing leaves them


def build(task, labels=LABELS, classes=4, **changes):
    config = settle_loss(TrainingConfig(**changes), task)
    return build_loss(config, task, labels, classes, CPU)


def softmax_formula(logits, targets, smoothing, gamma, weights):
    powers = np.exp(logits)
    p = powers / powers.sum(axis=1, keepdims=True)
    smooth = (1 - smoothing) * targets + smoothing / logits.shape[1]
    return -(weights * smooth * (1 - p) ** gamma * np.log(p)).sum(axis=1).mean()


def sigmoid_formula(logits, targets, smoothing, gamma, weights):
    p = 1 / (1 + np.exp(-logits))
    smooth = (1 - smoothing) * targets + smoothing / 2
    present = weights * smooth * (1 - p) ** gamma * np.log(p)
    return -(present + (1 - smooth) * p**gamma * np.log(1 - p)).sum(axis=1).mean()


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.7])
@pytest.mark.parametrize(("task", "name"), NAMES)
def test_the_loss_equals_its_formula(task, name, smoothing, weighted):
    logits, targets = draw()
    weights = np.array([0.5, 1.0, 2.0, 7.0]) if weighted else np.ones(4)
    terms = LossTerms(
        label_smoothing=smoothing,
        gamma=1.5,
        weights=torch.tensor(weights).float() if weighted else None,
    )
    comparing = task == "single-label" and name != "binary-cross-entropy"
    formula = softmax_formula if comparing else sigmoid_formula
    gamma = 1.5 if name == "focal" else 0.0
    expected = formula(logits.double().numpy(), targets.numpy(), smoothing, gamma, weights)
    assert float(LOSSES[task][name](logits, targets, terms)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("task", "name"), NAMES)
def test_the_loss_is_a_mean_over_images_and_computed_in_float32(task, name):
    logits, targets = draw(images=8)
    loss = build(
        task, labels=LABELS if task == "single-label" else np.eye(4, dtype="f4"), loss=name
    )
    parts = [loss(logits[start : start + 4], targets[start : start + 4]) for start in (0, 4)]
    assert float(loss(logits, targets)) == pytest.approx(float(sum(parts)) / 2, rel=1e-6)
    assert loss(logits.bfloat16(), targets).dtype == torch.float32


@pytest.mark.parametrize(
    ("task", "plain"), [("single-label", "cross-entropy"), ("multi-label", "binary-cross-entropy")]
)
def test_focal_without_gamma_is_the_plain_loss_and_with_it_spares_the_sure(task, plain):
    logits, targets = draw()
    focal = LOSSES[task]["focal"]
    same = focal(logits, targets, LossTerms(gamma=0.0))
    assert float(same) == pytest.approx(
        float(LOSSES[task][plain](logits, targets, LossTerms())), rel=1e-5
    )
    sure, unsure = torch.tensor([[4.0, -4.0]]), torch.tensor([[0.1, -0.1]])
    target = torch.tensor([[1.0, 0.0]])
    ratios = [
        float(focal(logit, target, LossTerms(gamma=2.0)) / focal(logit, target, LossTerms()))
        for logit in (sure, unsure)
    ]
    assert ratios[0] < 1e-2 < ratios[1]


@pytest.mark.parametrize("gamma", [0.5, 2.0])
@pytest.mark.parametrize("task", ["single-label", "multi-label"])
def test_focal_has_finite_gradients_however_sure_the_network(task, gamma):
    logits = torch.tensor([[200.0, -200.0], [-200.0, 200.0]], requires_grad=True)
    LOSSES[task]["focal"](
        logits, torch.tensor([[1.0, 0.0], [1.0, 0.0]]), LossTerms(gamma=gamma)
    ).backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
    assert float(logits.grad[1].abs().sum()) > 0  # wrong and sure: still told so


def test_inverse_weights_are_scikit_learns_balanced():
    config = TrainingConfig(loss="cross-entropy", class_weights="inverse")
    counts = np.bincount(LABELS).astype(float)
    ours = class_weights(config, "single-label", counts, len(LABELS))
    np.testing.assert_allclose(
        ours, compute_class_weight("balanced", classes=np.arange(4), y=LABELS)
    )


@settings(deadline=None, max_examples=50)
@given(
    counts=st.lists(st.integers(1, 10**6), min_size=2, max_size=8),
    beta=st.sampled_from([1e-6, 0.9, 0.999, 0.9999, 1 - 1e-9]),
)
def test_effective_number_weights_follow_the_paper(counts, beta):
    config = TrainingConfig(
        loss="cross-entropy", class_weights="effective-number", effective_number_beta=beta
    )
    sizes = np.array(counts, float)
    weights = class_weights(config, "single-label", sizes, int(sizes.sum()))
    assert weights is not None
    # Equation 2, with its sum 1 + beta + … where 1 - beta^n would lose its digits.
    effective = [
        math.fsum(beta**power for power in range(n)) if n <= 50 else (1 - beta**n) / (1 - beta)
        for n in counts
    ]
    ratios = np.array(effective) * weights
    np.testing.assert_allclose(ratios, ratios[0], rtol=1e-6)
    assert (weights * sizes).sum() == pytest.approx(sizes.sum())  # an image weighs 1 on average
    assert (np.diff(weights[np.argsort(sizes)]) <= 1e-12).all()


def test_effective_numbers_lie_between_no_weights_and_inverse_ones():
    counts = np.array([900.0, 90.0, 10.0])

    def weights(beta):
        config = TrainingConfig(
            loss="cross-entropy", class_weights="effective-number", effective_number_beta=beta
        )
        return class_weights(config, "single-label", counts, 1000)

    np.testing.assert_allclose(weights(1e-9), 1.0, atol=1e-6)
    np.testing.assert_allclose(weights(1 - 1e-9), 1000 / (3 * counts), rtol=1e-5)


def test_with_a_sigmoid_presence_weighs_as_much_as_absence():
    labels = np.zeros((10, 4), np.float32)
    labels[:2, 0] = labels[:5, 1] = labels[:, 2] = 1  # 2, 5, all and none of ten
    config = settle_loss(TrainingConfig(class_weights="inverse"), "multi-label")
    weights = class_weights(config, "multi-label", labels.sum(0).astype(float), 10)
    np.testing.assert_allclose(weights, [4, 1, 1, 1])
    loss = build("multi-label", labels=labels, class_weights="inverse")
    logits = torch.zeros(10, 4, requires_grad=True)
    loss(logits, torch.from_numpy(labels)).backward()
    assert logits.grad is not None
    # An undecided network is pulled neither way in the classes that are sometimes there.
    torch.testing.assert_close(logits.grad.sum(0)[:2], torch.zeros(2), atol=1e-7, rtol=0)


def test_logit_adjustment_is_the_loss_of_menon_et_al():
    logits, _ = draw(images=21)
    prior = np.bincount(LABELS) / len(LABELS)
    shifted = logits.double().numpy() + 0.7 * np.log(prior)
    powers = np.exp(shifted)
    expected = -np.log(powers[np.arange(21), LABELS] / powers.sum(axis=1)).mean()
    loss = build("single-label", logit_adjustment=0.7)
    targets = torch.nn.functional.one_hot(torch.from_numpy(LABELS), 4).float()
    assert float(loss(logits, targets)) == pytest.approx(expected, rel=1e-5)


def test_with_logit_adjustment_what_only_knows_the_prior_learns_to_say_nothing():
    # The best constant logits of plain training are log(share); adjusted, they are all equal.
    loss = build("single-label", logit_adjustment=1.0)
    logits = torch.zeros(1, 4, requires_grad=True)
    targets = torch.nn.functional.one_hot(torch.from_numpy(LABELS), 4).float()
    loss(logits.expand(21, 4), targets).backward()
    assert logits.grad is not None
    torch.testing.assert_close(logits.grad, torch.zeros(1, 4), atol=1e-6, rtol=0)


def test_soft_labels_count_by_their_shares():
    soft = np.array([[0.5, 0.5, 0.0], [0.25, 0.25, 0.5]], np.float32)
    shifts = logit_shifts(TrainingConfig(logit_adjustment=1.0), soft.sum(0).astype(float))
    np.testing.assert_allclose(shifts, np.log([0.375, 0.375, 0.25]))
    loss = build("single-label", labels=soft, classes=3)
    logits, targets = draw(images=2, classes=3)
    expected = softmax_formula(logits.double().numpy(), targets.numpy(), 0.0, 0.0, 1.0)
    assert float(loss(logits, targets)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("task", "name"), [("single-label", "cross-entropy"), ("multi-label", "binary-cross-entropy")]
)
def test_the_loss_follows_from_the_task(task, name):
    settled = settle_loss(TrainingConfig(), task)
    assert settled.loss == name
    assert settle_loss(settled, task) == settled


def test_losses_that_do_not_fit_the_task_are_refused():
    with pytest.raises(
        UserError, match=r"cross-entropy compares .* choose binary-cross-entropy or"
    ):
        settle_loss(TrainingConfig(loss="cross-entropy"), "multi-label")
    with pytest.raises(UserError, match=r"logit_adjustment shifts .* of a multi-label task never"):
        settle_loss(TrainingConfig(logit_adjustment=1.0), "multi-label")


@pytest.mark.parametrize(
    "settings_",
    [
        {"class_weights": "inverse"},
        {"class_weights": "effective-number", "effective_number_beta": 0.99},
        {"logit_adjustment": 1.0},
        {"class_weights": "inverse", "loss": "focal"},
    ],
)
def test_corrections_by_the_size_of_a_class_without_images_are_refused(settings_):
    config = settle_loss(TrainingConfig(**settings_), "single-label")
    names, labels = ("cat", "dog", "eel"), np.array([0, 2, 2])
    name = next(iter(settings_))
    with pytest.raises(UserError, match=rf"^training\.{name} .* but 1 of 3 have none: 'dog'\. Add"):
        refuse_absent_classes(config, "single-label", labels, names)
    refuse_absent_classes(config, "single-label", np.arange(3), names)
    shares = np.array([[0.5, 0.0, 0.5]], np.float32)
    with pytest.raises(UserError, match="'dog'"):
        refuse_absent_classes(config, "single-label", shares, names)


def test_absent_classes_do_no_harm_where_nothing_is_divided_by_their_size():
    labels, names = np.array([0, 0]), ("cat", "dog")
    plain = settle_loss(TrainingConfig(), "single-label")
    refuse_absent_classes(plain, "single-label", labels, names)
    several = np.array([[1, 0], [0, 0]], np.float32)
    weighted = settle_loss(TrainingConfig(class_weights="inverse"), "multi-label")
    refuse_absent_classes(weighted, "multi-label", several, names)
    weights = class_weights(weighted, "multi-label", several.sum(0), 2)
    assert np.isfinite(weights).all()


@pytest.mark.parametrize("scale", [0.1, 3.0, 300.0])
def test_jensen_shannon_is_the_published_formula(scale):
    logits = scale * torch.randn(7, 3, 5, generator=torch.Generator().manual_seed(2)).double()
    logits.requires_grad_()
    p = torch.softmax(logits.detach(), dim=2)
    mixture = p.mean(dim=1).clamp(1e-300, 1).log()  # the published code clamps at 1e-7
    parts = [torch.special.xlogy(q, q) - q * mixture for q in p.unbind(1)]
    ours = jensen_shannon(logits)
    torch.testing.assert_close(ours, sum(part.sum(dim=1).mean() for part in parts) / 3)
    ours.backward()
    assert logits.grad.isfinite().all()


@given(st.integers(0, 1000), st.integers(1, 4), st.floats(0.0, 50.0))
@settings(max_examples=30, deadline=None)
def test_jensen_shannon_is_zero_for_equal_views_and_at_most_log_3(seed, images, scale):
    generator = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(images, 3, 4, generator=generator)
    assert -1e-6 <= float(jensen_shannon(logits)) <= math.log(3) + 1e-6
    equal = logits[:, :1].expand(-1, 3, -1)
    assert abs(float(jensen_shannon(equal))) < 1e-6


def test_with_consistency_the_first_view_is_learnt_and_the_others_follow_it():
    logits, targets = draw(images=6)
    views = torch.stack([logits, logits + 1, -logits], dim=1)  # the second has the same softmax
    plain = build("single-label", label_smoothing=0.1, class_weights="inverse")
    both = build("single-label", label_smoothing=0.1, class_weights="inverse", jensen_shannon=12.0)
    expected = plain(logits, targets) + 12 * jensen_shannon(views)
    torch.testing.assert_close(both(views.flatten(0, 1), targets), expected)
    assert jensen_shannon(views) > 0.01


@pytest.mark.parametrize(
    ("task", "name"), [(task, name) for task, name in NAMES if (task, name)[1] != "cross-entropy"]
)
def test_consistency_needs_a_softmax(task, name):
    config = TrainingConfig(loss=name, jensen_shannon=12.0)
    if (task, name) == ("single-label", "focal"):
        assert settle_loss(config, task).jensen_shannon == 12.0
        return
    with pytest.raises(
        UserError, match=rf"^training\.jensen_shannon .* which the {name} loss of a"
    ):
        settle_loss(config, task)
