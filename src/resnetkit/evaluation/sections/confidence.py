"""What the probabilities are worth: reliability, when not to answer, sets with a promise."""

from __future__ import annotations

from collections.abc import Sequence

from resnetkit.evaluation.calibration_error import CalibrationError, ReliabilityBin
from resnetkit.evaluation.confidence import describe_confidence, describe_reject
from resnetkit.evaluation.report_input import Answering, Reliability, Sets, Strangers
from resnetkit.evaluation.selective import CoveragePoint
from resnetkit.page.blocks import (
    Axis,
    Bars,
    Beside,
    Block,
    Cell,
    Chart,
    Column,
    Estimate,
    Line,
    Mark,
    Section,
    Table,
    Text,
)
from resnetkit.page.numbers import percent, percent_range

SHARE = (0.0, 1.0)
COVERAGES = (1.0, 0.95, 0.9, 0.8, 0.7, 0.6, 0.5)
LEAST_COVERAGE = 0.05  # drawn; of fewer answers the share that is right says nothing
FEWEST_ANSWERS = 10  # of a bin that is drawn
ERRORS = {  # of `CalibrationError`: how the report names them, and whether they are shares
    "ece": ("Expected calibration error (ECE), bins of equal width", True),
    "ece_equal_mass": ("ECE, bins of equal mass", True),
    "ece_by_chance": ("ECE that true probabilities would show by chance", True),
    "class_ece": ("ECE by class, mean", True),
    "brier": ("Brier score", False),
    "nll": ("Negative log-likelihood, nats", False),
}
SCORES_EXPLAINED = (
    "AUROC: how often a strange image has the higher score (0.5 is chance). FPR95: strange images "
    "let through where 95 % of the own ones are."
)


def write_reliability(reliability: Reliability) -> Section:
    """Whether answers that are given as 90 % sure are right nine times in ten."""
    blocks: list[Block] = [
        Text(text=describe_confidence(reliability.confidence)),
        Beside(blocks=[_reliability_chart(reliability), _sureness_chart(reliability)]),
        _error_table(reliability),
    ]
    return Section(title="Calibration", blocks=blocks)


def _reliability_chart(reliability: Reliability) -> Chart:
    lines = [Line(label="perfect", points=[(0, 0), (1, 1)], style="grey dashed")]
    lines.append(_bin_line("as the network gives them", "orange", reliability.bins_before))
    says = _sureness("The network’s own probabilities", reliability.bins_before)
    if reliability.bins_after:
        lines.append(_bin_line("calibrated", "blue", reliability.bins_after))
        says += f" {_sureness('Calibrated', reliability.bins_after)}"
    return Chart(
        title="Right answers by probability",
        series=lines,
        x=Axis(label="probability given (%)", limits=SHARE, percent=True),
        y=Axis(label="right answers (%)", limits=SHARE, percent=True),
        says=says,
    )


def _bin_line(label: str, style: str, bins: Sequence[ReliabilityBin]) -> Line:
    drawn = [one for one in bins if one.answers >= FEWEST_ANSWERS] or bins
    points = [(one.probability, one.accuracy) for one in drawn]
    return Line(label=label, points=points, style=style, band=[one.interval for one in drawn])


def _sureness(subject: str, bins: Sequence[ReliabilityBin]) -> str:
    """How sure the answers are on average, and how many of them are right."""
    answers = sum(one.answers for one in bins)
    sure = sum(one.answers * one.probability for one in bins) / answers
    right = sum(one.answers * one.accuracy for one in bins) / answers
    return f"{subject}: {percent(sure)} on average, where {percent(right)} are right."


def _sureness_chart(reliability: Reliability) -> Chart:
    bins, label = reliability.bins_after, "calibrated"
    if not bins:
        bins, label = reliability.bins_before, "as the network gives them"
    answers = sum(one.answers for one in bins)
    last = bins[-1]
    share = percent(last.answers / answers)
    return Chart(
        title=f"How sure the answers are, {label}",
        series=[
            Bars(label=label, bars=[(one.low, one.high, one.answers / answers) for one in bins])
        ],
        x=Axis(label="probability given (%)", limits=SHARE, percent=True),
        y=Axis(label="share of the answers (%)", percent=True),
        says=f"{share} of the answers are given with {percent(last.low, 0)} or more.",
    )


def _error_table(reliability: Reliability) -> Table:
    columns = [Column(title="Error (0 is best)"), Column(title="Network’s own", kind="number")]
    measured: list[CalibrationError] = [reliability.before]
    if reliability.after is not None:
        columns.append(Column(title="Calibrated", kind="number"))
        measured.append(reliability.after)
    rows: list[list[Cell]] = []
    for name, (title, share) in ERRORS.items():
        values = [getattr(one, name) for one in measured]
        shown = [percent(value, 2) if share else f"{value:.4f}" for value in values]
        rows.append([title, *shown])
    return Table(columns=columns, rows=rows, name="calibration errors")


