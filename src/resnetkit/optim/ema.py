"""Exponential moving average of a model's weights and buffers."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class WeightAverage:
    """Keeps average <- decay * average + (1 - decay) * weights, after each update.

    Polyak & Juditsky 1992. Early on the decay is min(decay, (1 + n) / (10 + n)) after n updates, so
    that the random initial weights are forgotten. Integer buffers are copied.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self.weights: dict[str, Tensor] = {
            key: value.detach().clone() for key, value in model.state_dict().items()
        }

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Move the average towards the model's present weights."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        present = model.state_dict()
        floating = [key for key, value in present.items() if value.is_floating_point()]
        torch._foreach_lerp_(
            [self.weights[key] for key in floating], [present[key] for key in floating], 1 - decay
        )
        for key in present.keys() - set(floating):
            self.weights[key].copy_(present[key])
