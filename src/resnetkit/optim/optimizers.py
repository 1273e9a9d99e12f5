"""Optimizers, and which parameters they decay."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from resnetkit.types import UserError


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """The optimizer and its settings; `None` takes the optimizer's own default."""

    name: Literal["sgd", "adamw"] = "sgd"
    """sgd (with momentum) or adamw."""
    learning_rate: float = 0.1
    """Peak learning rate."""
    weight_decay: float = 1e-4
    """Weight decay: added to the gradient by sgd, decoupled in adamw."""
    momentum: float | None = None
    """sgd only; 0.9 by default."""
    nesterov: bool | None = None
    """sgd only; off by default."""
    betas: tuple[float, float] | None = None
    """adamw only; 0.9 0.999 by default."""
    decay_norm_and_bias: bool = True
    """Whether normalisation scales, shifts and biases are decayed too."""

    def __post_init__(self) -> None:
        if self.learning_rate <= 0:
            raise UserError(f"optimizer.learning_rate must be above 0, got {self.learning_rate}")
        if self.weight_decay < 0:
            raise UserError(f"optimizer.weight_decay must be 0 or more, got {self.weight_decay}")
        for name, shares in (("momentum", (self.momentum,)), ("betas", self.betas or ())):
            if not all(share is None or 0 <= share < 1 for share in shares):
                raise UserError(f"optimizer.{name} must be in [0, 1), got {getattr(self, name)}")
        if self.nesterov and self.momentum == 0:
            raise UserError(
                "optimizer.nesterov needs momentum: set optimizer.momentum above 0, "
                "or leave nesterov out"
            )
        unused = {"sgd": ("betas",), "adamw": ("momentum", "nesterov")}[self.name]
        for field in unused:
            if getattr(self, field) is not None:
                raise UserError(
                    f"optimizer.{field} has no effect with {self.name}: leave it out, "
                    "or choose the other optimizer with optimizer.name"
                )


def build_optimizer(model: nn.Module, config: OptimizerConfig) -> torch.optim.Optimizer:
    """The optimizer of `config` over the parameters of `model` that require gradients."""
    return OPTIMIZERS[config.name](parameter_groups(model, config), config)


def parameter_groups(model: nn.Module, config: OptimizerConfig) -> list[dict[str, Any]]:
    """Parameters split by weight decay; vectors (norms, biases) may go without."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if config.decay_norm_and_bias or not config.weight_decay:
        return [{"params": trained, "weight_decay": config.weight_decay}]
    return [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]


def match_memory_order(optimizer: torch.optim.Optimizer) -> None:
    """Bring optimizer state into the memory order of its parameters; no value changes.

    Fused kernels walk a parameter and its momentum as flat memory: with one channels-last and the
    other not, as after loading, they would silently pair the wrong numbers.
    """
    for parameter, entries in optimizer.state.items():
        for name, value in entries.items():
            if value is None or value.shape != parameter.shape:
                continue
            if value.stride() != parameter.stride():
                entries[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)


def _build_sgd(groups: list[dict[str, Any]], config: OptimizerConfig) -> torch.optim.Optimizer:
    momentum = 0.9 if config.momentum is None else config.momentum
    return torch.optim.SGD(
        groups,
        lr=config.learning_rate,
        momentum=momentum,
        nesterov=bool(config.nesterov),
        fused=True,
    )


def _build_adamw(groups: list[dict[str, Any]], config: OptimizerConfig) -> torch.optim.Optimizer:
    betas = config.betas or (0.9, 0.999)
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=betas, fused=True)


OPTIMIZERS: dict[str, Callable[[list[dict[str, Any]], OptimizerConfig], torch.optim.Optimizer]] = {
    "sgd": _build_sgd,
    "adamw": _build_adamw,
}
