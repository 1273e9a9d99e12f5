"""What becomes of the network's answers when images are corrupted, or attacked."""

from __future__ import annotations

import numpy as np

from resnetkit.evaluation.attack_report import CURVES, AttackReport
from resnetkit.evaluation.corruption_errors import NormalisedErrors, Robustness
from resnetkit.page.blocks import (
    Axis,
    Beside,
    Block,
    Cell,
    Chart,
    Column,
    Estimate,
    Heat,
    Line,
    Notes,
    Section,
    Table,
    Text,
)
from resnetkit.page.numbers import percent, percent_range

STYLES = {"noise": "grey", "fgsm": "orange", "pgd": "blue"}


def write_robustness(robustness: Robustness, normalised: NormalisedErrors | None) -> Section:
    """A row of errors for each corruption and the mean, then the classes most affected."""
    said = robustness.describe()
    text = (
        f"{said[:1].upper()}{said[1:]}. Corruptions after Hendrycks & Dietterich 2019, with the "
        f"parameters for {robustness.parameter_set}; frost from {robustness.frost}."
    )
    blocks: list[Block] = [Text(text=text), _heat(robustness)]
    if normalised is not None:
        mean = f"mean corruption error {percent(normalised.mean)} of that of {normalised.baseline}"
        blocks.append(Text(text=f"As a share of a baseline’s: {mean}.", quiet=True))
    if robustness.classes:
        blocks.append(_class_table(robustness))
    return Section(title="Common corruptions", blocks=blocks)


def _heat(robustness: Robustness) -> Heat:
    rows = [[*one.errors, one.error] for one in robustness.corruptions]
    values = np.array([*rows, np.mean(rows, axis=0)])
    names = [one.name.replace("_", " ") for one in robustness.corruptions]
    severities = [str(severity + 1) for severity in range(values.shape[1] - 1)]
    return Heat(
        row_names=[*names, "mean"],
        column_names=[*severities, "mean"],
        values=values,
        # The errors of a good network lie in the lower half.
        shades=values / max(0.5, float(values.max())),
        digits=1,
        tone="wrong",
        corner="error % by severity →",
        totals=1,
    )


def _class_table(robustness: Robustness) -> Table:
    columns = [
        Column(title="Class"),
        Column(title="Images", kind="count"),
        Column(title="Clean error", kind="percent"),
        Column(title="Corrupted error", kind="percent"),
        Column(title="Right answers turned", kind="percent"),
        Column(title="Mostly towards"),
    ]
    rows: list[list[Cell]] = [
        [
            one.name,
            one.images,
            one.clean_error,
            one.corrupted_error,
            one.flips,
            "–" if one.towards is None else f"{one.towards} ({percent(one.towards_share, 0)})",
        ]
        for one in robustness.classes
    ]
    return Table(columns=columns, rows=rows, name="classes")


def write_attacks(attacks: AttackReport) -> Section:
    """Accuracy over the size of the change under each attack, and whether to trust it."""
    text = (
        f"Accuracy on {attacks.images:,} images when no pixel value, 0 to 255, changes by more "
        f"than ε. FGSM takes one step, PGD {attacks.steps} from each of {attacks.restarts} starts; "
        "random noise of the same size is beside them."
    )
    warnings: list[Block] = [Notes(items=attacks.warnings)] if attacks.warnings else []
    beside = Beside(blocks=[_attack_chart(attacks), _attack_table(attacks)])
    return Section(title="Adversarial attacks", blocks=[Text(text=text), *warnings, beside])


def _attack_chart(attacks: AttackReport) -> Chart:
    lines = []
    for curve in attacks.curves:
        points = [attacks.clean, *curve.points]
        line = Line(
            label=CURVES[curve.attack],
            style=STYLES[curve.attack],
            points=[(point.epsilon, point.accuracy) for point in points],
            band=[point.interval for point in points],
        )
        lines.append(line)
    strongest = attacks.curve("pgd").points[-1]
    return Chart(
        title="Accuracy under attack",
        series=lines,
        x=Axis(label="ε, of pixel values 0 to 255"),
        y=Axis(label="accuracy (%)", limits=(0.0, 1.0), percent=True),
        says=f"{percent(attacks.clean.accuracy)} unchanged, {percent(strongest.accuracy)} (95 % "
        f"interval {percent_range(strongest.interval)}) under PGD with ε = {strongest.epsilon:g}.",
    )


def _attack_table(attacks: AttackReport) -> Table:
    columns = [Column(title="ε", kind="number")]
    columns += [Column(title=CURVES[curve.attack], kind="percent") for curve in attacks.curves]
    clean = Estimate(value=attacks.clean.accuracy, interval=attacks.clean.interval)
    rows: list[list[Cell]] = [["0", *(clean for _ in attacks.curves)]]
    for points in zip(*(curve.points for curve in attacks.curves), strict=True):
        shown = [Estimate(value=point.accuracy, interval=point.interval) for point in points]
        rows.append([f"{points[0].epsilon:g}", *shown])
    return Table(columns=columns, rows=rows, name="attacks")
