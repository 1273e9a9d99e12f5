"""What networks say of images they were not trained on: quick trainings, each without one fold.

Good enough to point at labels that everything speaks against; the networks are then thrown away.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from resnetkit.build import (
    build_loader,
    build_predict,
    build_preparation,
    build_state,
    build_task,
    settle_choices,
)
from resnetkit.data.augment import AugmentConfig
from resnetkit.data.columns import text_keys
from resnetkit.data.contract import InputContract
from resnetkit.data.dataset import Progress, TrainingData
from resnetkit.data.draws import stream, uniform_draws
from resnetkit.data.input_choice import MEMORY_LIMIT_BYTES
from resnetkit.data.source_types import Split
from resnetkit.data.statistics import with_statistics
from resnetkit.data.stratify import deal
from resnetkit.data.transforms import decode_split
from resnetkit.evaluation.evaluate import evaluate
from resnetkit.evaluation.probabilities import softmax
from resnetkit.experiment import Experiment
from resnetkit.models.zoo import ModelConfig, build_model, resolve_model
from resnetkit.recipes import load_recipe
from resnetkit.runtime import pick_device
from resnetkit.training.config import TrainingConfig
from resnetkit.training.execution import ExecutionConfig, choose_execution
from resnetkit.training.plan import fit_time_budget
from resnetkit.training.trainer import Observer, StepReport, ValidationReport, fit

MANY_IMAGES = 10_000  # from here on fewer folds and smaller images, or it would take hours
LARGEST_SIDE, LARGEST_SIDE_OF_MANY = 64, 32  # pixels
SMALLEST_SIDE = 16  # of the CIFAR network; below, its last stage would see 2 x 2 pixels
MOST_EPOCHS = 20.0
SEED = 0


@dataclass(frozen=True, kw_only=True, eq=False)
class FoldPlan:
    """How the trainings will go; `folds` int64 [N] says which one leaves an image out."""

    experiment: Experiment
    contract: InputContract
    folds: np.ndarray

    @property
    def count(self) -> int:
        """Trainings to be run."""
        return int(self.folds.max()) + 1

    def describe(self) -> str:
        """The plan in one line; each training is shortened to its share of the time."""
        images = round(len(self.folds) * (1 - 1 / self.count))
        minutes = self.experiment.training.time_budget_minutes
        assert minutes is not None
        return (
            f"{self.count} trainings of {self.experiment.model.name} at {self.contract.crop[0]} "
            f"pixels on about {images:,} images each, {MOST_EPOCHS:g} epochs or what fits into "
            f"{minutes * self.count:g} minutes in all"
        )


def quick_contract(
    split: Split, class_names: tuple[str, ...], shorter_side: int, *, grey: bool
) -> InputContract:
    """Small inputs for `split`, whose images have a shorter side of about `shorter_side` pixels.

    Mean and deviation are still those of nothing; `plan_folds` fills them in.
    """
    side = min(shorter_side, LARGEST_SIDE if len(split) < MANY_IMAGES else LARGEST_SIDE_OF_MANY)
    channels = 1 if grey else 3
    return InputContract(
        class_names=class_names,
        color_mode="L" if grey else "RGB",
        resize=side,
        crop=(side, side),
        mean=(0.0,) * channels,
        std=(1.0,) * channels,
    )


def plan_folds(
    split: Split, contract: InputContract, groups: np.ndarray, minutes: float
) -> FoldPlan:
    """Quick trainings for `split`; images of one of the `groups` int64 [N] are left out together.

    `split` comes from `shrink_into_memory`. The fold of an image follows from its name: one more
    image hardly deals the others anew.
    """
    count = 5 if len(split) < MANY_IMAGES else 3
    keys = uniform_draws((SEED, stream("out of fold")), text_keys(split.names), 1)[:, 0]
    folds = deal(split.class_numbers, np.full(count, 1 / count), keys, groups)
    side = contract.crop[0]
    fast = load_recipe("cifar10-resnet20-fast")
    experiment = replace(
        fast,
        recipe="out-of-fold",
        model=ModelConfig(name="cifar-resnet20" if side >= SMALLEST_SIDE else "digits-resnet8"),
        data=replace(
            fast.data,
            batch_size=int(np.clip(len(split) // 40, 8, 128)),
            storage="files" if split.images is None else "memory",
        ),
        augment=AugmentConfig(pad_crop=side // 8),  # no flips: a mirrored digit is another one
        training=TrainingConfig(
            seed=SEED,
            epochs=MOST_EPOCHS,
            time_budget_minutes=minutes / count,
            keep="last",
        ),
        execution=ExecutionConfig(precision="float32", memory_order="channels_last", compile="no"),
    )
    contract = with_statistics(contract, "dataset", split)
    return FoldPlan(experiment=experiment, contract=contract, folds=folds)


def predict_out_of_fold(split: Split, plan: FoldPlan, progress: Progress) -> np.ndarray:
    """For every image the probabilities float32 [N,K] by a network that was not shown it.

    Raises UserError when the time does not suffice for one epoch of every training.
    """
    probabilities = np.zeros((len(split), plan.contract.num_classes), np.float32)
    for fold in range(plan.count):
        left_out = plan.folds == fold
        known = np.flatnonzero(~left_out)
        what = f"training {fold + 1} of {plan.count} for labels"
        predict = train_without(
            split.subset(known), plan, lambda done, total, what=what: progress(what, done, total)
        )
        rows = np.flatnonzero(left_out)
        probabilities[rows] = predict(split.subset(rows))
    return probabilities


def shrink_into_memory(split: Split, contract: InputContract, progress: Progress) -> Split:
    """The split decoded at the contract's size where that fits the memory."""
    size = len(split) * contract.channels * contract.crop[0] * contract.crop[1]
    if split.images is None and size > MEMORY_LIMIT_BYTES:
        return split
    images, unreadable = decode_split(
        split, contract, progress=lambda done: progress("decoding for labels", done, len(split))
    )
    assert not unreadable, "only readable images are judged"
    return replace(split, images=images, encoded=None, packed=None)


