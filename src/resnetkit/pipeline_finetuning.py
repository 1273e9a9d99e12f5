"""Fine-tuning on one page: from somebody's weights to a model package for one's own classes.

`finetune` loads what to start from, decides what was left open, shows the plan and carries it out
phase by phase. The input contract is that of the weights, with the classes of the data.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from resnetkit.build import build_loader, refuse_choice_without_validation, settle_choices
from resnetkit.config import from_yaml, to_dict, to_yaml
from resnetkit.continuing import Continuation, compare_old_classes, continue_classes
from resnetkit.data.dataset import TrainingData, load_training_data
from resnetkit.data.loader import Loader
from resnetkit.data.past import distinct_sources
from resnetkit.data.replay import inherit_seen
from resnetkit.data.seen import Seen
from resnetkit.data.shots import with_shots_seed
from resnetkit.decisions import (
    build_network,
    decide,
    make_plan,
    network_name,
    with_plain_execution,
)
from resnetkit.evaluation.class_changes import ClassChanges
from resnetkit.experiment import CONFIG_FILE, Experiment, load_finetuning, recorded_past
from resnetkit.export.package import ModelPackage, load_package
from resnetkit.export.starting import load_starting_package, load_starting_seen
from resnetkit.finetuning.plan import Plan
from resnetkit.finetuning.rate_test import (
    RateTest,
    RateTestConfig,
    plot_rate_test,
    refuse_other_than_png,
    run_rate_test,
)
from resnetkit.models.zoo import Network
from resnetkit.narration_finetuning import announce_finetuning, describe_start
from resnetkit.phase_features import refuse_uncacheable
from resnetkit.phases import (
    FinetuningRun,
    open_phase,
    phase_task,
    refuse_other_start,
    run_phase,
    run_phases,
)
from resnetkit.pipeline import TrainingResult, keep_result, settle
from resnetkit.runtime import reuse_freed_memory, write_file_atomically
from resnetkit.training.checkpoint import newest_step
from resnetkit.training.observers import ProgressBar, ReadingBar, write_metrics, write_tensorboard
from resnetkit.training.state import Progress, TrainingState
from resnetkit.training.stop import StopRequest
from resnetkit.types import UserError

PLAN_FILE, CHANGES_FILE = "plan.yaml", "class_changes.json"
PARENT_LICENCE = "Licence of the weights it began with"  # heading in the model card


def finetune(
    source: str,
    out: Path,
    *,
    weights: str = "shipped",
    settings: Mapping[str, Any] | None = None,
    resume: bool = False,
    console: Console | None = None,
) -> TrainingResult:
    """Fine-tune `weights` on the images of `source`; leaves a run folder with its package in `out`.

    `settings` are those of an `Experiment` by dotted name ("training.epochs": 5); what they leave
    open, a rule decides from the number, size and classes of the images. Raises UserError for bad
    data, weights or settings (nothing is written then), and what `train` raises.
    """
    console = console or Console(stderr=True, quiet=True)
    given = {**(settings or {}), "data.source": source, "finetuning.weights": weights}
    run, package, continuation = prepare(given, out, resume, console)
    state = run_plan(run)
    origin = describe_origin(package, run.plan, continuation)
    result = keep_result(run.experiment, run.data, state, out, origin)
    changes = keep_changes(run.experiment, continuation, package, result, out)
    return replace(result, changes=changes)


def prepare(
    given: Mapping[str, Any], out: Path, resume: bool, console: Console
) -> tuple[FinetuningRun, ModelPackage, Continuation | None]:
    """All that is decided before the first step, said on the console; nothing is written yet."""
    reuse_freed_memory()
    weights = str(given["finetuning.weights"])
    saved = load_finetuning(out, given, resume)
    package = load_starting_package(weights)
    with ReadingBar(console) as bar:
        experiment, reasons = (saved, ()) if saved else decide(package, given, bar)
        data, continuation = load_data(experiment, package, load_starting_seen(weights), bar)
    experiment = settle_choices(experiment, data)
    refuse_choice_without_validation(experiment, data)
    model = build_network(package, experiment, data, continuation)
    batches = build_loader(experiment, data.train, data.contract, shuffle=True)
    if saved is None:
        experiment = settle_length(experiment, data, model, batches, console)
    plan = load_plan(out, model) or make_plan(model, experiment, batches.steps_per_epoch)
    if saved is None:
        refuse_uncacheable(experiment, plan, data, model)
    heading = describe_start(package, continuation, reasons)
    announce_finetuning(console, experiment, data, model, heading, plan)
    run = FinetuningRun(
        experiment=experiment,
        data=data,
        model=model,
        plan=plan,
        start={name: value.detach().clone() for name, value in model.state_dict().items()},
        out=out,
        console=console,
    )
    return run, package, continuation


def find_rate(
    source: str,
    plot: Path,
    *,
    weights: str = "shipped",
    settings: Mapping[str, Any] | None = None,
    console: Console | None = None,
) -> RateTest:
    """Suggest a learning rate by raising it until the loss diverges; `plot` (.png) shows how.

    It tests the first phase that trains by steps, as `finetune` with the same settings would begin
    it; nothing else is kept. Raises UserError where no phase does, and as `finetune` does.
    """
    console = console or Console(stderr=True, quiet=True)
    given = {**(settings or {}), "data.source": source, "finetuning.weights": weights}
    refuse_other_than_png(plot)
    with tempfile.TemporaryDirectory(prefix="resnetkit-rate-test-") as folder:
        run, _, _ = prepare(given, Path(folder), False, console)
        numbers = [n for n, phase in enumerate(run.plan.phases) if phase.solver == "gradient"]
        if not numbers:
            raise UserError(
                f"a rate test needs a phase that trains by steps, and strategy {run.plan.strategy} "
                "solves for the head by L-BFGS: choose another --strategy, or finetuning.probe sgd"
            )
        for number in range(numbers[0]):
            run_phase(run, number, Progress(total_steps=0))
        batches, state = open_phase(run, numbers[0])
        with phase_task(run, numbers[0], batches, lambda state: None) as (task, _):
            result = run_rate_test(lambda: (state, task), RateTestConfig())
    plot_rate_test(result, plot)
    return result


def load_data(
    experiment: Experiment, package: ModelPackage, seen: Seen | None, bar: ReadingBar
) -> tuple[TrainingData, Continuation | None]:
    """The images as the network of `package` takes them; with its classes where it learns on."""
    config, contract = experiment.finetuning, package.contract
    assert config is not None
    asked = with_shots_seed(experiment.data, experiment.training.seed)
    data = load_training_data(asked, contract.crop[0], bar, contract)
    if config.classes == "fresh":
        if data.seen is not None and seen is not None:
            data = replace(data, seen=inherit_seen(data.seen, seen))
        return data, None
    return continue_classes(experiment, package, seen, data, bar)


def settle_length(
    experiment: Experiment, data: TrainingData, model: Network, batches: Loader, console: Console
) -> Experiment:
    """Decide by measurement what is left open, where anything is trained by steps."""
    if make_plan(model, experiment, batches.steps_per_epoch).epochs:
        return settle(experiment, data, model, batches, console)
    return with_plain_execution(experiment)


def load_plan(out: Path, model: Network) -> Plan | None:
    """The plan of the run in `out`: it is followed even by a version that would plan otherwise.

    Raises UserError when it is of a network with other parts than `model`.
    """
    path = out / PLAN_FILE
    if not path.exists():
        return None
    plan = from_yaml(Plan, path.read_text(encoding="utf-8"), str(path))
    planned, parts = [part.name for part in plan.phases[0].parts], list(model.parts())
    if planned != parts:
        raise UserError(
            f"{path}: this plan is for a network of {', '.join(planned)}, and the weights are of "
            f"one of {', '.join(parts)}: resume with the weights the run began with"
        )
    return plan


def run_plan(run: FinetuningRun) -> TrainingState:
    """Carry the plan out, from where the run folder is."""
    out, every = run.out, run.experiment.training.log_every_steps
    refuse_other_start(run)
    # The plan follows from the settings: a run killed between the two can be resumed.
    write_file_atomically(out / CONFIG_FILE, to_yaml(run.experiment))
    write_file_atomically(out / PLAN_FILE, to_yaml(run.plan))
    first = sum(newest_step(folder) for folder in (out / "checkpoints").glob("*"))
    with (
        StopRequest() as stop,
        ProgressBar(run.console, count_planned_steps(run), first) as bar,
        write_tensorboard(out / "tensorboard", every, first) as board,
    ):
        observers = [write_metrics(out / "metrics.jsonl", every), board, bar]
        return run_phases(replace(run, stop_requested=stop, observers=observers))


def count_planned_steps(run: FinetuningRun) -> int:
    """Optimizer steps of all phases."""
    per_epoch = max(1, len(run.data.train) // run.experiment.data.batch_size)
    return sum(max(1, round(p.epochs * per_epoch)) for p in run.plan.phases if p.epochs)


def describe_origin(
    package: ModelPackage, plan: Plan, continuation: Continuation | None
) -> dict[str, Any]:
    """What a fine-tuned package says of the one it comes from, and of how it was trained.

    How earlier data were dealt lets it be judged on what neither it nor its parents trained on.
    """
    provenance = package.provenance
    earlier = recorded_past(provenance, package.contract, None, "the package").sources
    if continuation is not None and continuation.replayed is not None:
        earlier = (*earlier, continuation.replayed)
    parent = {
        "network": network_name(package),
        "recipe": provenance.get("recipe"),
        "data": provenance.get("data", {}).get("source"),
        "imported": provenance.get("imported"),
        "contract": package.contract.hash,
    }
    dealt = [to_dict(source) for source in distinct_sources(earlier)]
    origin = {"parent": parent, "earlier_data": dealt, "plan": to_dict(plan)}
    notes = provenance.get("notes", {})
    licence = notes.get(PARENT_LICENCE, notes.get("Licence"))
    return {**origin, "notes": {PARENT_LICENCE: licence}} if licence else origin


def keep_changes(
    experiment: Experiment,
    continuation: Continuation | None,
    before: ModelPackage,
    result: TrainingResult,
    out: Path,
) -> ClassChanges | None:
    """What the old classes lost or gained, where old images tell; written beside the package."""
    if continuation is None:
        return None
    changes = compare_old_classes(experiment, continuation, before, load_package(result.package))
    if changes is not None:
        figures = {"split": continuation.judged_split, **changes.as_dict()}
        write_file_atomically(out / CHANGES_FILE, json.dumps(figures, indent=1) + "\n")
    return changes
