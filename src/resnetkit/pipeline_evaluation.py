"""Evaluation on one page: a package judged on images it has not seen, and a report on it.

`evaluate` shows every image to the network once. Nearly all that the report says follows from those
logits and features; what takes more passes is asked for by `EvaluationOptions`. Nothing is written
before all is known, and then the whole folder at once.
"""

from __future__ import annotations

import glob
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from rich.console import Console

from resnetkit.data.dataset import Progress
from resnetkit.data.opening import DescribedSource
from resnetkit.data.sources import refuse_inside
from resnetkit.evaluation.calibration_error import CalibrationError
from resnetkit.evaluation.evaluate import AnyMetrics
from resnetkit.evaluation.report import write_reports
from resnetkit.evaluation.report_input import EvaluationReport
from resnetkit.evaluation.report_parts import measure_answering
from resnetkit.evaluation.sections.test_time import SeveralLooks, write_test_time
from resnetkit.evaluation.slices import slice_metrics
from resnetkit.evaluation_inputs import EvaluationInputs, read_inputs
from resnetkit.evaluation_options import EvaluationOptions
from resnetkit.experiment import refuse_unwritable
from resnetkit.export.package import load_package
from resnetkit.gate_knowledge import know_gate
from resnetkit.judging import Answers, Subject, answer, open_subject
from resnetkit.measuring import (
    attack,
    judge_other_seeds,
    look_again,
    measure_inside,
    measure_robustness,
    measure_speed,
    measure_strangers,
)
from resnetkit.narration_evaluation import (
    MAPPED_IMAGES,
    check_sets,
    describe_judged,
    find_suspects,
    lay_out_features,
    show_mistakes,
    show_pairs,
)
from resnetkit.package_split import refuse_inside_package
from resnetkit.pipeline_trust import check_planned
from resnetkit.runtime import (
    commit_folder,
    pick_device,
    refuse_foreign_files,
    sweep_temporaries,
    write_file_atomically,
)
from resnetkit.slice_columns import fill_columns
from resnetkit.training.observers import ReadingBar

LABEL_ERRORS = "label_errors.csv"


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """How a package fared on one split; `report` is None when no folder was given for it.

    `calibration` is of the probabilities that `predict` gives; `test_time` are the metrics of
    several looks at each image, where they were asked for.
    """

    split: str
    metrics: AnyMetrics
    calibration: CalibrationError
    test_time: AnyMetrics | None
    report: Path | None


@dataclass(frozen=True, kw_only=True, eq=False)
class Findings:
    """All that a report is written from: answers, and what else was asked for to look into."""

    answers: Answers
    looks: SeveralLooks | None
    options: EvaluationOptions
    inputs: EvaluationInputs
    console: Console
    progress: Progress


def evaluate(
    package_folder: Path,
    source: str | DescribedSource,
    *,
    split: str = "test",
    out: Path | None = None,
    options: EvaluationOptions | None = None,
    console: Console | None = None,
) -> Evaluation:
    """Judge a package on one split of a source, cut as the package's own training cut it.

    Where training had a manifest, the split is the manifest's; `DescribedSource` gives another, and
    says whether classes may be missing, as they may for a package that learned on. `out` gets
    report.html, report.md, metrics.json and label_errors.csv, all of them or none.
    Raises UserError when the source has no such split, has other classes than the package, images
    that cannot be read, or images that would count as unseen although the package has seen them;
    and for options that do not fit. Nothing is written then.
    """
    start = time.perf_counter()
    options, console = options or EvaluationOptions(), console or Console(stderr=True, quiet=True)
    asked = DescribedSource(location=source) if isinstance(source, str) else source
    refuse_place(package_folder, asked, options, out)
    package = load_package(package_folder)
    options.refuse_unfit(package)
    package.model.to(pick_device(options.device))
    with ReadingBar(console) as progress:
        subject = open_subject(package_folder, package, asked, split, progress)
        if out is None:
            answers = answer(subject, progress)
            looks = look_again(answers, options.test_time, progress)
        else:
            findings = find_out(subject, options, console, progress)
            answers, looks = findings.answers, findings.looks
            write_up(findings, out, start)
    return Evaluation(
        split=split,
        metrics=answers.metrics,
        calibration=answers.reliability.after or answers.reliability.before,
        test_time=None if looks is None else looks.metrics,
        report=None if out is None else out / "report.html",
    )


def refuse_place(
    package_folder: Path, asked: DescribedSource, options: EvaluationOptions, out: Path | None
) -> None:
    """UserError where the report cannot be written to `out`, or is asked for without it."""
    if out is None:
        options.refuse_without_report()
        return
    refuse_unwritable(out)
    refuse_inside_package(package_folder, out)
    others = [place for place in (options.strangers, options.boxes) if place is not None]
    for place in (asked.location, *map(str, others)):
        refuse_inside(place, out)
    refuse_foreign_files(out)
    sweep_temporaries(out.absolute().parent, glob.escape(out.name))


