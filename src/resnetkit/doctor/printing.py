"""A diagnosis as tables to read and as a record for JSON."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from resnetkit.doctor.timing import Timing
from resnetkit.doctor.verdict import LOADING, Diagnosis


def print_diagnosis(console: Console, diagnosis: Diagnosis) -> None:
    """Stages, loader settings, verdict and advice."""
    measured = diagnosis.measured
    for line in diagnosis.facts:
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    stages = _table("stage", "ms/image", "range", "images/s", "")
    for stage in measured.stages:
        mark = "<- the bottleneck" if stage.name == diagnosis.bottleneck else ""
        where = "in the loader" if stage.name in LOADING else "in the training loop"
        note = "; ".join(filter(None, (mark, where, stage.note)))
        stages.add_row(stage.name, *_cells(stage.timing), escape(note))
    loaders = _table("the loader by itself", "ms/image", "range", "images/s", "x need")
    for loader in measured.loaders:
        times = loader.timing.images_per_second / measured.network_limit
        name = f"{loader.how} (as it is set)" if loader.chosen else loader.how
        loaders.add_row(escape(name), *_cells(loader.timing), f"{times:,.3g}")
    loaders.add_row("the whole training", *_cells(measured.training), "", style="bold")
    for table in (stages, loaders):
        console.print()
        console.print(table)
    console.print()
    waiting = f"Training waits for batches {measured.waiting:.0%} of its time."
    console.print(waiting, highlight=False)
    console.print(diagnosis.verdict, highlight=False, markup=False, soft_wrap=True)
    for advice in diagnosis.advice:
        line = f"Set  {advice.setting}  at most {advice.gain:.2f} x as fast: {advice.reason}"
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    if not diagnosis.advice:
        console.print("Nothing to set: nothing that was measured would help.")


def as_record(diagnosis: Diagnosis) -> dict[str, Any]:
    """Everything measured, with rates beside the seconds, JSON-safe."""
    measured = diagnosis.measured
    return {
        "facts": list(diagnosis.facts),
        "stages": [
            {"name": stage.name, "note": stage.note, **_timing_record(stage.timing)}
            for stage in measured.stages
        ],
        "loaders": [
            {
                "how": loader.how,
                "setting": loader.setting,
                "chosen": loader.chosen,
                **_timing_record(loader.timing),
            }
            for loader in measured.loaders
        ],
        "training": {**_timing_record(measured.training), "waiting": measured.waiting},
        "network_limit": measured.network_limit,
        "bottleneck": diagnosis.bottleneck,
        "verdict": diagnosis.verdict,
        "advice": [asdict(advice) for advice in diagnosis.advice],
    }


def _timing_record(timing: Timing) -> dict[str, float]:
    return {**asdict(timing), "images_per_second": timing.images_per_second}


def _table(*headings: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for number, heading in enumerate(headings):
        table.add_column(
            heading, justify="left" if number in (0, 4) else "right", no_wrap=number < 4
        )
    return table


def _cells(timing: Timing) -> tuple[str, str, str]:
    spread = f"{_plain(timing.fastest)} to {_plain(timing.slowest)}"
    return _plain(timing.seconds), spread, f"{timing.images_per_second:,.0f}"


def _plain(seconds: float) -> str:
    """Milliseconds in three digits, none of them after the third place."""
    milliseconds = 1000 * seconds
    digits = max(0, 2 - math.floor(math.log10(milliseconds))) if milliseconds >= 1e-3 else 3
    return f"{milliseconds:,.{min(3, digits)}f}"
