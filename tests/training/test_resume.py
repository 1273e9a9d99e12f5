"""The promise: a run that was stopped or killed anywhere ends with the bits of one that was not."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
from tiny_run import (
    IDENTITY,
    Recorder,
    Setup,
    assert_same_bits,
    build_net,
    build_state,
    build_task,
)

from resnetkit.data.augment import AugmentConfig
from resnetkit.optim.optimizers import OptimizerConfig
from resnetkit.training.checkpoint import load_checkpoint
from resnetkit.training.state import TrainingState
from resnetkit.training.trainer import fit
from resnetkit.types import Interrupted

STEPS = 13  # 2.6 epochs of 5
SGD = Setup()
ADAMW = replace(
    SGD.train(ema_decay=None, keep="last", micro_batches=2, clip_norm=1.0, label_smoothing=0.1),
    optimizer=OptimizerConfig(name="adamw", learning_rate=0.01, decay_norm_and_bias=False),
    execution=replace(SGD.execution, memory_order="channels_first"),
)
BFLOAT16 = replace(
    SGD.train(validate_every_epochs=2, early_stopping_patience=1),
    execution=replace(SGD.execution, precision="bfloat16"),
)
MUON = replace(SGD, optimizer=OptimizerConfig(name="muon", learning_rate=0.1))
AUGMIX = replace(
    SGD.train(jensen_shannon=12.0, micro_batches=2),
    augment=AugmentConfig(policy="augmix", pad_crop=1, horizontal_flip=True),
)
ONE_STEP_EPOCHS = replace(SGD.train(epochs=9), batch_size=44)
SETUPS = {
    "sgd": SGD,
    "adamw": ADAMW,
    "bfloat16": BFLOAT16,
    "muon": MUON,
    "augmix": AUGMIX,
    "short": ONE_STEP_EPOCHS,
}


class Killed(Exception):  # noqa: N818
    """Stands for kill -9: nothing of ours runs after it."""


@cache
def uninterrupted(name: str) -> tuple[TrainingState, Recorder]:
    setup, recorder = SETUPS[name], Recorder()
    state = build_state(setup, build_net())
    fit(state, build_task(setup, state), [recorder])
    return state, recorder


def finish(setup: Setup, folder: Path, earlier: Recorder) -> tuple[TrainingState, Recorder]:
    """Continue from the newest checkpoint with objects that know nothing of the run."""
    torch.manual_seed(12345)
    state, recorder = build_state(setup, build_net(seed=99)), Recorder()
    if load_checkpoint(folder, state, IDENTITY):
        step = state.progress.step
        recorder.steps = [entry for entry in earlier.steps if entry[1] <= step]
        recorder.validations = [entry for entry in earlier.validations if entry[1] <= step]
    else:
        state = build_state(setup, build_net())
    fit(state, build_task(setup, state, folder), [recorder])
    return state, recorder


def assert_as_if_uninterrupted(name: str, state: TrainingState, recorder: Recorder) -> None:
    expected, expected_recorder = uninterrupted(name)
    assert_same_bits(state, expected)
    assert recorder.validations == expected_recorder.validations
    assert recorder.steps == expected_recorder.steps


def test_the_reference_run_exercises_what_it_should():
    state, recorder = uninterrupted("sgd")
    assert state.progress.step == STEPS
    assert state.progress.finished_because == "all steps done"
    assert [entry[1] for entry in recorder.validations] == [5, 10, 13]
    assert state.progress.best_step > 0
    assert state.best_weights
    plain = build_state(SGD, build_net(dropout=0.0))
    fit(plain, build_task(SGD, plain), [])
    weights = [s.model.state_dict()["6.weight"] for s in (plain, state)]
    assert not torch.equal(*weights)  # dropout acts


@pytest.mark.parametrize("stop_at", range(1, STEPS + 1))
@pytest.mark.parametrize("name", SETUPS)
def test_a_run_stopped_at_any_step_and_resumed_ends_with_the_same_bits(name, stop_at, tmp_path):
    setup, recorder = SETUPS[name], Recorder()
    state = build_state(setup, build_net())
    task = build_task(setup, state, tmp_path)
    task = replace(task, stop_requested=lambda: state.progress.step >= stop_at)
    steps = uninterrupted(name)[0].progress.step
    if stop_at < steps:
        with pytest.raises(Interrupted, match=rf"stopped at step {stop_at} of"):
            fit(state, task, [recorder])
        assert state.progress.step == stop_at
    else:
        fit(state, task, [recorder])
    resumed, recorder = finish(setup, tmp_path, recorder)
    assert_as_if_uninterrupted(name, resumed, recorder)


@pytest.mark.parametrize(
    ("kill_at", "every"),
    [(step, 3) for step in range(1, STEPS + 1)] + [(step, 1) for step in (1, 5, 6, STEPS)],
)
def test_a_run_killed_at_any_step_and_resumed_ends_with_the_same_bits(kill_at, every, tmp_path):
    setup = SGD.train(checkpoint_seconds=0 if every == 1 else 1e9)
    recorder = Recorder()

    def kill(report):
        if report.step == kill_at:
            raise Killed

    state = build_state(setup, build_net())
    task = build_task(setup, state, tmp_path)
    if every == 3:
        save_all = task.save
        task = replace(
            task,
            config=replace(setup.training, checkpoint_seconds=0),
            save=lambda present: present.progress.step % 3 or save_all(present),
        )
    with pytest.raises(Killed):
        fit(state, task, [recorder, kill])
    resumed, recorder = finish(setup, tmp_path, recorder)
    assert_as_if_uninterrupted("sgd", resumed, recorder)


def test_a_run_interrupted_at_every_single_step_ends_with_the_same_bits(tmp_path):
    recorder = Recorder()
    for step in range(1, STEPS):
        state = build_state(SGD, build_net(seed=step if step > 1 else 0))
        load_checkpoint(tmp_path, state, IDENTITY)
        task = replace(build_task(SGD, state, tmp_path), stop_requested=lambda: True)
        with pytest.raises(Interrupted):
            fit(state, task, [recorder])
        assert state.progress.step == step
    state, recorder = finish(SGD, tmp_path, recorder)
    assert_as_if_uninterrupted("sgd", state, recorder)


def test_a_finished_run_resumes_to_itself(tmp_path):
    state = build_state(SGD, build_net())
    fit(state, build_task(SGD, state, tmp_path), [])
    again = build_state(SGD, build_net(seed=5))
    assert load_checkpoint(tmp_path, again, IDENTITY)
    recorder = Recorder()
    fit(again, build_task(SGD, again, tmp_path), [recorder])
    assert not recorder.steps
    assert not recorder.validations
    assert_same_bits(again, state)


def test_preparing_the_network_after_loading_changes_nothing(tmp_path):
    """The other order, network first and checkpoint second, is `finish`'s counterpart."""
    state = build_state(SGD, build_net())
    task = replace(
        build_task(SGD, state, tmp_path), stop_requested=lambda: state.progress.step >= 7
    )
    with pytest.raises(Interrupted):
        fit(state, task, [])
    resumed = build_state(SGD, build_net(seed=3))
    task = build_task(SGD, resumed, tmp_path)  # makes the network channels-last
    assert load_checkpoint(tmp_path, resumed, IDENTITY)
    weight = resumed.model.state_dict()["0.weight"]
    assert weight.is_contiguous(memory_format=torch.channels_last)
    fit(resumed, task, [])
    assert_same_bits(resumed, uninterrupted("sgd")[0])
