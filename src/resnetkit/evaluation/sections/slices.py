"""Parts of the images: where the network is weaker, and what the data gate knows of them."""

from __future__ import annotations

from collections.abc import Sequence

from resnetkit.evaluation.metrics import Metrics
from resnetkit.evaluation.report_input import GateKnowledge
from resnetkit.evaluation.sections.pictures import picture_of
from resnetkit.evaluation.seed_spread import SeedSpread
from resnetkit.evaluation.slices import Slice, describe_slices
from resnetkit.page.blocks import (
    Block,
    Cell,
    Column,
    Estimate,
    Facts,
    Pictures,
    Section,
    Table,
    Text,
)
from resnetkit.page.numbers import percent

EXPECTED = (
    "Expected is what the other images’ figures give with the slice’s mix of classes: a slice near "
    "it is not harder, it has more of the hard classes. Verdicts hold for all slices together."
)


def write_slices(slices: Sequence[Slice]) -> Section:
    """Every slice against all other images, those shown to be weaker first."""
    columns = [
        Column(title="Column"),
        Column(title="Value"),
        Column(title="Images", kind="count"),
        Column(title="Score", kind="percent"),
        Column(title="To the rest", kind="percent", hint="difference in percentage points"),
        Column(title="Expected", kind="percent"),
        Column(title="Loses most"),
        Column(title="Verdict"),
    ]
    rows: list[list[Cell]] = [
        [
            one.column,
            one.value,
            one.images,
            Estimate(value=one.score, interval=one.interval),
            Estimate(value=one.difference, interval=one.difference_interval),
            one.expected,
            one.worst_class or "–",
            one.verdict,
        ]
        for one in slices
    ]
    said = describe_slices(slices).splitlines()[0].rstrip(":")
    blocks: list[Block] = [Text(text=f"{said[:1].upper()}{said[1:]}.")]
    blocks += [Text(text=EXPECTED, quiet=True), Table(columns=columns, rows=rows, name="slices")]
    return Section(title="Slices", blocks=blocks)


def write_gate(gate: GateKnowledge) -> Section:
    """Pictures shared with other splits, the score without them, and other findings."""
    blocks: list[Block] = []
    shared = {split: count for split, count in gate.shared.items() if count}
    if shared:
        named = ", ".join(f"{count:,} with {split}" for split, count in shared.items())
        blocks.append(Text(text=f"Images that show the same picture as one elsewhere: {named}."))
    elif gate.shared:
        among = " or ".join(gate.shared)
        blocks.append(Text(text=f"No image shows the same picture as one of {among}."))
    if gate.compared:
        blocks.append(Text(text=gate.compared, quiet=True))
    if gate.without_shared is not None:
        blocks.append(Text(text=_without(gate)))
    if gate.findings:
        pairs = {what: f"{count:,}" for what, count in gate.findings.items()}
        blocks.append(Facts(pairs=pairs))
    if gate.samples:
        pictures = [picture_of(sample) for sample in gate.samples]
        blocks.append(Pictures(pictures=pictures, name="shared pictures"))
    return Section(title="What the data gate knows", blocks=blocks)


def _without(gate: GateKnowledge) -> str:
    metrics = gate.without_shared
    assert metrics is not None
    name = "accuracy" if isinstance(metrics, Metrics) else "mean average precision"
    return f"Without them, on {metrics.images:,} images, the {name} is {percent(metrics.score, 2)}."


def write_spread(spread: SeedSpread) -> Section:
    """How much the score hangs on the seed."""
    columns = [Column(title="Run"), Column(title="Score", kind="percent", digits=2)]
    rows: list[list[Cell]] = [
        [run.name, Estimate(value=run.score, interval=run.interval)] for run in spread.runs
    ]
    table = Table(columns=columns, rows=rows, name="runs")
    said = spread.describe()
    return Section(title="Other seeds", blocks=[Text(text=f"{said[:1].upper()}{said[1:]}."), table])
