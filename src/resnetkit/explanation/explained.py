"""What was explained and what came of it: the picture, the raw map and a line of facts."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from resnetkit.data.lettering import Pen
from resnetkit.explanation.attribution import METHODS, Attribution
from resnetkit.explanation.overlay import Caption, draw_overlay, to_png
from resnetkit.explanation.subjects import Shown, Subject

INCOMPLETE = 0.05  # of the logit: Sundararajan 2017, section 5


@dataclass(frozen=True, kw_only=True)
class Explained:
    """One map: of which subject, by which method, and where it lies.

    `map` holds float32 [H,W]: evidence for the class, and below 0 against it where `signed`.
    `facts` are those of `Attribution`, and what additions had to say.
    """

    subject: Subject
    method: str
    stage: str | None
    resolution: tuple[int, int]
    signed: bool
    overlay: Path
    map: Path
    settings: Mapping[str, int | float]
    facts: Mapping[str, Any]


def describe_explanation(shown: Shown, found: Attribution, row: int, base: Path) -> Explained:
    """What is known of one map, whose files are `base` with .png and .npy."""
    return Explained(
        subject=shown.subjects[row],
        method=found.method,
        stage=found.stage,
        resolution=found.resolution,
        signed=found.signed is not None,
        overlay=base.with_name(base.name + ".png"),
        map=base.with_name(base.name + ".npy"),
        settings=dict(found.settings),
        facts={name: values[row] for name, values in found.facts.items()},
    )


def as_record(explained: Explained) -> dict[str, Any]:
    """One line of explanations.jsonl, JSON-safe; its files are those beside it."""
    subject = explained.subject
    return {
        "image": subject.name,
        "label": subject.label,
        "probability": subject.probability,
        "folder_class": subject.folder_class,
        "target": subject.target,
        "target_probability": subject.target_probability,
        "method": explained.method,
        "stage": explained.stage,
        "resolution": list(explained.resolution),
        "signed": explained.signed,
        "settings": dict(explained.settings),
        "facts": dict(explained.facts),
        "overlay": explained.overlay.name,
        "map": explained.map.name,
    }


def draw_explanation(pen: Pen, pixels: np.ndarray, heat: np.ndarray, explained: Explained) -> bytes:
    """The picture of one map [H,W] of an image uint8 [C,H,W] as PNG."""
    subject = explained.subject
    target = f"{subject.target} ({subject.target_probability:.1%})"
    place = "" if explained.stage is None else f" at {explained.stage}"
    caption = Caption(
        heading=subject.says,
        shows=METHODS[explained.method].shows,
        explained=f"{target} by {explained.method}{place}",
        notes=_notes(heat, explained),
        name=subject.name,
    )
    return to_png(draw_overlay(pen, pixels, heat, caption))


def _notes(heat: np.ndarray, explained: Explained) -> tuple[str, ...]:
    notes = [] if heat.any() else ["no evidence for this class: the map is 0 everywhere"]
    if explained.resolution != heat.shape:
        (height, width), (whole, wide) = explained.resolution, heat.shape
        notes.append(f"resolves {height}x{width}, enlarged to {whole}x{wide}")
    share = explained.facts.get("share_for")
    if share is not None:
        notes.append(f"{share:.0%} of the evidence is for the class, the rest against it")
    error = explained.facts.get("completeness_error")
    if error is not None:
        advice = "; take more integration steps" if error > INCOMPLETE else ""
        notes.append(f"adds up to the logit with an error of {error:.1%}{advice}")
    return tuple(notes)


def raw_map(found: Attribution, row: int) -> bytes:
    """One map as the bytes of a .npy file: signed where signs mean something."""
    values = found.maps if found.signed is None else found.signed
    buffer = io.BytesIO()
    np.save(buffer, values[row].cpu().numpy(), allow_pickle=False)
    return buffer.getvalue()
