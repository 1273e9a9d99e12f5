"""The opening: the figure that counts, what it means, and what to know before believing it."""

from __future__ import annotations

from resnetkit.evaluation.evaluate import AnyMetrics
from resnetkit.evaluation.metrics import Metrics
from resnetkit.evaluation.multilabel import MultiLabelMetrics
from resnetkit.evaluation.report_input import EvaluationReport
from resnetkit.page.blocks import Block, Card, Cards, Estimate, Notes, Section, Text
from resnetkit.page.numbers import percent, percent_range, write_interval, write_number


def write_opening(report: EvaluationReport) -> Section:
    """Cards with the headline first, its meaning in a sentence, and the notes."""
    scores = reversed(list(report.evaluations.items()))
    cards = [_score(*one, main=place == 0) for place, one in enumerate(scores)]
    blocks: list[Block] = []
    if report.judged is not None:
        split, metrics = report.judged
        cards[1:1] = _other_scores(metrics)
        blocks.append(Text(text=_meaning(split, metrics)))
    cards.append(Card(label="Parameters", value=f"{report.parameters:,}", below=report.model))
    cards.append(Card(label="Classes", value=f"{len(report.class_names):,}", below=report.data))
    if report.notes:
        blocks.append(Notes(items=report.notes))
    return Section(blocks=[Cards(cards=cards), *blocks])


def _score(split: str, metrics: AnyMetrics, *, main: bool) -> Card:
    if isinstance(metrics, Metrics):
        title, value, interval = "accuracy", metrics.top1, metrics.top1_interval
    else:
        title, value = "mean average precision", metrics.mean_average_precision
        interval = metrics.mean_average_precision_interval
    bounds = "" if interval is None else f"95 % interval {percent_range(interval, 2)}, "
    return Card(
        label=f"{split} {title}".capitalize() if split != "all" else title.capitalize(),
        value=percent(value, 2),
        below=f"{bounds}{metrics.images:,} images",
        style="main" if main else "",
        range=Estimate(value=value, interval=interval) if main else None,
    )


def _other_scores(metrics: AnyMetrics) -> list[Card]:
    cards = []
    if isinstance(metrics, Metrics) and metrics.top5 is not None:
        around = metrics.top5_interval
        below = "" if around is None else f"95 % interval {percent_range(around, 2)}"
        cards.append(Card(label="Top-5 accuracy", value=percent(metrics.top5, 2), below=below))
    cards.append(_average("Mean F1 of the classes", metrics))
    if metrics.auroc is not None:
        around = metrics.auroc_interval
        below = "mean of the classes" if around is None else write_interval(around, "number", 4)
        value = write_number(metrics.auroc, "number", 4)
        cards.append(Card(label="AUROC", value=value, below=below))
    return cards


def _average(label: str, metrics: AnyMetrics) -> Card:
    around = metrics.macro.f1_interval
    if isinstance(metrics, MultiLabelMetrics):
        below = f"of all answers {percent(metrics.micro.f1)}"
    else:
        below = "" if around is None else percent_range(around, 2)
    return Card(label=label, value=percent(metrics.macro.f1, 2), below=below)


def _meaning(split: str, metrics: AnyMetrics) -> str:
    """What the headline says, for someone who reads such a figure for the first time."""
    if isinstance(metrics, Metrics):
        return _meaning_of_accuracy(split, metrics)
    interval = metrics.mean_average_precision_interval
    said = (
        f"On {metrics.images:,} images{_of(split)}, the images that show a class were "
        f"ranked above those that do not with an average precision of "
        f"{percent(metrics.mean_average_precision, 2)} in the mean of the classes."
    )
    if interval is None:
        return said
    return f"{said} On other images drawn like these it would mostly be {percent_range(interval)}."


def _of(split: str) -> str:
    return "" if split == "all" else f" of the {split} split"


def _meaning_of_accuracy(split: str, metrics: Metrics) -> str:
    right = sum(metrics.confusion[k][k] for k in range(len(metrics.confusion)))
    most = max(metrics.per_class, key=lambda row: row.support)
    low, high = (percent(end, 1) for end in metrics.top1_interval)
    return (
        f"Of {metrics.images:,} images{_of(split)}, {right:,} were given their right "
        f"class. On all images of this kind the accuracy lies between {low} and {high}, with 95 % "
        f"confidence. Naming the most frequent class every time "
        f"(“{most.name}”) would be right for {percent(most.support / metrics.images)}."
    )
