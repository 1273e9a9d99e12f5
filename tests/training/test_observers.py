from __future__ import annotations

import io
import math

import pytest
import torch
from rich.console import Console

from resnetkit.jsonl import load_records
from resnetkit.training import observers
from resnetkit.training.observers import ProgressBar, write_metrics, write_tensorboard
from resnetkit.training.trainer import StepReport, ValidationReport


def step_report(step: int, loss: float = 0.5) -> StepReport:
    return StepReport(epoch=0, step=step, loss=torch.tensor(loss), learning_rate=0.1, images=8)


VALIDATION = ValidationReport(
    epoch=0,
    step=4,
    train_loss=0.7,
    loss=0.6,
    score_name="top1",
    score=0.875,
    learning_rate=0.1,
    improved=True,
    seconds=1.239,
)


@pytest.fixture
def clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(observers.time, "monotonic", lambda: now[0])
    return now


def test_metrics_get_a_line_every_few_steps_and_per_validation(tmp_path, clock):
    path = tmp_path / "metrics.jsonl"
    observe = write_metrics(path, 2)
    for step in range(1, 5):
        clock[0] += 0.5
        observe(step_report(step, math.nan if step == 4 else 0.5))
    observe(VALIDATION)
    assert load_records(path) == [
        {
            "kind": "train",
            "epoch": 0,
            "step": 2,
            "loss": 0.5,
            "learning_rate": 0.1,
            "images_per_second": 16.0,
        },
        {
            "kind": "train",
            "epoch": 0,
            "step": 4,
            "loss": None,
            "learning_rate": 0.1,
            "images_per_second": 16.0,
        },
        {
            "kind": "validation",
            "epoch": 0,
            "step": 4,
            "train_loss": 0.7,
            "loss": 0.6,
            "top1": 0.875,
            "learning_rate": 0.1,
            "improved": True,
            "seconds": 1.24,
        },
    ]


def test_validation_does_not_count_against_the_training_speed(tmp_path, clock):
    observe = write_metrics(tmp_path / "metrics.jsonl", 2)
    clock[0] += 1000  # validation
    observe(VALIDATION)
    for step in (5, 6):
        clock[0] += 0.5
        observe(step_report(step))
    assert load_records(tmp_path / "metrics.jsonl")[-1]["images_per_second"] == 16.0


def test_progress_prints_a_line_per_validation_where_there_is_no_terminal():
    console = Console(file=io.StringIO(), width=120)
    with ProgressBar(console, 10, 0) as bar:
        bar(step_report(1))
        bar(step_report(2))
        bar(VALIDATION)
    assert isinstance(console.file, io.StringIO)
    assert console.file.getvalue() == (
        "epoch   1  step      4  train loss 0.7000  validation loss 0.6000  top-1 87.50 %  best\n"
    )


def test_progress_shows_speed_and_time_on_a_terminal(clock):
    console = Console(file=io.StringIO(), width=120, force_terminal=True)
    with ProgressBar(console, 10, 2) as bar:
        for step in (3, 4, 5):
            clock[0] += 0.5
            bar(step_report(step))
    assert isinstance(console.file, io.StringIO)
    output = console.file.getvalue()
    assert "5/10 steps" in output
    assert "16 img/s" in output


def test_tensorboard_files_hold_the_curves(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with write_tensorboard(tmp_path, 2, 0) as observe:
        for step in range(1, 5):
            observe(step_report(step, 1 / step))
        observe(VALIDATION)
    events = EventAccumulator(str(tmp_path)).Reload()
    assert [(e.step, e.value) for e in events.Scalars("loss/train")] == [(2, 0.5), (4, 0.25)]
    assert [(e.step, e.value) for e in events.Scalars("top1/validation")] == [(4, 0.875)]
    assert {"loss/validation", "loss/train_epoch", "learning_rate"} < set(events.Tags()["scalars"])
