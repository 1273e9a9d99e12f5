"""Experiment: the stage configurations composed into everything a training run depends on."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import tyro

from resnetkit.config import (
    apply_settings,
    flatten,
    from_dict,
    from_yaml,
    refuse_non_finite,
    to_dict,
)
from resnetkit.data.augment import AugmentConfig
from resnetkit.data.contract import InputContract
from resnetkit.data.past import DealtSource, Past
from resnetkit.data.seen import Seen
from resnetkit.data.settings import DataConfig
from resnetkit.data.sources import refuse_inside
from resnetkit.finetuning.settings import FinetuneConfig
from resnetkit.models.zoo import ModelConfig
from resnetkit.optim.optimizers import OptimizerConfig
from resnetkit.optim.schedules import ScheduleConfig
from resnetkit.training.config import TrainingConfig
from resnetkit.training.execution import ExecutionConfig
from resnetkit.types import UserError

CONFIG_FILE = "config.yaml"
# Settings that change neither weights nor figures may differ when a run is resumed.
# The source is known by its content: the same pictures may have moved, or be named otherwise.
# So is a pack, by the images it is made of and the settings it is made with.
FREE_ON_RESUME = {
    "data.source",
    "data.manifest",
    "data.pack",
    "data.workers",
    "training.checkpoint_seconds",
    # As well: known by the weights themselves, and by the images.
    "finetuning.weights",
    "finetuning.replay",
}
# Settings that training decides itself where they are left open (None or "auto").
DECIDED = {
    "data.image_size",
    "data.resize",
    "data.color_mode",
    "data.storage",
    "data.shots_seed",
    "training.loss",
    "execution.precision",
    "execution.memory_order",
    "execution.compile",
}


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """A complete experiment; a variant of one is `dataclasses.replace`."""

    recipe: tyro.conf.Suppress[str] = "custom"
    model: ModelConfig
    data: DataConfig = field(default_factory=DataConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    execution: ExecutionConfig = field(default_factory=ExecutionConfig)
    # None: trained from random weights, where these settings would have no effect.
    finetuning: Annotated[FinetuneConfig | None, tyro.conf.AvoidSubcommands] = None

    def __post_init__(self) -> None:
        refuse_non_finite(self)
        if self.data.batch_size % self.training.micro_batches:
            raise UserError(
                f"training.micro_batches must divide data.batch_size {self.data.batch_size}, "
                f"got {self.training.micro_batches}"
            )
        refuse_double_balance(self.data, self.training)
        refuse_idle_consistency(self.augment, self.training)


def refuse_double_balance(data: DataConfig, training: TrainingConfig) -> None:
    """UserError when sampling and loss would both make up for the same rarity of classes."""
    by_loss = {
        "class_weights": training.class_weights != "none" and training.class_weights,
        "logit_adjustment": training.logit_adjustment,
    }
    for name, value in by_loss.items():
        if data.sampling != "as-is" and value:
            raise UserError(
                f"data.sampling {data.sampling} and training.{name} {value} correct the same "
                "imbalance twice: choose one of them"
            )


def refuse_idle_consistency(augment: AugmentConfig, training: TrainingConfig) -> None:
    """UserError when there would be no views to compare, or none that are of one image."""
    if not training.jensen_shannon:
        return
    if augment.policy != "augmix":
        raise UserError(
            f"training.jensen_shannon {training.jensen_shannon:g} compares mixtures of AugMix, and "
            f"augment.policy is {augment.policy}: set augment.policy augmix, or leave it out"
        )
    for name in ("mixup_alpha", "cutmix_alpha"):
        if getattr(augment, name):
            raise UserError(
                f"training.jensen_shannon compares views of one image, and augment.{name} "
                f"{getattr(augment, name):g} mixes images with each other: choose one of them"
            )


@dataclass(frozen=True, kw_only=True)
class RunRequest:
    """Train a network from scratch and keep it as a model package."""

    out: Path
    """Folder for the run: config.yaml, metrics.jsonl, checkpoints, package, report.html."""
    resume: bool = False
    """Continue the run in --out, bit for bit."""
    experiment: Annotated[Experiment, tyro.conf.arg(name="")]


def recorded_experiment(provenance: Mapping[str, Any], where: str) -> Experiment:
    """What a package says it was trained by; with weights from elsewhere, the defaults.

    Those say how a source without splits is cut, and how many images are judged at a time.
    """
    if "experiment" in provenance:
        return from_dict(Experiment, provenance["experiment"], where)
    return Experiment(
        recipe=provenance.get("recipe", "custom"),
        model=ModelConfig(name=provenance.get("imported", {}).get("network", "custom")),
        data=DataConfig(storage="files"),
    )


def recorded_past(
    provenance: Mapping[str, Any], contract: InputContract, seen: Seen | None, where: str
) -> Past:
    """What a package with this provenance and contract keeps about its training images."""
    own: tuple[DealtSource, ...] = ()
    experiment = recorded_experiment(provenance, where)
    if "experiment" in provenance:
        data = provenance.get("data", {})
        cut, manifest = data.get("cut"), data.get("manifest")
        own = (DealtSource(config=experiment.data, cut=cut, manifest=manifest),)
    earlier = [from_dict(DealtSource, one, where) for one in provenance.get("earlier_data", ())]
    tuned = experiment.finetuning
    return Past(
        contract=contract,
        sources=(*own, *earlier),
        seen=seen,
        learned_on=tuned is not None and tuned.classes != "fresh",
    )


def load_run(out: Path, asked: Experiment, resume: bool) -> Experiment | None:
    """The resolved experiment of the run in `out`; None when a new run may start there.

    Raises UserError when `out` holds a run that was not asked for, or files that are not a run's,
    and when it lies in the source.
    """
    saved = find_run(out, asked.data.source, resume)
    if saved is None:
        return None
    if saved.finetuning is not None:
        raise UserError(
            f"--out {out}: this run fine-tunes weights; continue it with `resnetkit finetune`"
        )
    refuse_other_settings(saved, asked, out)
    return with_free_settings(saved, asked)


def load_finetuning(out: Path, given: Mapping[str, Any], resume: bool) -> Experiment | None:
    """As `load_run`, where only some settings were `given`, by dotted name: the rest is the run's.

    Raises UserError as `load_run` does.
    """
    for name in ("finetuning.weights", "finetuning.replay"):
        place = given.get(name)
        if place is not None and Path(place).expanduser().is_dir():
            refuse_inside(str(place), out)
    saved = find_run(out, str(given["data.source"]), resume)
    if saved is None:
        return None
    if saved.finetuning is None:
        raise UserError(
            f"--out {out}: this run trains from random weights; continue it with `resnetkit train`"
        )
    # What auto became is the run's own.
    settled = {"finetuning.strategy": "auto"}
    own = {name: value for name, value in given.items() if settled.get(name) != value}
    # First what was typed, as it was: with the run's other settings it may contradict itself.
    _refuse_others(saved, {k: list(v) if isinstance(v, tuple) else v for k, v in own.items()}, out)
    asked = apply_settings(saved, own, "resnetkit finetune")
    refuse_other_settings(saved, asked, out)
    return with_free_settings(saved, asked)


def find_run(out: Path, source: str, resume: bool) -> Experiment | None:
    """The resolved experiment of the run in `out` where it shall be continued; else None.

    Raises UserError as `load_run` does, but for other settings.
    """
    refuse_unwritable(out)
    refuse_inside(source, out)
    # Hidden files are nobody's, or the leftover of a run killed before its first file was whole.
    if not out.exists() or all(path.name.startswith(".") for path in out.iterdir()):
        return None
    config = out / CONFIG_FILE
    if not config.exists():
        raise UserError(f"--out {out}: this folder is not empty and holds no run; give another")
    if not resume:
        raise UserError(
            f"--out {out}: this folder holds a run already; "
            "continue it with --resume, or give another folder"
        )
    return from_yaml(Experiment, config.read_text(encoding="utf-8"), str(config))


def with_free_settings(saved: Experiment, asked: Experiment) -> Experiment:
    """`saved` with those settings of `asked` that may change while a run is resumed."""
    data = replace(
        saved.data,
        source=asked.data.source,
        manifest=asked.data.manifest,
        pack=asked.data.pack or saved.data.pack,
        workers=asked.data.workers,
    )
    seconds = asked.training.checkpoint_seconds
    training, finetuning = replace(saved.training, checkpoint_seconds=seconds), saved.finetuning
    if finetuning is not None and asked.finetuning is not None:
        same = asked.finetuning
        finetuning = replace(finetuning, weights=same.weights, replay=same.replay)
    return replace(saved, data=data, training=training, finetuning=finetuning)


def refuse_unwritable(out: Path) -> None:
    """UserError unless `out` is, or can become, a folder that may be written."""
    if out.exists() and not out.is_dir():
        raise UserError(f"--out {out}: this is a file; give a folder")
    nearest = next(path for path in (out, *out.absolute().parents) if path.exists())
    if not nearest.is_dir():
        raise UserError(f"--out {out}: {nearest} is a file; give a folder in another place")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise UserError(
            f"--out {out}: no permission to write in {nearest}; give another folder or change that"
        )


def refuse_other_settings(saved: Experiment, asked: Experiment, out: Path) -> None:
    """UserError unless `asked` could have become `saved`: what was left open then may be now."""
    _refuse_others(saved, flatten(to_dict(asked)), out)


def _refuse_others(saved: Experiment, now: Mapping[str, Any], out: Path) -> None:
    """As `refuse_other_settings`, for settings by dotted name."""
    was = flatten(to_dict(saved))
    different = [
        f"{key}: the run has {was[key]!r}, now asked {now[key]!r}"
        for key in was
        if key in now
        and now[key] != was[key]
        and key not in FREE_ON_RESUME
        and not (key in DECIDED and now[key] in (None, "auto"))
    ]
    if saved.training.time_budget_minutes is not None:  # its length was shortened to fit
        length = ("training.epochs:", "training.steps:")
        different = [line for line in different if not line.startswith(length)]
    if different:
        listed = "\n  ".join(different)
        raise UserError(
            f"--out {out}: cannot resume with other settings:\n  {listed}\n"
            "Give the same settings, or another --out for a new run"
        )
