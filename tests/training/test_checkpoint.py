from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_run import (
    IDENTITY,
    Setup,
    assert_same_bits,
    build_loader,
    build_net,
    build_state,
    build_task,
)

from resnetkit.optim.optimizers import OptimizerConfig
from resnetkit.runtime import verify_folder
from resnetkit.training import checkpoint
from resnetkit.training.checkpoint import load_checkpoint, save_checkpoint
from resnetkit.training.state import TrainingState
from resnetkit.training.trainer import train_step
from resnetkit.types import UserError

SGD = Setup()
SETUPS = {
    "sgd": SGD,
    "plain sgd": replace(SGD, optimizer=OptimizerConfig(momentum=0.0)),
    "adamw": replace(SGD, optimizer=OptimizerConfig(name="adamw", learning_rate=0.01)),
    "no average": SGD.train(ema_decay=None),
    "channels first": replace(SGD, execution=replace(SGD.execution, memory_order="channels_first")),
}


def advance(setup: Setup, state: TrainingState, steps: int = 3) -> None:
    task = build_task(setup, state)
    for batch in list(build_loader(setup).batches(0, state.progress.step))[:steps]:
        train_step(state, task, batch, 0)


def trained(setup: Setup = SGD, steps: int = 3, seed: int = 0) -> TrainingState:
    state = build_state(setup, build_net(seed))
    advance(setup, state, steps)
    return state


@pytest.mark.parametrize("best", [False, True])
@pytest.mark.parametrize("name", SETUPS)
def test_everything_comes_back_bit_for_bit_and_continues_alike(name, best, tmp_path):
    setup = SETUPS[name]
    state = trained(setup)
    state.progress.elapsed_seconds = 1 / 3
    state.progress.epoch_loss_sum = 0.1 + 0.2
    if best:
        state.best_weights = {k: v.clone() for k, v in state.model.state_dict().items()}
        state.progress.best_score, state.progress.best_loss = 2 / 3, 1e-17
    save_checkpoint(tmp_path, state, IDENTITY)

    restored = build_state(setup, build_net(seed=7))
    build_task(setup, restored)  # brings the network into its memory order
    assert load_checkpoint(tmp_path, restored, IDENTITY)
    assert restored.progress == state.progress
    assert_same_bits(restored, state)
    for (key, value), other in zip(
        state.model.state_dict().items(), restored.model.state_dict().values(), strict=True
    ):
        assert value.stride() == other.stride(), key

    advance(setup, state, 2)
    advance(setup, restored, 2)
    assert_same_bits(restored, state)


def test_no_checkpoint_leaves_the_state_alone(tmp_path):
    state, untouched = trained(), trained()
    assert not load_checkpoint(tmp_path / "absent", state, IDENTITY)
    tmp_path.joinpath("empty").mkdir()
    assert not load_checkpoint(tmp_path / "empty", state, IDENTITY)
    assert_same_bits(state, untouched)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_two_generations_are_kept(tmp_path):
    state = trained(steps=0)
    for _ in range(4):
        advance(SGD, state, 1)
        saved = save_checkpoint(tmp_path, state, IDENTITY)
        verify_folder(saved)
    assert names(tmp_path) == ["step-000000003", "step-000000004"]


def test_generations_are_ordered_by_number(tmp_path):
    state = trained(steps=1)
    for step in (999_999_998, 999_999_999):
        state.progress.step = step
        save_checkpoint(tmp_path, state, IDENTITY)
    restored = trained(seed=1)
    load_checkpoint(tmp_path, restored, IDENTITY)
    assert restored.progress.step == 999_999_999


def two_generations(folder: Path) -> tuple[TrainingState, TrainingState]:
    older, newer = trained(steps=2), trained(steps=3)
    save_checkpoint(folder, older, IDENTITY)
    save_checkpoint(folder, newer, IDENTITY)
    return older, newer


def flip_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


DAMAGE = {
    "changed": lambda folder: flip_a_byte(folder / "model.safetensors"),
    "cut": lambda folder: (folder / "optimizer.safetensors").write_bytes(b"x"),
    "missing": lambda folder: (folder / "state.json").unlink(),
    "no manifest": lambda folder: (folder / "manifest.json").unlink(),
    "foreign": lambda folder: (folder / "notes.txt").write_text("mine"),
}


@pytest.mark.parametrize("how", DAMAGE)
def test_a_damaged_generation_is_set_aside_and_the_older_one_used(how, tmp_path):
    older, newer = two_generations(tmp_path)
    DAMAGE[how](tmp_path / "step-000000003")
    restored = trained(seed=4)
    with pytest.warns(UserWarning, match="skipping a damaged checkpoint, kept as damaged-step-0"):
        assert load_checkpoint(tmp_path, restored, IDENTITY)
    assert_same_bits(restored, older)
    assert names(tmp_path) == ["damaged-step-000000003", "step-000000002"]
    # The run comes past the damaged step again: it must be saved, and two sound ones kept.
    advance(SGD, restored, 1)
    save_checkpoint(tmp_path, restored, IDENTITY)
    again = trained(seed=5)
    assert load_checkpoint(tmp_path, again, IDENTITY)
    assert_same_bits(again, newer)
    assert names(tmp_path) == ["damaged-step-000000003", "step-000000002", "step-000000003"]


