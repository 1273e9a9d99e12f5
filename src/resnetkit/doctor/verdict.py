"""What a diagnosis holds, and what follows from its figures; nothing is measured here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from resnetkit.doctor.timing import Timing

StageName = Literal["read", "decode", "resize", "collate", "copy", "augment", "step"]
LOADING: tuple[StageName, ...] = ("read", "decode", "resize", "collate")  # in the loader
LEARNING: tuple[StageName, ...] = ("copy", "augment", "step")  # in the training loop
WAITING = 0.10  # share of the time spent waiting for batches that makes loading the bottleneck
WORTH_IT = 1.08  # smaller gains are within the spread of these measurements


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One stage of a batch's way, timed by itself on one thread of control."""

    name: StageName
    timing: Timing
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class LoaderTiming:
    """The loader by itself, `how` it would be set; `setting` is what to type for it."""

    how: str
    setting: str
    timing: Timing
    chosen: bool = False


@dataclass(frozen=True, kw_only=True)
class Alternative:
    """A setting of the training step and how much faster than the present one it was measured."""

    setting: str
    gain: float
    caution: str = ""


@dataclass(frozen=True, kw_only=True)
class Advice:
    """What to set, and by what factor training would become faster at most."""

    setting: str
    gain: float
    reason: str


@dataclass(frozen=True, kw_only=True)
class Measured:
    """All figures of a diagnosis; `waiting` is the share of `training` spent on the next batch."""

    stages: tuple[Stage, ...]
    loaders: tuple[LoaderTiming, ...]
    training: Timing
    waiting: float
    alternatives: tuple[Alternative, ...]

    @property
    def network_limit(self) -> float:
        """Images per second that copy, augmentation and step could take from a free loader."""
        return 1 / sum(stage.timing.seconds for stage in self.stages if stage.name in LEARNING)

    @property
    def loader(self) -> LoaderTiming:
        """The loader as it is set."""
        return next(timing for timing in self.loaders if timing.chosen)


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """Where the time goes and what to do; `facts` say what was measured and on what machine."""

    facts: tuple[str, ...]
    measured: Measured
    bottleneck: StageName
    verdict: str
    advice: tuple[Advice, ...]


def find_bottleneck(measured: Measured) -> StageName:
    """The stage that training waits for.

    Where it waits for batches and would be faster without, the dearest stage of loading; else the
    dearest of learning.
    """
    slowed = measured.network_limit > WORTH_IT * measured.training.images_per_second
    group = LOADING if slowed and measured.waiting >= WAITING else LEARNING
    stages = [stage for stage in measured.stages if stage.name in group]
    return max(stages, key=lambda stage: stage.timing.seconds).name


def describe_verdict(measured: Measured, bottleneck: StageName) -> str:
    """The bottleneck in words, with the figures that make it one."""
    training = measured.training.images_per_second
    loader = measured.loader.timing.images_per_second
    limit = measured.network_limit
    if bottleneck in LOADING:
        return (
            f"Loading is the bottleneck, {bottleneck} above all: {measured.waiting:.0%} of the "
            f"time the network waits for batches. It could learn from {limit:,.0f} images/s; the "
            f"loader gives {loader:,.0f} by itself, training reaches {training:,.0f}."
        )
    text = (
        f"Learning is the bottleneck, the {bottleneck} above all: the loader gives {loader:,.0f} "
        f"images/s, {loader / limit:.1f} times what copy, augmentation and step can take "
        f"({limit:,.0f}); training reaches {training:,.0f}"
    )
    missing = 1 / training - 1 / limit  # seconds an image
    explained = 1 / loader > missing / 2
    if explained and limit > WORTH_IT * training:
        lost = 1 - training / limit
        text += f", {lost:.0%} less, because loading goes on at the same time"
    return text + "."


def advise(measured: Measured, bottleneck: StageName) -> tuple[Advice, ...]:
    """What to set, best first; empty where nothing measured would help by more than the spread.

    A gain is an upper bound: what training would reach if the loader took nothing from it.
    """
    found = [*_loading_advice(measured), *_learning_advice(measured, bottleneck)]
    return tuple(sorted(found, key=lambda advice: -advice.gain))


def _loading_advice(measured: Measured) -> list[Advice]:
    training, limit = measured.training.images_per_second, measured.network_limit
    present = measured.loader.timing.images_per_second
    if limit < WORTH_IT * training:
        return []
    faster = [
        timing
        for timing in measured.loaders
        if not timing.chosen and timing.timing.images_per_second > WORTH_IT * present
    ]
    found = []
    for timing in _best_of_each_kind(faster):
        rate = timing.timing.images_per_second
        # Training saves at most the time the loader takes now, however much that overlaps.
        at_least = 1 / training - 1 / present + 1 / rate
        gain = min(rate, limit, 1 / max(at_least, 1e-9)) / training
        reason = f"the loader would give {rate:,.0f} images/s instead of {present:,.0f}"
        if gain > WORTH_IT:
            found.append(Advice(setting=timing.setting, gain=gain, reason=reason))
    return found


def _best_of_each_kind(timings: Sequence[LoaderTiming]) -> list[LoaderTiming]:
    """Of several worker counts the fastest; a pack is another kind of thing than a worker count."""
    best: dict[str, LoaderTiming] = {}
    for timing in timings:
        kind = timing.setting.split()[0]
        known = best.get(kind)
        if known is None or timing.timing.seconds < known.timing.seconds:
            best[kind] = timing
    return list(best.values())


def _learning_advice(measured: Measured, bottleneck: StageName) -> list[Advice]:
    if bottleneck in LOADING:
        return []
    seconds = {stage.name: stage.timing.seconds for stage in measured.stages}
    whole = 1 / measured.training.images_per_second
    found = []
    for alternative in measured.alternatives:
        saved = seconds["step"] * (1 - 1 / alternative.gain)
        gain = whole / max(whole - saved, 1e-9)
        if gain > WORTH_IT:
            reason = f"the step would be {alternative.gain:.2f} times as fast"
            reason += f"; {alternative.caution}" if alternative.caution else ""
            found.append(Advice(setting=alternative.setting, gain=gain, reason=reason))
    return found
