from __future__ import annotations

import pytest

from resnetkit.training.config import TrainingConfig
from resnetkit.types import UserError


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epochs": 1, "steps": 2}, "either training.epochs or training.steps .* steps=2"),
        ({"epochs": None}, "either training.epochs or training.steps"),
        ({"epochs": 0}, "training.epochs must be above 0, got 0"),
        ({"epochs": None, "steps": -1}, "training.steps must be above 0, got -1"),
        ({"time_budget_minutes": 0.0}, "training.time_budget_minutes must be above 0"),
        ({"clip_norm": 0.0}, "training.clip_norm must be above 0"),
        ({"micro_batches": 0}, "training.micro_batches must be 1 or more, got 0"),
        ({"validate_every_epochs": 0}, "training.validate_every_epochs must be 1 or more"),
        ({"log_every_steps": 0}, "training.log_every_steps must be 1 or more"),
        ({"label_smoothing": 1.0}, r"training.label_smoothing must be in \[0, 1\), got 1.0"),
        ({"ema_decay": -0.1}, r"training.ema_decay must be in \[0, 1\)"),
        ({"seed": -1}, "training.seed must be 0 or more, got -1"),
        ({"early_stopping_patience": 0}, "early_stopping_patience must be 1 or more, got 0"),
        ({"checkpoint_seconds": -1.0}, "checkpoint_seconds must be 0 or more, got -1.0"),
        (
            {"early_stopping_patience": 2, "keep": "last"},
            "early_stopping_patience needs training.keep best",
        ),
    ],
)
def test_settings_out_of_range_or_contradicting_are_refused(settings, message):
    with pytest.raises(UserError, match=message):
        TrainingConfig(**settings)
