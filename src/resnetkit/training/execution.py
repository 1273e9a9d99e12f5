"""How a step is executed: device, number format, memory order, compilation.

None of these changes what is computed, only how fast and in which rounding. What is left on `auto`
is chosen by a short measurement on the machine at hand, then saved with the run and reused when it
is resumed, because another choice would give other bits.
"""

from __future__ import annotations

import copy
import os
import shutil
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from resnetkit.types import UserError

COMPILE_PAYS_AFTER_SECONDS = 180.0  # compiling takes 15 to 60 s on two cores
TIMED_STEPS = 4
TRIAL_SECONDS = 10.0  # of a slow network, fewer steps say enough


@dataclass(frozen=True, kw_only=True)
class ExecutionConfig:
    """Speed settings; `auto` measures and chooses."""

    device: str = "auto"
    """auto, cpu, cuda, cuda:1 or mps."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Number format of convolutions; bfloat16 is autocast, weights stay float32."""
    memory_order: Literal["auto", "channels_first", "channels_last"] = "auto"
    """Memory order of images and convolution weights."""
    compile: Literal["auto", "yes", "no"] = "auto"
    """Whether the network goes through torch.compile."""


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """Seconds one training step took under one choice."""

    choice: ExecutionConfig
    seconds: float

    def describe(self) -> str:
        """The choice in words."""
        compiled = ", compiled" if self.choice.compile == "yes" else ""
        return f"{self.choice.precision}, {self.choice.memory_order}{compiled}"


def choose_execution(
    model: nn.Module, config: ExecutionConfig, images: Tensor, classes: int, total_steps: int
) -> list[Measurement]:
    """Time training steps of a copy of `model` under every choice that `config` leaves open.

    `images` is one float batch [N,C,H,W] on the device. Returns the measurements, fastest first.
    """
    precisions = _options(config.precision, _precisions(images.device))
    orders = _options(config.memory_order, ["channels_last", "channels_first"])
    compiled = "no" if config.compile == "auto" else config.compile
    measured = [
        _measure(
            model, replace(config, precision=p, memory_order=o, compile=compiled), images, classes
        )
        for o in orders
        for p in precisions
    ]
    measured.sort(key=lambda measurement: measurement.seconds)
    best = measured[0]
    pays = best.seconds * total_steps > COMPILE_PAYS_AFTER_SECONDS
    if config.compile == "auto" and pays and can_compile():
        for precision in precisions:
            choice = replace(best.choice, precision=precision, compile="yes")
            try:
                measured.append(_measure(model, choice, images, classes))
            except RuntimeError:  # no Python headers, no memory to spare: then without
                break
        measured.sort(key=lambda measurement: measurement.seconds)
    return measured


def can_compile() -> bool:
    """Whether torch.compile finds the compiler it needs for the CPU."""
    names = (os.environ.get("CXX", "g++"), "g++", "c++", "clang++")
    return any(shutil.which(name) for name in names)


def is_open(config: ExecutionConfig) -> bool:
    """Whether `config` leaves anything to a measurement."""
    return "auto" in (config.precision, config.memory_order, config.compile)


def prepare_network(model: nn.Module, execution: ExecutionConfig) -> Callable[[Tensor], Tensor]:
    """The forward function of `model` as `execution` says; the model's weights stay its own."""
    if execution.compile == "yes" and not can_compile():
        raise UserError(
            "execution.compile yes: torch.compile needs a C++ compiler, and none was found (g++, "
            "c++ or clang++). Install one, for instance with `apt-get install g++`, or set "
            "--execution.compile no: slower, equal up to rounding"
        )
    if execution.memory_order == "channels_last":
        model.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    return torch.compile(model, dynamic=False) if execution.compile == "yes" else model


def arrange(images: Tensor, execution: ExecutionConfig) -> Tensor:
    """Images [N,C,H,W] in the memory order of `execution`."""
    channels_last = execution.memory_order == "channels_last"
    order = torch.channels_last if channels_last else torch.contiguous_format
    return images.contiguous(memory_format=order)


def autocast(device: torch.device, execution: ExecutionConfig) -> AbstractContextManager[object]:
    """The number format of `execution` as a context."""
    enabled = execution.precision == "bfloat16"
    return torch.autocast(device.type, torch.bfloat16, enabled=enabled)


def _measure(
    model: nn.Module, choice: ExecutionConfig, images: Tensor, classes: int
) -> Measurement:
    trial = copy.deepcopy(model).train()
    forward = prepare_network(trial, choice)
    optimizer = torch.optim.SGD(trial.parameters(), lr=1e-6)
    images = arrange(images, choice)
    targets = torch.full((len(images), classes), 1 / classes, device=images.device)
    seconds = []
    for _ in range(TIMED_STEPS):
        start = time.perf_counter()
        with autocast(images.device, choice):
            loss = F.cross_entropy(forward(images).float(), targets)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if images.device.type == "cuda":
            torch.cuda.synchronize(images.device)
        seconds.append(time.perf_counter() - start)
        # The first step compiles and allocates: it is no part of the time and never the only one.
        if sum(seconds[1:]) > TRIAL_SECONDS:
            break
    return Measurement(choice=choice, seconds=min(seconds[1:]))


def _options(asked: str, when_auto: list[str]) -> list[str]:
    return when_auto if asked == "auto" else [asked]


def _precisions(device: torch.device) -> list[str]:
    # bfloat16 without hardware for it is emulated: slower by a factor, never worth a measurement.
    if device.type == "cuda":
        return ["float32", "bfloat16"] if torch.cuda.is_bf16_supported() else ["float32"]
    if device.type == "cpu":
        capable = torch.ops.mkldnn._is_mkldnn_bf16_supported()
        return ["float32", "bfloat16"] if capable else ["float32"]
    return ["float32"]
