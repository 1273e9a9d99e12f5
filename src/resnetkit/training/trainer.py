"""The training loop, in the open: `fit` runs epochs, `train_step` learns from one batch.

The trainer is handed a network, a way to prepare batches and a way to validate; it knows no
architecture, no data set and no command line. Observers watch; every decision is an `if` here.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from resnetkit.optim.optimizers import match_memory_order
from resnetkit.optim.schedules import ScheduleConfig, learning_rate_factor
from resnetkit.training.config import TrainingConfig
from resnetkit.training.execution import ExecutionConfig, autocast
from resnetkit.training.state import TrainingState
from resnetkit.types import Batch, CheckFailed, Interrupted


class Batches(Protocol):
    """What the trainer needs of a loader."""

    @property
    def steps_per_epoch(self) -> int:
        """Batches in an epoch."""
        ...

    def batches(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of an epoch from number `start` on."""
        ...


@dataclass(frozen=True, kw_only=True)
class StepReport:
    """What one optimizer step did."""

    epoch: int
    step: int
    loss: Tensor  # [] on the device, not yet read back
    learning_rate: float
    images: int


@dataclass(frozen=True, kw_only=True)
class ValidationReport:
    """What one validation found."""

    epoch: int
    step: int
    train_loss: float
    loss: float
    score_name: str
    score: float
    learning_rate: float
    improved: bool
    seconds: float


Observer = Callable[[StepReport | ValidationReport], None]


@dataclass(frozen=True, kw_only=True)
class TrainingTask:
    """All that `fit` works with and does not change."""

    config: TrainingConfig
    schedule: ScheduleConfig
    execution: ExecutionConfig
    learning_rate: float
    batches: Batches
    forward: Callable[[Tensor], Tensor]  # images [N,C,H,W] -> logits [N,K]
    # With V views of each image, one after the other (1, or 3 for consistency between them):
    loss: Callable[[Tensor, Tensor], Tensor]  # logits [VN,K], targets [N,K] -> mean over N, float32
    prepare: Callable[[Batch, int], tuple[Tensor, Tensor]]  # batch, epoch -> images [VN,…], targets
    validate: Callable[[dict[str, Tensor]], tuple[float, float]] | None  # weights -> loss, score
    score_name: str  # what the score is: higher is better, the best weights have the highest
    enter_training: Callable[[], object]  # before each step: `model.train`, or less where frozen
    penalty: Callable[[], Tensor] | None  # added to the loss after each forward pass: []
    save: Callable[[TrainingState], object]
    stop_requested: Callable[[], bool]


def fit(state: TrainingState, task: TrainingTask, observers: Sequence[Observer]) -> None:
    """Train `state` until its steps are done, early stopping bites or the time budget is spent.

    Raises CheckFailed when the loss is no longer finite and Interrupted when asked to stop; both
    leave the last good checkpoint.
    """
    match_memory_order(state.optimizer)  # the network's may have changed since it was loaded
    clock = _Clock(state, task)
    while state.progress.finished_because is None:
        train_epoch(state, task, observers, clock)
        last = state.progress.finished_because is not None
        epoch = (state.progress.step - 1) // task.batches.steps_per_epoch
        if task.validate is None:
            state.best_weights = _copied(state.weights_to_judge()) if last else {}
        elif last or (epoch + 1) % task.config.validate_every_epochs == 0:
            report = validate(state, task, task.validate, clock)
            for observe in observers:
                observe(report)
            patience = task.config.early_stopping_patience
            waited = state.progress.validations_without_improvement
            if not last and patience is not None and waited >= patience:
                state.progress.finished_because = (
                    f"early stopping: {patience} validations without a better one"
                )
        state.progress.epoch_loss_sum, state.progress.epoch_loss_steps = 0.0, 0
        finished = state.progress.finished_because is not None
        if finished or task.stop_requested() or clock.checkpoint_due():
            pause(state, task, clock)


def train_epoch(
    state: TrainingState, task: TrainingTask, observers: Sequence[Observer], clock: _Clock
) -> None:
    """The rest of the present epoch, from the step the state stands at."""
    progress = state.progress
    epoch, start = divmod(progress.step, task.batches.steps_per_epoch)
    loss_sum = _running_sum(state)
    for batch in task.batches.batches(epoch, start):
        report = train_step(state, task, batch, epoch)
        loss_sum += report.loss
        progress.epoch_loss_steps += 1
        for observe in observers:
            observe(report)
        finished = clock.finished()
        logged = progress.step % task.config.log_every_steps == 0
        epoch_ended = progress.step % task.batches.steps_per_epoch == 0
        pausing = task.stop_requested() or clock.checkpoint_due()
        if logged or finished or epoch_ended or pausing:
            progress.epoch_loss_sum = require_finite(loss_sum, state)
        if finished or epoch_ended:
            progress.finished_because = finished
            return
        if pausing:
            pause(state, task, clock)


def pause(state: TrainingState, task: TrainingTask, clock: _Clock) -> None:
    """Write a checkpoint, and raise Interrupted when asked to stop before the end."""
    clock.checkpoint()
    progress = state.progress
    if progress.finished_because is None and task.stop_requested():
        raise Interrupted(f"stopped at step {progress.step} of {progress.total_steps}")


