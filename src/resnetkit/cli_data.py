"""`resnetkit data ...`: what looks after the images before a training."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

import tyro
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from resnetkit.arguments_data import (
    CheckArguments,
    DoctorArguments,
    PackArguments,
    PreviewArguments,
    SplitArguments,
)
from resnetkit.config import flatten, suggest, to_dict
from resnetkit.data.checks.check_report import CheckReport
from resnetkit.experiment import Experiment, refuse_unwritable
from resnetkit.terminal import STDERR, parse, show
from resnetkit.types import UserError

Result = dict[str, Any]

SHOWN = 3  # names of each kind of finding in the table

USAGE = """resnetkit data: look after the images; SOURCE is only ever read

  resnetkit data check SOURCE [--out DIR] [--allow KIND ...] [--labels] [--package PACKAGE]
  resnetkit data split SOURCE --out FILE [--ratios TRAIN VAL TEST] [--folds N] [--group-by WHAT]
  resnetkit data pack SOURCE [--out DIR] [--side PIXELS] [--storage raw|jpeg]
  resnetkit data preview SOURCE --out FILE.png [--recipe RECIPE] [--epoch N] [--images N] [...]
  resnetkit data doctor SOURCE [--recipe RECIPE] [--seconds S] [...]

[...]: preview and doctor take the settings of `train` that matter to them, such as --data.workers.
"""

# Settings that change a picture or its target; those that change how long a step takes.
ACTING_ON_PICTURES = (
    r"model\.name|data\.(?!workers).*|augment\..*|training\.(seed|epochs|steps|label_smoothing)|"
    r"execution\.device"
)
ACTING_ON_TIME = (
    r"model\..*|data\..*|augment\..*|optimizer\..*|execution\..*|"
    r"training\.(seed|epochs|steps|micro_batches|ema_decay|clip_norm|label_smoothing|loss.*|"
    r"jensen_shannon)"
)


def run_data_command(arguments: list[str], as_json: bool) -> Result:
    """Find the data command and run it."""
    command, *rest = arguments or ["--help"]
    if command in ("-h", "--help"):
        print(USAGE.strip())
        sys.exit(0 if arguments else 2)
    if command not in DATA_COMMANDS:
        hint = suggest(command, DATA_COMMANDS) or "."
        raise UserError(f"unknown command data {command!r}{hint} Known: {', '.join(DATA_COMMANDS)}")
    return DATA_COMMANDS[command](rest, as_json)


def run_check(arguments: list[str], as_json: bool) -> Result:
    """Check a source and print what was found; `cli.run` fails where training is unsafe."""
    from resnetkit.data.checks.outputs import summarize
    from resnetkit.pipeline_data import LabelCheck, check

    asked = parse(CheckArguments, "data check", arguments)
    if asked.minutes is not None and (not asked.labels or asked.package is not None):
        raise UserError("--minutes has no effect but on --labels without --package; leave it out")
    labels = None
    if asked.labels or asked.package is not None:
        labels = LabelCheck(
            package=asked.package, minutes=10.0 if asked.minutes is None else asked.minutes
        )
    if asked.out is not None:
        refuse_unwritable(asked.out)
    report = check(asked.source, asked.out, allow=asked.allow, labels=labels, console=STDERR)
    if not as_json:
        print_findings(report)
    show([f"{name.capitalize():<10} {path}" for name, path in report.paths.items()], as_json)
    images = f"{sum(report.images.values()):,} images, {report.excluded:,} left out of training"
    show([f"{asked.source}: {images}; {describe_verdict(report)}"], as_json)
    return {**summarize(report), "paths": {name: str(path) for name, path in report.paths.items()}}


def print_findings(report: CheckReport) -> None:
    """The kinds found, each with some of its images; in full why the source would be refused."""
    from resnetkit.data.checks.kinds import KINDS
    from resnetkit.data.checks.outputs import some_names

    if not report.findings:
        return
    table = Table("severity", "finding", "count", "for instance", "what becomes of it", box=None)
    for name, findings in report.findings.items():
        kind = KINDS[name]
        severity = "allowed" if name in report.allowed else kind.severity
        names, detail = some_names(findings, SHOWN), findings[0].detail
        # The message of a refused source is printed in full below.
        details = [detail] if detail and name != "source-refused" else []
        instance = "; ".join(printed([*names, *details]))
        count = f"{len(findings):,}"
        table.add_row(severity, escape(name), count, escape(instance), escape(kind.treatment))
    Console().print(table)
    messages = [finding.detail for finding in report.findings.get("source-refused", [])]
    for message in printed(messages):
        print(f"source-refused: {message}")


def printed(texts: list[str]) -> list[str]:
    """Texts as they can be shown: what would move the cursor is written with backslash codes."""
    return [
        "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)
        for text in texts
    ]


def describe_verdict(report: CheckReport) -> str:
    """Whether training is safe, and what had to be allowed for that."""
    if not report.passed:
        return "training is unsafe"
    if report.found_allowed:
        count = sum(report.found_allowed.values())
        return f"{count:,} finding(s) allowed ({', '.join(report.found_allowed)})"
    return "nothing found makes training unsafe"


def run_split(arguments: list[str], as_json: bool) -> Result:
    """Deal a source to splits or folds and print how many images of each class went where."""
    from resnetkit.data.splitting import SplitPlan
    from resnetkit.pipeline_data import split

    asked = parse(SplitArguments, "data split", arguments)
    plan = SplitPlan(
        ratios=asked.ratios,
        folds=asked.folds,
        seed=asked.seed,
        group_by=asked.group_by,
        deal_test_anew=asked.deal_test_anew,
    )
    report = split(asked.source, asked.out, plan, manifest=asked.manifest, console=STDERR)
    if not as_json:
        table = Table("class", *report.parts, box=None)
        for number, name in enumerate(report.class_names):
            table.add_row(escape(name), *(f"{count:,}" for count in report.counts[:, number]))
        table.add_row("all", *(f"{count:,}" for count in report.images))
        Console().print(table)
    lines = [f"Manifest {report.manifest}"]
    if report.groups:
        lines.append(
            f"{report.grouped:,} images are in {report.groups:,} groups, kept together; the "
            f"largest has {report.largest_group:,}"
        )
    if report.leaking:
        lines.append(f"{report.leaking:,} images left out: test images are in their group")
    lines += [f"note: {part} has no image of class {name}" for part, name in report.lacking]
    show(lines, as_json)
    parts = dict(zip(report.parts, report.images, strict=True))
    counts = dict(zip(report.parts, report.counts.tolist(), strict=True))
    return {
        "manifest": str(report.manifest),
        "digest": report.digest,
        "class_names": list(report.class_names),
        "images": parts,
        "counts": counts,
        "groups": report.groups,
        "grouped": report.grouped,
        "largest_group": report.largest_group,
        "leaking": report.leaking,
        "excluded": report.excluded,
        "kept_test": report.kept_test,
    }


def run_pack(arguments: list[str], as_json: bool) -> Result:
    """Pack a source and say where, how large, and what was done."""
    from resnetkit.pipeline_data import pack

    asked = parse(PackArguments, "data pack", arguments)
    report = pack(
        asked.source,
        asked.out,
        side=asked.side,
        storage=asked.storage,
        color_mode=asked.color_mode,
        console=STDERR,
    )
    done = "up to date" if report.up_to_date else f"{report.decoded:,} decoded now"
    size = f"{report.size_bytes / 1e6:,.0f} MB"
    lines = [f"Pack     {report.folder}", f"{report.images:,} images, {size}, {done}"]
    lines += [f"note: {message}" for message in report.unreadable]
    if asked.out is not None:
        lines.append(f"Use it with --data.pack {report.folder}")
    show(lines, as_json)
    return {**asdict(report), "folder": str(report.folder)}


def run_preview(arguments: list[str], as_json: bool) -> Result:
    """Draw what a training will see."""
    from resnetkit.pipeline_data import preview

    recipe = find_recipe(arguments)
    default = PreviewArguments(
        source=tyro.MISSING, out=tyro.MISSING, recipe=recipe.recipe, experiment=recipe
    )
    asked = parse(PreviewArguments, "data preview", arguments, default)
    experiment = settle_source(asked.experiment, recipe, asked.source, ACTING_ON_PICTURES)
    result = preview(experiment, asked.out, epoch=asked.epoch, images=asked.images, console=STDERR)
    height, width = result.seen_size
    show([f"{len(result.images)} images of {width}x{height} pixels in {result.path}"], as_json)
    return {
        "path": str(result.path),
        "epoch": result.epoch,
        "size": [height, width],
        "contract": result.contract_hash,
        "images": [{"name": name, "targets": dict(targets)} for name, targets in result.images],
    }


def run_doctor(arguments: list[str], as_json: bool) -> Result:
    """Time a training and print where the time goes and what to do."""
    from resnetkit.doctor.printing import as_record, print_diagnosis
    from resnetkit.pipeline_data import doctor

    recipe = find_recipe(arguments)
    default = DoctorArguments(source=tyro.MISSING, recipe=recipe.recipe, experiment=recipe)
    asked = parse(DoctorArguments, "data doctor", arguments, default)
    experiment = settle_source(asked.experiment, recipe, asked.source, ACTING_ON_TIME)
    diagnosis = doctor(experiment, seconds=asked.seconds, console=STDERR)
    print_diagnosis(STDERR if as_json else Console(), diagnosis)
    return as_record(diagnosis)


def find_recipe(arguments: list[str]) -> Experiment:
    """The recipe that --recipe names among the arguments, `folder` by default; without a source."""
    from resnetkit.recipes import load_recipe

    name = "folder"
    for place, argument in enumerate(arguments):
        if argument.startswith("--recipe="):
            name = argument.removeprefix("--recipe=")
        elif argument == "--recipe" and place + 1 < len(arguments):
            name = arguments[place + 1]
    recipe = load_recipe(name)
    return replace(recipe, data=replace(recipe.data, source=""))


def settle_source(asked: Experiment, recipe: Experiment, source: str, acting: str) -> Experiment:
    """`asked` on `source`; UserError for a setting without effect here, by the pattern `acting`."""
    if asked.data.source:
        raise UserError(
            f"the images are given twice, as {source} and as --data.source {asked.data.source}; "
            "leave the second out"
        )
    before = flatten(to_dict(recipe))
    for setting, value in flatten(to_dict(asked)).items():
        if value != before[setting] and not re.fullmatch(acting, setting):
            raise UserError(f"{setting} has no effect on this command; leave it out")
    return replace(asked, data=replace(asked.data, source=source))


DATA_COMMANDS: dict[str, Callable[[list[str], bool], Result]] = {
    "check": run_check,
    "split": run_split,
    "pack": run_pack,
    "preview": run_preview,
    "doctor": run_doctor,
}