def write_answering(answering: Answering) -> Section:
    """What is gained by leaving the doubtful images to a person."""
    points = answering.curve.points
    drawn = [point for point in points if point.coverage >= LEAST_COVERAGE]
    marks, says = [], [_describe_point("Answering the surest", _nearest(points, 0.8))]
    reached = answering.at_threshold
    if reached is not None:
        marks.append(Mark(label="threshold", x=reached.coverage))
        says.append(_describe_point("Answering those at or above the threshold,", reached))
    elif answering.reject is not None:
        says.append("The threshold leaves no image answered.")
    chart = Chart(
        title="Accuracy by coverage",
        series=[
            Line(
                label="right among the answers",
                points=[(point.coverage, point.accuracy) for point in drawn],
                band=[point.interval for point in drawn],
            )
        ],
        x=Axis(label="images answered, the surest first (%)", limits=SHARE, percent=True),
        y=Axis(label="right (%)", percent=True),
        marks=marks,
        says=" ".join(says),
    )
    blocks: list[Block] = [
        Text(text="An answer can be withheld where the network is not sure enough."),
        Beside(blocks=[chart, _coverage_table(points)]),
        Text(
            text=f"Area under the risk–coverage curve {answering.curve.aurc:.4f}; "
            f"{answering.curve.least_aurc:.4f} with the same mistakes, were they the least sure.",
            quiet=True,
        ),
    ]
    if answering.reject is not None:
        blocks.insert(1, Text(text=f"{describe_reject(answering.reject)}."))
    return Section(title="When not to answer", blocks=blocks)


def _describe_point(how: str, point: CoveragePoint) -> str:
    around = percent_range(point.interval)
    return (
        f"{how} {percent(point.coverage)} of the images, {percent(point.accuracy)} of the "
        f"answers are right (95 % interval {around})."
    )


def _nearest(points: Sequence[CoveragePoint], coverage: float) -> CoveragePoint:
    return min(points, key=lambda point: abs(point.coverage - coverage))


def _coverage_table(points: Sequence[CoveragePoint]) -> Table:
    columns = [
        Column(title="Answered", kind="percent"),
        Column(title="Right", kind="percent"),
        Column(title="Threshold", kind="number", digits=6),
    ]
    chosen = dict.fromkeys(_nearest(points, coverage) for coverage in COVERAGES)
    rows: list[list[Cell]] = [
        [point.coverage, Estimate(value=point.accuracy, interval=point.interval), point.threshold]
        for point in chosen
    ]
    return Table(columns=columns, rows=rows, name="coverages")


def write_sets(sets: Sets) -> Section:
    """Whether the sets hold the true class as often as was promised."""
    check = sets.check
    verdict = "kept" if check.kept else "broken"
    text = (
        f"Instead of one answer, a set of classes that holds the true one for at least "
        f"{percent(check.promised)} of images like those it was fitted on. Here the promise is "
        f"{verdict}: {percent(check.covered)} of {check.images:,} sets hold it, where "
        f"{percent_range(check.expected)} were to be expected. A set has {check.mean_size:.2f} "
        f"classes on average; {percent(check.single)} have one, {percent(check.empty)} none."
    )
    rows = sorted(check.per_class, key=lambda row: (row.covered is None, row.covered))
    table = Table(
        columns=[
            Column(title="Class"),
            Column(title="Images", kind="count"),
            Column(title="Held by its set", kind="percent"),
            Column(title="Held", kind="bar"),
        ],
        rows=[
            [row.name, row.images, *[Estimate(value=row.covered, interval=row.interval)] * 2]
            for row in rows
        ],
        name="classes",
    )
    note = "The promise is on average over the images, not for each class."
    return Section(
        title="Prediction sets", blocks=[Text(text=text), Text(text=note, quiet=True), table]
    )


def write_strangers(strangers: Strangers) -> Section:
    """Whether images of another kind are noticed."""
    rows: list[list[Cell]] = [
        [one.score, Estimate(value=one.auroc, interval=one.auroc_interval), one.fpr95]
        for one in strangers.detections
    ]
    first = strangers.detections[0]
    text = (
        f"How well a score tells {first.foreign:,} images of {strangers.source}, which are taken "
        f"to show nothing this network knows, from {first.own:,} of its own kind."
    )
    columns = [
        Column(title="Score"),
        Column(title="AUROC", kind="number", digits=4),
        Column(title="FPR95", kind="percent"),
    ]
    table = Table(columns=columns, rows=rows, name="scores")
    blocks: list[Block] = [Text(text=text), table, Text(text=SCORES_EXPLAINED, quiet=True)]
    return Section(title="Images of another kind", blocks=blocks)
