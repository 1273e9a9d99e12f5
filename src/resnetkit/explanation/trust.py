"""Which map to believe: one report for each method, from three checks that a pretty map can fail.

1. Randomised weights: does the map depend on what the network has learnt? (Adebayo et al. 2018)
2. Deletion and insertion: does the network use the pixels that the map names? (Petsiuk et al. 2018)
3. The pointing game, where there are boxes: are these pixels on the object? (Zhang et al. 2016)

A method is believed when it passes all that were made. Each check has a hole that another closes: a
map of noise passes the first, one that only knows the picture may pass the others.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from resnetkit.explanation.examples import (
    Examples,
    Mean,
    Score,
    collect_maps,
    mean_of,
    spread_rows,
)
from resnetkit.explanation.map_controls import centre_maps, random_maps, shifted_maps
from resnetkit.explanation.map_similarity import is_flat
from resnetkit.explanation.pixel_curves import CurveConfig, Curves, measure_curves
from resnetkit.explanation.pointing import PointingGame, Regions, play
from resnetkit.explanation.randomised_weights import (
    LARGEST_SIMILARITY,
    Explain,
    RandomisedConfig,
    RandomisedWeights,
    check_randomised,
)
from resnetkit.models.zoo import Network
from resnetkit.types import Task

LARGEST_FLAT_SHARE = 0.5  # of a method's maps that may have one value everywhere


@dataclass(frozen=True, kw_only=True)
class TrustConfig:
    """How the checks are made."""

    curves: CurveConfig = field(default_factory=CurveConfig)
    randomised: RandomisedConfig = field(default_factory=RandomisedConfig)


@dataclass(frozen=True, kw_only=True, eq=False)
class CurveSummary:
    """The mean curves of one way to order pixels, and the areas below them."""

    deletion_area: Mean
    insertion_area: Mean
    difference: Mean  # insertion's less deletion's
    shares: tuple[float, ...]  # [S+1] of the pixels that went or came
    deletion: tuple[float, ...]  # [S+1] mean probability of the target
    insertion: tuple[float, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class TrustReport:
    """What the checks say of one method; `because` are the verdict's reasons, in words.

    Gains are of the curves' difference over that of a control on the same pictures: over the
    method's own maps shifted to a wrong place (which decides), over a random order, and over a
    Gaussian around the middle.
    """

    method: str
    pictures: int
    flat: int  # of its maps that have one value everywhere, and so say nothing
    milliseconds: float  # to make one map, among `batch_size` others
    curves: CurveSummary
    gain_over_shifted: Mean
    gain_over_random: Mean
    gain_over_centre: Mean
    randomised: RandomisedWeights
    pointing: PointingGame | None  # None: no boxes were given
    believed: bool
    because: tuple[str, ...]

    @property
    def verdict(self) -> str:
        """The verdict as a sentence."""
        reasons = "; ".join(self.because)
        return f"{'believe' if self.believed else 'do not believe'}, because {reasons}"

    def as_dict(self) -> dict[str, Any]:
        """Everything as JSON-safe values."""
        decisive = self.randomised.decisive
        derived = {"verdict": self.verdict, "depends_on_weights": self.randomised.depends}
        derived["decisive_similarity"] = decisive.similarity.mean
        if self.pointing is not None:
            derived["pointing_interval"] = list(self.pointing.points.interval)
        return {**asdict(self), **derived}


@dataclass(frozen=True, kw_only=True, eq=False)
class Trial:
    """What every method is held against on the same pictures: `prepare_trial` makes one.

    `score` gives probabilities of the network; `regions` are None without boxes. Curves are taken
    of the examples at the rows `curved`.
    """

    network: Network
    score: Score
    examples: Examples
    regions: Regions | None
    config: TrustConfig
    curved: np.ndarray  # [n] int64
    random: Curves
    centre: Curves


def prepare_trial(
    network: Network, examples: Examples, task: Task, regions: Regions | None, config: TrustConfig
) -> Trial:
    """Measure the controls that all methods share; `network` must be in evaluation mode."""
    assert not network.training
    score = probabilities_of(network, task)
    curved = spread_rows(len(examples), config.curves.pictures)
    part = examples.take(curved)
    noise = random_maps(part.numbers, part.size, config.curves.seed)
    middle = centre_maps(len(part), part.size)
    return Trial(
        network=network,
        score=score,
        examples=examples,
        regions=regions,
        config=config,
        curved=curved,
        random=measure_curves(score, part, noise, config.curves),
        centre=measure_curves(score, part, middle, config.curves),
    )


def share_recognised(trial: Trial, task: Task) -> float:
    """The share of the pictures in which the network sees the class that is explained.

    That is the likeliest one, or in a multi-label task one above one half.
    """
    examples = trial.examples
    batches = examples.images.split(trial.config.curves.batch_size)
    with torch.inference_mode():
        found = torch.cat([trial.score(part) for part in batches])
    if task == "single-label":
        return float((found.argmax(dim=1) == examples.targets).float().mean())
    return float((found.gather(1, examples.targets[:, None]) > 0.5).float().mean())


def probabilities_of(network: Callable[[Tensor], Tensor], task: Task) -> Score:
    """From the network's input to the probability of each class, [N,K]."""
    if task == "single-label":
        return lambda images: network(images).softmax(dim=1)
    return lambda images: network(images).sigmoid()


