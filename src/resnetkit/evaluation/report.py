"""The report of a run: one HTML file that needs nothing else and opens anywhere.

It holds no script and loads nothing: style and pictures are inside, and its own content security
policy forbids the rest. Everything that came from the user (names, paths, settings) is escaped.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from resnetkit.config import flatten
from resnetkit.evaluation.evaluate import AnyMetrics
from resnetkit.evaluation.figures import Line, confusion_figure, line_chart, picture_uri
from resnetkit.evaluation.metrics import SHOWN_SCORES, Metrics
from resnetkit.evaluation.samples import Sample, thumbnail
from resnetkit.evaluation.tables import (
    CLASSES_SHOWN,
    class_table,
    confused_pairs,
    label_table,
    pairs_table,
    percent,
)
from resnetkit.jsonl import Record
from resnetkit.runtime import write_file_atomically


@dataclass(frozen=True, kw_only=True)
class ReportInput:
    """What a report tells; parts that a run does not have are left out of the page."""

    title: str
    recipe: str
    model: str
    parameters: int
    data: str
    class_names: tuple[str, ...]
    images: Mapping[str, int]  # split name -> images
    command: str
    settings: Mapping[str, Any]  # the resolved experiment, nested
    environment: Mapping[str, Any]
    records: Sequence[Record] = ()  # lines of metrics.jsonl
    evaluations: Mapping[str, AnyMetrics]  # split name -> metrics; details are shown of the last
    samples: Sequence[Sample] = ()
    notes: Sequence[str] = ()  # what the reader must know, such as skipped images


def write_report(path: Path, report: ReportInput) -> None:
    """Write the page to `path`, whole or not at all."""
    write_file_atomically(path, render_report(report))


def render_report(report: ReportInput) -> str:
    """The page as HTML text."""
    style = Path(__file__).with_name("report.css").read_text(encoding="utf-8")
    sections = [
        _headline(report),
        _notes(report.notes),
        _trained(report),
        _curves(report.records),
        *_details(report),
        _samples(report.samples),
        _settings(report.settings),
        _section("Environment", pairs_table(flatten(dict(report.environment)))),
        _section("Command", f"<pre>{escape(report.command)}</pre>"),
    ]
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    day = datetime.datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(report.title)}</title><style>\n{style}</style></head>\n<body><main>"
        f"<header><h1>{escape(report.title)}</h1>"
        f'<p class="lead">{escape(report.model)}, recipe {escape(report.recipe)}, '
        f"{escape(day)}</p></header>\n"
        + "\n".join(filter(None, sections))
        + "\n</main></body></html>\n"
    )


def _headline(report: ReportInput) -> str:
    names = list(report.evaluations)
    cards = []
    for name in reversed(names):
        kind = ' class="main"' if name == names[-1] else ""
        cards.append(f"<div{kind}>{_score(name, report.evaluations[name])}</div>")
    cards.append(_card("Parameters", f"{report.parameters:,}", report.model))
    cards.append(_card("Classes", f"{len(report.class_names):,}", report.data))
    return f'<div class="cards">{"".join(cards)}</div>'


def _score(split: str, metrics: AnyMetrics) -> str:
    """The figure that counts, its interval, and what else fits below it."""
    if isinstance(metrics, Metrics):
        title, value, interval = "accuracy", metrics.top1, metrics.top1_interval
        more = "" if metrics.top5 is None else f", top-5 {percent(metrics.top5, 2)}"
    else:
        title, value = "mean average precision", metrics.mean_average_precision
        interval = metrics.mean_average_precision_interval
        more = f", F1 {percent(metrics.micro.f1)} (mean of classes {percent(metrics.macro.f1)})"
    bounds = "" if interval is None else " to ".join(percent(bound, 2) for bound in interval)
    below = f"95 % interval {bounds}, " if bounds else ""
    return (
        f"<span>{escape(split.capitalize())} {title}</span><b>{percent(value, 2)}</b>"
        f"<span>{below}{metrics.images:,} images{more}</span>"
    )


def _card(label: str, value: str, below: str) -> str:
    return f"<div><span>{label}</span><b>{value}</b><span>{escape(below)}</span></div>"


def _notes(notes: Sequence[str]) -> str:
    items = "".join(f"<li>{escape(note)}</li>" for note in notes)
    return f'<ul class="notes">{items}</ul>' if notes else ""


def _trained(report: ReportInput) -> str:
    splits = ", ".join(f"{name} {count:,}" for name, count in report.images.items())
    shown = ", ".join(report.class_names[:CLASSES_SHOWN])
    more = len(report.class_names) - CLASSES_SHOWN
    facts = {
        "Model": f"{report.model}, {report.parameters:,} parameters",
        "Recipe": report.recipe,
        "Data": report.data,
        "Images": splits,
        "Classes": shown + (f" and {more} more" if more > 0 else ""),
    }
    return _section("What was trained", pairs_table(facts))


def _curves(records: Sequence[Record]) -> str:
    validations = [record for record in records if record["kind"] == "validation"]
    steps = [record for record in records if record["kind"] == "train"]
    charts = _epoch_charts(validations) if len(validations) > 1 else _step_charts(steps)
    return _section("Curves", f'<div class="charts">{"".join(charts)}</div>') if charts else ""


def _epoch_charts(records: Sequence[Record]) -> list[str]:
    # Epochs are numbered from 1 on the axis: a point stands for the end of its epoch.
    epochs = [record["epoch"] + 1 for record in records]

    def line(label: str, style: str, key: str, factor: float = 1.0) -> Line:
        values = [record[key] * factor for record in records]
        return Line(label=label, style=style, points=list(zip(epochs, values, strict=True)))

    name = next(name for name in SHOWN_SCORES if name in records[0])
    best = max(range(len(records)), key=lambda index: records[index][name])
    caption = f"best {percent(records[best][name], 2)} after epoch {epochs[best]}"
    loss = [line("training", "training", "train_loss"), line("validation", "validation", "loss")]
    score = [line(f"validation: {caption}", "validation", name, 100.0)]
    rate = [line("learning rate", "rate", "learning_rate")]
    return [
        _chart("Loss", loss, "epoch"),
        _chart("Accuracy (%)" if name == "top1" else "mAP (%)", score, "epoch"),
        _chart("Learning rate", rate, "epoch"),
    ]


def _step_charts(records: Sequence[Record]) -> list[str]:
    if len(records) < 2:
        return []
    columns = (("Loss", "training", "loss"), ("Learning rate", "rate", "learning_rate"))
    return [
        _chart(
            title,
            [
                Line(
                    label=title.lower(),
                    style=style,
                    points=[(record["step"], record[key]) for record in records],
                )
            ],
            "step",
        )
        for title, style, key in columns
    ]


def _chart(title: str, lines: Sequence[Line], x_label: str) -> str:
    key = "".join(
        f'<span><i class="{line.style}"></i>{escape(line.label)}</span>' for line in lines
    )
    chart = line_chart(lines, x_label, title)
    return f'<div><h3>{escape(title)}</h3><p class="key">{key}</p>{chart}</div>'


def _details(report: ReportInput) -> list[str]:
    """Per-class table and confusion matrix of the last evaluation, which is the one that counts."""
    if not report.evaluations:
        return []
    split, metrics = list(report.evaluations.items())[-1]
    if not isinstance(metrics, Metrics):  # an image of several classes is confused with none
        return [_section(f"Per class ({split})", label_table(metrics))]
    confusion = np.array(metrics.confusion)
    figure = f'<div class="scroll">{confusion_figure(confusion, report.class_names)}</div>'
    pairs = confused_pairs(confusion, report.class_names)
    return [
        _section(f"Per class ({split})", class_table(metrics)),
        _section(f"Confusion matrix ({split})", figure + pairs),
    ]


def _samples(samples: Sequence[Sample]) -> str:
    figures = "".join(map(_sample, samples))
    return (
        _section("Sample predictions", f'<div class="samples">{figures}</div>') if samples else ""
    )


def _sample(sample: Sample) -> str:
    pixels = thumbnail(sample.image)
    probability = "" if sample.probability is None else percent(sample.probability)
    small = ' class="small"' if max(pixels.shape[:2]) < 64 else ""
    truth = "" if sample.right else f"<small>true: {escape(sample.true)}</small>"
    return (
        f'<figure class="{"right" if sample.right else "wrong"}"><img{small} alt="" src="'
        f'{picture_uri(pixels)}"><figcaption><b>{escape(sample.predicted)}</b> '
        f"{probability}{truth}<small>{escape(sample.name)}</small></figcaption></figure>"
    )


def _settings(settings: Mapping[str, Any]) -> str:
    plain = {key: value for key, value in settings.items() if not isinstance(value, dict)}
    groups = {key: value for key, value in settings.items() if isinstance(value, dict)}
    tables = [pairs_table(plain)] if plain else []
    for name, group in groups.items():
        tables.append(f"<h3>{escape(str(name))}</h3>{pairs_table(flatten(group))}")
    body = "".join(f"<div>{table}</div>" for table in tables)
    return _section("Settings", f'<div class="two">{body}</div>') if tables else ""


def _section(title: str, body: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{body}</section>"
