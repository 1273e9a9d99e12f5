"""The curves of a training, from the lines of metrics.jsonl."""

from __future__ import annotations

from collections.abc import Sequence

from resnetkit.evaluation.metrics import SHOWN_SCORES
from resnetkit.jsonl import Record
from resnetkit.page.blocks import Axis, Beside, Chart, Line, Section
from resnetkit.page.numbers import percent


def write_curves(records: Sequence[Record]) -> Section | None:
    """Loss, score and learning rate by epoch; of a short run by step; None of a shorter one."""
    validations = [record for record in records if record["kind"] == "validation"]
    steps = [record for record in records if record["kind"] == "train"]
    charts = _epoch_charts(validations) if len(validations) > 1 else _step_charts(steps)
    return Section(title="Curves", blocks=[Beside(blocks=charts)]) if charts else None


def _epoch_charts(records: Sequence[Record]) -> list[Chart]:
    # Epochs are numbered from 1 on the axis: a point stands for the end of its epoch.
    epochs = [record["epoch"] + 1 for record in records]

    def line(label: str, style: str, key: str) -> Line:
        values = [record[key] for record in records]
        return Line(label=label, style=style, points=list(zip(epochs, values, strict=True)))

    def chart(title: str, lines: Sequence[Line], says: str, *, share: bool = False) -> Chart:
        x, y = Axis(label="epoch", whole=True), Axis(label="", percent=share)
        return Chart(title=title, series=lines, x=x, y=y, says=says)

    name = next(name for name in SHOWN_SCORES if name in records[0])
    best = max(range(len(records)), key=lambda index: records[index][name])
    last, rates = records[-1], [record["learning_rate"] for record in records]
    losses = [line("training", "orange", "train_loss"), line("validation", "blue", "loss")]
    ended = f"At the end {last['train_loss']:.3g} in training, {last['loss']:.3g} in validation."
    reached = f"Best {percent(records[best][name], 2)} after epoch {epochs[best]}."
    score = "Accuracy (%)" if name == "top1" else "mAP (%)"
    return [
        chart("Loss", losses, ended),
        chart(score, [line("validation", "blue", name)], reached, share=True),
        chart(
            "Learning rate",
            [line("learning rate", "green", "learning_rate")],
            f"From {rates[0]:.3g} to {rates[-1]:.3g}, at most {max(rates):.3g}.",
        ),
    ]


def _step_charts(records: Sequence[Record]) -> list[Chart]:
    if len(records) < 2:
        return []
    charts = []
    for title, style, key in (
        ("Loss", "orange", "loss"),
        ("Learning rate", "green", "learning_rate"),
    ):
        points = [(record["step"], record[key]) for record in records]
        chart = Chart(
            title=title,
            series=[Line(label=title.lower(), style=style, points=points)],
            x=Axis(label="step", whole=True),
            y=Axis(label=""),
            says=f"From {points[0][1]:.3g} to {points[-1][1]:.3g}.",
        )
        charts.append(chart)
    return charts
