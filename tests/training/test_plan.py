from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resnetkit.training.config import TrainingConfig
from resnetkit.training.plan import VALIDATION_SHARE, count_steps, fit_time_budget
from resnetkit.types import UserError


@pytest.mark.parametrize(
    ("config", "steps"),
    [
        (TrainingConfig(epochs=3), 30),
        (TrainingConfig(epochs=2.55), 26),
        (TrainingConfig(epochs=0.01), 1),
        (TrainingConfig(epochs=None, steps=64_000), 64_000),
    ],
)
def test_steps_follow_from_epochs_or_are_given(config, steps):
    assert count_steps(config, 10) == steps


@given(
    minutes=st.floats(0.1, 1000),
    step_seconds=st.floats(0.001, 10),
    steps_per_epoch=st.integers(1, 5000),
    epochs=st.floats(0.5, 300),
)
@settings(deadline=None, max_examples=50)
def test_a_fitted_run_keeps_within_its_budget(minutes, step_seconds, steps_per_epoch, epochs):
    config = TrainingConfig(epochs=epochs, time_budget_minutes=minutes)
    available = minutes * 60 * (1 - VALIDATION_SHARE)
    wanted = count_steps(config, steps_per_epoch)
    try:
        fitted = fit_time_budget(config, step_seconds, steps_per_epoch)
    except UserError:
        assert available < step_seconds * min(wanted, steps_per_epoch)
        return
    steps = count_steps(fitted, steps_per_epoch)
    assert steps <= wanted
    assert steps * step_seconds <= available * 1.01 + step_seconds * steps_per_epoch * 0.001
    if wanted * step_seconds <= available * 0.999:
        assert fitted is config


def test_a_run_given_in_steps_is_shortened_in_epochs():
    config = TrainingConfig(epochs=None, steps=1000, time_budget_minutes=1.0)
    fitted = fit_time_budget(config, 0.1, 100)
    assert (fitted.epochs, fitted.steps) == (5.4, None)


def test_a_run_shorter_than_an_epoch_needs_no_epochs_time():
    config = TrainingConfig(epochs=None, steps=5, time_budget_minutes=1.0)
    assert fit_time_budget(config, 1.0, 1000) is config


def test_a_budget_below_one_epoch_says_what_one_takes():
    config = TrainingConfig(time_budget_minutes=0.5)
    message = r"time_budget_minutes is 0.5, but one epoch takes about 1.9 minutes here: give at"
    with pytest.raises(UserError, match=message):
        fit_time_budget(config, 1.0, 100)
