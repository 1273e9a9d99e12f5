"""`resnetkit explain`: where in images a package sees a class."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro
from rich.console import Console
from rich.table import Table
from rich.text import Text

from resnetkit.explanation.attribution_settings import AttributionSettings
from resnetkit.terminal import STDERR, parse, show
from resnetkit.types import UserError

if TYPE_CHECKING:
    from resnetkit.explanation.explained import Explained
    from resnetkit.pipeline_neighbours import Addition
    from resnetkit.serving.predictor import Failure

Result = dict[str, Any]

DEFAULT_METHOD = "gradcam"


@dataclass(frozen=True, kw_only=True)
class ExplainArguments:
    """Show where in images a package sees a class: a map over each image, and the map itself.

    DIR gets NAME.METHOD.png (the image beside its map), NAME.METHOD.npy (the map as it is, float32)
    and a line of facts for each in explanations.jsonl. Nothing there is overwritten but the same
    map of the same image.

    Instead of images, `--data SOURCE --trust` says which method's maps to believe, and `--data
    SOURCE --index` indexes the training images for --nearest; each has its own --help.
    """

    package: tyro.conf.Positional[Path]
    """Model-package folder."""
    images: tyro.conf.Positional[tuple[Path, ...]]
    """Image files, or folders of them."""
    out: Path
    """Folder for pictures, maps and facts."""
    method: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """gradcam (the default), gradcam++ or layercam: by the feature maps of a stage;
    integrated-gradients, guided-backprop or smoothgrad: by gradients at the pixels; occlusion: by
    covering parts of the image. Several with commas, or by giving it again."""
    target: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """Class to look for; the predicted one by default. Several by giving it again."""
    stage: str | None = None
    """Whose feature maps: stem, stage1, ..., or a layer such as layer3.0.conv1; the last stage by
    default."""
    nearest: int | None = None
    """Also name this many training images that the network finds most alike; needs an index."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1 or mps."""
    settings: Annotated[AttributionSettings, tyro.conf.arg(name="")] = field(
        default_factory=AttributionSettings
    )


def run_explain(arguments: list[str], as_json: bool) -> Result:
    """Explain images and say where the pictures are; exit code 1 when one could not be read."""
    if "--trust" in arguments or "--index" in arguments:
        return _run_other(arguments, as_json)
    from resnetkit.explanation.explained import Explained, as_record
    from resnetkit.explanation.request import ExplanationRequest
    from resnetkit.pipeline_explanation import explain

    asked = parse(ExplainArguments, "explain", arguments)
    if not asked.images:
        raise UserError("explain: needs images after the package: files, or folders of them")
    request = ExplanationRequest(
        methods=split_methods(asked.method),
        targets=asked.target,
        stage=asked.stage,
        settings=asked.settings,
        device=asked.device,
    )
    additions = _additions(asked)
    results = explain(
        asked.package, asked.images, asked.out, request, additions=additions, console=STDERR
    )
    found = [result for result in results if isinstance(result, Explained)]
    failures = [result for result in results if not isinstance(result, Explained)]
    if not as_json:
        print_explanations(results)
        print_nearest(found)
    for failure in failures if as_json else []:
        print(f"resnetkit: note: {failure.reason}", file=sys.stderr)
    if found:
        show([f"{len(found):,} maps in {asked.out}"], as_json)
    records = [as_record(one) for one in found]
    errors = [{"image": failure.name, "error": failure.reason} for failure in failures]
    return {
        "out": str(asked.out),
        "explanations": records,
        "unreadable": errors,
        "failures": len(failures),
    }


def _run_other(arguments: list[str], as_json: bool) -> Result:
    """The commands that take a source instead of images."""
    from resnetkit.cli_trust import run_index, run_trust

    flag, run = ("--trust", run_trust) if "--trust" in arguments else ("--index", run_index)
    return run([word for word in arguments if word != flag], as_json)


def _additions(asked: ExplainArguments) -> list[Addition]:
    if asked.nearest is None:
        return []
    from resnetkit.pipeline_neighbours import add_nearest

    return [add_nearest(asked.package, asked.nearest, device=asked.device)]


def split_methods(typed: Sequence[str]) -> tuple[str, ...]:
    """The methods typed, with commas or one by one; the default where there are none."""
    names = [name.strip() for text in typed for name in text.split(",")]
    return tuple(dict.fromkeys(filter(None, names))) or (DEFAULT_METHOD,)


def print_explanations(results: Sequence[Explained | Failure]) -> None:
    """A table on stdout: image, prediction, explained class, method, picture."""
    from resnetkit.explanation.explained import Explained

    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("image", "sees", "explained", "method", "picture"):
        table.add_column(heading)
    for result in results:
        if not isinstance(result, Explained):
            reason = Text(result.reason)
            table.add_row(Text(result.name), Text("unreadable", "red"), reason, "", "")
            continue
        subject, place = result.subject, f" at {result.stage}" if result.stage else ""
        table.add_row(
            Text(subject.name),
            Text(f"{subject.label} {subject.probability:.1%}"),
            Text(f"{subject.target} {subject.target_probability:.1%}"),
            Text(result.method + place),
            Text(result.overlay.name),
        )
    Console().print(table)


def print_nearest(found: Sequence[Explained]) -> None:
    """For each image the training images most alike, where they were asked for."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("image", "most like", "is", "cosine"):
        table.add_column(heading)
    for one in {one.subject.file: one for one in found}.values():
        names = [one.subject.name]
        for near in one.facts.get("nearest", ()):
            cosine = f"{near['cosine']:.3f}"
            table.add_row(Text("".join(names)), Text(near["image"]), Text(near["label"]), cosine)
            names = []
        left_out = one.facts.get("nearest_left_out", ())
        if left_out:
            same = Text(f"left out, the same picture: {', '.join(left_out)}", "dim")
            table.add_row("", same, "", "")
    if table.row_count:
        Console().print(table)