def test_only_damaged_generations_mean_starting_over(tmp_path):
    two_generations(tmp_path)
    for step in (2, 3):
        flip_a_byte(tmp_path / f"step-00000000{step}" / "model.safetensors")
    state, untouched = trained(steps=0), trained(steps=0)
    with pytest.warns(UserWarning, match="skipping a damaged checkpoint"):
        assert not load_checkpoint(tmp_path, state, IDENTITY)
    assert_same_bits(state, untouched)


@pytest.mark.parametrize(
    ("identity", "message"),
    [
        ({"training.seed": 2, "data": "abc"}, r"other training.seed: it has 1, now it would be 2"),
        ({"training.seed": 1, "data": "xyz"}, r"other data: it has 'abc', now it would be 'xyz'"),
        ({"data": "abc"}, r"other training.seed: it has 1, now it would be None"),
        (IDENTITY | {"extra": 1}, r"other extra: it has None, now it would be 1"),
    ],
)
def test_a_checkpoint_of_other_settings_or_data_is_refused(identity, message, tmp_path):
    save_checkpoint(tmp_path, trained(), IDENTITY)
    state, untouched = trained(seed=3), trained(seed=3)
    with pytest.raises(UserError, match=message) as caught:
        load_checkpoint(tmp_path, state, identity)
    assert str(tmp_path / "step-000000003") in str(caught.value)
    assert "Resume with the same settings and data, or give another --out" in str(caught.value)
    assert_same_bits(state, untouched)


def test_tuples_in_the_identity_are_the_lists_that_json_makes_of_them(tmp_path):
    identity = {"optimizer.betas": (0.9, 0.99)}
    save_checkpoint(tmp_path, trained(), identity)
    assert load_checkpoint(tmp_path, trained(seed=1), identity)


@pytest.mark.parametrize("file", ["model", "optimizer", "average"])
def test_a_full_disk_loses_nothing_that_was_there(file, tmp_path, monkeypatch):
    _, newer = two_generations(tmp_path)
    before = names(tmp_path)
    original = checkpoint.save_file

    def full(tensors, path):
        if Path(path).stem == file:
            Path(path).write_bytes(b"half")
            raise OSError(28, "No space left on device")
        original(tensors, path)

    advance(SGD, newer, 1)
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save_file", full)
        with pytest.raises(OSError, match="No space left"):
            save_checkpoint(tmp_path, newer, IDENTITY)
    assert names(tmp_path) == before
    restored = trained(seed=2)
    assert load_checkpoint(tmp_path, restored, IDENTITY)
    assert restored.progress.step == 3


def test_saving_a_step_again_keeps_what_is_there(tmp_path):
    state = trained()
    path = save_checkpoint(tmp_path, state, IDENTITY)
    written = (path / "manifest.json").stat().st_mtime_ns
    assert save_checkpoint(tmp_path, state, IDENTITY) == path
    assert (path / "manifest.json").stat().st_mtime_ns == written


def test_a_checkpoint_holds_no_pickle(tmp_path):
    path = save_checkpoint(tmp_path, trained(), IDENTITY)
    assert names(path) == [
        "average.safetensors",
        "best.safetensors",
        "manifest.json",
        "model.safetensors",
        "optimizer.safetensors",
        "state.json",
    ]
    assert json.loads((path / "state.json").read_text())["identity"] == IDENTITY


def test_loading_does_not_share_memory_between_weights_and_average(tmp_path):
    state = trained()
    state.best_weights = dict(state.weights_to_judge())
    save_checkpoint(tmp_path, state, IDENTITY)
    restored = trained(seed=1)
    load_checkpoint(tmp_path, restored, IDENTITY)
    kept = {key: value.clone() for key, value in restored.best_weights.items()}
    advance(SGD, restored, 1)
    assert all(torch.equal(restored.best_weights[key], value) for key, value in kept.items())


def test_another_thread_count_is_warned_of(tmp_path):
    save_checkpoint(tmp_path, trained(), IDENTITY)
    before = torch.get_num_threads()
    torch.set_num_threads(before + 1)
    try:
        with pytest.warns(UserWarning, match=rf"threads {before} \(now {before + 1}\).*bits"):
            assert load_checkpoint(tmp_path, trained(seed=1), IDENTITY)
    finally:
        torch.set_num_threads(before)
