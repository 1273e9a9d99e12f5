"""Observers of a run: metrics.jsonl, TensorBoard and the progress bar. They never steer."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from resnetkit.evaluation.metrics import SHOWN_SCORES
from resnetkit.jsonl import append_record
from resnetkit.training.trainer import Observer, StepReport, ValidationReport

SECONDS_A_LINE = 60.0  # between lines where there is no terminal to draw a bar on


def write_metrics(path: Path, every: int) -> Observer:
    """An observer that appends to metrics.jsonl: a line every `every` steps and per validation."""
    clock = [time.monotonic()]
    seen = [0]

    def observe(report: StepReport | ValidationReport) -> None:
        if isinstance(report, ValidationReport):
            append_record(path, validation_record(report))
            clock[0], seen[0] = time.monotonic(), 0  # validation is no part of the training speed
            return
        seen[0] += report.images
        if report.step % every:
            return
        now = time.monotonic()
        append_record(
            path,
            {
                "kind": "train",
                "epoch": report.epoch,
                "step": report.step,
                "loss": finite_or_none(float(report.loss)),
                "learning_rate": report.learning_rate,
                "images_per_second": round(seen[0] / max(1e-9, now - clock[0]), 1),
            },
        )
        clock[0], seen[0] = now, 0

    return observe


def validation_record(report: ValidationReport) -> dict[str, Any]:
    """The line of metrics.jsonl that describes a validation."""
    return {
        "kind": "validation",
        "epoch": report.epoch,
        "step": report.step,
        "train_loss": report.train_loss,
        "loss": finite_or_none(report.loss),
        report.score_name: report.score,
        "learning_rate": report.learning_rate,
        "improved": report.improved,
        "seconds": round(report.seconds, 2),
    }


@contextmanager
def write_tensorboard(folder: Path, every: int, first_step: int) -> Iterator[Observer]:
    """An observer that writes TensorBoard events, without what was written past `first_step`."""
    from torch.utils.tensorboard.writer import SummaryWriter

    writer = SummaryWriter(str(folder), purge_step=first_step + 1)

    def observe(report: StepReport | ValidationReport) -> None:
        if isinstance(report, ValidationReport):
            writer.add_scalar("loss/validation", report.loss, report.step)
            writer.add_scalar("loss/train_epoch", report.train_loss, report.step)
            writer.add_scalar(f"{report.score_name}/validation", report.score, report.step)
        elif report.step % every == 0:
            writer.add_scalar("loss/train", float(report.loss), report.step)
            writer.add_scalar("learning_rate", report.learning_rate, report.step)

    try:
        yield observe
    finally:
        writer.close()


class ReadingBar:
    """A progress bar for work before training: call it with what is done, how many, of how many."""

    def __init__(self, console: Console) -> None:
        self._bar = Progress(console=console, disable=not console.is_terminal, transient=True)
        self._tasks: dict[tuple[str, int], TaskID] = {}

    def __enter__(self) -> ReadingBar:
        self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.stop()

    def __call__(self, what: str, done: int, total: int) -> None:
        """Show that `done` of `total` are done of `what`."""
        if (what, total) not in self._tasks:
            self._tasks[what, total] = self._bar.add_task(what, total=total)
        self._bar.update(self._tasks[what, total], completed=done)


class ProgressBar:
    """A progress bar on stderr with images per second and time left; a context manager."""

    def __init__(self, console: Console, total_steps: int, first_step: int) -> None:
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            TextColumn("{task.completed}/{task.total} steps"),
            TextColumn("{task.fields[speed]:>7} img/s"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[judged]}"),
            console=console,
            disable=not console.is_terminal,
        )
        self._console = console
        self._task = self._bar.add_task(
            "training", total=total_steps, completed=first_step, speed="-", judged=""
        )
        self._window: deque[tuple[float, int]] = deque(maxlen=50)
        self._last_line = time.monotonic()

    def __enter__(self) -> ProgressBar:
        self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.stop()

    def __call__(self, report: StepReport | ValidationReport) -> None:
        """Show what a step or a validation reports."""
        if isinstance(report, ValidationReport):
            self._window.clear()  # validation is no part of the training speed
            name = SHOWN_SCORES.get(report.score_name, report.score_name)
            judged = f"validation {name} {100 * report.score:.2f} %"
            self._bar.update(self._task, judged=judged)
            self._console.print(
                f"epoch {report.epoch + 1:>3}  step {report.step:>6}  "
                f"train loss {report.train_loss:.4f}  validation loss {report.loss:.4f}  "
                f"{name} {100 * report.score:.2f} %{'  best' if report.improved else ''}",
                highlight=False,
                soft_wrap=True,
            )
            return
        self._window.append((time.monotonic(), report.images))
        seconds = self._window[-1][0] - self._window[0][0]
        images = sum(count for _, count in list(self._window)[1:])
        speed = f"{images / seconds:,.0f}" if seconds else "-"
        epoch = f"epoch {report.epoch + 1}"
        self._bar.update(self._task, completed=report.step, speed=speed, description=epoch)
        if not self._console.is_terminal and time.monotonic() - self._last_line > SECONDS_A_LINE:
            self._last_line = time.monotonic()
            self._console.print(f"{epoch}  step {report.step}  {speed} images/s", soft_wrap=True)


def finite_or_none(value: float) -> float | None:
    """The value, or None (JSON has no NaN) where it is not finite."""
    return value if math.isfinite(value) else None
