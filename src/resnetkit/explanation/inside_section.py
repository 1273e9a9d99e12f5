"""The sections of a report on what goes on inside a network, and on the map of its features."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from resnetkit.evaluation.report_input import Extra
from resnetkit.explanation.feature_map import FeatureMap
from resnetkit.explanation.feature_map_figures import draw_svg
from resnetkit.explanation.inside_report import InsideReport
from resnetkit.page.blocks import (
    Block,
    Cell,
    Column,
    Drawing,
    Fold,
    Notes,
    Section,
    Table,
    Text,
)

PARTS = (
    Column(title="Part"),
    Column(title="Activations", kind="number", hint="root mean square of what leaves the part"),
    Column(title="Gradient", kind="number", hint="of one image's loss, by what leaves the part"),
    Column(title="Effective rank", kind="number", hint="directions that the outputs use"),
    Column(title="At most", kind="count"),
    Column(title="Weights", kind="number", hint="length of all kernels and matrices"),
    Column(title="Their gradient", kind="number", hint="of the mean loss"),
)
UNITS = (
    Column(title="ReLU"),
    Column(title="Channels", kind="count"),
    Column(title="Dead", kind="count", hint="0 at every place of every image"),
    Column(title="Above 0", kind="percent", hint="share of all values"),
)
NORMS = (
    Column(title="BatchNorm"),
    Column(title="Channels", kind="count"),
    Column(title="Drift (nats)", kind="number", hint="mean over the channels"),
    Column(title="Largest", kind="number", hint="of one channel"),
    Column(title="Of channel", kind="count"),
)


def write_inside(report: InsideReport) -> Extra:
    """What is unusual and why, a row for each part, and folded away one for each layer."""
    text = (
        f"Measured on {report.images:,} images, in evaluation mode (mean loss {report.loss:.3g}). "
        "Effective rank after Roy & Vetterli 2007. Drift is the symmetric Kullback-Leibler "
        "divergence between what a BatchNorm receives and its running statistics, both taken for "
        "Gaussians: 0.5 is a mean one deviation off. Limits are rules of thumb."
    )
    parts: list[list[Cell]] = [
        [
            part.name,
            part.activation,
            part.gradient,
            part.effective_rank,
            part.rank_limit,
            part.weights,
            part.weight_gradient,
        ]
        for part in report.parts
    ]
    blocks: list[Block] = [
        Text(text=text, quiet=True),
        Notes(items=report.unusual) if report.unusual else Text(text="Nothing unusual."),
        Table(columns=PARTS, rows=parts, name="parts"),
        *_layers(report),
    ]
    section = Section(title="Inside the network", blocks=blocks)
    return Extra(name="inside", section=section, figures=report.as_dict())


def _layers(report: InsideReport) -> list[Block]:
    units: list[list[Cell]] = [[u.name, u.units, u.dead, u.active_share] for u in report.units]
    norms: list[list[Cell]] = [
        [one.name, one.channels, one.drift, one.worst_drift, one.worst_channel]
        for one in report.norms
    ]
    tables = [
        Fold(summary=f"{len(rows)} {name}", blocks=[Table(columns=columns, rows=rows, name=name)])
        for rows, columns, name in ((units, UNITS, "ReLUs"), (norms, NORMS, "BatchNorms"))
        if rows
    ]
    return [*tables]


def write_feature_map(
    feature_map: FeatureMap,
    labels: np.ndarray,
    class_names: Sequence[str],
    names: Sequence[str],
) -> Extra:
    """The map with its legend; `labels` int64 [N] and `names` [N] are those of the images."""
    across, up = feature_map.axes
    drawing = Drawing(
        title=f"Features of {len(labels):,} images by class",
        markup=draw_svg(feature_map, labels, class_names, names),
        says=f"Across: {across}; up: {up}. {feature_map.caution}",
    )
    figures = {
        "method": feature_map.method,
        "axes": feature_map.axes,
        "caution": feature_map.caution,
        "images": len(labels),
    }
    section = Section(title="Map of the features", blocks=[drawing])
    return Extra(name="feature_map", section=section, figures=figures)
