"""Which map to believe, on one page: every method of explaining put through the same checks.

`check_maps` takes labelled pictures, and boxes where there are any: see `explanation.trust`.
"""

from __future__ import annotations

import glob
import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from rich.console import Console
from torch import Tensor, nn

from resnetkit.data.boxes import Boxes, load_boxes, map_boxes
from resnetkit.data.contract import normalise
from resnetkit.data.opening import DescribedSource
from resnetkit.data.source_types import Split
from resnetkit.data.sources import refuse_inside
from resnetkit.evaluation.report_input import Extra
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
    share_recognised,
)
from resnetkit.explanation.trust_section import write_trust
from resnetkit.export.package import ModelPackage, load_package
from resnetkit.export.reference import contract_images
from resnetkit.models.zoo import Network
from resnetkit.package_split import load_package_split, refuse_inside_package
from resnetkit.page.blocks import Code, Document, Facts, Section
from resnetkit.page.html import render_html
from resnetkit.page.markdown import render_markdown
from resnetkit.runtime import (
    commit_folder,
    environment,
    pick_device,
    refuse_foreign_files,
    sweep_temporaries,
    write_file_atomically,
)
from resnetkit.training.observers import ReadingBar
from resnetkit.types import UserError

REPORT, TABLE, PAGE = "trust.json", "trust.md", "trust.html"


@dataclass(frozen=True, kw_only=True)
class MapRequest:
    """Which maps to check, on what, and how."""

    methods: tuple[str, ...] | None = None
    """Names of `METHODS`; None takes all that are defined for the network."""
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
        methods = tuple(METHODS) if self.methods is None else self.methods
        for name in methods:
            find_method(name)
        if not methods or len(set(methods)) < len(methods):
            raise UserError(
                f"methods: needed are one or more of {', '.join(METHODS)}, each once; got "
                f"{', '.join(methods) or 'none'}."
            )
        if self.images < 2:
            raise UserError(f"images: two or more are needed to check maps on, got {self.images}.")


@dataclass(frozen=True, kw_only=True, eq=False)
class MapTrust:
    """What the checks say of each method, and a section that tells it; `out` has it as files.

    `recognised` is the share of the pictures in which the network sees the class that was explained
    (the likeliest one, or in a multi-label task one above one half).
    """

    reports: tuple[TrustReport, ...]
    told: Extra
    pictures: int
    recognised: float
    notes: tuple[str, ...]
    out: Path | None = None

    def as_dict(self) -> dict[str, Any]:
        """Everything as JSON-safe values."""
        return dict(self.told.figures)