def check_method(
    trial: Trial, method: str, explain: Explain, signed: Explain | None = None
) -> TrustReport:
    """Put one method through all checks; `explain` gives its attribution for a network.

    `signed` gives the same before evidence against the class is cut off, where there is any. Raises
    UserError as `collect_maps` and `check_randomised` do.
    """
    examples, config = trial.examples, trial.config
    start = time.perf_counter()
    maps = collect_maps(explain(trial.network), examples, config.randomised.batch_size, method)
    milliseconds = 1000 * (time.perf_counter() - start) / len(examples)
    seed = config.curves.seed
    part, of_part = examples.take(trial.curved), maps[trial.curved]
    curves = measure_curves(trial.score, part, of_part, config.curves)
    wrong_place = shifted_maps(of_part, part.numbers, seed)
    shifted = measure_curves(trial.score, part, wrong_place, config.curves)
    randomised = check_randomised(
        trial.network, examples, signed or explain, config.randomised, name=method
    )
    pointing = None if trial.regions is None else play(maps, examples, trial.regions, seed)
    gain = curves.gain_over(shifted)
    flat = int(is_flat(maps).sum())
    believed, because = decide(randomised, gain, pointing, flat / len(maps))
    return TrustReport(
        method=method,
        pictures=len(examples),
        flat=flat,
        milliseconds=milliseconds,
        curves=summarise_curves(curves),
        gain_over_shifted=gain,
        gain_over_random=curves.gain_over(trial.random),
        gain_over_centre=curves.gain_over(trial.centre),
        randomised=randomised,
        pointing=pointing,
        believed=believed,
        because=because,
    )


def decide(
    randomised: RandomisedWeights, gain: Mean, pointing: PointingGame | None, flat_share: float
) -> tuple[bool, tuple[str, ...]]:
    """Whether to believe a method, and why: its failures, or else all that it has passed.

    `flat_share` is that of its maps which have one value everywhere.
    """
    checks = [_on_weights(randomised), _on_evidence(gain)]
    if flat_share > LARGEST_FLAT_SHARE:
        checks.append((False, f"it says nothing of {_percent(flat_share)} of the pictures"))
    if pointing is not None:
        checks.append(_on_objects(pointing))
    failures = tuple(reason for passed, reason in checks if not passed)
    return not failures, failures or tuple(reason for _, reason in checks)


def _on_weights(randomised: RandomisedWeights) -> tuple[bool, str]:
    alike, half = randomised.decisive.similarity.mean, randomised.halfway
    if not randomised.depends:
        return False, (
            f"it shows the picture more than the network: rank correlation {alike:.2f}, of at most "
            f"{LARGEST_SIMILARITY:g}, with maps of networks that have learnt nothing"
        )
    reason = (
        f"it depends on the weights (rank correlation {alike:.2f}, below {LARGEST_SIMILARITY:g}, "
        "with maps of networks that have learnt nothing)"
    )
    if half.similarity.mean >= LARGEST_SIMILARITY:
        reason += (
            f", though little on those of {', '.join(half.parts)} ({half.similarity.mean:.2f} when "
            "only these have forgotten)"
        )
    return True, reason


def _on_evidence(gain: Mean) -> tuple[bool, str]:
    low, high = gain.interval or (gain.mean, gain.mean)
    figures = f"insertion less deletion {gain.mean:+.3f} (95 % interval {low:+.3f} to {high:+.3f})"
    if low > 0:
        return True, f"the network uses the pixels it names: {figures} over the same maps shifted"
    return False, (
        f"the network does not use the pixels it names more than others: {figures} over the same "
        "maps shifted to a wrong place"
    )


def _on_objects(pointing: PointingGame) -> tuple[bool, str]:
    low, high = pointing.points.interval
    figures = (
        f"{pointing.points.hits} of {pointing.points.trials} points hit, {_percent(low)} to "
        f"{_percent(high)}, where chance hits {_percent(pointing.random)} and the middle "
        f"{_percent(pointing.centre.share)}"
    )
    if pointing.finds:
        return True, f"it points at the objects ({figures})"
    if low > pointing.random:
        return False, f"it points at the objects less often than the middle does ({figures})"
    return False, f"it does not point at the objects more often than chance ({figures})"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def summarise_curves(curves: Curves) -> CurveSummary:
    """The mean over pictures."""
    return CurveSummary(
        deletion_area=mean_of(curves.deletion_areas),
        insertion_area=mean_of(curves.insertion_areas),
        difference=mean_of(curves.differences),
        shares=_floats(curves.shares),
        deletion=_floats(curves.deletion.mean(axis=0)),
        insertion=_floats(curves.insertion.mean(axis=0)),
    )


def _floats(values: np.ndarray) -> tuple[float, ...]:
    return tuple(float(value) for value in values)
