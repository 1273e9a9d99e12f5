"""Checkpoints that continue a run bit for bit: complete, committed atomically, two of them kept."""

from __future__ import annotations

import json
import shutil
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from resnetkit.optim.optimizers import match_memory_order
from resnetkit.runtime import DamagedFolder, commit_folder, sweep_temporaries, verify_folder
from resnetkit.training.state import Progress, TrainingState
from resnetkit.types import UserError

GENERATIONS_KEPT = 2


def save_checkpoint(folder: Path, state: TrainingState, identity: dict[str, Any]) -> Path:
    """Write `state` as a new generation in `folder`; older ones are removed only afterwards.

    `identity` says which run this is (settings, data, order of classes); loading compares it.
    """
    target = folder / f"step-{state.progress.step:09d}"
    if not target.exists():
        commit_folder(target, lambda temporary: _write(temporary, state, identity))
    for old in _generations(folder)[GENERATIONS_KEPT:]:
        shutil.rmtree(old)
    return target


def load_checkpoint(folder: Path, state: TrainingState, identity: dict[str, Any]) -> bool:
    """Put the newest sound checkpoint of `folder` into `state`; False when there is none.

    A damaged generation is set aside (`damaged-step-…`) with a warning. Raises UserError when the
    checkpoint belongs to other settings or other data.
    """
    sweep_temporaries(folder)
    for generation in _generations(folder):
        try:
            verify_folder(generation)
        except DamagedFolder as error:
            # Out of the way: the run will come past this step again and save it again.
            aside = folder / f"damaged-{generation.name}"
            shutil.rmtree(aside, ignore_errors=True)
            generation.rename(aside)
            warnings.warn(
                f"skipping a damaged checkpoint, kept as {aside.name}: {error}", stacklevel=2
            )
            continue
        _read(generation, state, identity)
        return True
    return False


def refuse_other_run(folder: Path, identity: dict[str, Any]) -> None:
    """UserError when the newest sound checkpoint of `folder` belongs to other settings or data."""
    for generation in _generations(folder):
        try:
            verify_folder(generation)
        except DamagedFolder:
            continue  # loading says so, and sets it aside
        _load_progress(generation, identity)
        return


def newest_step(folder: Path) -> int:
    """The step of the newest checkpoint in `folder`; 0 without any."""
    return max((int(path.name.removeprefix("step-")) for path in _generations(folder)), default=0)


def _write(folder: Path, state: TrainingState, identity: dict[str, Any]) -> None:
    save_file(_plain(state.model.state_dict()), folder / "model.safetensors")
    save_file(_optimizer_tensors(state.optimizer), folder / "optimizer.safetensors")
    save_file(_plain(state.best_weights), folder / "best.safetensors")
    average = state.average
    if average is not None:
        save_file(_plain(average.weights), folder / "average.safetensors")
    text = json.dumps(
        {
            "identity": identity,
            "machine": _machine(state),
            "progress": asdict(state.progress),
            "average_updates": average.updates if average is not None else 0,
        },
        indent=1,
    )
    (folder / "state.json").write_text(text, encoding="utf-8")


def _read(folder: Path, state: TrainingState, identity: dict[str, Any]) -> None:
    saved = _load_progress(folder, identity)
    _warn_of_other_bits(folder, saved["machine"], _machine(state))
    device = next(state.model.parameters()).device
    state.model.load_state_dict(load_file(folder / "model.safetensors"))
    _load_optimizer(state.optimizer, load_file(folder / "optimizer.safetensors"))
    best = load_file(folder / "best.safetensors")
    state.best_weights = {key: value.to(device) for key, value in best.items()}
    if state.average is not None:
        averaged = load_file(folder / "average.safetensors")
        for key, value in state.average.weights.items():
            value.copy_(averaged[key])
        state.average.updates = saved["average_updates"]
    state.progress = Progress(**saved["progress"])


def _load_progress(folder: Path, identity: dict[str, Any]) -> dict[str, Any]:
    """What a checkpoint holds besides tensors; UserError unless it is of the run `identity`."""
    saved = json.loads((folder / "state.json").read_text(encoding="utf-8"))
    identity = json.loads(json.dumps(identity))  # as the saved one is: tuples become lists
    for key in sorted(identity.keys() | saved["identity"].keys()):
        came, needed = identity.get(key), saved["identity"].get(key)
        if came != needed:
            raise UserError(
                f"{folder}: this checkpoint was made with other {key}: it has {needed!r}, now it "
                f"would be {came!r}. Resume with the same settings and data, or give another --out"
            )
    return saved


def _machine(state: TrainingState) -> dict[str, Any]:
    """What bits depend on beside settings, data and seed."""
    device = next(state.model.parameters()).device
    on_gpu = device.type == "cuda"
    return {
        "torch": str(torch.__version__),
        "threads": torch.get_num_threads(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "device": torch.cuda.get_device_name(device) if on_gpu else device.type,
    }


def _warn_of_other_bits(folder: Path, was: dict[str, Any], now: dict[str, Any]) -> None:
    """Exact resume is promised on one machine kind, build and thread count: say when that ends."""
    changed = [f"{key} {was[key]} (now {now[key]})" for key in was if was[key] != now[key]]
    if changed:
        warnings.warn(
            f"{folder} was written with {', '.join(changed)}: the run goes on, but its bits will "
            "not be those of an uninterrupted one",
            stacklevel=2,
        )


def _optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Optimizer state as named tensors `<parameter number>.<name>`."""
    return _plain(
        {
            f"{number}.{name}": value
            for number, entries in optimizer.state_dict()["state"].items()
            for name, value in entries.items()
            if value is not None
        }
    )


def _load_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        number, name = key.split(".", 1)
        state.setdefault(int(number), {})[name] = value
    optimizer.load_state_dict(
        {"state": state, "param_groups": optimizer.state_dict()["param_groups"]}
    )
    match_memory_order(optimizer)


def _plain(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Contiguous copies without shared memory, as safetensors needs them."""
    return {
        key: value.detach().clone(memory_format=torch.contiguous_format)
        for key, value in tensors.items()
    }


def _generations(folder: Path) -> list[Path]:
    """Committed checkpoints, newest first."""
    return sorted(folder.glob("step-*"), reverse=True) if folder.exists() else []
