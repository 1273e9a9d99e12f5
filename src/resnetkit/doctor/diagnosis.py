"""The whole examination: every stage by itself, the loader by itself, then the training itself."""

from __future__ import annotations

import math
import os

import torch
from torch import nn

from resnetkit.build import build_loader, build_state, build_task
from resnetkit.data.dataset import Progress, TrainingData
from resnetkit.data.loader import Loader
from resnetkit.data.reading import Reading
from resnetkit.data.threads import available_cores
from resnetkit.doctor.learning import Bench, compare_steps, time_learning, time_training
from resnetkit.doctor.loading import time_loaders
from resnetkit.doctor.stages import time_files, time_pack
from resnetkit.doctor.verdict import (
    Diagnosis,
    LoaderTiming,
    Measured,
    Stage,
    advise,
    describe_verdict,
    find_bottleneck,
)
from resnetkit.experiment import Experiment
from resnetkit.optim.optimizers import match_memory_order
from resnetkit.training.plan import count_steps

ENDLESS_STEPS = 10**9  # of the schedule: its rate stays where it begins, whatever is timed


def diagnose(
    experiment: Experiment,
    data: TrainingData,
    model: nn.Module,
    *,
    seconds: float,
    progress: Progress,
) -> Diagnosis:
    """Time everything between the disk and the weights, about `seconds` for each measurement.

    `experiment` is settled: workers, execution and loss are decided. `model` is trained a little.
    """
    load = machine_load()  # before our own work counts
    batches = build_loader(experiment, data.train, data.contract, shuffle=True)
    loaders = time_loaders(experiment, data, seconds, progress)
    progress("timing the stages", 0, 1)
    stages = time_loading(experiment, data, loaders, seconds)
    bench = set_up(experiment, data, model, batches)
    stages += time_learning(bench, seconds)
    progress("timing the training", 0, 1)
    training, waiting = time_training(bench, batches, 2 * seconds)
    measured = Measured(
        stages=tuple(stages),
        loaders=tuple(loaders),
        training=training,
        waiting=waiting,
        alternatives=tuple(compare_steps(bench, data.contract.num_classes, seconds)),
    )
    bottleneck = find_bottleneck(measured)
    return Diagnosis(
        facts=tuple(state_facts(experiment, data, bench, load)),
        measured=measured,
        bottleneck=bottleneck,
        verdict=describe_verdict(measured, bottleneck),
        advice=advise(measured, bottleneck),
    )


def time_loading(
    experiment: Experiment, data: TrainingData, loaders: list[LoaderTiming], seconds: float
) -> list[Stage]:
    """The stages in the loader; of images in memory only that they are gathered into batches."""
    split = data.train
    reading = Reading(
        contract=data.contract,
        seed=experiment.training.seed,
        crop_scale=experiment.augment.resized_crop_scale,
    )
    if split.packed is not None:
        return time_pack(split.packed, reading, seconds)
    if split.encoded is not None:
        return time_files(split, reading, seconds)
    note = "the images were decoded into memory once, before training: nothing to read or decode"
    return [Stage(name="collate", timing=loaders[0].timing, note=note)]


def set_up(experiment: Experiment, data: TrainingData, model: nn.Module, batches: Loader) -> Bench:
    """A training that is ready to run, as `pipeline.train` makes it, and one batch for it."""
    state = build_state(experiment, model, batches)
    task = build_task(experiment, data, model, batches, lambda state: None, lambda: False)
    match_memory_order(state.optimizer)
    steps = count_steps(experiment.training, batches.steps_per_epoch)
    state.progress.total_steps = ENDLESS_STEPS
    return Bench(
        task=task,
        state=state,
        batch=next(batches.batches(0)),
        epoch=math.ceil(steps / batches.steps_per_epoch) - 1,  # early ones may have small images
        device=next(model.parameters()).device,
    )


def machine_load() -> float | None:
    """Processes that wanted a core during the last minute, on average; None on Windows."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else None


def state_facts(
    experiment: Experiment, data: TrainingData, bench: Bench, load: float | None
) -> list[str]:
    """What was measured, where, and what the figures leave out."""
    execution, contract = experiment.execution, data.contract
    compiled = ", compiled" if execution.compile == "yes" else ""
    kept = {"memory": "decoded in memory", "files": "decoded as they are needed"}
    storage = "in a pack" if data.train.packed is not None else kept[experiment.data.storage]
    facts = [
        f"Data     {experiment.data.source}: {len(data.train):,} images to train on, {storage}",
        f"Training {experiment.model.name}, {contract.color_mode} {contract.crop[0]}x"
        f"{contract.crop[1]}, batches of {experiment.data.batch_size}",
        f"Machine  {bench.device}, {torch.get_num_threads()} threads, {execution.precision}, "
        f"{execution.memory_order}{compiled}",
    ]
    cores = available_cores()
    if load is not None and load > cores:
        facts.append(
            f"Busy     this machine has {cores} cores and a load of {load:.1f}: other work is in "
            "these figures too; look again when it is done"
        )
    augment = experiment.augment
    if augment.early_size is not None:
        facts.append(
            f"Early    the first {augment.early_share:.0%} of the epochs, at {augment.early_size} "
            "pixels, have cheaper steps than those timed here and need more from the loader"
        )
    return facts
