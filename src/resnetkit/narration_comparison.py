"""The page on two packages: the verdict, scores, classes, and the images where they differ."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator, Sequence

import numpy as np

from resnetkit.evaluation.compared import ClassComparison, Comparison
from resnetkit.evaluation.gate import Gate
from resnetkit.evaluation.metrics import SHOWN_SCORES
from resnetkit.evaluation.probabilities import softmax
from resnetkit.export.reference import contract_images
from resnetkit.page.blocks import (
    Block,
    Card,
    Cards,
    Cell,
    Code,
    Column,
    Document,
    Estimate,
    Facts,
    Heading,
    Notes,
    Picture,
    Pictures,
    Section,
    Table,
    Text,
    Tone,
)
from resnetkit.page.numbers import percent
from resnetkit.pairing import BothAnswers
from resnetkit.runtime import environment

MOST_PICTURES = 24  # of those lost, and of those gained


def describe_comparison(comparison: Comparison, gate: Gate, both: BothAnswers) -> Document:
    """B against A, in the order in which it is read."""
    a, b = both.a.subject, both.b.subject
    return Document(
        title="May B take A’s place?",
        lead=f"A: {a.folder}, B: {b.folder}, judged on {a.split} of {a.asked.location}",
        sections=[
            _verdict(comparison, gate, both),
            _classes(comparison),
            *_differences(comparison, both),
            _making(both),
        ],
    )


def _verdict(comparison: Comparison, gate: Gate, both: BothAnswers) -> Section:
    first, *rest = gate.describe().splitlines()
    score = comparison.score
    style = "note" if gate.passed else "unsafe"
    change = "–" if score.difference is None else f"{100 * score.difference:+.2f}"
    interval = "" if score.interval is None else _points(score.interval)
    cards = [
        Card(label="Verdict", value="passed" if gate.passed else "worse", below=first, style=style),
        Card(label="B less A, points", value=change, below=interval, style="main"),
        *(_score_card(name, comparison) for name in ("A", "B")),
    ]
    blocks: list[Block] = [Cards(cards=cards)]
    said = comparison.describe().splitlines()[1:]
    blocks.append(Text(text=" ".join(f"{line[:1].upper()}{line[1:]}." for line in said)))
    notes = [f"{line}." for line in rest]
    if both.left_out:
        notes.append(f"{describe_left_out(both.left_out, both.a.subject.split)}.")
    notes += both.notes
    return Section(blocks=[*blocks, Notes(items=notes)] if notes else blocks)


def describe_left_out(images: int, split: str) -> str:
    """Why the packages were not compared on all images that each could be judged on."""
    return f"{images:,} images left out: only one of the packages holds them in its {split} split"


def _score_card(name: str, comparison: Comparison) -> Card:
    score = comparison.score
    below = f"{SHOWN_SCORES[score.name]}, {comparison.images:,} images"
    return Card(label=name, value=percent(score.a if name == "A" else score.b, 2), below=below)


def _points(interval: tuple[float, float]) -> str:
    low, high = interval
    return f"95 % interval {100 * low:+.2f} to {100 * high:+.2f}"


def _classes(comparison: Comparison) -> Section:
    figure = "Recall" if comparison.task == "single-label" else "AP"
    columns = [
        Column(title="Class"),
        Column(title="Images", kind="count"),
        Column(title=f"{figure} A", kind="percent"),
        Column(title=f"{figure} B", kind="percent"),
        Column(title="Difference", kind="percent", hint="percentage points, paired"),
        Column(title="Lost", kind="count"),
        Column(title="Gained", kind="count"),
        Column(title="p", kind="number", digits=2, hint="for all classes together (Holm)"),
        Column(title="Verdict"),
    ]
    ordered = sorted(
        comparison.per_class, key=lambda row: (row.difference is None, row.difference or 0.0)
    )
    rows: list[list[Cell]] = [_class_row(row) for row in ordered]
    table = Table(columns=columns, rows=rows, name="classes")
    note = "“same” says that no difference is shown: with few images there may be one all the same."
    return Section(title="Classes", blocks=[table, Text(text=note, quiet=True)])


def _class_row(row: ClassComparison) -> list[Cell]:
    difference = Estimate(value=row.difference, interval=row.difference_interval)
    counts: list[Cell] = [row.lost, row.gained, row.adjusted_p_value, row.verdict]
    return [row.name, row.support, row.a, row.b, difference, *counts]


def _differences(comparison: Comparison, both: BothAnswers) -> Iterator[Section]:
    """The images that B loses, then those that it gains."""
    groups: tuple[tuple[str, Sequence[int], Tone], ...] = (
        ("Images that B loses", comparison.lost_images, "wrong"),
        ("Images that B gains", comparison.gained_images, "right"),
        (
            "Images with another answer, right or wrong as before",
            comparison.changed_images,
            "plain",
        ),
    )
    for title, rows, tone in groups:
        if not rows:
            continue
        shown = rows[:MOST_PICTURES]
        pictures = [
            Picture(images=[image], alt=f"{lines[-1]}: {true}", title=true, lines=lines, tone=tone)
            for image, true, lines in _pictures(shown, both)
        ]
        blocks: list[Block] = [Pictures(pictures=pictures, name=title.lower())]
        if len(rows) > len(shown):
            text = f"{len(shown)} of {len(rows):,}, the largest changes first."
            blocks.insert(0, Text(text=text, quiet=True))
        yield Section(title=title, blocks=blocks)


def _pictures(
    rows: Sequence[int], both: BothAnswers
) -> Iterator[tuple[np.ndarray, str, list[str]]]:
    """Each image as A sees it, what it shows, what each says of it, and its name."""
    subject = both.a.subject
    places = both.pairs.rows[np.array(rows)]
    images = contract_images(subject.images, places, subject.contract)
    for image, row, place in zip(images, rows, places.tolist(), strict=True):
        said = [f"{name}: {_said(logits[row], both)}" for name, logits in _named_logits(both)]
        yield image, f"true: {_truth(row, both)}", [*said, str(subject.images.names[place])]


def _named_logits(both: BothAnswers) -> list[tuple[str, np.ndarray]]:
    return list(zip("AB", both.calibrated, strict=True))


def _said(logits: np.ndarray, both: BothAnswers) -> str:
    names = both.a.subject.contract.class_names
    if both.a.subject.task == "multi-label":
        return ", ".join(names[k] for k in np.flatnonzero(logits > 0)) or "none of them"
    shares = softmax(logits[None])[0]
    return f"{names[int(shares.argmax())]} {percent(float(shares.max()))}"


def _truth(row: int, both: BothAnswers) -> str:
    names, label = both.a.subject.contract.class_names, both.labels[row]
    if both.a.subject.task == "multi-label":
        return ", ".join(names[k] for k in np.flatnonzero(label > 0.5)) or "none of them"
    return names[int(label if both.labels.ndim == 1 else label.argmax())]


def _making(both: BothAnswers) -> Section:
    contracts = {name: one.subject.contract.hash for name, one in (("A", both.a), ("B", both.b))}
    return Section(
        title="How it was made",
        blocks=[
            Heading(text="Command"),
            Code(text=shlex.join(["resnetkit", *sys.argv[1:]])),
            Heading(text="Input contracts"),
            Facts(pairs=contracts),
            Heading(text="Environment"),
            Facts(pairs=environment()),
        ],
    )
