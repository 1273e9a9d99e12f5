"""Everything that changes while training: what a checkpoint must hold to continue bit for bit."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from resnetkit.optim.ema import WeightAverage


@dataclass(kw_only=True)
class Progress:
    """Counters and running values; plain numbers, so that JSON holds them exactly."""

    step: int = 0
    total_steps: int
    epoch_loss_sum: float = 0.0
    epoch_loss_steps: int = 0
    best_score: float = -1.0
    best_loss: float = float("inf")
    best_step: int = 0
    validations_without_improvement: int = 0
    elapsed_seconds: float = 0.0
    finished_because: str | None = None


@dataclass(kw_only=True)
class TrainingState:
    """The network, its optimizer and average, the best weights so far, and the progress."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    average: WeightAverage | None
    progress: Progress
    best_weights: dict[str, Tensor] = field(default_factory=dict)

    def weights_to_judge(self) -> dict[str, Tensor]:
        """The weights that are validated and kept: the average where there is one."""
        return self.model.state_dict() if self.average is None else self.average.weights
