"""The report of a run or an evaluation: `report.html`, `report.md` and `metrics.json`.

All three are of one `EvaluationReport`. The page needs nothing else and opens anywhere: style,
script and pictures are inside, and its own content security policy forbids the rest. Everything
that came from the user (names, paths, settings) is escaped.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from resnetkit.evaluation.metrics import Metrics
from resnetkit.evaluation.report_figures import figures_of, write_figures
from resnetkit.evaluation.report_input import EvaluationReport
from resnetkit.evaluation.sections.classes import write_classes
from resnetkit.evaluation.sections.confidence import (
    write_answering,
    write_reliability,
    write_sets,
    write_strangers,
)
from resnetkit.evaluation.sections.confusion import write_confusion
from resnetkit.evaluation.sections.making import write_making, write_speed, write_trained
from resnetkit.evaluation.sections.opening import write_opening
from resnetkit.evaluation.sections.pictures import write_mistakes, write_samples, write_suspects
from resnetkit.evaluation.sections.robustness import write_attacks, write_robustness
from resnetkit.evaluation.sections.slices import write_gate, write_slices, write_spread
from resnetkit.evaluation.sections.training import write_curves
from resnetkit.page.blocks import Document, Section
from resnetkit.page.html import render_html
from resnetkit.page.markdown import render_markdown
from resnetkit.runtime import write_file_atomically


def write_report(path: Path, report: EvaluationReport) -> None:
    """Write the page to `path`, whole or not at all."""
    write_file_atomically(path, render_report(report))


def write_reports(folder: Path, report: EvaluationReport) -> None:
    """Write all three files into `folder`, which must exist."""
    document = describe_report(report)
    write_file_atomically(folder / "metrics.json", write_figures(figures_of(report)))
    write_file_atomically(folder / "report.md", render_markdown(document))
    write_file_atomically(folder / "report.html", render_html(document))


def render_report(report: EvaluationReport) -> str:
    """The page as HTML text."""
    return render_html(describe_report(report))


def describe_report(report: EvaluationReport) -> Document:
    """Everything the report tells, in the order in which it is read."""
    judged = f", judged on {report.source}" if report.source else ""
    return Document(
        title=report.title,
        lead=f"{report.model}, recipe {report.recipe}{judged}",
        sections=list(_sections(report)),
    )


def _sections(report: EvaluationReport) -> Iterator[Section]:
    yield write_opening(report)
    if report.spread is not None:
        yield write_spread(report.spread)
    curves = write_curves(report.records)
    if curves is not None:
        yield curves
    yield from _details(report)
    yield from _trust(report)
    yield from _pictures(report)
    yield from _strain(report)
    for extra in report.extras:
        yield extra.section
    if report.speed is not None:
        yield write_speed(report.speed)
    yield write_trained(report)
    yield write_making(report)


def _details(report: EvaluationReport) -> Iterator[Section]:
    """Classes and confusions of the evaluation that counts."""
    if report.judged is None:
        return
    split, metrics = report.judged
    yield write_classes(split, metrics)
    if isinstance(metrics, Metrics):  # an image of several classes is confused with none
        yield write_confusion(split, metrics, report.pair_samples)


def _trust(report: EvaluationReport) -> Iterator[Section]:
    """What the probabilities are worth."""
    if report.reliability is not None:
        yield write_reliability(report.reliability)
    if report.answering is not None:
        yield write_answering(report.answering)


def _pictures(report: EvaluationReport) -> Iterator[Section]:
    """Single images, and groups of them."""
    if report.mistakes is not None:
        yield write_mistakes(report.mistakes)
    if report.samples:
        yield write_samples(report.samples)
    if report.slices:
        yield write_slices(report.slices)
    if report.suspects is not None:
        yield write_suspects(report.suspects)
    if report.gate is not None:
        yield write_gate(report.gate)


def _strain(report: EvaluationReport) -> Iterator[Section]:
    """Promises kept, and what other images than these do to the answers."""
    if report.sets is not None:
        yield write_sets(report.sets)
    if report.strangers is not None:
        yield write_strangers(report.strangers)
    if report.robustness is not None:
        yield write_robustness(report.robustness, report.normalised)
    if report.attacks is not None:
        yield write_attacks(report.attacks)
