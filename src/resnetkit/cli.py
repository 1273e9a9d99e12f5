"""The command line: one subcommand per stage; parses, calls one function of pipeline.py, prints.

Exit codes: 0 success, 1 a check or gate said no, 2 the user's mistake, 130 stopped on request.
"""

from __future__ import annotations

import errno
import json
import os
import re
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict
from importlib import import_module
from typing import Any, NoReturn

import tyro
from rich.console import Console
from rich.table import Table
from safetensors import SafetensorError

from resnetkit import __version__
from resnetkit.arguments import NameArguments, PredictArguments
from resnetkit.config import suggest
from resnetkit.terminal import STDERR, parse, show
from resnetkit.types import CheckFailed, Interrupted, UserError

Result = dict[str, Any]

USAGE = """resnetkit: residual networks on your own images, from data to a model you can trust

  resnetkit train RECIPE --data SOURCE --out RUN [--resume] [--<part>.<setting> VALUE ...]
  resnetkit finetune --data SOURCE --out RUN [--weights WEIGHTS] [--strategy NAME] [--resume] [...]
  resnetkit evaluate PACKAGE --data SOURCE [--split test] [--out DIR] [--corruptions N] [...]
  resnetkit compare PACKAGE_A PACKAGE_B --data SOURCE [--margin POINTS] [--out DIR]
  resnetkit calibrate PACKAGE --data SOURCE --out PACKAGE [--precision P | --coverage C] [--sets S]
  resnetkit predict PACKAGE IMAGE_OR_FOLDER ... [--out FILE.csv|.jsonl|.parquet]
  resnetkit explain PACKAGE IMAGE_OR_FOLDER ... --out DIR [--method NAME] [--target CLASS] [...]
  resnetkit data check|split|pack|preview|doctor SOURCE ...
  resnetkit import-weights FILE_OR_NAME --out PACKAGE [--model NAME] [--classes FILE|imagenet]
  resnetkit models [NAME]
  resnetkit recipes [NAME]

SOURCE: an image folder, a .csv/.parquet manifest, an image parquet; a folder with CIFAR, IDX,
ImageNet, COCO, Pascal VOC or Open Images as published; WebDataset .tar ('shard-{000..003}.tar');
hf:NAME[:CONFIG]; coco-crops:PATH or voc-crops:PATH for the boxes as images; or digits, cifar10,
cifar100, mnist, fashion-mnist. Every command takes --help and --json.
"""


def main(argv: Sequence[str] | None = None) -> None:
    """Run one command; exit with its code where that is not 0."""
    warnings.showwarning = lambda message, *_: print(f"resnetkit: note: {message}", file=sys.stderr)
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        run(arguments)
    except UserError as error:
        fail(str(error), 2)
    except CheckFailed as error:
        fail(str(error), 1)
    except Interrupted as error:
        fail(f"{error}{describe_continuation(arguments)}", 130)
    except KeyboardInterrupt:
        fail(f"stopped{describe_continuation(arguments)}", 130)
    except BrokenPipeError:  # the reader of our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, SafetensorError) as error:
        fail(describe_system_error(error), 2)


def run(arguments: list[str]) -> None:
    """Find the command, run it, and print its result as JSON where asked."""
    as_json = "--json" in arguments
    command, *rest = [argument for argument in arguments if argument != "--json"] or ["--help"]
    if command in ("-h", "--help", "--version"):
        text = __version__ if command == "--version" else USAGE.strip()
        print(json.dumps({command.strip("-"): text}) if as_json else text)
        sys.exit(0 if arguments else 2)
    result = find_command(command)(rest, as_json)
    if as_json:
        print(json.dumps(result, allow_nan=False))
    if result.get("failures"):
        raise CheckFailed(f"{result['failures']} image(s) could not be read")
    if result.get("worse"):
        raise CheckFailed(f"B is worse than A: {'; '.join(result['worse'])}")
    if result.get("unsafe"):
        findings = result["findings"]
        allowable = all(findings[kind]["allowable"] for kind in result["unsafe"])
        other = (
            ", or train without the images concerned with --data.manifest, or let a kind pass with "
            "--allow KIND"
        )
        raise CheckFailed(
            f"training would not be safe because of {', '.join(result['unsafe'])}. Repair the "
            f"source{other if allowable else ''}"
        )


def run_train(arguments: list[str], as_json: bool) -> Result:
    """Parse a recipe's name and its changes, train, say where the results are."""
    from resnetkit.experiment import RunRequest
    from resnetkit.pipeline import train
    from resnetkit.recipes import RECIPES, load_recipe

    asks_for_help = "--help" in arguments or "-h" in arguments
    if arguments and not arguments[0].startswith("-"):
        recipe, *arguments = arguments
    elif asks_for_help:
        recipe = "folder"
    else:
        raise UserError(f"train: needs a recipe first, one of {', '.join(RECIPES)}")
    default = RunRequest(out=tyro.MISSING, experiment=load_recipe(recipe))
    arguments = [re.sub(r"^--data(?=$|=)", "--data.source", argument) for argument in arguments]
    parsed = parse(RunRequest, f"train {recipe}", arguments, default)
    if not parsed.experiment.data.source:
        raise UserError("train: needs --data SOURCE, for instance a folder of pictures")
    result = train(parsed.experiment, parsed.out, resume=parsed.resume, console=STDERR)
    lines = [f"{result.steps:,} steps in {result.seconds:.0f} s: {result.finished_because}"]
    if result.validation is not None:
        lines.append(f"Validation {result.validation.describe()}")
    show([*lines, f"Package  {result.package}", f"Report   {result.report}"], as_json)
    return {
        "package": str(result.package),
        "report": str(result.report),
        "steps": result.steps,
        "seconds": result.seconds,
        "finished_because": result.finished_because,
        "validation": None if result.validation is None else result.validation.headline(),
    }


