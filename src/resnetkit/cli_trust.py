"""`resnetkit explain --trust` and `--index`: which map to believe, and what there is to look up."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from resnetkit.explanation.attribution_settings import AttributionSettings
from resnetkit.explanation.pixel_curves import CurveConfig
from resnetkit.explanation.randomised_weights import RandomisedConfig
from resnetkit.terminal import STDERR, parse, show

Result = dict[str, Any]
Split = Literal["test", "val", "train", "all"]


@dataclass(frozen=True, kw_only=True)
class TrustArguments:
    """Say which method's maps to believe, by what they do on labelled pictures.

    A map must depend on what the network has learnt (weights drawn anew), name the pixels that the
    network uses (deletion and insertion curves) and, with boxes, point at the objects.
    """

    package: tyro.conf.Positional[Path]
    """Model-package folder."""
    data: str
    """Images with labels: see `resnetkit --help` for what SOURCE may be."""
    boxes: Path | None = None
    """Boxes of the objects: a folder of Pascal VOC XML files, or COCO JSON."""
    out: Path | None = None
    """Folder for trust.html, trust.md and trust.json."""
    method: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """Methods to check; by default all that the network allows. Several with commas, or by giving
    it again."""
    split: Split = "test"
    """Which images; a held-out split is cut as training cut it."""
    manifest: str | None = None
    """Manifest that says which images these are; by default the one of the training."""
    some_classes: bool = False
    """Images of some of the package's classes will do."""
    images: int = 64
    """How many of them, evenly over the classes."""
    pick: int = 0
    """Another number, other images."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1 or mps."""
    curves: CurveConfig = field(default_factory=CurveConfig)
    randomised: RandomisedConfig = field(default_factory=RandomisedConfig)
    settings: Annotated[AttributionSettings, tyro.conf.arg(name="")] = field(
        default_factory=AttributionSettings
    )


@dataclass(frozen=True, kw_only=True)
class IndexArguments:
    """Keep the features of the training images beside a package, for `explain --nearest`.

    It lies in PACKAGE.neighbours/; one that is there and up to date is left as it is.
    """

    package: tyro.conf.Positional[Path]
    """Model-package folder."""
    data: str
    """The images it was trained on: see `resnetkit --help` for what SOURCE may be."""
    split: Split = "train"
    """Which images."""
    manifest: str | None = None
    """Manifest that says which images these are; by default the one of the training."""
    some_classes: bool = False
    """Images of some of the package's classes will do."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1 or mps."""


def run_trust(arguments: list[str], as_json: bool) -> Result:
    """Check the maps of each method and print which to believe, and why."""
    from resnetkit.data.opening import DescribedSource
    from resnetkit.explanation.trust import TrustConfig
    from resnetkit.pipeline_trust import PAGE, MapRequest, check_maps

    asked = parse(TrustArguments, "explain --trust", arguments)
    typed = [name.strip() for text in asked.method for name in text.split(",")]
    request = MapRequest(
        methods=tuple(dict.fromkeys(filter(None, typed))) or None,
        split=asked.split,
        images=asked.images,
        seed=asked.pick,
        device=asked.device,
        attribution=asked.settings,
        checks=TrustConfig(curves=asked.curves, randomised=asked.randomised),
    )
    source = DescribedSource(
        location=asked.data, manifest=asked.manifest, some_classes=asked.some_classes
    )
    result = check_maps(
        asked.package,
        source,
        boxes=asked.boxes,
        out=asked.out,
        request=request,
        console=STDERR,
    )
    if not as_json:
        table = Table("map", "verdict", "because", box=None, pad_edge=False, header_style="bold")
        for report in sorted(result.reports, key=lambda report: not report.believed):
            verdict = "[green]believe[/]" if report.believed else "[red]do not believe[/]"
            table.add_row(escape(report.method), verdict, escape("; ".join(report.because)))
        Console().print(table)
    lines = [
        f"{result.pictures} pictures; the network recognises the class in "
        f"{result.recognised:.1%} of them",
        *result.notes,
        *([] if asked.out is None else [f"Report   {asked.out / PAGE}"]),
    ]
    show(lines, as_json)
    return result.as_dict()


def run_index(arguments: list[str], as_json: bool) -> Result:
    """Index the training images of a package and say where the index lies."""
    from resnetkit.data.opening import DescribedSource
    from resnetkit.pipeline_neighbours import index_training_images

    asked = parse(IndexArguments, "explain --index", arguments)
    source = DescribedSource(
        location=asked.data, manifest=asked.manifest, some_classes=asked.some_classes
    )
    found = index_training_images(
        asked.package, source, split=asked.split, device=asked.device, console=STDERR
    )
    state = "is up to date" if found.reused else f"has {found.features} features of each"
    show([f"{found.images:,} images: the index in {found.folder} {state}"], as_json)
    return {**asdict(found), "folder": str(found.folder)}
