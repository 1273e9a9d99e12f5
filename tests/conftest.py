"""Fixtures that several test files share: tiny pictures, tiny experiments, one trained package."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from resnetkit.experiment import Experiment
from resnetkit.pipeline import TrainingResult, train
from resnetkit.pipeline_finetuning import finetune
from resnetkit.recipes import load_recipe

FEW_DIGITS = {
    "data.shots": 5,
    "data.validation_fraction": 0.2,
    "data.batch_size": 16,
    "execution.precision": "float32",
    "execution.memory_order": "channels_last",
    "execution.compile": "no",
    "training.epochs": 2,
    "training.log_every_steps": 1,
}
COLORS = {"blue": (40, 60, 210), "green": (50, 190, 70), "red": (220, 60, 40)}


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Networks this small are faster on one thread, and two test runs do not fight for cores."""
    with _single_threaded():
        yield


@pytest.fixture(scope="session")
def draw_pictures() -> Callable[..., Path]:
    """Writes a folder of pictures, one class per colour, the same every time."""
    return _draw_pictures


@pytest.fixture(scope="session")
def change() -> Callable[[Experiment, Mapping[str, Any]], Experiment]:
    """A variant of an experiment: change(experiment, {"training.epochs": 2})."""
    return _change


@pytest.fixture(scope="session")
def tiny() -> Callable[..., Experiment]:
    """tiny(source, {setting: value}): an experiment on 12-pixel pictures that takes a second."""
    return _tiny


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 3 classes with 12 pictures each; not to be changed."""
    return _draw_pictures(tmp_path_factory.mktemp("source") / "pictures")


@pytest.fixture(scope="session")
def trained(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainingResult:
    """A finished tiny run on `pictures`; not to be changed."""
    with _single_threaded():
        return train(_tiny(pictures), tmp_path_factory.mktemp("trained") / "run")


@pytest.fixture(scope="session")
def digits_package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package trained on a few handwritten digits, to be fine-tuned; not to be changed."""
    few = {"data.shots": 20, "training.epochs": 3, "data.image_size": None, "data.batch_size": 32}
    with _single_threaded():
        result = train(_tiny("digits", few), tmp_path_factory.mktemp("digits") / "run")
    return result.package


@pytest.fixture(scope="session")
def learnt_digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package that knows handwritten digits rather well, to be judged; not to be changed."""
    several = {
        "data.shots": 60,
        "data.image_size": None,
        "data.batch_size": 32,
        "optimizer.learning_rate": 0.05,
        "training.epochs": 12,
    }
    with _single_threaded():
        result = train(_tiny("digits", several), tmp_path_factory.mktemp("learnt") / "run")
    return result.package


@pytest.fixture
def finetuned(
    digits_package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., TrainingResult]:
    """finetuned(name, {setting: value}): a run on a few digits in tmp_path / name, in a second.

    It has a cache of its own, and a head is solved for with one regularisation only.
    """
    monkeypatch.setenv("RESNETKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("resnetkit.finetuning.probe.GRID", (1.0,))

    def run(name: str, settings: Mapping[str, Any] | None = None, **options: Any) -> TrainingResult:
        chosen = {**FEW_DIGITS, **(settings or {})}
        options = {"weights": str(digits_package), **options}
        given = {name: value for name, value in chosen.items() if value is not ...}
        source = options.pop("source", "digits")
        return finetune(source, tmp_path / name, settings=given, **options)

    return run


def _draw_pictures(
    folder: Path, *, count: int = 12, size: int = 12, ending: str = "png", mode: str = "RGB"
) -> Path:
    generator = np.random.default_rng(0)
    for name, color in COLORS.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            height, width = size, size + (number % 3 if size > 100 else 0)
            noise = generator.normal(0, 25, (height, width, 3))
            pixels = np.clip(np.array(color) + noise, 0, 255).astype(np.uint8)
            picture = Image.fromarray(pixels).convert(mode)
            picture.save(folder / name / f"{number:02d}.{ending}")
    return folder


def _tiny(source: Path | str, changes: Mapping[str, Any] | None = None) -> Experiment:
    settings = {
        "data.source": str(source),
        "data.image_size": 12,
        "data.batch_size": 8,
        "optimizer.learning_rate": 0.02,
        "training.epochs": 5,
        "training.ema_decay": 0.5,
        "training.log_every_steps": 2,
    }
    return _change(load_recipe("digits"), settings | dict(changes or {}))


def _change(experiment: Experiment, changes: Mapping[str, Any]) -> Experiment:
    parts: dict[str, dict[str, Any]] = {}
    for key, value in changes.items():
        part, setting = key.split(".")
        parts.setdefault(part, {})[setting] = value
    changed = {part: replace(getattr(experiment, part), **new) for part, new in parts.items()}
    return replace(experiment, **changed)


@contextmanager
def _single_threaded() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
