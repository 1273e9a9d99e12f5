"""A learning-rate range test: the loss while the rate rises from very small to too large.

Smith 2017 arXiv:1506.01186, section 3.3; with the rate rising exponentially and the loss of the
training batches, as is common since (Gugger 2018, "How Do You Find A Good Learning Rate").
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch

from resnetkit.optim.schedules import ScheduleConfig
from resnetkit.runtime import write_file_atomically
from resnetkit.training.state import TrainingState
from resnetkit.training.trainer import Batches, TrainingTask, train_step
from resnetkit.types import Batch, UserError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DIVERGED = 4.0  # times the lowest loss so far: no rate above will do
WATCHED = 0.8  # of the running loss, which tells divergence, is what it was
SMOOTHING = 0.03  # width of the kernel for the curve, as a share of all steps
FEWEST_STEPS = 20  # with fewer, a curve is its noise
LEAST_FALL = 0.05  # of the first loss: a smaller fall is noise too
REBOUND = 0.75  # of the fall: a network that climbed this far back learns anew, if it does
BELOW_MINIMUM = 0.1  # the minimum itself is the edge of divergence

Rule = Literal["steepest descent", "a tenth of the minimum", "none"]


@dataclass(frozen=True, kw_only=True)
class RateTestConfig:
    """The rates that are tried: from `lowest` to `highest` in `steps` equal factors."""

    lowest: float = 1e-5
    highest: float = 10.0
    steps: int = 100

    def __post_init__(self) -> None:
        if not 0 < self.lowest < self.highest < math.inf:
            raise UserError(
                "a rate test needs 0 < lowest < highest, for instance 1e-5 and 10; got "
                f"{self.lowest:g} and {self.highest:g}"
            )
        if self.steps < FEWEST_STEPS:
            raise UserError(
                f"a rate test needs {FEWEST_STEPS} steps or more to see the loss through its "
                f"noise, got {self.steps}; 100 are usual"
            )


@dataclass(frozen=True, kw_only=True)
class RateTest:
    """What a range test found: rates tried, loss of each step before its update, smoothed loss.

    `suggested` is the lower of `steepest`, where the loss falls fastest, and a tenth of `minimum`,
    where it is lowest; all three are None, and `rule` is "none", where the loss never fell.
    """

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    smoothed: tuple[float, ...]
    suggested: float | None
    steepest: float | None
    minimum: float | None
    rule: Rule
    stopped_because: str


def run_rate_test(
    build: Callable[[], tuple[TrainingState, TrainingTask]], config: RateTestConfig
) -> RateTest:
    """Train what `build` makes for some steps while the peak rate rises, and suggest one.

    `build` makes everything anew, network included: nothing of it is used afterwards, and nothing
    else is changed, torch's generators neither. Factors of the rate by parameter stay as they are,
    so what is suggested is an `optimizer.learning_rate`. Ends early when the loss diverges.
    """
    rates = np.geomspace(config.lowest, config.highest, config.steps).tolist()
    losses: list[float] = []
    watched, lowest, stopped = 0.0, math.inf, "all rates tried"
    with torch.random.fork_rng(range(torch.cuda.device_count())):  # which each step seeds
        state, task = build()
        flat = replace(task, schedule=ScheduleConfig(name="constant"))
        for rate, (epoch, batch) in zip(rates, _endless(task.batches), strict=False):
            report = train_step(state, replace(flat, learning_rate=rate), batch, epoch)
            loss = float(report.loss)
            if not math.isfinite(loss):
                stopped = f"stopped at {rate:.2g}: the loss was no longer finite"
                break
            losses.append(loss)
            watched = WATCHED * watched + (1 - WATCHED) * loss
            corrected = watched / (1 - WATCHED ** len(losses))
            lowest = min(lowest, corrected)
            if corrected > DIVERGED * lowest:
                stopped = f"stopped at {rate:.2g}: the loss was {DIVERGED:g} times its lowest"
                break
    return judge_rates(tuple(rates[: len(losses)]), tuple(losses), stopped)


def judge_rates(
    rates: tuple[float, ...], losses: tuple[float, ...], stopped_because: str
) -> RateTest:
    """The rate that a curve of losses suggests."""
    smoothed = smooth(np.array(losses))
    suggested = steepest = minimum = None
    rule: Rule = "none"
    lowest = int(smoothed[: _first_run(smoothed)].argmin()) if len(losses) else 0
    if len(losses) >= FEWEST_STEPS and smoothed[lowest] < (1 - LEAST_FALL) * smoothed[0]:
        minimum = rates[lowest]
        slopes = np.gradient(smoothed, np.log(rates))
        steepest = rates[int(slopes[: lowest + 1].argmin())]
        suggested = min(steepest, BELOW_MINIMUM * minimum)
        rule = "steepest descent" if suggested == steepest else "a tenth of the minimum"
    return RateTest(
        rates=rates,
        losses=losses,
        smoothed=tuple(smoothed.tolist()),
        suggested=suggested,
        steepest=steepest,
        minimum=minimum,
        rule=rule,
        stopped_because=stopped_because,
    )


def _first_run(smoothed: np.ndarray) -> int:
    """Where the loss [S] has risen again after its first clear fall; S where it has not."""
    lowest = np.minimum.accumulate(smoothed)
    fall = smoothed[0] - lowest
    risen = (fall > LEAST_FALL * abs(smoothed[0])) & (smoothed - lowest > REBOUND * fall)
    return int(risen.argmax()) if risen.any() else len(smoothed)


def smooth(losses: np.ndarray) -> np.ndarray:
    """Losses [S] under a Gaussian kernel, float64 [S]: unlike a running mean, it does not lag."""
    places = np.arange(len(losses))
    width = max(1.0, SMOOTHING * len(losses))
    weights = np.exp(-0.5 * ((places[:, None] - places[None, :]) / width) ** 2)
    return weights @ losses / weights.sum(axis=1)


def plot_rate_test(result: RateTest, path: Path) -> None:
    """Write the curve as a PNG, with the suggested rate marked; see `refuse_other_than_png`."""
    refuse_other_than_png(path)
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.8), dpi=120, layout="constrained")
    axes = figure.subplots()
    axes.plot(result.rates, result.losses, ".", color="#b9c2cf", label="loss of each step")
    axes.plot(result.rates, result.smoothed, color="#2d7ad6", linewidth=2.2, label="smoothed")
    axes.set_xscale("log")
    if result.smoothed:
        low, high = min(result.smoothed), max(result.smoothed[0], min(result.losses))
        room = 0.15 * max(high - low, 1e-6)
        # Divergence would flatten everything that matters.
        axes.set_ylim(min(low, min(result.losses)) - room, high + 4 * room)
    _mark(axes, result)
    axes.set_xlabel("learning rate (logarithmic)")
    axes.set_ylabel("training loss")
    axes.grid(visible=True, which="major", color="#e3e6ea", linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="lower left", frameon=False)
    image = io.BytesIO()
    figure.savefig(image, format="png")
    write_file_atomically(path, image.getvalue())


def refuse_other_than_png(path: Path) -> None:
    """UserError unless the file's name says that it is to be a PNG."""
    if path.suffix.lower() != ".png":
        raise UserError(f"{path}: needed a file name that ends in .png; change it")


def _mark(axes: Axes, result: RateTest) -> None:
    """The suggested rate and the two it comes from, or that there is none."""
    if result.suggested is None:
        title = "No rate to suggest: the loss never fell clearly"
    else:
        assert result.steepest is not None
        assert result.minimum is not None
        title = f"Suggested learning rate: {result.suggested:.2g} ({result.rule})"
        axes.axvline(result.suggested, color="#d6452d", linewidth=2.2, label="suggested")
        by_rate = dict(zip(result.rates, result.smoothed, strict=True))
        marks = {"falls fastest": (result.steepest, "v"), "lowest": (result.minimum, "o")}
        for words, (rate, shape) in marks.items():
            axes.plot(
                rate,
                by_rate[rate],
                shape,
                color="#1c2733",
                markersize=8,
                label=f"{words}: {rate:.2g}",
            )
    axes.set_title(f"{title}\n", loc="left", fontweight="bold")
    axes.text(0, 1.02, result.stopped_because, transform=axes.transAxes, color="#5b6470")


def _endless(batches: Batches) -> Iterator[tuple[int, Batch]]:
    """(epoch, batch), epoch after epoch."""
    epoch = 0
    while True:
        for batch in batches.batches(epoch):
            yield epoch, batch
        epoch += 1
