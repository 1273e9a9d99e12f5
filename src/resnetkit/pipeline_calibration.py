"""Calibration on one page: a package learns how sure it may be, on images it was not trained on.

`calibrate` judges a package on such images, fits what turns its logits into probabilities to rely
on, a reject threshold and prediction sets where they are asked for, and writes another package: the
same network, to the byte, with another confidence.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from rich.console import Console

from resnetkit.build import build_predict
from resnetkit.data.manifest_table import file_digest
from resnetkit.data.opening import DescribedSource
from resnetkit.data.past import Past
from resnetkit.data.sources import load_source, refuse_inside
from resnetkit.evaluation.confidence import (
    Confidence,
    Wanted,
    fit_confidence,
    refuse_unfittable,
)
from resnetkit.evaluation.evaluate import evaluate as run_evaluation
from resnetkit.evaluation.metrics import refuse_unusable
from resnetkit.experiment import recorded_past, refuse_unwritable
from resnetkit.export.package import WEIGHTS, ModelPackage, load_package
from resnetkit.export.renewed import save_renewed
from resnetkit.package_split import load_in_order, load_unseen, refuse_inside_package
from resnetkit.runtime import MANIFEST, pick_device
from resnetkit.training.observers import ReadingBar
from resnetkit.types import UserError

CalibrationSplit = Literal["val", "test", "all"]


@dataclass(frozen=True, kw_only=True)
class CalibrationRequest:
    """Which images to calibrate on, what to fit, and where to run."""

    split: CalibrationSplit = "val"
    wanted: Wanted = field(default_factory=Wanted)
    device: str = "auto"


@dataclass(frozen=True, kw_only=True)
class CalibrationResult:
    """The package with its new confidence, and what to know of the images behind it."""

    package: Path
    confidence: Confidence
    notes: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Everything as JSON-safe values."""
        return {
            "package": str(self.package),
            "notes": list(self.notes),
            **self.confidence.as_dict(),
        }


def calibrate(
    package_folder: Path,
    source: str | DescribedSource,
    out: Path,
    *,
    request: CalibrationRequest | None = None,
    console: Console | None = None,
) -> CalibrationResult:
    """Fit a package's confidence on one split of a source; the package with it is written to `out`.

    By default on the validation images of its own training; others must not have been trained on.
    Raises UserError where that cannot be told, where the images are too few or do not allow what is
    wanted, where `out` exists, and as `pipeline_evaluation.evaluate` does.
    """
    request = request or CalibrationRequest()
    asked = DescribedSource(location=source) if isinstance(source, str) else source
    refuse_taken(out)
    refuse_inside(asked.location, out)
    refuse_inside_package(package_folder, out)
    package = load_package(package_folder)
    refuse_unknown_validation(package, asked, request.split, package_folder)
    split, wanted, task = request.split, request.wanted, package.contract.task
    with ReadingBar(console or Console(stderr=True, quiet=True)) as bar:
        images = load_unseen(package_folder, package, asked, split, bar, strictly=True)
    refuse_unfittable(wanted, task, len(images), split)
    model = package.model.to(pick_device(request.device))
    batches = load_in_order(package_folder, package, images, package.contract).batches(0)
    logits, labels, _ = run_evaluation(build_predict(model, package.contract), batches)
    refuse_unusable(logits)
    confidence = fit_confidence(
        logits, labels, task, source=asked.location, split=split, wanted=wanted
    )
    provenance = {**package.provenance, "calibrated": describe_parent(package_folder)}
    save_renewed(
        package_folder, out, replace(package, confidence=confidence, provenance=provenance)
    )
    return CalibrationResult(
        package=out, confidence=confidence, notes=_notes(package, asked, request, package_folder)
    )


def refuse_taken(out: Path) -> None:
    """UserError unless `out` is a place where there is nothing yet, and that may be written."""
    refuse_unwritable(out)
    if out.exists():
        raise UserError(
            f"--out {out}: needed is a folder that does not exist yet, since calibrating changes "
            "no package but writes another; give another place"
        )


def refuse_unknown_validation(
    package: ModelPackage, asked: DescribedSource, split: str, folder: Path
) -> None:
    """UserError where "val" would be cut from a source of which nothing says what validated it.

    A package whose training is recorded knows; so does a manifest, or a source with such a split.
    """
    if split != "val" or "experiment" in package.provenance or asked.manifest is not None:
        return
    if "val" not in load_source(asked.location, (), least_classes=1).present:
        raise UserError(
            f"{folder}: this package has no record of its training (it was imported), so nothing "
            f"says which images of {asked.location} validated it, and any cut might be of images "
            "it was trained on. Give images it has never seen, with --split test or --split all"
        )


def describe_parent(folder: Path) -> dict[str, str]:
    """Which package another confidence was given to: its place, and the SHA-256 of its files."""
    return {
        "parent": str(folder),
        "parent_manifest": file_digest(folder / MANIFEST),
        "weights": file_digest(folder / WEIGHTS),
    }


def _notes(
    package: ModelPackage, asked: DescribedSource, request: CalibrationRequest, folder: Path
) -> tuple[str, ...]:
    past: Past = recorded_past(package.provenance, package.contract, None, str(folder))
    notes = []
    if request.split == "val" and past.at(asked.location) is not None:
        notes.append(
            "These images validated the training, which may have kept the weights that suit them "
            "best: on others the package is somewhat less right than it is sure. Images it has "
            "never seen, with --split test or another source, do not have this"
        )
    if package.confidence is not None:
        before = package.confidence.fitted_on
        notes.append(
            f"Its confidence of before (fitted on {before.images:,} images, {before.split} of "
            f"{before.source}) is replaced"
        )
    if request.split != "val":
        notes.append(
            f"Figures of these images ({request.split} of {asked.location}) are no longer of "
            "unseen ones where they are about this confidence; judge it on others"
        )
    return tuple(notes)