def train_step(state: TrainingState, task: TrainingTask, batch: Batch, epoch: int) -> StepReport:
    """One optimizer step: forward, loss, gradients, update."""
    progress, model = state.progress, state.model
    factor = learning_rate_factor(task.schedule, progress.step, progress.total_steps)
    for group in state.optimizer.param_groups:
        group["lr"] = task.learning_rate * factor * group.get("rate_factor", 1.0)
    # Dropout and stochastic depth draw from torch's generator: keyed by the step, they need no
    # saved state and are the same after a restart.
    torch.manual_seed((task.config.seed * 1_000_003 + progress.step) % 2**63)
    task.enter_training()
    images, targets = task.prepare(batch, epoch)
    loss = accumulate_gradients(task, images, targets)
    if task.config.clip_norm is not None:
        nn.utils.clip_grad_norm_(model.parameters(), task.config.clip_norm)
    state.optimizer.step()
    state.optimizer.zero_grad(set_to_none=True)
    if state.average is not None:
        state.average.update(model)
    progress.step += 1
    return StepReport(
        epoch=epoch,
        step=progress.step,
        loss=loss,
        learning_rate=task.learning_rate * factor,
        images=len(targets),
    )


def accumulate_gradients(task: TrainingTask, images: Tensor, targets: Tensor) -> Tensor:
    """Backward through the batch, in micro batches where asked; returns the mean loss, detached."""
    total = torch.zeros((), device=images.device)
    size = math.ceil(len(targets) / task.config.micro_batches)
    views = len(images) // len(targets)
    for part, wanted in zip(images.split(views * size), targets.split(size), strict=True):
        with autocast(images.device, task.execution):
            logits = task.forward(part)
        loss = task.loss(logits, wanted)
        if task.penalty is not None:
            loss = torch.add(loss, task.penalty())
        loss = torch.mul(loss, len(wanted) / len(targets))
        loss.backward()
        total += loss.detach()
    return total


def validate(
    state: TrainingState,
    task: TrainingTask,
    judge: Callable[[dict[str, Tensor]], tuple[float, float]],
    clock: _Clock,
) -> ValidationReport:
    """Judge the present weights and remember them when they are the best so far."""
    progress = state.progress
    weights = state.weights_to_judge()
    loss, score = judge(weights)
    # Equal scores are common on small validation sets: the lower loss decides.
    improved = (score, -loss) > (progress.best_score, -progress.best_loss)
    if improved:
        progress.best_score, progress.best_loss = score, loss
        progress.best_step = progress.step
        progress.validations_without_improvement = 0
    else:
        progress.validations_without_improvement += 1
    if improved or task.config.keep == "last":
        state.best_weights = _copied(weights)
    return ValidationReport(
        epoch=(progress.step - 1) // task.batches.steps_per_epoch,
        step=progress.step,
        train_loss=progress.epoch_loss_sum / max(1, progress.epoch_loss_steps),
        loss=loss,
        score_name=task.score_name,
        score=score,
        learning_rate=state.optimizer.param_groups[0]["lr"],
        improved=improved,
        seconds=clock.elapsed(),
    )


def require_finite(loss_sum: Tensor, state: TrainingState) -> float:
    """The running loss as a number; raises CheckFailed when it or the weights are not finite.

    The step that breaks the weights still has a finite loss: a checkpoint needs both looked at.
    """
    value = float(loss_sum)
    weights = [v for v in state.model.state_dict().values() if v.is_floating_point()]
    sound = torch.stack(torch._foreach_norm(weights)).isfinite().all()
    if not math.isfinite(value) or not sound:
        what = "weights were" if math.isfinite(value) else "loss was"
        raise CheckFailed(
            f"the {what} not finite at or shortly before step {state.progress.step}: training has "
            "diverged. Checkpoints from before are kept. Lower optimizer.learning_rate, add "
            "warm-up with schedule.warmup, or set training.clip_norm"
        )
    return value


class _Clock:
    """Elapsed time across restarts, and what is due by it."""

    def __init__(self, state: TrainingState, task: TrainingTask) -> None:
        self._state, self._task = state, task
        self._before = state.progress.elapsed_seconds
        self._start = self._last_checkpoint = time.monotonic()

    def elapsed(self) -> float:
        return self._before + time.monotonic() - self._start

    def finished(self) -> str | None:
        """Why training is over, or None."""
        progress, budget = self._state.progress, self._task.config.time_budget_minutes
        if progress.step >= progress.total_steps:
            return "all steps done"
        if budget is not None and self.elapsed() > 60 * budget:
            return f"time budget of {budget:g} minutes spent"
        return None

    def checkpoint_due(self) -> bool:
        since = time.monotonic() - self._last_checkpoint
        return since >= self._task.config.checkpoint_seconds

    def checkpoint(self) -> None:
        self._state.progress.elapsed_seconds = self.elapsed()
        self._task.save(self._state)
        self._last_checkpoint = time.monotonic()


def _running_sum(state: TrainingState) -> Tensor:
    """The epoch's loss so far, kept on the device so that a step needs no read-back."""
    device = next(state.model.parameters()).device
    kind = torch.float32 if device.type == "mps" else torch.float64
    return torch.tensor(state.progress.epoch_loss_sum, dtype=kind, device=device)


def _copied(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key: value.detach().clone() for key, value in weights.items()}
