"""Which maps to believe, as a section of a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from resnetkit.evaluation.report_input import Extra
from resnetkit.explanation.examples import Mean
from resnetkit.explanation.pointing import Hits, PointingGame
from resnetkit.explanation.randomised_weights import LARGEST_SIMILARITY
from resnetkit.explanation.trust import CurveSummary, Trial, TrustReport, summarise_curves
from resnetkit.page.blocks import (
    Axis,
    Beside,
    Block,
    Cell,
    Chart,
    Column,
    Estimate,
    Line,
    Notes,
    Section,
    Table,
    Text,
)
from resnetkit.page.numbers import percent

COLUMNS = (
    Column(title="Map"),
    Column(title="Verdict"),
    Column(title="Insertion ↑", kind="number"),
    Column(title="Deletion ↓", kind="number"),
    Column(title="Gain over itself shifted", kind="number"),
    Column(title="Alike without learning ↓", kind="number"),
    Column(title="Decisions kept there", kind="percent"),
    Column(title="ms a map", kind="number"),
)
POINTING_COLUMNS = (
    Column(title="Pointing game ↑", kind="percent"),
    Column(title="Small objects ↑", kind="percent", hint="a quarter of the picture at most"),
    Column(title="Inside boxes ↑", kind="percent"),
)
CURVES = {"insertion": ("higher", "put in"), "deletion": ("lower", "taken away")}


def write_trust(
    reports: Sequence[TrustReport], trial: Trial, recognised: float, notes: Sequence[str]
) -> Extra:
    """A row for each method, those to believe first, and the curves behind the verdicts.

    `recognised` is the share of the pictures in which the network sees the class, `notes` say what
    was left out.
    """
    ordered = sorted(reports, key=lambda report: not report.believed)
    controls = {
        "random order": summarise_curves(trial.random),
        "middle": summarise_curves(trial.centre),
    }
    text = (
        f"{len(trial.examples):,} pictures; the network recognises the explained class in "
        f"{percent(recognised)} of them."
    )
    blocks: list[Block] = [
        Text(text=text),
        *([Notes(items=notes)] if notes else []),
        *(Text(text=f"{report.method}: {report.verdict}.") for report in ordered),
        _table(ordered, controls, boxes=trial.regions is not None),
        Beside(blocks=[_curve_chart(which, ordered, controls) for which in CURVES]),
        _forgetting_chart(ordered),
    ]
    figures = {
        "pictures": len(trial.examples),
        "recognised": recognised,
        "notes": list(notes),
        "methods": [one.as_dict() for one in reports],
    }
    section = Section(title="Which map to believe", blocks=blocks)
    return Extra(name="trust", section=section, figures=figures)


def _table(
    reports: Sequence[TrustReport], controls: Mapping[str, CurveSummary], *, boxes: bool
) -> Table:
    rows: list[list[Cell]] = [
        [*_row(report), *(_pointing(report.pointing) if boxes else ())] for report in reports
    ]
    game = reports[0].pointing
    totals = [_control_row(name, curves, game) for name, curves in controls.items()]
    columns = [*COLUMNS, *(POINTING_COLUMNS if boxes else ())]
    return Table(columns=columns, rows=rows, totals=totals, name="maps")


def _row(report: TrustReport) -> list[Cell]:
    decisive = report.randomised.decisive
    return [
        report.method,
        "believe" if report.believed else "do not believe",
        _estimate(report.curves.insertion_area),
        _estimate(report.curves.deletion_area),
        _estimate(report.gain_over_shifted),
        _estimate(decisive.similarity),
        decisive.decisions_kept,
        report.milliseconds,
    ]


def _pointing(game: PointingGame | None) -> list[Cell]:
    if game is None:
        return [None] * len(POINTING_COLUMNS)
    energy = None if game.energy is None else _estimate(game.energy)
    return [_share(game.points), None if game.hard is None else _share(game.hard), energy]


def _control_row(name: str, curves: CurveSummary, game: PointingGame | None) -> list[Cell]:
    """What a map that knows nothing gets; the game's figures are the same in all reports."""
    areas = [_estimate(curves.insertion_area), _estimate(curves.deletion_area)]
    row: list[Cell] = [name, "control", *areas, *[""] * (len(COLUMNS) - 4)]
    if game is None:
        return row
    if name == "middle":
        return [*row, _share(game.centre), "", ""]
    return [*row, game.random, "", game.area]


def _estimate(mean: Mean) -> Estimate:
    return Estimate(value=mean.mean, interval=mean.interval)


def _share(hits: Hits) -> Estimate:
    return Estimate(value=hits.share, interval=hits.interval)


def _curve_chart(
    which: str, reports: Sequence[TrustReport], controls: Mapping[str, CurveSummary]
) -> Chart:
    better, changed = CURVES[which]
    drawn = [
        _curve(report.method, report.curves, which, _style(number))
        for number, report in enumerate(reports)
    ]
    drawn += [_curve(*control, which, "grey dashed") for control in controls.items()]
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


def _forgetting_chart(reports: Sequence[TrustReport]) -> Chart:
    """How alike maps stay as ever more parts of the network forget."""
    lines = [
        Line(
            label=report.method,
            points=[(len(step.parts), step.similarity.mean) for step in report.randomised.cascade],
            style=_style(number),
        )
        for number, report in enumerate(reports)
    ]
    parts = reports[0].randomised.decisive.parts
    limit = [(end, LARGEST_SIMILARITY) for end in (1, len(parts))]
    return Chart(
        title="Alike once parts have forgotten",
        series=[*lines, Line(label="limit", points=limit, style="grey dashed")],
        x=Axis(label="parts with weights drawn anew, from the head down", whole=True),
        y=Axis(label="rank correlation"),
        says=f"In this order: {', '.join(parts)}. The last point decides.",
    )


def _style(number: int) -> str:
    return f"group{number % 10}"
