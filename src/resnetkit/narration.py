"""What the user is told: the opening lines of a run, and what its report and package say of it."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from rich.console import Console
from torch import nn

from resnetkit.config import to_dict
from resnetkit.data.balance import class_counts, expected_draws, image_weights
from resnetkit.data.checks.findings import Finding
from resnetkit.data.checks.kinds import KINDS
from resnetkit.data.contract import InputContract
from resnetkit.data.dataset import TrainingData
from resnetkit.data.sources import Split
from resnetkit.evaluation.confidence import describe_confidence
from resnetkit.evaluation.evaluate import AnyMetrics
from resnetkit.evaluation.report_input import EvaluationReport
from resnetkit.experiment import Experiment
from resnetkit.export.package import ModelPackage
from resnetkit.jsonl import Record
from resnetkit.models.counting import count_parameters
from resnetkit.models.zoo import find_entry
from resnetkit.narration_samples import sample_predictions
from resnetkit.runtime import environment
from resnetkit.training.loss import class_weights
from resnetkit.training.plan import count_steps
from resnetkit.training.state import TrainingState

CLASSES_NAMED = 3  # at each end, where there are too many for one line
DECODED = {  # by data.storage
    "memory": "decoded once into memory",
    "files": "decoded by workers",
    "packed": "decoded before",
}


@dataclass(frozen=True, kw_only=True)
class Judged:
    """A split with the logits float32 [N,K] a network gave for it and the metrics from them."""

    split: Split
    logits: np.ndarray
    metrics: AnyMetrics


def announce(
    console: Console, experiment: Experiment, data: TrainingData, model: nn.Module, steps: int
) -> None:
    """Say what the run will do before it does it; `steps` are those of one epoch."""
    total = count_steps(experiment.training, steps)
    say(
        console,
        [
            f"Recipe   {experiment.recipe}: {experiment.model.name}, "
            f"{count_parameters(model):,} parameters ({find_entry(experiment.model.name).paper})",
            f"Training {total:,} steps of {experiment.data.batch_size} images "
            f"({total / steps:.4g} epochs), {experiment.optimizer.name}, "
            f"{experiment.schedule.name} from {experiment.optimizer.learning_rate:g}",
            *describe_common(experiment, data, model),
        ],
    )


def describe_common(experiment: Experiment, data: TrainingData, model: nn.Module) -> list[str]:
    """What a training says of its data, loss and machine, whatever it starts from."""
    contract, execution = data.contract, experiment.execution
    held_out = "none" if data.validation is None else f"{len(data.validation):,}"
    unseen = "" if data.test_images is None else f", {data.test_images:,} kept unseen for testing"
    compiled = ", compiled" if execution.compile == "yes" else ""
    lines = [
        f"Data     {experiment.data.source}: {contract.num_classes} classes, {len(data.train):,} "
        f"images to train, {held_out} to validate{unseen}",
        f"Input    {contract.color_mode} {contract.crop[0]}x{contract.crop[1]}, "
        f"{DECODED[experiment.data.storage]}",
        *([f"Pack     {data.pack}"] if data.pack else []),
        f"Loss     {describe_loss(experiment, contract)}",
        *(f"Balance  {line}" for line in describe_balance(experiment, data)),
        f"Machine  {next(model.parameters()).device}, {torch.get_num_threads()} threads, "
        f"{execution.precision}, {execution.memory_order}{compiled}",
        *(f"Note     {line}" for line in describe_findings(data)),
    ]
    if data.unchecked:
        lines.append(
            f"Checked  all but {data.unchecked:,} images, which are read when their turn comes; "
            "`resnetkit data check` reads them all"
        )
    if data.skipped:
        lines.append(f"Skipped  {len(data.skipped)} unreadable image(s):")
        lines += [f"  {message}" for message in data.skipped]
    return lines


def say(console: Console, lines: Sequence[str]) -> None:
    """Lines as they are, one below the other."""
    for line in lines:
        console.print(printable(line), highlight=False, markup=False, soft_wrap=True)


def printable(text: str) -> str:
    """`text` with what a terminal would obey, or cannot show, written as backslash codes."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def describe_findings(data: TrainingData) -> list[str]:
    """What the cheap part of the data gate found, a line for each kind."""
    kinds: dict[str, list[Finding]] = {}
    for finding in data.findings:
        kinds.setdefault(finding.kind, []).append(finding)
    lines = []
    for kind, found in kinds.items():
        first = found[0]
        where = ", ".join(first.names[:3])
        more = f" (and {len(found) - 1:,} more)" if len(found) > 1 else ""
        lines.append(f"{KINDS[kind].title}: {where or first.detail}{more}")
    if lines:
        lines.append(f"`resnetkit data check {data.config.source}` says more and looks deeper")
    return lines


