"""How each class fared, the weakest first, and the averages."""

from __future__ import annotations

from collections.abc import Sequence

from resnetkit.evaluation.evaluate import AnyMetrics
from resnetkit.evaluation.metrics import Average, ClassMetrics, Metrics
from resnetkit.evaluation.multilabel import LabelMetrics, MultiLabelMetrics
from resnetkit.page.blocks import Block, Cell, Column, Estimate, Section, Table, Text

SHARES = (
    Column(title="Precision", kind="percent", hint="of the images said to be of the class"),
    Column(title="Recall", kind="percent", hint="of the images that are of the class"),
    Column(title="F1", kind="percent", hint="harmonic mean of precision and recall"),
)
AUROC = Column(
    title="AUROC",
    kind="number",
    digits=4,
    hint="how often an image of the class gets a higher score for it than one that is not",
)
READING = (
    "Below each figure is its 95 % interval: where it would lie on other images drawn like these. "
    "Weakest classes first."
)


def write_classes(split: str, metrics: AnyMetrics) -> Section:
    """A table with every class, and averages that stay below it."""
    if isinstance(metrics, MultiLabelMetrics):
        return _label_section(split, metrics)
    columns = [Column(title="Class"), Column(title="Images", kind="count"), *SHARES, AUROC]
    columns.append(Column(title="Recall", kind="bar"))
    rows = sorted(metrics.per_class, key=lambda row: (row.f1 is None, row.f1))
    table = Table(
        columns=columns,
        rows=[_class_row(row) for row in rows],
        totals=[
            _average_row("Mean of classes", metrics, metrics.macro, with_auroc=True),
            _average_row("Mean of images", metrics, metrics.weighted, with_auroc=False),
        ],
        name="classes",
    )
    blocks: list[Block] = [Text(text=READING, quiet=True), table]
    return Section(title=f"Per class ({split})", blocks=[*blocks, *_absent(metrics.per_class)])


def _class_row(row: ClassMetrics) -> list[Cell]:
    recall = Estimate(value=row.recall, interval=row.recall_interval)
    return [
        row.name,
        row.support,
        Estimate(value=row.precision, interval=row.precision_interval),
        recall,
        Estimate(value=row.f1, interval=row.f1_interval),
        Estimate(value=row.auroc, interval=row.auroc_interval),
        recall,
    ]


def _average_row(name: str, metrics: Metrics, average: Average, *, with_auroc: bool) -> list[Cell]:
    auroc = Estimate(value=metrics.auroc, interval=metrics.auroc_interval) if with_auroc else ""
    return [name, metrics.images, *_estimates(average), auroc, ""]


def _estimates(average: Average) -> list[Cell]:
    return [
        Estimate(value=average.precision, interval=average.precision_interval),
        Estimate(value=average.recall, interval=average.recall_interval),
        Estimate(value=average.f1, interval=average.f1_interval),
    ]


def _label_section(split: str, metrics: MultiLabelMetrics) -> Section:
    """The same where images may show several classes, with average precision."""
    precision = Column(title="AP", kind="percent", hint="average precision of the ranking")
    columns = [Column(title="Class"), Column(title="Images", kind="count"), precision, *SHARES]
    columns += [AUROC, Column(title="Average precision", kind="bar")]
    rows = sorted(
        metrics.per_class, key=lambda row: (row.average_precision is None, row.average_precision)
    )
    mean = Estimate(
        value=metrics.mean_average_precision, interval=metrics.mean_average_precision_interval
    )
    area = Estimate(value=metrics.auroc, interval=metrics.auroc_interval)
    images = metrics.images
    table = Table(
        columns=columns,
        rows=[_label_row(row) for row in rows],
        totals=[
            ["Mean of classes", images, mean, *_estimates(metrics.macro), area, ""],
            ["Mean of answers", images, "", *_estimates(metrics.micro), "", ""],
        ],
        name="classes",
    )
    note = "Precision, recall and F1 take a class as there where its probability is above 50 %."
    blocks: list[Block] = [Text(text=f"{READING} {note}", quiet=True), table]
    return Section(title=f"Per class ({split})", blocks=[*blocks, *_absent(metrics.per_class)])


def _label_row(row: LabelMetrics) -> list[Cell]:
    precision = Estimate(value=row.average_precision, interval=row.average_precision_interval)
    return [
        row.name,
        row.support,
        precision,
        Estimate(value=row.precision, interval=row.precision_interval),
        Estimate(value=row.recall, interval=row.recall_interval),
        Estimate(value=row.f1, interval=row.f1_interval),
        Estimate(value=row.auroc, interval=row.auroc_interval),
        precision,
    ]


def _absent(rows: Sequence[ClassMetrics] | Sequence[LabelMetrics]) -> list[Block]:
    """A line on the classes that no image shows; the averages leave them out."""
    absent = [row.name for row in rows if not row.support]
    if not absent:
        return []
    named = ", ".join(absent[:5]) + (f" and {len(absent) - 5:,} more" if len(absent) > 5 else "")
    return [
        Text(
            text=f"No image is of {named}; the averages are over the other "
            f"{len(rows) - len(absent):,} classes.",
            quiet=True,
        )
    ]
