"""How the result was made, so that someone else can make it again; and what it costs to use."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from resnetkit.config import flatten
from resnetkit.evaluation.report_input import EvaluationReport, Speed
from resnetkit.page.blocks import Block, Code, Facts, Fold, Heading, Section

CLASSES_NAMED = 20


def write_speed(speed: Speed) -> Section:
    """Time for an image, and what has to be kept and computed for it."""
    pairs = {
        "Measured on": speed.device,
        "Throughput": f"{speed.images_per_second:,.0f} images/s in batches of {speed.batch_size}",
    }
    if speed.latency is not None:
        slowest = speed.latency_slowest
        more = "" if slowest is None else f", 5 of 100 take longer than {1000 * slowest:,.1f} ms"
        pairs["One image"] = f"{1000 * speed.latency:,.1f} ms{more}"
    if speed.multiply_adds is not None:
        pairs["Computation"] = f"{speed.multiply_adds / 1e6:,.1f} million multiply-adds an image"
    if speed.package_bytes is not None:
        pairs["Package"] = f"{speed.package_bytes / 1e6:,.1f} MB"
    if speed.evaluation_seconds is not None:
        pairs["This evaluation"] = f"{speed.evaluation_seconds:,.1f} s in the network"
    if speed.report_seconds is not None:
        pairs["This report"] = f"{speed.report_seconds:,.1f} s besides"
    return Section(title="Speed and size", blocks=[Facts(pairs=pairs)])


def write_trained(report: EvaluationReport) -> Section:
    """The network and the data it learnt from."""
    splits = ", ".join(f"{name} {count:,}" for name, count in report.images.items())
    shown = ", ".join(report.class_names[:CLASSES_NAMED])
    more = len(report.class_names) - CLASSES_NAMED
    facts = {
        "Model": f"{report.model}, {report.parameters:,} parameters",
        "Recipe": report.recipe,
        "Data": report.data,
        "Images": splits,
        "Classes": shown + (f" and {more:,} more" if more > 0 else ""),
    }
    return Section(title="What was trained", blocks=[Facts(pairs=facts)])


def write_making(report: EvaluationReport) -> Section:
    """The command, where everything comes from, the machine, and every setting."""
    blocks: list[Block] = [Heading(text="Command"), Code(text=report.command)]
    if report.origin:
        blocks += [Heading(text="Origin"), Facts(pairs=flatten(dict(report.origin)))]
    blocks += [Heading(text="Environment"), Facts(pairs=flatten(dict(report.environment)))]
    settings = _settings(report.settings)
    if settings:
        blocks.append(Fold(summary="All settings", blocks=settings))
    return Section(title="How it was made", blocks=blocks)


def _settings(settings: Mapping[str, Any]) -> list[Block]:
    plain = {key: value for key, value in settings.items() if not isinstance(value, dict)}
    blocks: list[Block] = [Facts(pairs=plain)] if plain else []
    for name, group in settings.items():
        if isinstance(group, dict):
            blocks += [Heading(text=str(name)), Facts(pairs=flatten(group))]
    return blocks
