"""A plan as the table that is printed before the first step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import nn

from resnetkit.finetuning.plan import (
    BATCH_NORM,
    Part,
    PartedNetwork,
    Plan,
    Solver,
    Trains,
    layers_of,
    part_parameters,
    trained_parameters,
)

TITLES = ("part", "parameters", "trained", "what", "BatchNorm", "learning rate", "epochs")
NUMBERS = ("parameters", "trained")  # aligned to the right
WHAT = {"nothing": "-", "everything": "all", "norms": "norms", "adapters": "adapters"}


@dataclass(frozen=True, kw_only=True)
class PlanRow:
    """One treatment of one part, from an epoch to another; the last row, "total", is of all."""

    part: str
    parameters: int
    trainable: int
    trains: Trains
    batch_norm: str  # statistics: "frozen", "train", or "-" where there are none
    solver: Solver
    learning_rate: float | None  # at its peak; None where nothing trains by steps
    from_epoch: float | None  # None where nothing trains
    to_epoch: float | None  # L-BFGS takes no epochs


def plan_rows(network: PartedNetwork, plan: Plan, learning_rate: float) -> list[PlanRow]:
    """A row for each stretch in which a part trains, or one if it never does; then the total.

    `learning_rate` is the peak rate, of the head. Adapters must be in the network already.
    """
    rows: list[PlanRow] = []
    parameters = trainable = 0
    for number, modules in enumerate(network.parts().values()):
        stretches = _stretches(plan, number)
        trained = [stretch for stretch in stretches if stretch.part.trains != "nothing"]
        found = [_row(stretch, modules, learning_rate) for stretch in trained or stretches[:1]]
        parameters += found[0].parameters
        trainable += max(row.trainable for row in found)
        rows += found
    total = PlanRow(
        part="total",
        parameters=parameters,
        trainable=trainable,
        trains="nothing",
        batch_norm="-",
        solver="gradient",
        learning_rate=None,
        from_epoch=0.0 if plan.epochs else None,
        to_epoch=plan.epochs or None,
    )
    return [*rows, total]


def plan_table(rows: Sequence[PlanRow]) -> list[str]:
    """The rows as lines of text in columns, under their titles."""
    cells = [TITLES, *map(_cells, rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(TITLES))]
    return [
        "  ".join(
            cell.rjust(width) if title in NUMBERS else cell.ljust(width)
            for cell, width, title in zip(line, widths, TITLES, strict=True)
        ).rstrip()
        for line in cells
    ]


@dataclass(frozen=True)
class _Stretch:
    """Phases in a row that treat a part alike."""

    part: Part
    solver: Solver
    start: float
    end: float


def _stretches(plan: Plan, number: int) -> list[_Stretch]:
    stretches: list[_Stretch] = []
    start = 0.0
    for phase in plan.phases:
        present = _Stretch(phase.parts[number], phase.solver, start, start + phase.epochs)
        start = present.end
        last = stretches[-1] if stretches else None
        if last and (last.part, last.solver) == (present.part, present.solver):
            stretches[-1] = replace(last, end=present.end)
        else:
            stretches.append(present)
    return stretches


def _row(stretch: _Stretch, modules: tuple[nn.Module, ...], learning_rate: float) -> PlanRow:
    part = stretch.part
    trains = part.trains != "nothing"
    by_steps = trains and stretch.solver == "gradient"
    return PlanRow(
        part=part.name,
        parameters=sum(value.numel() for value in part_parameters(modules)),
        trainable=sum(value.numel() for value in trained_parameters(part, modules)),
        trains=part.trains,
        batch_norm=part.batch_norm if layers_of(modules, BATCH_NORM) else "-",
        solver=stretch.solver,
        learning_rate=learning_rate * part.rate_factor if by_steps else None,
        from_epoch=stretch.start if trains else None,
        to_epoch=stretch.end if trains else None,
    )


def _cells(row: PlanRow) -> tuple[str, ...]:
    rate = "-" if row.learning_rate is None else f"{row.learning_rate:.3g}"
    epochs = "-" if row.to_epoch is None else f"{row.from_epoch:.4g} to {row.to_epoch:.4g}"
    if row.solver == "lbfgs" and row.trains != "nothing":
        rate, epochs = "L-BFGS", "before the first"
    counts = f"{row.parameters:,}", f"{row.trainable:,}"
    return (row.part, *counts, WHAT[row.trains], row.batch_norm, rate, epochs)