@dataclass(frozen=True, kw_only=True, eq=False)
class MapPlan:
    """Which maps are checked, of the pictures at `rows`; `notes` say what is left out."""

    request: MapRequest
    methods: tuple[str, ...]
    rows: np.ndarray  # [n] int64
    classes: np.ndarray  # [n] int64
    boxes: Boxes | None  # in pixels of the network's input
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
    then looked at. `out` gets trust.html, trust.md and trust.json, all of them or none.
    Raises UserError for a source, boxes or settings that do not fit; nothing is written then.
    """
    request = request or MapRequest()
    console = console or Console(stderr=True, quiet=True)
    asked = DescribedSource(location=source) if isinstance(source, str) else source
    if out is not None:
        _refuse_place(package_folder, [asked.location, *([] if boxes is None else [boxes])], out)
    package = load_package(package_folder)
    with ReadingBar(console) as bar:
        split = load_package_split(package_folder, package, asked, request.split, bar)
    found = None if boxes is None else load_boxes(boxes, split, package.contract.class_names)
    plan = plan_maps(package, split, found, request)
    result = check_planned(package, split, plan, console)
    if out is None:
        return result
    facts = {"package": str(package_folder), "source": asked.location}
    facts |= {"boxes": None if boxes is None else str(boxes)}
    _keep(out, result, {**facts, "request": asdict(replace(request, methods=plan.methods))})
    return replace(result, out=out)


def plan_maps(
    package: ModelPackage, split: Split, boxes: Boxes | None, request: MapRequest
) -> MapPlan:
    """Which maps of images that have been read will be checked; the `split` is only named.

    Raises UserError for fewer than two pictures, and for a named method that is not defined for the
    network. The network is not run.
    """
    fitted = None if boxes is None else map_boxes(boxes, package.contract)
    rows, classes = _choose(split, fitted, package, request)
    methods, refused = _usable_methods(package.model, request.methods)
    skipped = () if fitted is None else fitted.skipped
    return MapPlan(
        request=request,
        methods=methods,
        rows=rows,
        classes=classes,
        boxes=fitted,
        notes=(*skipped, *refused),
    )


def check_planned(package: ModelPackage, split: Split, plan: MapPlan, console: Console) -> MapTrust:
    """Put the maps of `plan_maps` through all checks; nothing is written."""
    trial = _prepare(package, split, plan)
    recognised = share_recognised(trial, package.contract.task)
    reports = tuple(_check(trial, name, plan.request, console) for name in plan.methods)
    return MapTrust(
        reports=reports,
        told=write_trust(reports, trial, recognised, plan.notes),
        pictures=len(plan.rows),
        recognised=recognised,
        notes=plan.notes,
    )


def _refuse_place(package_folder: Path, sources: Sequence[str | Path], out: Path) -> None:
    """UserError where the files cannot be written to `out`."""
    refuse_unwritable(out)
    refuse_inside_package(package_folder, out)
    for place in sources:
        refuse_inside(str(place), out)
    refuse_foreign_files(out)
    sweep_temporaries(out.absolute().parent, glob.escape(out.name))


def _usable_methods(
    network: nn.Module, asked: Sequence[str] | None
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The methods asked for, or all that this network allows, with a note on each other one."""
    usable, notes = [], []
    for name in METHODS if asked is None else asked:
        try:
            METHODS[name].refuse(cast("Network", network))
        except UserError as error:
            if asked is not None:
                raise
            notes.append(f"Not checked: {error}")
        else:
            usable.append(name)
    return tuple(usable), tuple(notes)


def _prepare(package: ModelPackage, split: Split, plan: MapPlan) -> Trial:
    """The trial that all methods go through."""
    contract, device = package.contract, pick_device(plan.request.device)
    network = cast("Network", package.model.to(device))
    pixels = torch.from_numpy(contract_images(split, plan.rows, contract)).to(device)
    examples = Examples(
        images=normalise(pixels, contract),
        targets=torch.from_numpy(plan.classes).to(device),
        numbers=plan.rows,
    )
    regions = None
    if plan.boxes is not None:
        pairs = zip(plan.rows, plan.classes, strict=True)
        regions = mark_regions([plan.boxes.of(*pair) for pair in pairs], contract.crop)
    return prepare_trial(network, examples, contract.task, regions, plan.request.checks)


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


def _check(trial: Trial, name: str, request: MapRequest, console: Console) -> TrustReport:
    explain = partial(_explain, name, request.attribution)
    report = check_method(trial, name, explain, partial(explain, signed=True))
    console.print(f"{name}: {report.verdict}", highlight=False, markup=False, soft_wrap=True)
    return report


def _explain(
    name: str, settings: AttributionSettings, network: Network, *, signed: bool = False
) -> Attribute:
    """What speaks for a class, and where `signed` also what speaks against it, if that is told."""

    def maps(images: Tensor, targets: Tensor) -> Tensor:
        found = attribute(network, images, targets, name, settings=settings)
        return found.signed if signed and found.signed is not None else found.maps

    return maps


def _keep(out: Path, result: MapTrust, facts: dict[str, Any]) -> None:
    """Write the page and its figures, all of them or none."""
    command, machine = shlex.join(["resnetkit", *sys.argv[1:]]), environment()
    making = Section(title="How it was made", blocks=[Code(text=command), Facts(pairs=machine)])
    page = Document(
        title=f"The maps of {facts['package']}",
        lead=f"Checked on the {facts['request']['split']} split of {facts['source']}",
        sections=[result.told.section, making],
    )
    record = {**facts, **result.as_dict(), "command": command, "environment": machine}
    text = json.dumps(record, indent=1, allow_nan=False)

    def write(folder: Path) -> None:
        write_file_atomically(folder / REPORT, f"{text}\n")
        write_file_atomically(folder / TABLE, render_markdown(page))
        write_file_atomically(folder / PAGE, render_html(page))

    commit_folder(out, write)
