"""A fine-tuning plan carried out: each phase is a `fit` of its own, from where the last one ended.

A phase has its own optimizer, schedule and checkpoints, so that resuming restores it exactly and
what it froze stays frozen. Steps, epochs and seconds are counted on from phase to phase. What lies
below the lowest part that trains is computed once where that saves time, see `phase_features`.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

from rich.console import Console
from torch import Tensor

from resnetkit.build import build_loader, build_state, build_task, identify
from resnetkit.data.dataset import TrainingData
from resnetkit.data.loader import Loader
from resnetkit.experiment import Experiment
from resnetkit.finetuning.adapters import AdaptedConvolution, insert_adapters, merge_adapters
from resnetkit.finetuning.features import digest_tensors
from resnetkit.finetuning.penalties import build_penalty, held_parameters
from resnetkit.finetuning.plan import (
    Phase,
    Plan,
    apply_phase,
    rate_factors,
    set_training_modes,
)
from resnetkit.finetuning.settings import FinetuneConfig
from resnetkit.finetuning.settling import adapter_rank
from resnetkit.jsonl import keep_records
from resnetkit.models.zoo import Network
from resnetkit.phase_features import (
    PhaseFeatures,
    PhasePlace,
    feature_task,
    find_features,
    solve_head,
)
from resnetkit.training.checkpoint import load_checkpoint, refuse_other_run, save_checkpoint
from resnetkit.training.state import Progress, TrainingState
from resnetkit.training.trainer import (
    Observer,
    StepReport,
    TrainingTask,
    ValidationReport,
    fit,
)
from resnetkit.types import Interrupted

SEED_STRIDE = 7919  # between the seeds of phases: each deals and augments the images anew


@dataclass(frozen=True, kw_only=True)
class FinetuningRun:
    """What all phases of a fine-tuning share."""

    experiment: Experiment
    data: TrainingData
    model: Network
    plan: Plan
    start: dict[str, Tensor]  # the weights it starts from, with the new head
    out: Path
    console: Console
    stop_requested: Callable[[], bool] = lambda: False
    observers: Sequence[Observer] = ()

    @property
    def config(self) -> FinetuneConfig:
        """The fine-tuning settings."""
        assert self.experiment.finetuning is not None
        return self.experiment.finetuning

    @cached_property
    def identity(self) -> dict[str, object]:
        """What checkpoints must have in common besides the settings: these weights."""
        return {"starting weights": digest_tensors(sorted(self.start.items()))}


def refuse_other_start(run: FinetuningRun) -> None:
    """UserError when the run folder holds phases of other settings, data or starting weights."""
    for number in range(len(run.plan.phases)):
        refuse_other_run(phase_place(run, number).folder, phase_identity(run, number))


def run_phases(run: FinetuningRun) -> TrainingState:
    """Every phase in order; what is left counts all steps and holds the weights to keep.

    Those are the last, or with `training.keep` best the best of all phases by validation. Raises as
    `fit` does.
    """
    done, budget = Progress(total_steps=0), run.experiment.training.time_budget_minutes
    kept: TrainingState | None = None
    for number in range(len(run.plan.phases)):
        state = run_phase(run, number, done)
        state.best_weights = _plain_weights(run, state)
        run.model.load_state_dict(state.best_weights)
        steps_before, done = done.step, _sum(done, state.progress)
        state.progress.best_step += steps_before
        if kept is None or run.experiment.training.keep == "last" or _better(state, kept):
            kept = state
        last = number + 1 == len(run.plan.phases)
        if budget is not None and done.elapsed_seconds > 60 * budget and not last:
            done.finished_because = f"time budget of {budget:g} minutes spent"
            break
    assert kept is not None
    best = {name: getattr(kept.progress, name) for name in ("best_score", "best_loss", "best_step")}
    return replace(kept, model=run.model, progress=replace(done, **best))


def run_phase(run: FinetuningRun, number: int, done: Progress) -> TrainingState:
    """One phase from its newest checkpoint, or from the network as it is; `done` was before it."""
    phase = run.plan.phases[number]
    batches, state = open_phase(run, number)
    state.progress.elapsed_seconds = done.elapsed_seconds
    folder, identity = phase_place(run, number).folder, phase_identity(run, number)
    found = load_checkpoint(folder, state, identity)
    if state.progress.finished_because is not None:
        return state
    _drop_records(run, done.step, state.progress.step if found else None)
    if found:
        step, of = state.progress.step, state.progress.total_steps
        run.console.print(f"Resuming phase {phase.name} at step {step} of {of}.")
    save = partial(save_checkpoint, folder, identity=identity)
    observers = [_counting_on(observe, run, number, done) for observe in run.observers]
    start = time.monotonic()
    with phase_task(run, number, batches, save) as (task, features):
        state.progress.elapsed_seconds += time.monotonic() - start  # storing features counts
        if phase.solver == "gradient":
            _fit(phase, state, task, observers)
        else:
            assert features is not None
            _solve(run, number, state, task, features, observers)
    return state


def phase_place(run: FinetuningRun, number: int) -> PhasePlace:
    """Where a phase keeps its checkpoints, and how it is told to stop."""
    name = f"{number + 1}-{run.plan.phases[number].name}"
    return PhasePlace(
        folder=run.out / "checkpoints" / name,
        console=run.console,
        stop_requested=run.stop_requested,
    )


def phase_identity(run: FinetuningRun, number: int) -> dict[str, object]:
    """What the checkpoints of a phase must have in common with the run that continues it."""
    own = identify(_experiment_of(run, number), run.data)
    return {**own, **run.identity, "phase": run.plan.phases[number].name}


def open_phase(run: FinetuningRun, number: int) -> tuple[Loader, TrainingState]:
    """The batches of a phase and the state it starts from; what it freezes is frozen then."""
    phase, model, experiment = run.plan.phases[number], run.model, _experiment_of(run, number)
    if any(part.trains == "adapters" for part in phase.parts):
        insert_adapters(model, adapter_rank(run.config), experiment.training.seed)
    apply_phase(model, phase)
    batches = build_loader(experiment, run.data.train, run.data.contract, shuffle=True)
    state = build_state(
        experiment,
        model,
        batches,
        rate_of=rate_factors(model, phase),
        undecayed=held_parameters(model, run.config, phase),
    )
    return batches, state


@contextmanager
def phase_task(
    run: FinetuningRun, number: int, batches: Loader, save: Callable[[TrainingState], object]
) -> Iterator[tuple[TrainingTask, PhaseFeatures | None]]:
    """What `fit` needs for an opened phase, on features where that saves time; those as well."""
    phase, model, experiment = run.plan.phases[number], run.model, _experiment_of(run, number)
    features = find_features(experiment, run.data, model, phase, phase_place(run, number))
    task = build_task(experiment, run.data, model, batches, save, run.stop_requested)
    if features is not None:
        task = feature_task(task, experiment, run.data, model, features)
    penalty = build_penalty(model, run.config, run.start, phase)
    modes = partial(set_training_modes, model, phase)
    try:
        yield replace(task, enter_training=modes, penalty=penalty), features
    finally:
        if penalty is not None:
            penalty.close()


def _fit(
    phase: Phase, state: TrainingState, task: TrainingTask, observers: Sequence[Observer]
) -> None:
    try:
        fit(state, task, observers)
    except Interrupted as error:
        raise Interrupted(f"phase {phase.name} {error}") from None


def _solve(
    run: FinetuningRun,
    number: int,
    state: TrainingState,
    task: TrainingTask,
    features: PhaseFeatures,
    observers: Sequence[Observer],
) -> None:
    """Find the best head in one go; it counts as no step."""
    start = time.monotonic()
    place = phase_place(run, number)
    probe, train_loss = solve_head(run.experiment, run.data, run.model, features, place)
    run.console.print(
        f"Probe    solved in {probe.seconds:.1f} s, regularisation {probe.regularisation:g}: "
        f"{probe.reason}",
        highlight=False,
        soft_wrap=True,
    )
    progress = state.progress
    progress.total_steps = 0
    progress.finished_because = "the head is solved for"
    state.best_weights = {
        name: value.detach().clone() for name, value in run.model.state_dict().items()
    }
    if task.validate is not None:
        progress.best_loss, progress.best_score = task.validate(state.best_weights)
    progress.elapsed_seconds += time.monotonic() - start
    task.save(state)
    if task.validate is not None:
        for observe in observers:
            observe(_probe_report(state, task, train_loss))


def _probe_report(state: TrainingState, task: TrainingTask, train_loss: float) -> ValidationReport:
    progress = state.progress
    return ValidationReport(
        epoch=-1,  # before the first
        step=0,
        train_loss=train_loss,
        loss=progress.best_loss,
        score_name=task.score_name,
        score=progress.best_score,
        learning_rate=0.0,
        improved=True,
        seconds=progress.elapsed_seconds,
    )


def _experiment_of(run: FinetuningRun, number: int) -> Experiment:
    """The experiment of a phase: its length, and a seed of its own."""
    phase, training = run.plan.phases[number], run.experiment.training
    seed = (training.seed + number * SEED_STRIDE) % 2**63
    # L-BFGS takes no epochs; what is built for it takes no step.
    training = replace(training, seed=seed, epochs=phase.epochs or 1.0, steps=None)
    return replace(run.experiment, training=training)


def _counting_on(observe: Observer, run: FinetuningRun, number: int, done: Progress) -> Observer:
    """`observe` told of steps and epochs of the whole run."""
    epochs = math.ceil(sum(phase.epochs for phase in run.plan.phases[:number]))

    def shifted(report: StepReport | ValidationReport) -> None:
        observe(replace(report, step=report.step + done.step, epoch=report.epoch + epochs))

    return shifted


def _drop_records(run: FinetuningRun, before: int, step: int | None) -> None:
    """Forget lines of metrics.jsonl that this phase will write again."""
    last = before if step is None else before + step
    keep_records(run.out / "metrics.jsonl", lambda record: record["step"] <= last)


def _plain_weights(run: FinetuningRun, state: TrainingState) -> dict[str, Tensor]:
    """The weights the phase leaves, for the network without adapters."""
    if not any(isinstance(module, AdaptedConvolution) for module in run.model.modules()):
        return state.best_weights
    run.model.load_state_dict(state.best_weights)
    merge_adapters(run.model)
    return copy.deepcopy(run.model.state_dict())


def _sum(done: Progress, more: Progress) -> Progress:
    """What has been done after one more phase."""
    return replace(
        more, step=done.step + more.step, total_steps=done.total_steps + more.total_steps
    )


def _better(state: TrainingState, other: TrainingState) -> bool:
    """Whether validation prefers what `state` kept."""
    one, two = state.progress, other.progress
    return (one.best_score, -one.best_loss) > (two.best_score, -two.best_loss)
