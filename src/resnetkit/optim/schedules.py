"""Learning-rate schedules as pure functions of the step: a resumed run needs no state of theirs."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from resnetkit.types import UserError


@dataclass(frozen=True, kw_only=True)
class ScheduleConfig:
    """How the learning rate moves from its peak; warm-up comes first and counts as steps."""

    name: Literal["constant", "multistep", "cosine", "linear", "onecycle"] = "cosine"
    """The curve after warm-up; onecycle also falls in a straight line, to exactly zero."""
    warmup: float = 0.0
    """Share of all steps spent warming up, e.g. 0.05; onecycle needs one."""
    warmup_from: float = 0.0
    """Factor of the peak rate at which warm-up starts."""
    warmup_curve: Literal["linear", "flat"] = "linear"
    """linear rises to the peak; flat stays at `warmup_from` and then jumps (He et al. 2015)."""
    milestones: tuple[float, ...] = ()
    """multistep: shares of all steps after which the rate is multiplied by `decay`."""
    decay: float = 0.1
    """multistep: the factor at each milestone."""
    final: float = 0.0
    """cosine, linear: factor of the peak rate at the end."""

    def __post_init__(self) -> None:
        if not 0 <= self.warmup < 1:
            raise UserError(f"schedule.warmup is a share of all steps (0 to 1), got {self.warmup}")
        for name, shares in (
            ("warmup_from", (self.warmup_from,)),
            ("decay", (self.decay,)),
            ("final", (self.final,)),
            ("milestones", self.milestones),
        ):
            if not all(0 <= share <= 1 for share in shares):
                raise UserError(f"schedule.{name} must be in [0, 1], got {getattr(self, name)}")
        self._refuse_settings_without_effect()

    def _refuse_settings_without_effect(self) -> None:
        for name, default in (("warmup_from", 0.0), ("warmup_curve", "linear")):
            if not self.warmup and getattr(self, name) != default:
                raise UserError(
                    f"schedule.{name} has no effect without warm-up: "
                    "leave it out, or set schedule.warmup, e.g. 0.05"
                )
        if self.warmup_curve == "flat" and not self.warmup_from:
            raise UserError(
                "schedule.warmup_curve flat stays at schedule.warmup_from, which is 0: "
                "set it, e.g. 0.1"
            )
        if self.name == "multistep" and not self.milestones:
            raise UserError("schedule.name multistep needs schedule.milestones, e.g. 0.5 0.75")
        if self.name != "multistep" and self.milestones:
            raise UserError(
                f"schedule.milestones has no effect with {self.name}: "
                "leave it out, or set schedule.name to multistep"
            )
        if self.final and self.name not in ("cosine", "linear"):
            raise UserError(
                f"schedule.final has no effect with {self.name}: leave it out, "
                "or set schedule.name to cosine or linear"
            )
        if self.name == "onecycle" and not self.warmup:
            raise UserError("schedule.name onecycle needs schedule.warmup, e.g. 0.2")


def learning_rate_factor(config: ScheduleConfig, step: int, total_steps: int) -> float:
    """The factor of the peak learning rate for `step` (0-based) of `total_steps`."""
    warmup_steps = round(config.warmup * total_steps)
    if step < warmup_steps:
        if config.warmup_curve == "flat":
            return config.warmup_from
        return 1 - (1 - config.warmup_from) * (warmup_steps - step - 1) / warmup_steps
    return SCHEDULES[config.name](config, step, (warmup_steps, total_steps))


def _constant(config: ScheduleConfig, step: int, span: tuple[int, int]) -> float:
    return 1.0


def _multistep(config: ScheduleConfig, step: int, span: tuple[int, int]) -> float:
    passed = sum(step >= round(milestone * span[1]) for milestone in config.milestones)
    return config.decay**passed


def _cosine(config: ScheduleConfig, step: int, span: tuple[int, int]) -> float:
    """Loshchilov & Hutter 2017, eq. 5, one period."""
    falling = (1 + math.cos(math.pi * _progress(step, span))) / 2
    return config.final + (1 - config.final) * falling


def _linear(config: ScheduleConfig, step: int, span: tuple[int, int]) -> float:
    return 1 - (1 - config.final) * _progress(step, span)


def _onecycle(config: ScheduleConfig, step: int, span: tuple[int, int]) -> float:
    """Smith & Topin 2018, section 3: straight up, straight down to zero."""
    return 1 - _progress(step, span)


def _progress(step: int, span: tuple[int, int]) -> float:
    """Share of the way from the end of warm-up to the end of training."""
    start, end = span
    return (step - start) / max(1, end - start)


SCHEDULES: dict[str, Callable[[ScheduleConfig, int, tuple[int, int]], float]] = {
    "constant": _constant,
    "multistep": _multistep,
    "cosine": _cosine,
    "linear": _linear,
    "onecycle": _onecycle,
}