def run_predict(arguments: list[str], as_json: bool) -> Result:
    """Label images; exit code 1 when one of them could not be read."""
    from resnetkit.data.sources import refuse_inside
    from resnetkit.pipeline import predict
    from resnetkit.serving.predictions import (
        as_record,
        check_format,
        show_predictions,
        write_predictions,
    )

    asked = parse(PredictArguments, "predict", arguments)
    if not asked.images:
        raise UserError("predict: needs images after the package: files, or folders of them")
    if asked.out is not None:
        check_format(asked.out)
        for folder in asked.images:
            if folder.is_dir():
                refuse_inside(str(folder.absolute()), asked.out)  # never a built-in name
    outcomes = predict(
        asked.package, asked.images, device=asked.device, batch_size=asked.batch_size
    )
    records = [as_record(outcome) for outcome in outcomes]
    unreadable = [record["error"] for record in records if "error" in record]
    if asked.out is not None:
        write_predictions(asked.out, outcomes)
        show([f"{len(outcomes) - len(unreadable):,} predictions in {asked.out}"], as_json)
    elif not as_json:
        show_predictions(Console(), outcomes)
    for reason in unreadable if asked.out is not None or as_json else []:
        print(f"resnetkit: note: {reason}", file=sys.stderr)
    return {"predictions": records, "failures": len(unreadable)}


def run_models(arguments: list[str], as_json: bool) -> Result:
    """The zoo: parameters, multiply-adds, input size and paper of each network."""
    from resnetkit.models.zoo import MODELS, summarise_model

    asked = parse(NameArguments, "models", arguments)
    names = [asked.name] if asked.name else list(MODELS)
    rows = [summarise_model(name) for name in names]
    if not as_json:
        table = Table("network", "parameters", "multiply-adds", "input", "paper", box=None)
        for row in rows:
            size = f"{row.image_size}x{row.image_size}"
            giga = f"{row.multiply_adds / 1e9:.3f} G"
            table.add_row(row.name, f"{row.parameters:,}", giga, size, row.paper)
        Console().print(table)
    return {"models": [asdict(row) for row in rows]}


def run_recipes(arguments: list[str], as_json: bool) -> Result:
    """The recipes with what each is for; one recipe with all its settings."""
    from resnetkit.config import to_dict, to_yaml
    from resnetkit.recipes import RECIPES, load_recipe

    asked = parse(NameArguments, "recipes", arguments)
    if asked.name is not None:
        experiment = load_recipe(asked.name)
        show([to_yaml(experiment)], as_json)
        return to_dict(experiment)
    summaries = {name: (build.__doc__ or "").split("\n")[0] for name, build in RECIPES.items()}
    width = max(map(len, summaries))
    show([f"{name:<{width}}  {text}" for name, text in summaries.items()], as_json)
    return {"recipes": summaries}


def elsewhere(module: str, function: str) -> Callable[[list[str], bool], Result]:
    """A command that lives in a module of its own, imported when it is asked for."""
    return lambda arguments, as_json: getattr(import_module(module), function)(arguments, as_json)


COMMANDS: dict[str, Callable[[list[str], bool], Result]] = {
    "train": run_train,
    "finetune": elsewhere("resnetkit.cli_finetuning", "run_finetune"),
    "evaluate": elsewhere("resnetkit.cli_evaluation", "run_evaluate"),
    "compare": elsewhere("resnetkit.cli_evaluation", "run_compare"),
    "calibrate": elsewhere("resnetkit.cli_evaluation", "run_calibrate"),
    "predict": run_predict,
    "explain": elsewhere("resnetkit.cli_explanation", "run_explain"),
    "data": elsewhere("resnetkit.cli_data", "run_data_command"),
    "import-weights": elsewhere("resnetkit.cli_weights", "run_import_weights"),
    "models": run_models,
    "recipes": run_recipes,
}


def find_command(name: str) -> Callable[[list[str], bool], Result]:
    """The function of a command; UserError with the nearest name when unknown."""
    if name not in COMMANDS:
        hint = suggest(name, COMMANDS) or "."
        raise UserError(f"unknown command {name!r}{hint} Known: {', '.join(COMMANDS)}")
    return COMMANDS[name]


def describe_continuation(arguments: Sequence[str]) -> str:
    """How a stopped command goes on."""
    words = [argument for argument in arguments if argument != "--json"]
    if words[:1] in (["train"], ["finetune"]):
        return ". Continue with the same command and --resume"
    if words[:2] in (["data", "check"], ["data", "pack"]):
        return ". The same command goes on where it stopped"
    return ""


def describe_system_error(error: OSError | SafetensorError) -> str:
    """What the system refused, where, and what to do."""
    text, number = str(error), None
    if isinstance(error, OSError):
        number = error.errno
        text = text if error.filename is None else f"{error.filename}: {error.strerror}"
    # safetensors gives the system's error number only in its text.
    if number == errno.ENOSPC or f"os error {errno.ENOSPC}" in text:
        return (
            f"{text}. The disk is full; what was complete before is still there. "
            "Free some space, then repeat the command (train, finetune: with --resume)"
        )
    return f"{text}. Check the path, its permissions and the disk"


def fail(message: str, code: int) -> NoReturn:
    """Print one message on stderr and exit."""
    print(f"resnetkit: {message}", file=sys.stderr)
    sys.exit(code)
