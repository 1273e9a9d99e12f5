"""From a network's answers to the parts of the report: what it shows, and in which pictures."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch

from resnetkit.data.checks.label_errors import LabelErrors, rank_label_errors
from resnetkit.data.contract import normalise
from resnetkit.evaluation.conformal import check_coverage, prediction_sets
from resnetkit.evaluation.metrics import Metrics
from resnetkit.evaluation.probabilities import softmax
from resnetkit.evaluation.report_input import (
    EvaluationReport,
    Extra,
    LabelSuspects,
    Mistakes,
    Pair,
    Sets,
)
from resnetkit.evaluation.report_parts import choose_mistakes, choose_pair_rows
from resnetkit.evaluation.samples import Sample
from resnetkit.evaluation.sections.confusion import confused_pairs
from resnetkit.explanation.attribution import attribute
from resnetkit.explanation.feature_map import map_features
from resnetkit.explanation.inside_section import write_feature_map
from resnetkit.explanation.overlay import overlay_pixels
from resnetkit.export.reference import contract_images
from resnetkit.judging import Answers
from resnetkit.label_judges import FEWEST_IMAGES, rate_judge
from resnetkit.narration import describe_run
from resnetkit.narration_samples import sample_predictions, show_rows
from resnetkit.runtime import environment
from resnetkit.types import UserError

MAP_METHOD = "gradcam"
MAPPED_IMAGES = 2000  # on a map of features: more would lie on top of each other
SUSPECTS_SHOWN = 24


def describe_judged(answers: Answers) -> EvaluationReport:
    """The report without its parts: what was judged, on what, by whom, and a few images."""
    subject = answers.subject
    package, location = subject.package, subject.asked.location
    report = describe_run(package, {}, [])
    experiment = package.provenance.get("experiment", {})
    trained = package.provenance.get("environment", {})
    single = subject.task == "single-label"
    origin = {
        "package": str(subject.folder),
        "input_contract": subject.contract.hash,
        "manifest": None if subject.manifest is None else str(subject.manifest),
        "training_seed": experiment.get("training", {}).get("seed"),
        "training_data": package.provenance.get("data", {}).get("digest"),
        "training_commit": trained.get("commit"),
        "training_machine": trained.get("gpu") or trained.get("cpu"),
    }
    return replace(
        report,
        source="" if location == report.data else location,
        evaluations={subject.split: answers.metrics},
        samples=sample_predictions(
            subject.images, answers.logits, package, wrong=0 if single else 12
        ),
        environment=environment(),
        notes=[*subject.notes, *report.notes],
        origin={name: value for name, value in origin.items() if value is not None},
    )


def show_mistakes(answers: Answers, *, with_maps: bool) -> Mistakes:
    """The errors that say most, each with the map of the wrong class where asked for."""
    subject, labels = answers.subject, answers.subject.images.class_numbers
    surest, furthest = choose_mistakes(answers.calibrated, labels)
    rows = [*surest, *furthest]
    maps = _map_predictions(answers, rows) if with_maps and rows else []
    samples = show_rows(subject.images, answers.calibrated, subject.contract, rows, maps)
    return Mistakes(
        surest=samples[: len(surest)],
        furthest=samples[len(surest) :],
        method=MAP_METHOD if maps else "",
    )


def _map_predictions(answers: Answers, rows: Sequence[int]) -> list[np.ndarray]:
    """The images at `rows` under the map of the class that was said: uint8 [h,w,3] each."""
    subject = answers.subject
    pixels = contract_images(subject.images, np.array(rows), subject.contract)
    images = normalise(torch.from_numpy(pixels).to(subject.device), subject.contract)
    targets = torch.from_numpy(answers.calibrated[rows].argmax(axis=1)).to(subject.device)
    maps = attribute(subject.network, images, targets, MAP_METHOD).maps.cpu().numpy()
    return [overlay_pixels(image, heat) for image, heat in zip(pixels, maps, strict=True)]


def show_pairs(answers: Answers) -> Mapping[Pair, Sequence[Sample]]:
    """Images of the classes that are most often confused."""
    metrics = answers.metrics
    if not isinstance(metrics, Metrics):
        return {}
    subject, labels = answers.subject, answers.subject.images.class_numbers
    pairs = confused_pairs(np.array(metrics.confusion))
    chosen = choose_pair_rows(answers.calibrated, labels, pairs)
    flat = [row for rows in chosen.values() for row in rows]
    samples = iter(show_rows(subject.images, answers.calibrated, subject.contract, flat))
    return {pair: [next(samples) for _ in rows] for pair, rows in chosen.items()}


def find_suspects(answers: Answers) -> tuple[LabelSuspects, str] | str:
    """Labels that are likely wrong, and all of them as CSV; or why this cannot be said.

    The judge is the package itself, on images it has not seen, if it knows the classes well enough.
    """
    subject = answers.subject
    if subject.task == "multi-label":
        return "likely label errors are only found where an image has one class"
    if len(answers.labels) < FEWEST_IMAGES:
        return f"{len(answers.labels)} images are too few to find label errors among"
    labels, shares = subject.images.class_numbers, softmax(answers.calibrated)
    accuracy, balanced, needed = rate_judge(labels, shares)
    if balanced < needed:
        return (
            f"label errors were not looked for: the mean recall of the classes is {balanced:.1%}, "
            f"and a network below {needed:.1%} is itself more often wrong than a label"
        )
    errors = rank_label_errors(labels, shares)
    shown = errors.rows[:SUSPECTS_SHOWN].tolist()
    samples = show_rows(subject.images, answers.calibrated, subject.contract, shown)
    names = subject.contract.class_names
    named = [
        replace(sample, predicted=names[other], probability=float(shares[row, other]))
        for sample, row, other in zip(samples, shown, errors.suggested.tolist(), strict=False)
    ]
    judge = f"this package, which is right for {accuracy:.1%} of the images"
    suspects = LabelSuspects(samples=named, found=len(errors.rows), judged_by=judge)
    return suspects, _list_suspects(answers, errors)


def _list_suspects(answers: Answers, errors: LabelErrors) -> str:
    """Every likely label error as CSV, the surest first."""
    images, names = answers.subject.images, answers.subject.contract.class_names
    labels, text = images.class_numbers, io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["image", "label", "likely", "margin"])
    found = (errors.rows.tolist(), errors.suggested.tolist(), errors.margins.tolist())
    for row, other, margin in zip(*found, strict=True):
        table.writerow([images.names[row], names[labels[row]], names[other], f"{margin:.4f}"])
    return text.getvalue()


def check_sets(answers: Answers) -> Sets | None:
    """What the package's prediction sets hold here; None where it has none."""
    subject = answers.subject
    confidence = subject.package.confidence
    if confidence is None or confidence.conformal is None:
        return None
    sets = prediction_sets(answers.calibrated, confidence.conformal)
    labels, names = subject.images.class_numbers, subject.contract.class_names
    check = check_coverage(sets, labels, confidence.conformal, names)
    return Sets(conformal=confidence.conformal, check=check)


def lay_out_features(answers: Answers, rows: np.ndarray, method: str) -> Extra | str:
    """The map of the features of the images at `rows`, by class; or why there is none."""
    subject = answers.subject
    places = np.searchsorted(answers.featured, rows)
    try:
        found = map_features(answers.features[places], method)
    except UserError as error:  # too few images, or all alike: no reason to have no report
        return str(error)
    labels = subject.images.labels[rows]
    labels = labels if labels.ndim == 1 else labels.argmax(axis=1)
    names = [str(subject.images.names[row]) for row in rows.tolist()]
    return write_feature_map(found, labels, subject.contract.class_names, names)
