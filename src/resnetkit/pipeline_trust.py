"""Which map to believe, on one page: every method of explaining put through the same checks.

`check_maps` takes labelled pictures, and boxes where there are any, and leaves a table that says
which maps depend on the network, name what it uses and point at the object: see
`explanation.trust`.
"""

from __future__ import annotations

import json
import shlex
import sys
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console

from resnetkit.data.boxes import Boxes, load_boxes, map_boxes
from resnetkit.data.contract import normalise
from resnetkit.data.opening import DescribedSource
from resnetkit.data.source_types import Split
from resnetkit.data.sources import refuse_inside
from resnetkit.experiment import refuse_unwritable
from resnetkit.explanation.attribution import METHODS, attribute, find_method
from resnetkit.explanation.attribution_settings import AttributionSettings
from resnetkit.explanation.examples import Attribute, Examples, choose_evenly, labelled_pairs
from resnetkit.explanation.pointing import mark_regions
from resnetkit.explanation.trust import (
    Trial,
    TrustConfig,
    TrustReport,
    check_method,
    prepare_trial,
)
from resnetkit.explanation.trust_table import draw_curves, render_table
from resnetkit.export.package import ModelPackage, load_package
from resnetkit.export.reference import contract_images
from resnetkit.models.zoo import Network
from resnetkit.package_split import load_package_split, refuse_inside_package
from resnetkit.runtime import environment, pick_device, write_file_atomically
from resnetkit.training.observers import ReadingBar
from resnetkit.types import UserError

REPORT, TABLE, CURVES = "trust.json", "trust.md", "curves.png"


@dataclass(frozen=True, kw_only=True)
class MapRequest:
    """Which maps to check, on what, and how."""

    methods: tuple[str, ...] = tuple(METHODS)
    """Names of `METHODS`."""
    split: str = "test"
    """Which pictures; a held-out split is cut as training cut it."""
    images: int = 64
    """Pictures to check on, as many of each class; with each class they show in a multi-label
    task."""
    seed: int = 0
    """Of which pictures these are."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1 or mps."""
    attribution: AttributionSettings = field(default_factory=AttributionSettings)
    checks: TrustConfig = field(default_factory=TrustConfig)

    def __post_init__(self) -> None:
        for name in self.methods:
            find_method(name)
        if not self.methods or len(set(self.methods)) < len(self.methods):
            raise UserError(
                f"methods: needed are one or more of {', '.join(METHODS)}, each once; got "
                f"{', '.join(self.methods) or 'none'}."
            )
        if self.images < 2:
            raise UserError(f"images: two or more are needed to check maps on, got {self.images}.")


@dataclass(frozen=True, kw_only=True, eq=False)
class MapTrust:
    """What the checks say of each method, and a table of it; `out` holds the same as files.

    `recognised` is the share of the pictures in which the network sees the class that was explained
    (the likeliest one, or in a multi-label task one above one half).
    """

    reports: tuple[TrustReport, ...]
    table: str  # Markdown
    pictures: int
    recognised: float
    notes: tuple[str, ...]
    out: Path | None

    def as_dict(self) -> dict[str, Any]:
        """Everything as JSON-safe values."""
        return {
            "pictures": self.pictures,
            "recognised": self.recognised,
            "notes": list(self.notes),
            "methods": [report.as_dict() for report in self.reports],
        }


@dataclass(frozen=True, kw_only=True, eq=False)
class CheckedMaps:
    """What the checks say of each method, the trial that they went through, and what was skipped.

    `recognised` is as in `MapTrust`.
    """

    reports: tuple[TrustReport, ...]
    trial: Trial
    recognised: float
    notes: tuple[str, ...]


def check_maps(
    package_folder: Path,
    source: str | DescribedSource,
    *,
    boxes: Path | None = None,
    out: Path | None = None,
    request: MapRequest | None = None,
    console: Console | None = None,
) -> MapTrust:
    """Check the maps of each method on labelled pictures, and say which to believe.

    `boxes` are VOC XML or COCO JSON, see `load_boxes`: only pictures with a box of their class are
    then looked at. `out` gets trust.json, trust.md and curves.png.
    Raises UserError for a source, boxes or settings that do not fit; nothing is written then.
    """
    request = request or MapRequest()
    console = console or Console(stderr=True, quiet=True)
    asked = DescribedSource(location=source) if isinstance(source, str) else source
    if out is not None:
        refuse_unwritable(out)
        refuse_inside_package(package_folder, out)
        for place in (asked.location, *([] if boxes is None else [str(boxes)])):
            refuse_inside(place, out)
    package = load_package(package_folder)
    with ReadingBar(console) as bar:
        split = load_package_split(package_folder, package, asked, request.split, bar)
    found = None if boxes is None else load_boxes(boxes, split, package.contract.class_names)
    checked = check_maps_of(package, split, found, request, console)
    result = MapTrust(
        reports=checked.reports,
        table=render_table(checked.reports, checked.trial),
        pictures=len(checked.trial.examples),
        recognised=checked.recognised,
        notes=checked.notes,
        out=out,
    )
    if out is not None:
        facts = {"package": str(package_folder), "source": asked.location}
        facts |= {"boxes": None if boxes is None else str(boxes)}
        _keep(out, result, checked.trial, {**facts, "request": asdict(request)})
    return result


