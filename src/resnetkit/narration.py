"""What the user is told: the opening lines of a run, and what its report and package say of it."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from rich.console import Console
from torch import Tensor, nn

from resnetkit.config import to_dict
from resnetkit.data.contract import InputContract, normalise
from resnetkit.data.dataset import TrainingData
from resnetkit.data.sources import Split
from resnetkit.data.transforms import decode_split
from resnetkit.evaluation.metrics import Metrics
from resnetkit.evaluation.report import ReportInput
from resnetkit.evaluation.samples import Sample, choose_samples, softmax
from resnetkit.experiment import Experiment
from resnetkit.jsonl import Record
from resnetkit.models.counting import count_parameters
from resnetkit.models.zoo import find_entry
from resnetkit.runtime import environment
from resnetkit.training.plan import count_steps
from resnetkit.training.state import TrainingState


@dataclass(frozen=True, kw_only=True)
class Judged:
    """A split with the logits float32 [N,K] a network gave for it and the metrics from them."""

    split: Split
    logits: np.ndarray
    metrics: Metrics


def announce(
    console: Console, experiment: Experiment, data: TrainingData, model: nn.Module, steps: int
) -> None:
    """Say what the run will do before it does it; `steps` are those of one epoch."""
    contract, execution = data.contract, experiment.execution
    held_out = "none" if data.validation is None else f"{len(data.validation):,}"
    unseen = "" if data.test_images is None else f", {data.test_images:,} kept unseen for testing"
    total = count_steps(experiment.training, steps)
    compiled = ", compiled" if execution.compile == "yes" else ""
    lines = [
        f"Recipe   {experiment.recipe}: {experiment.model.name}, "
        f"{count_parameters(model):,} parameters ({find_entry(experiment.model.name).paper})",
        f"Data     {experiment.data.source}: {contract.num_classes} classes, {len(data.train):,} "
        f"images to train, {held_out} to validate{unseen}",
        f"Input    {contract.color_mode} {contract.crop[0]}x{contract.crop[1]}, "
        f"decoded {'once into memory' if experiment.data.storage == 'memory' else 'by workers'}",
        f"Training {total:,} steps of {experiment.data.batch_size} images "
        f"({total / steps:.4g} epochs), {experiment.optimizer.name}, "
        f"{experiment.schedule.name} from {experiment.optimizer.learning_rate:g}",
        f"Machine  {next(model.parameters()).device}, {torch.get_num_threads()} threads, "
        f"{execution.precision}, {execution.memory_order}{compiled}",
    ]
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    if data.skipped:
        console.print(f"Skipped  {len(data.skipped)} unreadable image(s):", highlight=False)
        for message in data.skipped:
            console.print(f"  {message}", highlight=False, markup=False, soft_wrap=True)


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
    provenance: Mapping[str, Any],
    model: nn.Module,
    contract: InputContract,
    judged: Mapping[str, Judged],
    records: list[Record],
) -> ReportInput:
    """What the report of a run or an evaluation says."""
    experiment = provenance["experiment"]
    samples = [sample for name in judged for sample in _samples(judged[name], contract)]
    skipped = provenance["data"]["skipped"]
    return ReportInput(
        title=f"{experiment['model']['name']} on {provenance['data']['source']}",
        recipe=provenance["recipe"],
        model=experiment["model"]["name"],
        parameters=count_parameters(model),
        data=provenance["data"]["source"],
        class_names=contract.class_names,
        images=provenance["data"]["images"],
        command=shlex.join(["resnetkit", *sys.argv[1:]]),
        settings=experiment,
        environment=provenance["environment"],
        records=records,
        evaluations={name: judged[name].metrics for name in judged},
        samples=samples,
        notes=[f"{len(skipped)} unreadable image(s) were left out: {', '.join(skipped)}"]
        if skipped
        else [],
    )


def golden_images(split: Split, contract: InputContract, count: int = 8) -> Tensor:
    """A few images of `split`, spread evenly, as the network sees them: uint8 [n,C,H,W]."""
    chosen = np.unique(np.linspace(0, len(split) - 1, count).astype(np.int64))
    return torch.from_numpy(_contract_images(split, chosen, contract))


def reference_statistics(
    model: nn.Module, split: Split, contract: InputContract, count: int = 512
) -> dict[str, Tensor]:
    """What monitoring will compare with: class shares, channel and feature means and deviations."""
    chosen = np.unique(np.linspace(0, len(split) - 1, count).astype(np.int64))
    images = torch.from_numpy(_contract_images(split, chosen, contract))
    features = []
    with torch.inference_mode():
        device = next(model.parameters()).device
        for part in images.split(64):
            maps = model.forward_features(normalise(part.to(device), contract))  # pyright: ignore
            features.append(maps.mean(dim=(2, 3)).cpu())
    pooled = torch.cat(features)
    channels = images.float().mean(dim=(2, 3)) * contract.scale
    shares = torch.bincount(torch.from_numpy(split.labels), minlength=contract.num_classes)
    return {
        "class_share": shares.float() / len(split),
        "feature_mean": pooled.mean(dim=0),
        "feature_std": pooled.std(dim=0, unbiased=False),
        "channel_mean": channels.mean(dim=0),
        "channel_std": channels.std(dim=0, unbiased=False),
    }


def _samples(judged: Judged, contract: InputContract) -> list[Sample]:
    rows = choose_samples(judged.logits, judged.split.labels)
    images = _contract_images(judged.split, np.array(rows), contract)
    probabilities = softmax(judged.logits[rows])
    names = contract.class_names
    return [
        Sample(
            image=image,
            name=judged.split.names[row],
            true=names[judged.split.labels[row]],
            predicted=names[int(probability.argmax())],
            probability=float(probability.max()),
        )
        for row, image, probability in zip(rows, images, probabilities, strict=True)
    ]


def _contract_images(split: Split, rows: np.ndarray, contract: InputContract) -> np.ndarray:
    if split.images is not None:
        return split.images[rows]
    images, _ = decode_split(split, contract, indices=rows)
    return images
