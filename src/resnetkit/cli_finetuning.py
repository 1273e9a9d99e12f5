"""`resnetkit finetune`: from somebody's weights to a package for one's own classes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from resnetkit.config import flatten, setting_names, to_dict
from resnetkit.evaluation.class_changes import ClassChanges, describe_changes, table_rows
from resnetkit.experiment import Experiment
from resnetkit.terminal import STDERR, parse, show
from resnetkit.types import UserError

Result = dict[str, Any]

WIDTH = 160  # characters of the table of changes where it goes into a file
# Short names of the settings that most people need.
SHORT = {
    "data": "data.source",
    "weights": "finetuning.weights",
    "strategy": "finetuning.strategy",
    "classes": "finetuning.classes",
    "replay": "finetuning.replay",
    "replay_per_class": "finetuning.replay_per_class",
    "shots": "data.shots",
    "time_budget_minutes": "training.time_budget_minutes",
}


@dataclass(frozen=True, kw_only=True)
class FinetuneRequest:
    """Fine-tune weights on one's own images and keep the network as a model package.

    What is left out, a rule decides from the number, size and classes of the images.
    """

    out: Path | None = None
    """Folder for the run: config.yaml, plan.yaml, metrics.jsonl, checkpoints, package, report."""
    resume: bool = False
    """Continue the run in --out, bit for bit."""
    rate_test: Path | None = None
    """Only look for a learning rate: raise it until the loss diverges, write the plot (.png)."""
    experiment: Annotated[Experiment, tyro.conf.arg(name="")]


def run_finetune(arguments: list[str], as_json: bool) -> Result:
    """Parse what was asked, fine-tune, say where the results are and what old classes lost."""
    from resnetkit.decisions import finetuning_defaults
    from resnetkit.pipeline_finetuning import finetune

    arguments = [write_out(argument) for argument in arguments]
    default = FinetuneRequest(experiment=finetuning_defaults())
    asked = parse(FinetuneRequest, "finetune", arguments, default, flag_pairs=True)
    if not asked.experiment.data.source:
        raise UserError("finetune: needs --data SOURCE, for instance a folder of pictures")
    settings = typed_settings(arguments, asked.experiment)
    source, weights = settings.pop("data.source"), settings.pop("finetuning.weights", "shipped")
    if asked.rate_test is not None:
        return run_rate_test(asked, source, weights, settings, as_json)
    if asked.out is None:
        raise UserError("finetune: needs --out RUN, a folder for the results")
    result = finetune(
        source,
        asked.out,
        weights=weights,
        settings=settings,
        resume=asked.resume,
        console=STDERR,
    )
    lines = [f"{result.steps:,} steps in {result.seconds:.0f} s: {result.finished_because}"]
    if result.validation is not None:
        lines.append(f"Validation {result.validation.describe()}")
    if settings.get("finetuning.classes", "fresh") != "fresh":
        lines.append(describe_changes(result.changes))
        if result.changes is not None and not as_json:
            print_changes(result.changes)
    show([*lines, f"Package  {result.package}", f"Report   {result.report}"], as_json)
    return {
        "package": str(result.package),
        "report": str(result.report),
        "steps": result.steps,
        "seconds": result.seconds,
        "finished_because": result.finished_because,
        "validation": None if result.validation is None else result.validation.headline(),
        "changes": None if result.changes is None else result.changes.as_dict(),
    }


def run_rate_test(
    asked: FinetuneRequest, source: str, weights: str, settings: dict[str, Any], as_json: bool
) -> Result:
    """Find a learning rate and say which, and how to use it."""
    from resnetkit.pipeline_finetuning import find_rate

    assert asked.rate_test is not None
    if asked.out is not None or asked.resume:
        raise UserError(
            "finetune: --rate-test trains nothing to keep: leave out --out and --resume"
        )
    result = find_rate(source, asked.rate_test, weights=weights, settings=settings, console=STDERR)
    lines = ["No rate to suggest: the loss never fell clearly"]
    if result.suggested is not None:
        rate = f"{result.suggested:.2g}"
        lines = [f"Suggested rate {rate} ({result.rule}): --optimizer.learning_rate {rate}"]
    show([*lines, f"Plot     {asked.rate_test}"], as_json)
    return {"plot": str(asked.rate_test), **asdict(result)}


def write_out(argument: str) -> str:
    """An argument with its setting's full name where it was a short one."""
    found = re.match(r"--([\w-]+)(?=$|=)", argument)
    name = None if found is None else SHORT.get(found[1].replace("-", "_"))
    return argument if found is None or name is None else f"--{name}{argument[found.end() :]}"


def typed_settings(arguments: Sequence[str], experiment: Experiment) -> dict[str, Any]:
    """The settings that were typed, by dotted name, with their values in `experiment`.

    A typed value counts even where it is the default: the rule must not decide otherwise.
    """
    values, known = flatten(to_dict(experiment)), setting_names(Experiment)
    typed = {}
    for argument in arguments:
        if not argument.startswith("--"):
            continue
        name = argument[2:].partition("=")[0].replace("-", "_")
        name = re.sub(r"(^|\.)no_(?=\w+$)", r"\1", name) if name not in known else name
        if name in known:
            typed[name] = values[name]
    return typed


def print_changes(changes: ClassChanges) -> None:
    """The table of what each old class lost or gained, on stdout."""
    heads, *rows = table_rows(changes)
    table = Table(*heads, box=None)
    for row in rows:
        table.add_row(*map(escape, row))
    console = Console()
    if not console.is_terminal:  # a file has room
        console.width = WIDTH
    console.print(table)
