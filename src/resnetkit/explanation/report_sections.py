"""What was found inside a network, and which maps to believe, as sections of the report."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from resnetkit.evaluation.report_input import Extra
from resnetkit.explanation import inside_section
from resnetkit.explanation.examples import Mean
from resnetkit.explanation.feature_map import FeatureMap
from resnetkit.explanation.inside_report import InsideReport
from resnetkit.explanation.trust import CurveSummary, Trial, TrustReport, summarise_curves
from resnetkit.page.blocks import (
    Axis,
    Beside,
    Cell,
    Chart,
    Column,
    Estimate,
    Line,
    Section,
    Table,
    Text,
)

TRUST_COLUMNS = (
    Column(title="Map"),
    Column(title="Verdict"),
    Column(title="Insertion ↑", kind="number"),
    Column(title="Deletion ↓", kind="number"),
    Column(title="Gain over itself shifted", kind="number"),
    Column(title="Alike without learning ↓", kind="number"),
    Column(title="ms a map", kind="number"),
)
POINTING_COLUMNS = (
    Column(title="Pointing game ↑", kind="percent"),
    Column(title="Inside boxes ↑", kind="percent"),
)


def write_inside(report: InsideReport) -> Extra:
    """Norms, ranks and dead units of every part, and what of it is unusual."""
    section = inside_section.write_inside(report)
    return Extra(name="inside", section=section, figures=report.as_dict())


def write_feature_map(
    feature_map: FeatureMap,
    labels: np.ndarray,
    class_names: Sequence[str],
    names: Sequence[str],
) -> Extra:
    """Where images lie by their features, labels int64 [N], coloured by class."""
    section = inside_section.write_feature_map(feature_map, labels, class_names, names)
    figures = {
        "method": feature_map.method,
        "axes": feature_map.axes,
        "caution": feature_map.caution,
        "images": len(labels),
    }
    return Extra(name="feature_map", section=section, figures=figures)


def write_trust(reports: Sequence[TrustReport], trial: Trial) -> Extra:
    """A row for each method, those to believe first, and the curves behind the verdicts."""
    ordered = sorted(reports, key=lambda report: not report.believed)
    boxes = trial.regions is not None
    columns = [*TRUST_COLUMNS, *(POINTING_COLUMNS if boxes else ())]
    controls = {"random order": trial.random, "middle": trial.centre}
    summaries = {name: summarise_curves(curves) for name, curves in controls.items()}
    table = Table(
        columns=columns,
        rows=[_trust_row(report, boxes=boxes) for report in ordered],
        totals=[_control_row(name, one, len(columns)) for name, one in summaries.items()],
        name="maps",
    )
    reasons = [Text(text=f"{report.method}: {report.verdict}.") for report in ordered]
    lines = [(report.method, report.curves) for report in ordered]
    charts = [_curve_chart(which, lines, summaries) for which in ("insertion", "deletion")]
    section = Section(
        title="Which map to believe",
        blocks=[*reasons, table, Beside(blocks=charts)],
    )
    return Extra(name="trust", section=section, figures=[one.as_dict() for one in ordered])


def _trust_row(report: TrustReport, *, boxes: bool) -> list[Cell]:
    row: list[Cell] = [
        report.method,
        "believe" if report.believed else "do not believe",
        _estimate(report.curves.insertion_area),
        _estimate(report.curves.deletion_area),
        _estimate(report.gain_over_shifted),
        _estimate(report.randomised.decisive.similarity),
        report.milliseconds,
    ]
    if not boxes:
        return row
    game = report.pointing
    if game is None:
        return [*row, None, None]
    points = Estimate(value=game.points.share, interval=game.points.interval)
    return [*row, points, None if game.energy is None else _estimate(game.energy)]


def _control_row(name: str, curves: CurveSummary, columns: int) -> list[Cell]:
    areas = [_estimate(curves.insertion_area), _estimate(curves.deletion_area)]
    return [name, "control", *areas, *[""] * (columns - 4)]


def _estimate(mean: Mean) -> Estimate:
    return Estimate(value=mean.mean, interval=mean.interval)


def _curve_chart(
    which: str, lines: Sequence[tuple[str, CurveSummary]], controls: dict[str, CurveSummary]
) -> Chart:
    drawn = [
        _curve(name, curves, which, f"group{number % 10}")
        for number, (name, curves) in enumerate(lines)
    ]
    drawn += [_curve(*control, which, "grey dashed") for control in controls.items()]
    better = "higher" if which == "insertion" else "lower"
    changed = "put in" if which == "insertion" else "taken away"
    return Chart(
        title=which.capitalize(),
        series=drawn,
        x=Axis(label=f"pixels {changed}, by the map (%)", limits=(0.0, 1.0), percent=True),
        y=Axis(label="probability of the class"),
        says=f"A map is the better the {better} its line: it names the pixels the network uses.",
    )


def _curve(name: str, curves: CurveSummary, which: str, style: str) -> Line:
    values: Sequence[float] = getattr(curves, which)
    return Line(label=name, points=list(zip(curves.shares, values, strict=True)), style=style)
