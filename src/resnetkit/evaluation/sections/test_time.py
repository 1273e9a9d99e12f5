"""What the mean of several looks at each image gives, beside the one look of `predict`."""

from __future__ import annotations

from dataclasses import dataclass

from resnetkit.evaluation.compared import Comparison
from resnetkit.evaluation.evaluate import AnyMetrics
from resnetkit.evaluation.intervals import points_text
from resnetkit.evaluation.metrics import Metrics
from resnetkit.evaluation.report_input import Extra
from resnetkit.page.blocks import Block, Cell, Column, Estimate, Notes, Section, Table, Text


@dataclass(frozen=True, kw_only=True)
class SeveralLooks:
    """The metrics of one look and of the mean of `passes` looks, and the paired comparison."""

    kind: str
    passes: int
    caution: str | None
    one: AnyMetrics
    metrics: AnyMetrics
    change: Comparison


def write_test_time(looks: SeveralLooks) -> Extra:
    """Both in a table, and whether the difference is more than chance."""
    score = looks.change.score
    name = "accuracy" if isinstance(looks.one, Metrics) else "mean average precision"
    text = (
        f"Every image was seen {looks.passes} times ({looks.kind}) and the probabilities were "
        f"averaged: {name} {points_text(score.difference, score.interval)} against one look, "
        f"{len(looks.change.gained_images):,} images gained and "
        f"{len(looks.change.lost_images):,} lost (p {looks.change.p_value:.2g}). All other figures "
        "of this report are of one look, as `predict` takes it."
    )
    blocks: list[Block] = [Text(text=text), _table(looks, name)]
    if looks.caution is not None:
        blocks.insert(1, Notes(items=[f"{looks.caution}"]))
    figures = {
        "kind": looks.kind,
        "passes": looks.passes,
        "metrics": looks.metrics,
        "change": {
            "score": score,
            "p_value": looks.change.p_value,
            "lost": len(looks.change.lost_images),
            "gained": len(looks.change.gained_images),
        },
    }
    section = Section(title="Several looks at each image", blocks=blocks)
    return Extra(name="test_time", section=section, figures=figures)


def _table(looks: SeveralLooks, name: str) -> Table:
    columns = [
        Column(title="Looks"),
        Column(title="Passes", kind="count"),
        Column(title=name.capitalize(), kind="percent", digits=2),
        Column(title="Top-5", kind="percent", digits=2),
        Column(title="Mean F1", kind="percent", digits=2),
        Column(title="Loss (nats)", kind="number", digits=4),
    ]
    rows = [_row("one", 1, looks.one), _row(looks.kind, looks.passes, looks.metrics)]
    return Table(columns=columns, rows=rows, name="looks")


def _row(name: str, passes: int, metrics: AnyMetrics) -> list[Cell]:
    several = not isinstance(metrics, Metrics)
    interval = metrics.mean_average_precision_interval if several else metrics.top1_interval
    top5 = None if several else metrics.top5
    score = Estimate(value=metrics.score, interval=interval)
    return [name, passes, score, top5, metrics.macro.f1, metrics.loss]