def check_maps_of(
    package: ModelPackage,
    split: Split,
    boxes: Boxes | None,
    request: MapRequest,
    console: Console,
) -> CheckedMaps:
    """As `check_maps`, of images that have been read, and boxes in them if there are any.

    Which of the images is by `request`; its `split` is only named. Nothing is written.
    """
    fitted = None if boxes is None else map_boxes(boxes, package.contract)
    trial, recognised = _prepare(package, split, fitted, request)
    return CheckedMaps(
        reports=tuple(_check(trial, name, request, console) for name in request.methods),
        trial=trial,
        recognised=recognised,
        notes=() if fitted is None else fitted.skipped,
    )


def _prepare(
    package: ModelPackage, split: Split, boxes: Boxes | None, request: MapRequest
) -> tuple[Trial, float]:
    """The trial that all methods go through, and the share of pictures the network recognises."""
    contract, device = package.contract, pick_device(request.device)
    package.model.to(device)
    rows, classes = _choose(split, boxes, package, request)
    pixels = torch.from_numpy(contract_images(split, rows, contract)).to(device)
    examples = Examples(
        images=normalise(pixels, contract),
        targets=torch.from_numpy(classes).to(device),
        numbers=rows,
    )
    regions = None
    if boxes is not None:
        marked = [boxes.of(row, target) for row, target in zip(rows, classes, strict=True)]
        regions = mark_regions(marked, contract.crop)
    network = _as_network(package)
    trial = prepare_trial(network, examples, contract.task, regions, request.checks)
    return trial, _share_recognised(trial, package)


def _choose(
    split: Split, boxes: Boxes | None, package: ModelPackage, request: MapRequest
) -> tuple[np.ndarray, np.ndarray]:
    """Rows of pictures and a class that each shows, int64 [n] each; with boxes, one of it."""
    rows, classes = labelled_pairs(split.labels, package.contract.task)
    if boxes is not None:
        pairs = zip(rows, classes, strict=True)
        boxed = [len(boxes.of(row, target)) > 0 for row, target in pairs]
        rows, classes = rows[boxed], classes[boxed]
    chosen = choose_evenly(classes, request.images, request.seed)
    if len(chosen) < 2:
        box = "" if boxes is None else f" with a box of its class in {boxes.where}"
        raise UserError(
            f"Maps can be checked on two pictures or more; the {request.split} split has "
            f"{len(chosen)} picture(s) with a class{box}. Give others with --data, or their boxes."
        )
    return rows[chosen], classes[chosen]


def _as_network(package: ModelPackage) -> Network:
    network = package.model
    assert isinstance(network, Network), type(network)
    return network


def _share_recognised(trial: Trial, package: ModelPackage) -> float:
    examples = trial.examples
    batches = examples.images.split(trial.config.curves.batch_size)
    with torch.inference_mode():
        found = torch.cat([trial.score(part) for part in batches])
    if package.contract.task == "single-label":
        return float((found.argmax(dim=1) == examples.targets).float().mean())
    return float((found.gather(1, examples.targets[:, None]) > 0.5).float().mean())


def _check(trial: Trial, name: str, request: MapRequest, console: Console) -> TrustReport:
    report = check_method(trial, name, partial(_attribution, name, request.attribution))
    console.print(f"{name}: {report.verdict}", highlight=False, markup=False, soft_wrap=True)
    return report


def _attribution(name: str, settings: AttributionSettings, network: Network) -> Attribute:
    return lambda images, targets: attribute(network, images, targets, name, settings=settings).maps


def _keep(out: Path, result: MapTrust, trial: Trial, facts: dict[str, Any]) -> None:
    """Write trust.json, trust.md and curves.png."""
    command = shlex.join(["resnetkit", *sys.argv[1:]])
    machine = environment()
    record = {**facts, **result.as_dict(), "command": command, "environment": machine}
    write_file_atomically(out / REPORT, json.dumps(record, indent=1, allow_nan=False) + "\n")
    write_file_atomically(out / CURVES, draw_curves(result.reports, trial))
    lines = [
        "# Which map to believe",
        "",
        f"{result.pictures} pictures of {facts['source']}; the network recognises the explained "
        f"class in {100 * result.recognised:.1f} % of them.",
        "",
        result.table,
        f"![Deletion, insertion and forgetting]({CURVES})",
        "",
        *(f"- {note}" for note in result.notes),
        f"- Command: `{command}`",
        *(f"- {name}: {machine[name]}" for name in ("commit", "cpu", "cores", "gpu", "torch")),
    ]
    write_file_atomically(out / TABLE, "\n".join(lines) + "\n")
