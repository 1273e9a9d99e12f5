"""What a fine-tuning says before its first step: where it starts, why so, and the plan."""

from __future__ import annotations

import copy
from collections.abc import Sequence

from rich.console import Console

from resnetkit.continuing import Continuation
from resnetkit.data.dataset import TrainingData
from resnetkit.experiment import Experiment
from resnetkit.export.package import ModelPackage
from resnetkit.finetuning.adapters import insert_adapters
from resnetkit.finetuning.plan import Plan
from resnetkit.finetuning.plan_table import plan_rows, plan_table
from resnetkit.finetuning.settling import adapter_rank
from resnetkit.models.zoo import Network
from resnetkit.narration import describe_common, say


def announce_finetuning(
    console: Console,
    experiment: Experiment,
    data: TrainingData,
    model: Network,
    heading: Sequence[str],
    plan: Plan,
) -> None:
    """Say what the run will do before it does it; `heading` comes first."""
    rows = plan_rows(
        _with_adapters(model, plan, experiment), plan, experiment.optimizer.learning_rate
    )
    say(
        console,
        [
            *heading,
            *describe_common(experiment, data, model),
            f"Plan     {plan.strategy}",
            *(f"  {line}" for line in plan_table(rows)),
        ],
    )


def _with_adapters(model: Network, plan: Plan, experiment: Experiment) -> Network:
    """The network as the plan trains it, for its parameters to be counted."""
    assert experiment.finetuning is not None
    if not any(part.trains == "adapters" for phase in plan.phases for part in phase.parts):
        return model
    adapted = copy.deepcopy(model)
    insert_adapters(adapted, adapter_rank(experiment.finetuning), seed=0)
    return adapted


def describe_start(
    package: ModelPackage, continuation: Continuation | None, reasons: Sequence[str]
) -> list[str]:
    """Where the weights come from, what becomes of their head, and why the rest was chosen."""
    provenance = package.provenance
    imported = provenance.get("imported", {})
    origin = imported.get("origin") or provenance.get("data", {}).get("source", "an unknown source")
    lines = [f"Weights  trained on {origin}, at {package.contract.crop[0]} pixels"]
    old = package.contract.num_classes
    if continuation is None:
        lines.append(f"Head     new: the one for {old:,} classes is replaced")
    elif continuation.classes.new_names:
        names = ", ".join(continuation.classes.new_names[:5])
        lines.append(
            f"Head     kept for {old:,} classes, {len(continuation.classes.new_names):,} added "
            f"({names}{', …' if continuation.classes.new_names[5:] else ''})"
        )
    else:
        lines.append(f"Head     kept: it goes on learning its {old:,} classes")
    if continuation is not None and continuation.told:
        lines.append(f"Replay   {continuation.told}")
    return lines + [f"Rule     {reason}" for reason in reasons]
