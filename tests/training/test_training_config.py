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
        ({"loss": "focal", "focal_gamma": -1.0}, "focal_gamma must be 0 or more, got -1.0"),
        ({"loss": "focal", "focal_gamma": 0.0}, "focal_gamma 0 turns the focal loss off"),
        ({"focal_gamma": 3.0}, "focal_gamma has no effect with training.loss auto"),
        ({"class_weights": "effective-number"}, "only act together, got effective-number and None"),
        ({"effective_number_beta": 0.9}, "only act together, got none and 0.9"),
        (
            {"class_weights": "effective-number", "effective_number_beta": 1.0},
            "effective_number_beta must lie between 0 and 1, got 1: .*towards 1 they weigh",
        ),
        ({"logit_adjustment": -1.0}, "logit_adjustment must be 0 or more"),
        ({"jensen_shannon": -1.0}, "training.jensen_shannon must be 0 or more, got -1.0"),
        (
            {"class_weights": "inverse", "logit_adjustment": 1.0},
            "class_weights inverse and training.logit_adjustment 1 correct the same imbalance",
        ),
        (
            {"loss": "binary-cross-entropy", "logit_adjustment": 1.0},
            "logit_adjustment shifts the classes .* cross-entropy never compares",
        ),
        (
            {"early_stopping_patience": 2, "keep": "last"},
            "early_stopping_patience needs training.keep best",
        ),
    ],
)
def test_settings_out_of_range_or_contradicting_are_refused(settings, message):
    with pytest.raises(UserError, match=message):
        TrainingConfig(**settings)
