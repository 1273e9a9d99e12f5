"""Judges for `data check`: the labels that networks speak against which did not see the images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console

from resnetkit.build import build_predict
from resnetkit.data.checks.findings import Finding
from resnetkit.data.checks.label_errors import find_label_errors
from resnetkit.data.checks.scan_types import Scan
from resnetkit.data.contract import check_class_names, check_task
from resnetkit.data.dataset import Progress
from resnetkit.data.loader import Loader, LoaderConfig
from resnetkit.data.source_types import Selected, Split
from resnetkit.data.sources import place_of
from resnetkit.data.threads import available_cores
from resnetkit.evaluation.evaluate import evaluate
from resnetkit.evaluation.probabilities import softmax
from resnetkit.export.package import load_package
from resnetkit.out_of_fold import (
    plan_folds,
    predict_out_of_fold,
    quick_contract,
    shrink_into_memory,
)
from resnetkit.runtime import pick_device
from resnetkit.types import UserError

FEWEST_IMAGES = 20  # of which two classes' worth can be left out and the rest still be learnt


@dataclass(frozen=True, kw_only=True)
class LabelCheck:
    """Where the probabilities come from: a package, or trainings of `minutes` altogether."""

    package: Path | None = None
    minutes: float = 10.0

    def __post_init__(self) -> None:
        if not 0 < self.minutes < float("inf"):
            raise UserError(f"--minutes must be above 0, got {self.minutes:g}")


def judge_labels(
    scan: Scan, asked: LabelCheck, progress: Progress, console: Console
) -> Sequence[Finding]:
    """Findings about labels that are likely wrong; or one that says why they were not judged.

    Raises UserError for images with several labels, and for a package made for other classes.
    """
    if scan.task == "multi-label":
        raise UserError(
            f"{scan.location}: likely wrong labels can only be found where an image has one class; "
            "leave --labels and --package out"
        )
    rows = np.flatnonzero(scan.readable)
    if len(rows) < FEWEST_IMAGES:
        return _decline(f"{len(rows)} readable images are too few to learn from", console)
    split = select_split(scan, rows)
    if asked.package is not None:
        probabilities = predict_by_package(split, scan, asked.package, progress)
    else:
        side = max(1, int(np.median(np.minimum(scan.width[rows], scan.height[rows]))))
        grey = bool(scan.grey[rows].all())
        contract = quick_contract(split, scan.class_names, side, grey=grey)
        split = shrink_into_memory(split, contract, progress)
        plan = plan_folds(split, contract, group_equal(scan.pixel_hashes[rows]), asked.minutes)
        console.print(f"Labels   {plan.describe()}", highlight=False, soft_wrap=True)
        probabilities = predict_out_of_fold(split, plan, progress)
    return _findings(scan, rows, probabilities, asked, console)


def _findings(
    scan: Scan, rows: np.ndarray, probabilities: np.ndarray, asked: LabelCheck, console: Console
) -> list[Finding]:
    """What the probabilities say, if they know the classes well enough to be believed."""
    seen = find_seen(asked.package, scan.location)
    labels = scan.labels[rows]
    labels = labels if labels.ndim == 1 else labels.argmax(axis=1)
    accuracy, balanced, needed = rate_judge(labels, probabilities)
    who = "out-of-fold accuracy" if asked.package is None else "accuracy of the package"
    figures = f"{who} {accuracy:.1%}, mean of classes {balanced:.1%}"
    if balanced < needed:
        return [*seen, *_decline(f"{figures}, needed are {needed:.1%}", console)]
    console.print(f"Labels   {figures}", highlight=False, soft_wrap=True)
    return [*seen, *find_label_errors(scan, rows, probabilities)]


def rate_judge(labels: np.ndarray, probabilities: np.ndarray) -> tuple[float, float, float]:
    """(accuracy, balanced accuracy, the least balanced accuracy with which a judge is believed).

    Balanced accuracy is the mean recall of the classes that `labels` int64 [N] has. It must reach
    the middle between chance, 1 / classes, and 1: below, a network that disagrees with a label is
    itself more often wrong than not, and noise would be listed as wrong labels.
    """
    right = probabilities.argmax(axis=1) == labels
    classes = np.unique(labels)
    balanced = float(np.mean([right[labels == number].mean() for number in classes]))
    return float(right.mean()), balanced, (1 + 1 / len(classes)) / 2


def _decline(reason: str, console: Console) -> list[Finding]:
    console.print(f"Labels   not judged: {reason}", highlight=False, soft_wrap=True)
    return [Finding(kind="labels-not-judged", names=(), detail=reason)]


def refuse_package(asked: LabelCheck | None, location: str, console: Console) -> None:
    """UserError where the package asked for cannot be loaded, before any image is read.

    Warns of one that was trained on `location`, whose labels it repeats.
    """
    if asked is not None:
        for finding in find_seen(asked.package, location):
            console.print(f"Labels   warning: {finding.detail}", highlight=False, soft_wrap=True)


def find_seen(package: Path | None, location: str) -> list[Finding]:
    """A finding where `package` was trained on `location`, whatever prefix either was given."""
    if package is None:
        return []
    trained = str(load_package(package).provenance.get("data", {}).get("source", ""))
    here, there = place_of(location), place_of(trained)
    same = trained == location if here is None or there is None else _same_place(here, there)
    if not trained or not same:
        return []
    detail = f"{package} was trained on {trained}: it has seen these images"
    return [Finding(kind="seen-by-package", names=(), detail=detail)]


def _same_place(one: Path, other: Path) -> bool:
    return one.resolve() == other.resolve()


def select_split(scan: Scan, rows: np.ndarray) -> Split:
    """The images `rows` of a scan as one split; named uniquely over all its splits."""
    names = [str(scan.names[int(row)]) for row in rows]
    first = scan.contents[int(rows[0])]
    if isinstance(first, np.ndarray):
        images = np.stack([scan.contents[row] for row in rows.tolist()])  # pyright: ignore
        return Split(labels=scan.labels[rows], names=names, images=images)
    encoded = Selected(scan.contents, rows)  # pyright: ignore[reportArgumentType]
    return Split(labels=scan.labels[rows], names=names, encoded=encoded)


def group_equal(hashes: np.ndarray) -> np.ndarray:
    """The group of each image, int64 [N]: those of equal hashes uint8 [N,B] share one."""
    _, groups = np.unique(hashes, axis=0, return_inverse=True)
    return groups.reshape(-1).astype(np.int64)


def predict_by_package(split: Split, scan: Scan, folder: Path, progress: Progress) -> np.ndarray:
    """Probabilities float32 [N,K] by a package, which must have the source's classes."""
    package = load_package(folder)
    check_task(package.contract, scan.task, scan.location)
    check_class_names(package.contract, scan.class_names, scan.location)
    config = LoaderConfig(batch_size=128, workers=available_cores(), seed=0, shuffle=False)
    if split.images is not None:
        split = shrink_into_memory(split, package.contract, progress)
    loader = Loader(split, package.contract, config)
    model = package.model.to(pick_device("auto"))
    logits, _, _ = evaluate(build_predict(model, package.contract), loader.batches(0))
    return softmax(logits).astype(np.float32)
