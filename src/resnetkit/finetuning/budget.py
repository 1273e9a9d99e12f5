"""A time budget: the rule's choice made cheaper until it fits, by what a step takes here.

A run may be cut to half its steps, since a schedule squeezed that far loses little. What does not
fit then is seen smaller (cost goes with the square of the side), and in the end the head alone is
trained, which needs each image once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from resnetkit.finetuning.known_settings import (
    epochs_for,
    learns_from_views,
    refuse_idle,
    steps_per_epoch,
    takes_steps,
)
from resnetkit.finetuning.rule import Choice, choose_settings
from resnetkit.training.plan import VALIDATION_SHARE
from resnetkit.types import UserError

SHORTEST_SHARE = 0.5  # of the chosen steps
SMALLEST_SHARE = 0.75  # of the side the weights were trained at: below, they see other things
SIDE_STEP = 8  # pixels between the sides that are tried


@dataclass(frozen=True, kw_only=True)
class StepTimes:
    """Seconds on this machine for one batch, and the batch they were measured with."""

    image_size: int
    batch_size: int
    training: float  # one optimizer step on all layers
    features: float  # one forward pass without gradients


def fit_budget(choice: Choice, measured: StepTimes, minutes: float) -> Choice:
    """`choice`, or the first cheaper one that fits `minutes` by the `measured` times.

    In this order: fewer steps, down to half; smaller images; the head alone. Settings the user gave
    stay: where they leave nothing to choose, the trainer cuts the run itself. Raises UserError when
    not even the cheapest choice fits.
    """
    usable = 60 * minutes * (1 - VALIDATION_SHARE)
    candidates = list(_candidates(choice))
    for candidate in candidates:
        fitted = _shorten(candidate, measured, usable)
        if fitted is not None:
            return fitted
    cheapest = candidates[-1]
    if takes_steps(cheapest.all_settings):  # the user's strategy: one epoch may fit all the same
        return replace(cheapest, reasons=(*cheapest.reasons, f"{minutes:g} minutes: cut to fit"))
    needed = _fixed_seconds(cheapest, measured) / (1 - VALIDATION_SHARE) / 60
    raise UserError(
        f"training.time_budget_minutes is {minutes:g}, but even the head alone, on images of "
        f"{cheapest.all_settings['data.image_size']} pixels, takes about {needed:.2g} minutes "
        "here: give at least that, a smaller network or less data"
    )


def seconds_needed(choice: Choice, measured: StepTimes) -> float:
    """What the run of `choice` takes by the `measured` times, validation aside."""
    return _fixed_seconds(choice, measured) + _steps(choice) * _step_seconds(choice, measured)


def _candidates(choice: Choice) -> Iterator[Choice]:
    """`choice` and cheaper ones, with as little changed as possible, the cheapest last."""
    sides = _smaller_sides(choice)
    yield choice
    for side in sides:
        yield _changed(choice, {"data.image_size": side})
    if "finetuning.strategy" in choice.given or not takes_steps(choice.all_settings):
        return
    sides = [choice.all_settings["data.image_size"], *sides]
    probe = {"finetuning.strategy": "linear-probe"}
    try:
        probes = [_changed(choice, {"data.image_size": side, **probe}) for side in sides]
        refuse_idle(choice.given, probes[0].all_settings)
    except UserError:  # settings of the user would have no effect on it
        return
    yield from probes


def _smaller_sides(choice: Choice) -> list[int]:
    """Sides to try below the chosen one, largest first."""
    if "data.image_size" in choice.given or not choice.backbone.any_size:
        return []
    own, chosen = choice.backbone.image_size, choice.all_settings["data.image_size"]
    smallest = max(1, round(SMALLEST_SHARE * own))
    sides = {*range(chosen - chosen % SIDE_STEP, smallest, -SIDE_STEP), own, smallest}
    return sorted((side for side in sides if smallest <= side < chosen), reverse=True)


def _changed(choice: Choice, changes: Mapping[str, Any]) -> Choice:
    """What the rule would choose with `changes`, which count as its own."""
    changes = {name: value for name, value in changes.items() if name not in choice.given}
    new = choose_settings(choice.facts, choice.backbone, {**choice.given, **changes})
    words = ", ".join(f"{name.split('.')[1]} {value}" for name, value in changes.items())
    return replace(
        new,
        settings={**changes, **new.settings},
        given=choice.given,
        reasons=(*new.reasons, f"to fit the time budget: {words}"),
    )


def _shorten(choice: Choice, measured: StepTimes, usable: float) -> Choice | None:
    """`choice` with as many of its steps as fit `usable` seconds; None when too few do."""
    left = usable - _fixed_seconds(choice, measured)
    steps = _steps(choice)
    if left < 0:
        return None
    if seconds_needed(choice, measured) <= usable:
        return choice
    affordable = int(left / _step_seconds(choice, measured))
    if affordable < max(1, SHORTEST_SHARE * steps):
        return None
    if {"training.epochs", "training.steps"} & choice.given.keys():
        return choice  # their own length, which the trainer cuts
    epochs = epochs_for(affordable, steps_per_epoch(choice.facts, choice.all_settings))
    return replace(
        choice,
        settings={**choice.settings, "training.epochs": epochs},
        reasons=(*choice.reasons, f"to fit the time budget: {affordable:,} of {steps:,} steps"),
    )


def _steps(choice: Choice) -> int:
    known = choice.all_settings
    if not takes_steps(known):
        return 0
    if known["training.epochs"] is None:
        return known["training.steps"]
    return max(1, round(known["training.epochs"] * steps_per_epoch(choice.facts, known)))


def _step_seconds(choice: Choice, measured: StepTimes) -> float:
    images = choice.all_settings["data.batch_size"] / measured.batch_size
    return measured.training * _pixels(choice, measured) * images


def _fixed_seconds(choice: Choice, measured: StepTimes) -> float:
    """Storing features to fit a head to, where that is part of the run; fitting takes little."""
    known = choice.all_settings
    if not learns_from_views(known):
        return 0.0
    views = known.get("finetuning.views") or 1
    batches = choice.facts.images * views / measured.batch_size
    return batches * measured.features * _pixels(choice, measured)


def _pixels(choice: Choice, measured: StepTimes) -> float:
    """How many times the pixels of the measured images."""
    return (choice.all_settings["data.image_size"] / measured.image_size) ** 2
