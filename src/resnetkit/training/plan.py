"""What is decided once before the first step: how the step is executed and how many there are."""

from __future__ import annotations

from dataclasses import replace

from resnetkit.training.config import TrainingConfig
from resnetkit.types import UserError

VALIDATION_SHARE = 0.1  # of a time budget, for validation, checkpoints and start-up


def count_steps(config: TrainingConfig, steps_per_epoch: int) -> int:
    """Optimizer steps of a run; at least one."""
    if config.steps is not None:
        return config.steps
    assert config.epochs is not None
    return max(1, round(config.epochs * steps_per_epoch))


def fit_time_budget(
    config: TrainingConfig, step_seconds: float, steps_per_epoch: int
) -> TrainingConfig:
    """`config` shortened so that its steps fit the time budget at `step_seconds` a step.

    Raises UserError when not even one epoch fits.
    """
    assert config.time_budget_minutes is not None
    budget = config.time_budget_minutes * 60 * (1 - VALIDATION_SHARE)
    affordable = int(budget / step_seconds)
    if affordable >= count_steps(config, steps_per_epoch):
        return config
    if affordable < steps_per_epoch:
        needed = step_seconds * steps_per_epoch / (1 - VALIDATION_SHARE) / 60
        raise UserError(
            f"training.time_budget_minutes is {config.time_budget_minutes:g}, but one epoch takes "
            f"about {needed:.2g} minutes here: give at least that, a smaller network or less data"
        )
    return replace(config, epochs=round(affordable / steps_per_epoch, 3), steps=None)