def find_out(
    subject: Subject, options: EvaluationOptions, console: Console, progress: Progress
) -> Findings:
    """The network's answers; first what could be refused, which is not to come after an hour."""
    inputs = read_inputs(subject, options, progress)
    featured = subject.draw(MAPPED_IMAGES) if options.includes("feature-map") else None
    if inputs.strangers is not None:
        featured = np.arange(len(subject.images))
    answers = answer(subject, progress, featured, statistics=bool(inputs.columns))
    return Findings(
        answers=answers,
        looks=look_again(answers, options.test_time, progress),
        options=options,
        inputs=inputs,
        console=console,
        progress=progress,
    )


def write_up(findings: Findings, out: Path, start: float) -> None:
    """Make the parts of the report one after the other, then write the folder, whole or not."""
    report = describe_judged(findings.answers)
    for tell in (tell_answers, tell_pictures, tell_groups, tell_strain, tell_network):
        report = tell(report, findings)
    files = {}
    if findings.options.includes("label-errors"):
        report, files = tell_label_errors(report, findings)
    if findings.options.includes("speed"):
        speed = measure_speed(findings.answers)
        besides = time.perf_counter() - start - findings.answers.seconds
        report = replace(report, speed=replace(speed, report_seconds=besides))

    def write(folder: Path) -> None:
        write_reports(folder, report)
        for name, text in files.items():
            write_file_atomically(folder / name, text)

    commit_folder(out, write)


def tell_answers(report: EvaluationReport, findings: Findings) -> EvaluationReport:
    """What follows from the answers alone: calibration, when to withhold one, several looks."""
    answers, looks = findings.answers, findings.looks
    subject, confidence = answers.subject, answers.subject.package.confidence
    report = replace(report, reliability=answers.reliability)
    if subject.task == "single-label":
        labels, reject = subject.images.class_numbers, confidence and confidence.reject
        answering = measure_answering(answers.calibrated, labels, reject)
        report = replace(report, answering=answering, sets=check_sets(answers))
    if looks is None:
        return report
    return replace(report, extras=[*report.extras, write_test_time(looks)])


def tell_pictures(report: EvaluationReport, findings: Findings) -> EvaluationReport:
    """Images that were confused, and the errors that say most."""
    answers, with_maps = findings.answers, findings.options.includes("maps")
    if answers.subject.task == "multi-label":
        return report
    mistakes = show_mistakes(answers, with_maps=with_maps)
    return replace(report, pair_samples=show_pairs(answers), mistakes=mistakes)


def tell_groups(report: EvaluationReport, findings: Findings) -> EvaluationReport:
    """Where the network is weaker, and what the data gate knows of the images."""
    answers, inputs = findings.answers, findings.inputs
    names, task = answers.subject.contract.class_names, answers.subject.task
    columns, note = fill_columns(inputs.columns, answers.statistics)
    if note:
        report = replace(report, notes=[*report.notes, note])
    if columns:
        slices = slice_metrics(answers.deciding, answers.labels, names, task, columns)
        report = replace(report, slices=slices)
    if findings.options.includes("gate"):
        report = replace(report, gate=know_gate(answers, findings.progress, inputs.learnt))
    return report


def tell_label_errors(
    report: EvaluationReport, findings: Findings
) -> tuple[EvaluationReport, dict[str, str]]:
    """Labels that are likely wrong, and a file that lists all; or a note why there are none."""
    found = find_suspects(findings.answers)
    if isinstance(found, str):
        return replace(report, notes=[*report.notes, f"{found[:1].upper()}{found[1:]}."]), {}
    suspects, listed = found
    return replace(report, suspects=suspects), {LABEL_ERRORS: listed}


def tell_strain(report: EvaluationReport, findings: Findings) -> EvaluationReport:
    """What other images and other seeds do to the answers, as far as it is asked for."""
    answers, options, progress = findings.answers, findings.options, findings.progress
    others, strangers = findings.inputs.other_seeds, findings.inputs.strangers
    if others:
        report = replace(report, spread=judge_other_seeds(answers, others, progress))
    if strangers is not None:
        told = measure_strangers(answers, strangers, str(options.strangers), progress)
        report = replace(report, strangers=told)
    if options.corruptions is not None:
        found, normalised = measure_robustness(answers.subject, options.corruptions, progress)
        report = replace(report, robustness=found, normalised=normalised)
    if options.attacks is not None:
        report = replace(report, attacks=attack(answers.subject, options.attacks))
    return report


def tell_network(report: EvaluationReport, findings: Findings) -> EvaluationReport:
    """What is inside the network, how its features lie, and which of its maps to believe."""
    answers, options, subject = findings.answers, findings.options, findings.answers.subject
    extras, notes = [*report.extras], [*report.notes]
    if options.includes("inside"):
        extras.append(measure_inside(subject))
    if options.includes("feature-map"):
        rows = subject.draw(MAPPED_IMAGES)
        laid_out = lay_out_features(answers, rows, options.feature_map)
        if isinstance(laid_out, str):
            notes.append(laid_out)
        else:
            extras.append(laid_out)
    plan = findings.inputs.maps
    if plan is not None:
        extras.append(check_planned(subject.package, subject.images, plan, findings.console).told)
    return replace(report, extras=extras, notes=notes)
