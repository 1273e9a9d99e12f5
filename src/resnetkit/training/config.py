"""Settings of a training run that belong neither to data, network nor optimizer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from resnetkit.types import UserError


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """How long, with what loss, what is kept and how often the run writes to disk."""

    seed: int = 0
    """Weights, order and augmentation follow from it."""
    epochs: float | None = 30.0
    """Length in passes over the training images; give this or `steps`."""
    steps: int | None = None
    """Length in optimizer steps; give this or `epochs`."""
    time_budget_minutes: float | None = None
    """Shortens the run so that it fits; the schedule is shortened with it."""
    label_smoothing: float = 0.0
    """Share of the target spread over all classes (Szegedy et al. 2016, section 7)."""
    clip_norm: float | None = None
    """Largest norm of the whole gradient."""
    micro_batches: int = 1
    """Split every batch into this many parts and accumulate their gradients."""
    ema_decay: float | None = None
    """Decay of the weight average that is validated and kept; none by default."""
    early_stopping_patience: int | None = None
    """Stop after this many validations without a better one."""
    keep: Literal["best", "last"] = "best"
    """Which weights the package holds: the best by validation, or the last."""
    validate_every_epochs: int = 1
    """Epochs between validations; the last epoch is always validated."""
    checkpoint_seconds: float = 60.0
    """Seconds between checkpoints; 0 writes one after every step."""
    log_every_steps: int = 20
    """Steps between lines of metrics.jsonl."""

    def __post_init__(self) -> None:
        if (self.epochs is None) == (self.steps is None):
            raise UserError(
                "give either training.epochs or training.steps "
                f"(the other as None), got epochs={self.epochs} steps={self.steps}"
            )
        for name in ("epochs", "steps", "time_budget_minutes", "clip_norm"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise UserError(f"training.{name} must be above 0, got {value}")
        counts = ("micro_batches", "validate_every_epochs", "log_every_steps")
        for name in (*counts, "early_stopping_patience"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UserError(f"training.{name} must be 1 or more, got {value}")
        for name in ("seed", "checkpoint_seconds"):
            if getattr(self, name) < 0:
                raise UserError(f"training.{name} must be 0 or more, got {getattr(self, name)}")
        if self.seed >= 2**63:
            raise UserError(f"training.seed must be below 2^63, got {self.seed}")
        for name in ("label_smoothing", "ema_decay"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < 1:
                raise UserError(f"training.{name} must be in [0, 1), got {value}")
        if self.early_stopping_patience is not None and self.keep == "last":
            raise UserError(
                "training.early_stopping_patience needs training.keep best: "
                "stopping early and keeping the last weights contradict each other"
            )
