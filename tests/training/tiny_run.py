"""A run of milliseconds that has everything: dropout, BatchNorm, augmentation, mixing, momentum."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from resnetkit.data.augment import AugmentConfig, prepare_batch
from resnetkit.data.contract import InputContract, normalise
from resnetkit.data.draws import Draws
from resnetkit.data.loader import Loader, LoaderConfig
from resnetkit.data.source_types import Split
from resnetkit.optim.ema import WeightAverage
from resnetkit.optim.optimizers import OptimizerConfig, build_optimizer
from resnetkit.optim.schedules import ScheduleConfig
from resnetkit.training.checkpoint import save_checkpoint
from resnetkit.training.config import TrainingConfig
from resnetkit.training.execution import ExecutionConfig, arrange, prepare_network
from resnetkit.training.loss import build_loss, settle_loss
from resnetkit.training.plan import count_steps
from resnetkit.training.state import Progress, TrainingState
from resnetkit.training.trainer import StepReport, TrainingTask, ValidationReport
from resnetkit.types import Batch

CLASSES = 3
CONTRACT = InputContract(
    class_names=("a", "b", "c"), resize=8, crop=(8, 8), mean=(0.5,) * 3, std=(0.25,) * 3
)
IDENTITY = {"training.seed": 1, "data": "abc"}


@dataclass(frozen=True, kw_only=True)
class Setup:
    """The settings of a tiny run; `replace` makes variants."""

    training: TrainingConfig = field(
        default_factory=lambda: TrainingConfig(
            seed=1, epochs=2.6, ema_decay=0.9, checkpoint_seconds=1e9
        )
    )
    optimizer: OptimizerConfig = field(
        default_factory=lambda: OptimizerConfig(learning_rate=0.2, nesterov=True)
    )
    schedule: ScheduleConfig = field(default_factory=lambda: ScheduleConfig(warmup=0.2))
    augment: AugmentConfig = field(
        default_factory=lambda: AugmentConfig(
            pad_crop=1, horizontal_flip=True, cutout=2, mixup_alpha=0.3
        )
    )
    execution: ExecutionConfig = field(
        default_factory=lambda: ExecutionConfig(
            device="cpu", precision="float32", memory_order="channels_last", compile="no"
        )
    )
    batch_size: int = 8
    count: int = 44

    def train(self, **changes: Any) -> Setup:
        """The same with other training settings."""
        return replace(self, training=replace(self.training, **changes))


def build_net(seed: int = 0, *, batch_norm: bool = True, dropout: float = 0.3) -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(3, 6, 3, bias=not batch_norm),
            nn.BatchNorm2d(6) if batch_norm else nn.Identity(),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            nn.Linear(24, CLASSES),
        )


def build_split(count: int, seed: int = 0) -> Split:
    """Noise whose brightness tells the class, not too plainly."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, CLASSES, count)
    images = generator.integers(0, 180, (count, 3, 8, 8)) + 12 * labels[:, None, None, None]
    names = [str(i) for i in range(count)]
    return Split(labels=labels.astype(np.int64), names=names, images=images.astype(np.uint8))


def build_loader(setup: Setup) -> Loader:
    config = LoaderConfig(
        batch_size=setup.batch_size, workers=0, seed=setup.training.seed, shuffle=True
    )
    return Loader(build_split(setup.count), CONTRACT, config)


def build_state(setup: Setup, net: nn.Module) -> TrainingState:
    decay = setup.training.ema_decay
    steps = count_steps(setup.training, build_loader(setup).steps_per_epoch)
    return TrainingState(
        model=net,
        optimizer=build_optimizer(net, setup.optimizer),
        average=None if decay is None else WeightAverage(net, decay),
        progress=Progress(total_steps=steps),
    )


def build_task(setup: Setup, state: TrainingState, folder: Path | None = None) -> TrainingTask:
    def prepare(batch: Batch, epoch: int) -> tuple[Tensor, Tensor]:
        draws = Draws(setup.training.seed, epoch, batch.indices, torch.device("cpu"))
        views = setup.training.jensen_shannon > 0
        images, targets = prepare_batch(
            batch, draws, setup.augment, CONTRACT, crop=True, views=views
        )
        return arrange(images, setup.execution), targets

    def save(present: TrainingState) -> None:
        if folder is not None:
            save_checkpoint(folder, present, IDENTITY)

    labels, device = build_split(setup.count).labels, torch.device("cpu")
    training = settle_loss(setup.training, CONTRACT.task)
    return TrainingTask(
        config=setup.training,
        schedule=setup.schedule,
        execution=setup.execution,
        learning_rate=setup.optimizer.learning_rate,
        batches=build_loader(setup),
        forward=prepare_network(state.model, setup.execution),
        loss=build_loss(training, CONTRACT.task, labels, CLASSES, device),
        prepare=prepare,
        validate=build_judge(state.model),
        score_name="top1",
        enter_training=state.model.train,
        penalty=None,
        save=save,
        stop_requested=lambda: False,
    )


def build_judge(net: nn.Module) -> Callable[[dict[str, Tensor]], tuple[float, float]]:
    judge = copy.deepcopy(net).eval()
    split = build_split(30, seed=1)
    assert split.images is not None
    images = normalise(torch.from_numpy(split.images), CONTRACT)
    labels = torch.from_numpy(split.labels)

    def validate(weights: dict[str, Tensor]) -> tuple[float, float]:
        judge.load_state_dict(weights)
        with torch.inference_mode():
            logits = judge(images)
        loss = float(nn.functional.cross_entropy(logits, labels))
        return loss, float((logits.argmax(dim=1) == labels).double().mean())

    return validate


class Recorder:
    """An observer that remembers everything but the time."""

    def __init__(self) -> None:
        self.steps: list[tuple[int, int, float, float, int]] = []
        self.validations: list[tuple[object, ...]] = []

    def __call__(self, report: StepReport | ValidationReport) -> None:
        if isinstance(report, StepReport):
            loss = float(report.loss)
            entry = (report.epoch, report.step, loss, report.learning_rate, report.images)
            self.steps.append(entry)
            return
        facts = {key: value for key, value in vars(report).items() if key != "seconds"}
        self.validations.append(tuple(facts.values()))


def contents(state: TrainingState) -> dict[str, Any]:
    """Everything a run ends with, apart from the time it took."""
    progress = {k: v for k, v in vars(state.progress).items() if k != "elapsed_seconds"}
    found: dict[str, Any] = {f"progress.{key}": value for key, value in progress.items()}
    found |= {f"model.{key}": value for key, value in state.model.state_dict().items()}
    found |= {f"best.{key}": value for key, value in state.best_weights.items()}
    if state.average is not None:
        found["average.updates"] = state.average.updates
        found |= {f"average.{key}": value for key, value in state.average.weights.items()}
    for number, entries in state.optimizer.state_dict()["state"].items():
        found |= {f"optimizer.{number}.{key}": value for key, value in entries.items()}
    return found


def assert_same_bits(ours: TrainingState, theirs: TrainingState) -> None:
    one, other = contents(ours), contents(theirs)
    assert one.keys() == other.keys()
    for key, value in one.items():
        if isinstance(value, Tensor):
            assert value.dtype == other[key].dtype, key
            assert torch.equal(value, other[key]), key
        else:
            assert value == other[key], key
