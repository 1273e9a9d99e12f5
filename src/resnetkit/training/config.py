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
    loss: Literal["auto", "cross-entropy", "binary-cross-entropy", "focal"] = "auto"
    """What is minimised; auto: cross-entropy for one class an image, binary cross-entropy for
    several. Focal (Lin et al. 2017) makes images that are right and sure already count less."""
    focal_gamma: float = 2.0
    """How much less, with the focal loss: an error of probability 1 - p counts (1 - p)^gamma."""
    label_smoothing: float = 0.0
    """Share of the target spread over all classes (Szegedy et al. 2016, section 7); with several
    classes an image over present and absent."""
    class_weights: Literal["none", "inverse", "effective-number"] = "none"
    """Rare classes count more in the loss: by one over their number of images, or over the
    effective number (Cui et al. 2019)."""
    effective_number_beta: float | None = None
    """Beta of the effective number (1 - beta^n) / (1 - beta), for instance 0.999."""
    logit_adjustment: float = 0.0
    """Tau of the logit-adjusted loss (Menon et al. 2021): that times the log of a class's share is
    added to its logit while training. 1 aims at balanced accuracy; 0 is off."""
    jensen_shannon: float = 0.0
    """Weight of the Jensen-Shannon consistency between three views of each image, for AugMix
    (Hendrycks et al. 2020, section 3; there 12); a step then costs three. 0 is off."""
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
        refuse_idle_loss_settings(self)
        if self.early_stopping_patience is not None and self.keep == "last":
            raise UserError(
                "training.early_stopping_patience needs training.keep best: "
                "stopping early and keeping the last weights contradict each other"
            )


def refuse_idle_loss_settings(config: TrainingConfig) -> None:
    """UserError for settings of the loss that are out of range, idle or contradict each other."""
    for name in ("focal_gamma", "logit_adjustment", "jensen_shannon"):
        if getattr(config, name) < 0:
            raise UserError(f"training.{name} must be 0 or more, got {getattr(config, name)}")
    if config.loss == "focal" and config.focal_gamma == 0:
        raise UserError(
            "training.focal_gamma 0 turns the focal loss off: set a gamma above 0 (2 is usual), or "
            "leave training.loss at auto"
        )
    if config.loss != "focal" and config.focal_gamma != 2.0:
        raise UserError(
            f"training.focal_gamma has no effect with training.loss {config.loss}: leave it out, "
            "or set training.loss focal"
        )
    beta = config.effective_number_beta
    if (config.class_weights == "effective-number") != (beta is not None):
        raise UserError(
            "training.class_weights effective-number and training.effective_number_beta only act "
            f"together, got {config.class_weights} and {beta}: give both (0.99, 0.999 and 0.9999 "
            "are usual) or neither"
        )
    if beta is not None and not 0 < beta < 1:
        raise UserError(
            f"training.effective_number_beta must lie between 0 and 1, got {beta:g}: towards 0 all "
            "classes weigh the same (that is class_weights none), towards 1 they weigh inversely "
            "to their size (class_weights inverse)"
        )
    if config.class_weights != "none" and config.logit_adjustment:
        raise UserError(
            f"training.class_weights {config.class_weights} and training.logit_adjustment "
            f"{config.logit_adjustment:g} correct the same imbalance twice: choose one of them"
        )
    if config.logit_adjustment and config.loss == "binary-cross-entropy":
        raise UserError(
            "training.logit_adjustment shifts the classes against each other, which binary "
            "cross-entropy never compares: leave it out, or weigh rare classes with "
            "training.class_weights inverse"
        )
