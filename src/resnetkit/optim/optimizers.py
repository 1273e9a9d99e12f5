"""Optimizers, and which parameters they decay."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from resnetkit.optim.muon import Muon, kernels
from resnetkit.types import UserError

Groups = list[dict[str, Any]]  # parameters and what is particular about them
RateOf = Callable[[str], float]  # a parameter's name -> factor of the learning rate, above 0


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


def build_optimizer(
    model: nn.Module,
    config: OptimizerConfig,
    rate_of: RateOf | None = None,
    undecayed: Collection[str] = (),
) -> torch.optim.Optimizer:
    """The optimizer of `config` over the parameters of `model` that require gradients.

    With `rate_of` each group carries its `rate_factor`, by which the trainer multiplies its rate.
    Parameters named in `undecayed` go without weight decay.
    """
    orthogonal = orthogonal_kernels(model) if config.name == "muon" else []
    groups = parameter_groups(model, config, orthogonal, undecayed)
    if orthogonal:
        kernel_rate = 0.03 if config.kernel_rate is None else config.kernel_rate
        factor = kernel_rate / config.learning_rate
        groups.append({"params": orthogonal, "orthogonal": True, "rate_factor": factor})
    if rate_of is not None:
        rates = {id(value): rate_of(name) for name, value in model.named_parameters()}
        groups = [part for group in groups for part in split_by_rate(group, rates)]
    return OPTIMIZERS[config.name](groups, config)


def orthogonal_kernels(model: nn.Module) -> list[Tensor]:
    """What muon updates orthogonally: nothing while they are all frozen.

    Raises UserError when the network has no such convolutions.
    """
    found = kernels(model)
    if not found and all(parameter.requires_grad for parameter in model.parameters()):
        raise UserError(
            "optimizer.name muon needs convolutions that a norm layer follows, and this network "
            "has none: choose sgd or adamw"
        )
    return found


def parameter_groups(
    model: nn.Module,
    config: OptimizerConfig,
    apart: Sequence[Tensor] = (),
    undecayed: Collection[str] = (),
) -> list[dict[str, Any]]:
    """Parameters, but for those set `apart`, by weight decay; vectors may go without."""
    left_out = {id(parameter) for parameter in apart}
    trained = [
        (name, parameter)
        for name, parameter in model.named_parameters()
        if parameter.requires_grad and id(parameter) not in left_out
    ]
    vectors_decay = config.decay_norm_and_bias or not config.weight_decay
    if vectors_decay and not undecayed:
        return [{"params": [p for _, p in trained], "weight_decay": config.weight_decay}]
    decayed = {n for n, p in trained if n not in undecayed and (vectors_decay or p.ndim > 1)}
    return [
        {"params": [p for n, p in trained if n in decayed], "weight_decay": config.weight_decay},
        {"params": [p for n, p in trained if n not in decayed], "weight_decay": 0.0},
    ]


def split_by_rate(group: dict[str, Any], rates: Mapping[int, float]) -> list[dict[str, Any]]:
    """`group` as one group for each factor that `rates` holds by `id`, the fastest first.

    The order of groups and parameters follows from the network and the factors alone: a resumed
    run finds its state by it.
    """
    factors = [rates[id(parameter)] for parameter in group["params"]]
    assert all(factor > 0 for factor in factors), "what is not to learn is frozen, not slowed to 0"
    return [
        {
            **group,
            "params": [p for p, f in zip(group["params"], factors, strict=True) if f == factor],
            "rate_factor": group.get("rate_factor", 1.0) * factor,
        }
        for factor in sorted(set(factors), reverse=True)
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


def _build_sgd(groups: Groups, config: OptimizerConfig) -> torch.optim.Optimizer:
    return torch.optim.SGD(
        groups,
        lr=config.learning_rate,
        momentum=0.9 if config.momentum is None else config.momentum,
        nesterov=bool(config.nesterov),
        fused=True,
    )


def _build_adamw(groups: Groups, config: OptimizerConfig) -> torch.optim.Optimizer:
    betas = config.betas or (0.9, 0.999)
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=betas, fused=True)


def _build_muon(groups: Groups, config: OptimizerConfig) -> torch.optim.Optimizer:
    momentum = 0.9 if config.momentum is None else config.momentum
    return Muon(groups, lr=config.learning_rate, momentum=momentum)


OPTIMIZERS: dict[str, Callable[[Groups, OptimizerConfig], torch.optim.Optimizer]] = {
    "sgd": _build_sgd,
    "adamw": _build_adamw,
    "muon": _build_muon,
}
