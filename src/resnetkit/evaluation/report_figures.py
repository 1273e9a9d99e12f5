"""The figures of a report as JSON-safe data: every number and name on the page, no picture."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

from resnetkit.evaluation.metrics import Metrics
from resnetkit.evaluation.multilabel import MultiLabelMetrics
from resnetkit.evaluation.report_input import EvaluationReport
from resnetkit.evaluation.samples import Sample

PARTS = (
    "spread",
    "reliability",
    "answering",
    "mistakes",
    "slices",
    "suspects",
    "gate",
    "sets",
    "strangers",
    "robustness",
    "normalised",
    "attacks",
    "speed",
)


def figures_of(report: EvaluationReport) -> dict[str, Any]:
    """The metrics of the split that counts at the top, then each part under its name.

    What is undefined or not finite is None.
    """
    figures: dict[str, Any] = {}
    if report.judged is not None:
        split, metrics = report.judged
        figures |= {"split": split, "source": report.source or report.data, **plain(metrics)}
    for name in PARTS:
        part = getattr(report, name)
        if part is not None and part != ():
            figures[name] = part
    figures |= {extra.name: extra.figures for extra in report.extras}
    figures["notes"] = report.notes
    figures["made"] = {
        "title": report.title,
        "model": report.model,
        "parameters": report.parameters,
        "recipe": report.recipe,
        "command": report.command,
        **report.origin,
        "environment": report.environment,
    }
    return plain(figures)


def write_figures(figures: Mapping[str, Any]) -> str:
    """The figures as JSON text with a line for each part: large tables stay fast to write."""
    lines = [
        f"{json.dumps(name)}: {json.dumps(value, allow_nan=False, ensure_ascii=False)}"
        for name, value in figures.items()
    ]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def plain(value: Any) -> Any:
    """Nested dataclasses, mappings and arrays as what JSON knows; images are left out."""
    if isinstance(value, Sample):
        return plain(
            {
                field.name: getattr(value, field.name)
                for field in fields(value)
                if field.name not in ("image", "map")
            }
        )
    if hasattr(value, "as_dict") and not isinstance(value, Metrics | MultiLabelMetrics):
        return plain(value.as_dict())  # with what follows from its fields
    if is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        if all(type(one) is int for one in value):  # a confusion matrix has a million of them
            return list(value)
        return [plain(one) for one in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, str | int) else str(value)
