"""The whole of resnetkit on one page: one short function per stage. Read this file first.

`train` goes from a source of images to a model package, `predict` labels pictures. How `evaluate`
judges a package on images it has never seen is a page of its own: `pipeline_evaluation`. What a
network must be shown is never guessed: it is the input contract, made while training and read from
the package ever after.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from torch import nn

from resnetkit.build import (
    build_loader,
    build_predict,
    build_preparation,
    build_state,
    build_task,
    identify,
    refuse_choice_without_validation,
    settle_choices,
)
from resnetkit.config import to_yaml
from resnetkit.data.contract import InputContract
from resnetkit.data.dataset import TrainingData, load_training_data
from resnetkit.data.loader import Loader
from resnetkit.data.shots import with_shots_seed
from resnetkit.data.sources import Split
from resnetkit.evaluation.class_changes import ClassChanges
from resnetkit.evaluation.confidence import confidence_of_training
from resnetkit.evaluation.evaluate import AnyMetrics, task_metrics
from resnetkit.evaluation.evaluate import evaluate as run_evaluation
from resnetkit.evaluation.report import write_report
from resnetkit.experiment import CONFIG_FILE, Experiment, load_run
from resnetkit.export.package import ModelPackage, golden_outputs, save_package
from resnetkit.export.reference import golden_images, reference_statistics
from resnetkit.jsonl import keep_records, load_records
from resnetkit.models.zoo import architecture_of, build_model, find_entry, resolve_model
from resnetkit.narration import Judged, announce, describe_provenance, describe_run
from resnetkit.runtime import pick_device, reuse_freed_memory, write_file_atomically
from resnetkit.serving.predictor import Failure, Prediction, load
from resnetkit.training.checkpoint import load_checkpoint, save_checkpoint
from resnetkit.training.execution import choose_execution, is_open
from resnetkit.training.observers import ProgressBar, ReadingBar, write_metrics, write_tensorboard
from resnetkit.training.plan import count_steps, fit_time_budget
from resnetkit.training.state import TrainingState
from resnetkit.training.stop import StopRequest
from resnetkit.training.trainer import fit


@dataclass(frozen=True, kw_only=True)
class TrainingResult:
    """Where a finished run left its package and report, and how its network was judged."""

    package: Path
    report: Path
    steps: int
    seconds: float
    finished_because: str
    validation: AnyMetrics | None
    changes: ClassChanges | None = None  # of a fine-tuning with old images: what their classes lost


def train(
    experiment: Experiment, out: Path, *, resume: bool = False, console: Console | None = None
) -> TrainingResult:
    """Train a network on `experiment.data.source`; leaves a run folder with its package in `out`.

    With `resume`, the run that was stopped or killed in `out` continues to the same bits. Raises
    UserError for bad data or settings (nothing is written then), CheckFailed when training diverges
    and Interrupted when asked to stop.
    """
    console = console or Console(stderr=True, quiet=True)
    reuse_freed_memory()
    saved = load_run(out, experiment, resume)
    experiment = saved or experiment
    own_size = find_entry(experiment.model.name).image_size
    with ReadingBar(console) as bar:
        asked = with_shots_seed(experiment.data, experiment.training.seed)
        data = load_training_data(asked, own_size, bar)
    experiment = settle_choices(experiment, data)
    refuse_choice_without_validation(experiment, data)
    model = build_network(experiment, data)
    batches = build_loader(experiment, data.train, data.contract, shuffle=True)
    if saved is None:
        experiment = settle(experiment, data, model, batches, console)
    announce(console, experiment, data, model, batches.steps_per_epoch)
    state = run_training(experiment, data, model, batches, out, console)
    return keep_result(experiment, data, state, out)


def predict(
    package_folder: Path, paths: Sequence[Path], *, device: str = "auto", batch_size: int = 64
) -> list[Prediction | Failure]:
    """Label image files, and all images in folders; what cannot be read comes back as a Failure."""
    return load(package_folder, device=device).predict_paths(paths, batch_size=batch_size)


def build_network(experiment: Experiment, data: TrainingData) -> nn.Module:
    """The network of `experiment` with fresh weights, sized for the data, on the device."""
    contract = data.contract
    architecture = resolve_model(experiment.model, contract.num_classes, contract.channels)
    model = build_model(architecture, experiment.training.seed)
    return model.to(pick_device(experiment.execution.device))


def settle(
    experiment: Experiment, data: TrainingData, model: nn.Module, batches: Loader, console: Console
) -> Experiment:
    """Decide by measurement what `experiment` leaves open: execution, and length under a budget."""
    config = experiment.training
    if not is_open(experiment.execution) and config.time_budget_minutes is None:
        return experiment
    prepare = build_preparation(experiment, data.contract, batches)
    images, targets = prepare(next(batches.batches(0)), 0)
    measured = choose_execution(
        model,
        experiment.execution,
        images,
        data.contract.num_classes,
        count_steps(config, batches.steps_per_epoch),
    )
    for row in measured:
        console.print(f"  measured {row.describe()}: {len(targets) / row.seconds:,.0f} images/s")
    best = measured[0]
    if config.time_budget_minutes is not None:
        config = fit_time_budget(config, best.seconds, batches.steps_per_epoch)
    return replace(experiment, execution=best.choice, training=config)


def run_training(
    experiment: Experiment,
    data: TrainingData,
    model: nn.Module,
    batches: Loader,
    out: Path,
    console: Console,
) -> TrainingState:
    """Train until done, from the newest checkpoint of the run folder where there is one."""
    state = build_state(experiment, model, batches)
    checkpoints, identity = out / "checkpoints", identify(experiment, data)
    if load_checkpoint(checkpoints, state, identity):
        console.print(f"Resuming at step {state.progress.step} of {state.progress.total_steps}.")
    write_file_atomically(out / CONFIG_FILE, to_yaml(experiment))
    step, every = state.progress.step, experiment.training.log_every_steps
    keep_records(out / "metrics.jsonl", lambda record: record["step"] <= step)
    with (
        StopRequest() as stop,
        ProgressBar(console, state.progress.total_steps, step) as bar,
        write_tensorboard(out / "tensorboard", every, step) as board,
    ):
        save = partial(save_checkpoint, checkpoints, identity=identity)
        task = build_task(experiment, data, model, batches, save, stop)
        fit(state, task, [write_metrics(out / "metrics.jsonl", every), board, bar])
    return state


def keep_result(
    experiment: Experiment,
    data: TrainingData,
    state: TrainingState,
    out: Path,
    origin: Mapping[str, Any] | None = None,
) -> TrainingResult:
    """Save the kept weights as a package, judged on the validation images, and the report.

    `origin` is what the package says besides of where it comes from.
    """
    model, contract = state.model, data.contract
    model.load_state_dict(state.best_weights)
    model.eval()
    judged, confidence = {}, None
    if data.validation is not None:
        batches = build_loader(experiment, data.validation, contract, shuffle=False)
        judged["validation"] = one = judge(model, data.validation, contract, batches)
        labels, source = data.validation.labels, experiment.data.source
        confidence = confidence_of_training(one.logits, labels, contract.task, source)
    package = ModelPackage(
        model=model,
        architecture=architecture_of(model),
        contract=contract,
        provenance={**describe_provenance(experiment, data, state), **(origin or {})},
        metrics={name: judged[name].metrics.headline() for name in judged},
        confidence=confidence,
    )
    save_package(
        out / "package",
        package,
        golden=golden_outputs(package, golden_images(data.validation or data.train, contract)),
        reference=reference_statistics(model, data.train, contract),
        seen=data.seen,
    )
    records = load_records(out / "metrics.jsonl")
    write_report(out / "report.html", describe_run(package, judged, records))
    return TrainingResult(
        package=out / "package",
        report=out / "report.html",
        steps=state.progress.step,
        seconds=state.progress.elapsed_seconds,
        finished_because=str(state.progress.finished_because),
        validation=judged["validation"].metrics if judged else None,
    )


def judge(model: nn.Module, split: Split, contract: InputContract, batches: Loader) -> Judged:
    """The logits a network gives for a split, and the metrics that follow."""
    logits, labels, _ = run_evaluation(build_predict(model, contract), batches.batches(0))
    metrics = task_metrics(logits, labels, contract.class_names, contract.task)
    return Judged(split=split, logits=logits, metrics=metrics)