def train_without(
    train: Split, plan: FoldPlan, progress: Callable[[int, int], None]
) -> Callable[[Split], np.ndarray]:
    """Train on `train`; the function that gives probabilities float32 [n,K] for other images."""
    contract = plan.contract
    data = TrainingData(
        config=plan.experiment.data,
        contract=contract,
        train=train,
        validation=None,
        test_images=None,
        skipped=(),
        digest="",
        cut="",
        manifest=None,
        unchecked=0,
    )
    experiment = settle_choices(plan.experiment, data)
    architecture = resolve_model(experiment.model, contract.num_classes, contract.channels)
    model = build_model(architecture, SEED).to(pick_device(experiment.execution.device))
    batches = build_loader(experiment, train, contract, shuffle=True)
    prepare = build_preparation(experiment, contract, batches)
    images, _ = prepare(next(batches.batches(0)), 0)
    seconds = choose_execution(model, experiment.execution, images, contract.num_classes, 0)[
        0
    ].seconds
    training = fit_time_budget(experiment.training, seconds, batches.steps_per_epoch)
    experiment = replace(experiment, training=training)
    state = build_state(experiment, model, batches)
    # Nothing is saved: these networks are thrown away.
    task = build_task(experiment, data, model, batches, lambda state: None, lambda: False)
    fit(state, task, [_watch(state.progress.total_steps, progress)])

    def predict(split: Split) -> np.ndarray:
        judged = build_loader(experiment, split, contract, shuffle=False)
        logits, _, _ = evaluate(build_predict(model, contract), judged.batches(0))
        return softmax(logits).astype(np.float32)

    return predict


def _watch(total: int, progress: Callable[[int, int], None]) -> Observer:
    def observe(report: StepReport | ValidationReport) -> None:
        progress(report.step, total)

    return observe
