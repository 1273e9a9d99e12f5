"""Optimizers, and which parameters they decay."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from resnetkit.optim.muon import Muon, kernels
from resnetkit.types import UserError


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """The optimizer and its settings; `None` takes the optimizer's own default."""

    name: Literal["sgd", "adamw", "muon"] = "sgd"
    """sgd (with momentum), adamw, or muon: orthogonal updates of convolutions, sgd for the rest."""
    learning_rate: float = 0.1
    """Peak learning rate."""
    weight_decay: float = 1e-4
    """Weight decay: added to the gradient by sgd, decoupled in adamw."""
    momentum: float | None = None
    """sgd and muon; 0.9 by default."""
    nesterov: bool | None = None
    """sgd only; off by default."""
    kernel_rate: float | None = None
    """muon only: peak rate of convolutions, the relative change a step makes; 0.03 by default."""
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
        if self.kernel_rate is not None and self.kernel_rate <= 0:
            raise UserError(f"optimizer.kernel_rate must be above 0, got {self.kernel_rate}")
        unused = {
            "sgd": ("betas", "kernel_rate"),
            "adamw": ("momentum", "nesterov", "kernel_rate"),
            "muon": ("betas", "nesterov"),
        }[self.name]
        for field in unused:
            if getattr(self, field) is not None:
                raise UserError(
                    f"optimizer.{field} has no effect with {self.name}: leave it out, "
                    "or choose the other optimizer with optimizer.name"
                )


def build_optimizer(model: nn.Module, config: OptimizerConfig) -> torch.optim.Optimizer:
    """The optimizer of `config` over the parameters of `model` that require gradients."""
    return OPTIMIZERS[config.name](model, config)


def parameter_groups(
    model: nn.Module, config: OptimizerConfig, apart: Sequence[Tensor] = ()
) -> list[dict[str, Any]]:
    """Parameters, but for those set `apart`, by weight decay; vectors may go without."""
    left_out = {id(parameter) for parameter in apart}
    trained = [p for p in model.parameters() if p.requires_grad and id(p) not in left_out]
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


def _build_sgd(model: nn.Module, config: OptimizerConfig) -> torch.optim.Optimizer:
    return torch.optim.SGD(
        parameter_groups(model, config),
        lr=config.learning_rate,
        momentum=0.9 if config.momentum is None else config.momentum,
        nesterov=bool(config.nesterov),
        fused=True,
    )


def _build_adamw(model: nn.Module, config: OptimizerConfig) -> torch.optim.Optimizer:
    betas = config.betas or (0.9, 0.999)
    groups = parameter_groups(model, config)
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=betas, fused=True)


def _build_muon(model: nn.Module, config: OptimizerConfig) -> torch.optim.Optimizer:
    orthogonal = kernels(model)
    if not orthogonal:
        raise UserError(
            "optimizer.name muon needs convolutions that a norm layer follows, and this network "
            "has none: choose sgd or adamw"
        )
    kernel_rate = 0.03 if config.kernel_rate is None else config.kernel_rate
    group = {
        "params": orthogonal,
        "orthogonal": True,
        "rate_factor": kernel_rate / config.learning_rate,
    }
    groups = [*parameter_groups(model, config, apart=orthogonal), group]
    momentum = 0.9 if config.momentum is None else config.momentum
    return Muon(groups, lr=config.learning_rate, momentum=momentum)


OPTIMIZERS: dict[str, Callable[[nn.Module, OptimizerConfig], torch.optim.Optimizer]] = {
    "sgd": _build_sgd,
    "adamw": _build_adamw,
    "muon": _build_muon,
}