def describe_loss(experiment: Experiment, contract: InputContract) -> str:
    """The loss and what it compares, in words."""
    config = experiment.training
    details = [f"gamma {config.focal_gamma:g}"] if config.loss == "focal" else []
    if config.label_smoothing:
        details.append(f"label smoothing {config.label_smoothing:g}")
    if config.jensen_shannon:
        details.append(f"Jensen-Shannon consistency {config.jensen_shannon:g}")
    task = "one class an image" if contract.task == "single-label" else "several classes an image"
    return ", ".join([f"{config.loss} for {task}", *details])


def describe_balance(experiment: Experiment, data: TrainingData) -> list[str]:
    """What the settings against imbalance make of the number of images of each class; or nothing.

    Sampling changes how many an epoch has; class weights, as how many they count in the loss; logit
    adjustment, as if of how many the network had learnt how frequent its classes are.
    """
    config, contract, labels = experiment.training, data.contract, data.train.labels
    sampling = experiment.data.sampling
    counts = class_counts(labels, contract.num_classes)
    weights = class_weights(config, contract.task, counts, len(labels))
    if sampling != "as-is":
        what = f"{sampling} sampling, images per epoch"
        drawn = image_weights(labels, contract.task, sampling)
        after = expected_draws(labels, drawn, contract.num_classes)
    elif weights is not None:
        what = f"class weights {config.class_weights}, images count as"
        after = counts * weights
    elif config.logit_adjustment:
        what = f"logit adjustment {config.logit_adjustment:g}, as if images were"
        shares = (counts / counts.sum()) ** (1 - config.logit_adjustment)
        after = counts.sum() * shares / shares.sum()
    else:
        return []
    return [f"{what}: {_changes(contract.class_names, counts, after)}"]


def _changes(names: Sequence[str], before: np.ndarray, after: np.ndarray) -> str:
    """`cat 900 → 300, dog 100 → 300`; of many classes the largest and the smallest."""
    order: list[int] = np.argsort(-before, kind="stable").tolist()
    parts = [f"{names[k]} {_number(before[k])} → {_number(after[k])}" for k in order]
    if len(parts) > 2 * CLASSES_NAMED:
        hidden = len(parts) - 2 * CLASSES_NAMED
        parts[CLASSES_NAMED:-CLASSES_NAMED] = [f"… {hidden} more"]
    return ", ".join(parts)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 or value == int(value) else f"{value:.1f}"


def describe_provenance(
    experiment: Experiment, data: TrainingData, state: TrainingState
) -> dict[str, Any]:
    """Where a package comes from: what it was trained on, how, and on which machine."""
    progress = state.progress
    kept_best = experiment.training.keep == "best" and data.validation is not None
    return {
        "recipe": experiment.recipe,
        "experiment": to_dict(experiment),
        "data": {
            "source": experiment.data.source,
            "digest": data.digest,
            "cut": data.cut,
            "manifest": data.manifest,
            "images": count_images(data),
            "skipped": list(data.skipped),
        },
        "steps": progress.step,
        "kept_step": progress.best_step if kept_best else progress.step,
        "finished_because": progress.finished_because,
        "seconds": round(progress.elapsed_seconds, 1),
        "environment": environment(),
    }


def count_images(data: TrainingData) -> dict[str, int]:
    """Images per split, as far as they have been counted."""
    counts = {"train": len(data.train)}
    if data.validation is not None:
        counts["validation"] = len(data.validation)
    if data.test_images is not None:
        counts["test"] = data.test_images
    return counts


def describe_run(
    package: ModelPackage, judged: Mapping[str, Judged], records: list[Record]
) -> EvaluationReport:
    """What the report of a run or an evaluation says."""
    provenance, contract = package.provenance, package.contract
    experiment, data = provenance.get("experiment", {}), provenance.get("data", {})
    imported = provenance.get("imported", {})  # weights from elsewhere have no experiment
    name = experiment["model"]["name"] if experiment else imported["network"]
    origin = data["source"] if data else imported["origin"]
    samples = [
        sample
        for one in judged.values()
        for sample in sample_predictions(one.split, one.logits, package)
    ]
    skipped = data.get("skipped", ())
    left_out = [f"Training left out {len(skipped)} unreadable image(s): {', '.join(skipped)}"]
    return EvaluationReport(
        title=f"{name} {'on' if data else 'from'} {origin}",
        recipe=provenance["recipe"],
        model=name,
        parameters=count_parameters(package.model),
        data=origin,
        class_names=contract.class_names,
        images=data.get("images", {}),
        command=shlex.join(["resnetkit", *sys.argv[1:]]),
        settings=experiment or {"imported": imported},
        environment=provenance["environment"],
        records=records,
        evaluations={name: judged[name].metrics for name in judged},
        samples=samples,
        notes=[*(left_out if skipped else []), describe_confidence(package.confidence)],
    )
