"""The stages that look after the data, one short function each, in the style of pipeline.py."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from rich.console import Console

from resnetkit.build import build_loader, build_preparation, settle_choices
from resnetkit.data.checks.check import check_source
from resnetkit.data.checks.check_report import CheckReport
from resnetkit.data.checks.duplicates import find_groups
from resnetkit.data.contract import normalise
from resnetkit.data.dataset import TrainingData, load_training_data
from resnetkit.data.loader import Loader
from resnetkit.data.pack import DEFAULT_SIDE, PackReport, pack_source
from resnetkit.data.packed import Storage
from resnetkit.data.preview import (
    Exposure,
    Sheet,
    describe_augment,
    describe_contract,
    describe_label,
    rank_targets,
    render_sheet,
    to_pixels,
)
from resnetkit.data.shots import with_shots_seed
from resnetkit.data.sources import refuse_inside
from resnetkit.data.splitting import SplitPlan, SplitReport, split_source
from resnetkit.doctor.diagnosis import diagnose
from resnetkit.doctor.verdict import Diagnosis
from resnetkit.experiment import Experiment
from resnetkit.label_judges import LabelCheck, judge_labels, refuse_package
from resnetkit.models.zoo import find_entry
from resnetkit.pipeline import build_network, settle
from resnetkit.runtime import reuse_freed_memory, write_file_atomically
from resnetkit.training.observers import ReadingBar
from resnetkit.training.plan import count_steps
from resnetkit.types import UserError

MOST_PICTURES = 256


@dataclass(frozen=True, kw_only=True)
class Preview:
    """What a contact sheet shows: for each image its name and its targets (class name, share)."""

    path: Path
    epoch: int
    seen_size: tuple[int, int]
    contract_hash: str
    images: tuple[tuple[str, tuple[tuple[str, float], ...]], ...]


def check(
    source: str,
    out: Path | None = None,
    *,
    allow: Sequence[str] = (),
    labels: LabelCheck | None = None,
    console: Console | None = None,
) -> CheckReport:
    """Look at everything in `source`, changing nothing; leaves manifest, quarantine list and page.

    With `labels`, networks say which labels are likely wrong. The report's `passed` is the verdict;
    see `check_source` for what is an error.
    """
    console = console or Console(stderr=True, quiet=True)
    refuse_package(labels, source, console)
    with ReadingBar(console) as bar:
        judges = [] if labels is None else [lambda scan: judge_labels(scan, labels, bar, console)]
        return check_source(source, out, progress=bar, allow=allow, judges=judges)


def split(
    source: str,
    out: Path,
    plan: SplitPlan,
    *,
    manifest: Path | None = None,
    console: Console | None = None,
) -> SplitReport:
    """Deal the images of `source` to splits or folds, and keep that as the manifest `out`."""
    with ReadingBar(console or Console(stderr=True, quiet=True)) as bar:
        return split_source(
            source, out, plan, manifest=manifest, find_groups=find_groups, progress=bar
        )


def pack(
    source: str,
    out: Path | None = None,
    *,
    side: int = DEFAULT_SIDE,
    storage: Storage = "raw",
    color_mode: Literal["auto", "RGB", "L"] = "auto",
    console: Console | None = None,
) -> PackReport:
    """Decode every image of `source` once; training then takes it from there."""
    with ReadingBar(console or Console(stderr=True, quiet=True)) as bar:
        return pack_source(
            source, out, side=side, storage=storage, color_mode=color_mode, progress=bar
        )


def preview(
    experiment: Experiment,
    out: Path,
    *,
    epoch: int = 1,
    images: int = 16,
    console: Console | None = None,
) -> Preview:
    """Draw the first `images` of an epoch (counted from 1) as the network will see them: a PNG.

    They go the whole way of training, with its seed: source, contract, loader, augmentation on the
    device; below each is the same image as evaluation sees it. Raises UserError for bad data or
    settings, and for a file that would land among the source's own pictures.
    """
    refuse_drawing(experiment, out, images)
    data = read_training_data(experiment, console)
    # The pictures do not depend on the worker count, and a few are not worth starting processes.
    experiment = replace(experiment, data=replace(data.config, workers=0))
    exposures = expose(experiment, data, epoch, images)
    sheet = describe_sheet(experiment, data, epoch, exposures)
    write_file_atomically(out, render_sheet(exposures, sheet))
    return Preview(
        path=out,
        epoch=epoch,
        seen_size=exposures[0].seen.shape[1:],
        contract_hash=data.contract.hash,
        images=tuple((exposure.name, exposure.targets) for exposure in exposures),
    )


def read_training_data(experiment: Experiment, console: Console | None) -> TrainingData:
    """The images `experiment` would train on, as `pipeline.train` reads them."""
    with ReadingBar(console or Console(stderr=True, quiet=True)) as bar:
        config = with_shots_seed(experiment.data, experiment.training.seed)
        return load_training_data(config, find_entry(experiment.model.name).image_size, bar)


def refuse_drawing(experiment: Experiment, out: Path, images: int) -> None:
    """UserError unless a sheet of `images` pictures may be written to `out`."""
    if out.suffix.lower() != ".png" or out.is_dir():
        raise UserError(f"--out {out}: needed a file name that ends in .png; change it")
    if not 1 <= images <= MOST_PICTURES:
        raise UserError(f"--images must be between 1 and {MOST_PICTURES}, got {images}")
    refuse_inside(experiment.data.source, out)


def expose(experiment: Experiment, data: TrainingData, epoch: int, images: int) -> list[Exposure]:
    """The first `images` of `epoch` (from 1), as training and as evaluation see them."""
    contract, train = data.contract, data.train
    batches = build_loader(experiment, train, contract, shuffle=True)
    last = math.ceil(count_epochs(experiment, batches))
    if not 1 <= epoch <= last:
        raise UserError(f"--epoch must be between 1 and {last}, the last of this run; got {epoch}")
    prepare = build_preparation(experiment, contract, batches)
    seen: list[np.ndarray] = []  # [C,h,w] each
    targets: list[np.ndarray] = []  # [K] each
    indices: list[int] = []
    for batch in batches.batches(epoch - 1):
        inputs, wanted = prepare(batch, epoch - 1)
        views = len(inputs) // len(wanted)  # of several, the first is the one not mixed
        seen += [*to_pixels(inputs[views - 1 :: views], contract)]
        targets += [*wanted.cpu().numpy()]
        indices += (batch.indices % len(train)).tolist()
        if len(indices) >= images:
            break
    chosen = train.subset(indices[:images])
    judged = build_loader(experiment, chosen, contract, shuffle=False).batches(0)
    evaluated = [
        picture
        for batch in judged
        for picture in to_pixels(normalise(batch.images, contract), contract)
    ]
    mixing = bool(experiment.augment.mixup_alpha or experiment.augment.cutmix_alpha)
    return [
        Exposure(
            label=describe_label(chosen.labels[row], contract.class_names) if mixing else "",
            seen=seen[row],
            evaluated=evaluated[row],
            name=chosen.names[row],
            targets=rank_targets(targets[row], contract.class_names),
        )
        for row in range(len(chosen))
    ]


def count_epochs(experiment: Experiment, batches: Loader) -> float:
    """Passes over the training images that the run makes."""
    return count_steps(experiment.training, batches.steps_per_epoch) / batches.steps_per_epoch


def describe_sheet(
    experiment: Experiment, data: TrainingData, epoch: int, exposures: list[Exposure]
) -> Sheet:
    """What is written around the pictures."""
    height, width = exposures[0].seen.shape[1:]
    crop_height, crop_width = data.contract.crop
    training, augment = experiment.training, experiment.augment
    lines = [
        f"Input {describe_contract(data.contract)}.",
        f"Augmentation: {describe_augment(augment)}. Batches of {experiment.data.batch_size}, seed "
        f"{training.seed}. Contract hash {data.contract.hash[:12]}.",
    ]
    if training.label_smoothing:
        lines.append(
            f"The targets are shown before label smoothing of {training.label_smoothing:g}, "
            "which is part of the loss."
        )
    return Sheet(
        title=f"{experiment.data.source}: epoch {epoch}, recipe {experiment.recipe}",
        seen=f"training\n{width} × {height}",
        evaluated=f"evaluation\n{crop_width} × {crop_height}",
        caption=tuple(lines),
    )


def doctor(
    experiment: Experiment, *, seconds: float = 2.0, console: Console | None = None
) -> Diagnosis:
    """Time the stages of a training on its real data and say where the time goes.

    `seconds` is spent on each measurement. Raises UserError for bad data or settings.
    """
    console = console or Console(stderr=True, quiet=True)
    if not 0.05 <= seconds <= 600:
        raise UserError(f"--seconds must be between 0.05 and 600, got {seconds:g}")
    reuse_freed_memory()
    data = read_training_data(experiment, console)
    experiment = settle_choices(experiment, data)
    model = build_network(experiment, data)
    batches = build_loader(experiment, data.train, data.contract, shuffle=True)
    experiment = settle(experiment, data, model, batches, console)
    with ReadingBar(console) as bar:
        return diagnose(experiment, data, model, seconds=seconds, progress=bar)
