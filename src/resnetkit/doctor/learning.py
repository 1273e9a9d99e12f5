"""What happens to a batch once it is loaded: copy, augmentation, step; and the training itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from time import perf_counter

import torch
from torch import Tensor

from resnetkit.data.loader import Loader
from resnetkit.doctor.loading import endless
from resnetkit.doctor.timing import Timing, time_rounds, time_stream
from resnetkit.doctor.verdict import Alternative, Stage
from resnetkit.training.execution import choose_execution
from resnetkit.training.state import TrainingState
from resnetkit.training.trainer import TrainingTask, train_step
from resnetkit.types import Batch

WARM_UP_STEPS = 2  # the first allocates, and compiles where the network is compiled


@dataclass(frozen=True, kw_only=True)
class Bench:
    """A training ready to run, on one of its batches; `epoch` (from 0) is one on full-size images.

    Its state is the doctor's own: the steps that are timed do change the weights.
    """

    task: TrainingTask
    state: TrainingState
    batch: Batch
    epoch: int
    device: torch.device

    def wait(self) -> None:
        """Return when the device has done what it was given; a CPU always has."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        elif self.device.type == "mps":
            torch.mps.synchronize()


def time_learning(bench: Bench, seconds: float) -> list[Stage]:
    """Copy to the device (and to channels-last order), augmentation, and optimizer step."""
    batch, size = bench.batch, len(bench.batch.labels)
    moved = batch.to(bench.device)
    inputs = bench.task.prepare(moved, bench.epoch)

    def copy() -> int:
        batch.to(bench.device)
        bench.wait()
        return size

    def augment() -> int:
        bench.task.prepare(moved, bench.epoch)
        bench.wait()
        return size

    return [
        Stage(name="copy", timing=time_rounds(copy, seconds)),
        Stage(name="augment", timing=time_rounds(augment, seconds)),
        Stage(name="step", timing=time_step(bench, inputs, seconds)),
    ]


def time_step(bench: Bench, inputs: tuple[Tensor, Tensor], seconds: float) -> Timing:
    """The trainer's own step on prepared images [N,C,H,W] and targets [N,K]."""
    task = replace(bench.task, prepare=lambda batch, epoch: inputs)

    def step() -> int:
        train_step(bench.state, task, bench.batch, bench.epoch)
        bench.wait()
        return len(inputs[1])

    return time_rounds(step, seconds)


def compare_steps(bench: Bench, classes: int, seconds: float) -> list[Alternative]:
    """How much faster the step is in another number format or memory order, or on larger batches.

    Formats and orders are compared by `choose_execution`, as training does where they are `auto`.
    """
    images, targets = bench.task.prepare(bench.batch, bench.epoch)
    found: list[Alternative] = []
    present = replace(bench.task.execution, compile="no")
    open_choice = replace(present, precision="auto", memory_order="auto")
    measured = choose_execution(bench.state.model, open_choice, images, classes, 0)
    best = measured[0]
    own = [row for row in measured if row.choice == present]  # none: a format not for this device
    if own and best.choice != present:
        found.append(
            Alternative(
                setting=f"--execution.precision {best.choice.precision} "
                f"--execution.memory-order {best.choice.memory_order}",
                gain=own[0].seconds / best.seconds,
                caution="compared without torch.compile",
            )
        )
    single = time_step(bench, (images, targets), seconds)
    if single.seconds * len(targets) > seconds:  # overhead is no part of steps that long
        return found
    try:
        double = time_step(bench, (images.repeat(2, 1, 1, 1), targets.repeat(2, 1)), seconds)
    except torch.OutOfMemoryError:  # then it is no alternative
        return found
    caution = "it changes what is learnt, so raise the learning rate along with it"
    gain = single.seconds / double.seconds
    setting = f"--data.batch-size {2 * len(targets)}"
    return [*found, Alternative(setting=setting, gain=gain, caution=caution)]


def time_training(bench: Bench, loader: Loader, seconds: float) -> tuple[Timing, float]:
    """The training as it would run, and the share of its time that it waited for the next batch."""
    waited: list[float] = []
    worked: list[float] = []

    def run() -> Iterator[int]:
        before = perf_counter()
        for batch, epoch in batches:
            arrived = perf_counter()
            train_step(bench.state, bench.task, batch, epoch)
            bench.wait()
            done = perf_counter()
            waited.append(arrived - before)
            worked.append(done - arrived)
            before = done
            yield len(batch.labels)

    with closing(endless(loader, bench.epoch)) as batches:
        timing = time_stream(run(), seconds, WARM_UP_STEPS)
    waits, works = sum(waited[WARM_UP_STEPS:]), sum(worked[WARM_UP_STEPS:])
    return timing, waits / (waits + works)
