"""Prediction sets that hold the true class as often as promised, whatever the network is worth.

Split conformal prediction (Vovk et al. 2005; Angelopoulos & Bates 2023, "Conformal prediction: a
gentle introduction", section 1): a score says how strange a class would be for an image; classes
are in the set up to a quantile of the scores that the true classes of other images had. The promise
holds for images drawn as those were, on average over them: for a class of its own, or for images
from elsewhere, it may not, see `check_coverage`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from resnetkit.evaluation.intervals import CONFIDENCE, Interval, wilson_interval
from resnetkit.evaluation.probabilities import probabilities, truths
from resnetkit.types import Task, UserError

SetMethod = Literal["lac", "aps"]
ROUNDING = 1e-9  # by which a sum of probabilities may be above 1


@dataclass(frozen=True, kw_only=True)
class Conformal:
    """Sets that hold the true class of at least the share `coverage` of images.

    A class is in the set where its score by `method` is at most `quantile`, which `images` images
    gave; their sets had `mean_size` classes. `seed` is for the methods that draw.
    """

    method: SetMethod = "lac"
    coverage: float
    quantile: float
    images: int
    mean_size: float
    seed: int = 0

    def __post_init__(self) -> None:
        if self.method not in get_args(SetMethod):
            raise UserError(f"conformal.method must be one of {list(SCORES)}, got {self.method!r}")
        if not 0 < self.coverage < 1:
            raise UserError(f"conformal.coverage must lie between 0 and 1, got {self.coverage}")
        if not 0 <= self.quantile <= 1 + ROUNDING:
            raise UserError(f"conformal.quantile must lie in 0…1, got {self.quantile}")
        if self.images < fewest_images(self.coverage):
            raise UserError(
                f"conformal.images must be {fewest_images(self.coverage)} or more for a coverage "
                f"of {self.coverage:g}, got {self.images}"
            )


@dataclass(frozen=True, kw_only=True)
class ClassCoverage:
    """Of the `images` of a class, the share whose set holds it, with Wilson's interval at 95 %."""

    name: str
    images: int
    covered: float | None  # None without images
    interval: Interval | None


@dataclass(frozen=True, kw_only=True)
class CoverageCheck:
    """What sets held on other images than those they were fitted on.

    `expected` is where `covered` lies in 95 % of cases if the promise is kept and the sets are no
    larger than needed, both by chance of these images and of those fitted on; `kept` says whether
    it is not below. Sets with no class (`empty`) say that none is likely enough.
    """

    images: int
    promised: float
    covered: float
    expected: Interval
    kept: bool
    mean_size: float
    empty: float
    single: float
    per_class: tuple[ClassCoverage, ...]


def fewest_images(coverage: float) -> int:
    """How many images are needed to promise a coverage: fewer would put every class in each set."""
    return math.ceil(round(coverage / (1 - coverage), 9))


def _place(images: int, coverage: float) -> int:
    """Which of the sorted scores of so many images is the quantile, from 1 on."""
    return math.ceil(round((images + 1) * coverage, 9))


def fit_conformal(
    logits: np.ndarray,
    labels: np.ndarray,
    coverage: float,
    method: SetMethod = "lac",
    seed: int = 0,
    task: Task = "single-label",
) -> Conformal:
    """The sets for a coverage, from (calibrated) logits [N,K] of images with these labels.

    "lac" gives the smallest sets on average and draws nothing, so that an image always has the same
    set; "aps" gives larger ones to images that are harder. Neither may have seen the images before,
    nor what calibrated the logits. Raises UserError as `refuse_unpromisable`.
    """
    refuse_unpromisable(coverage, len(logits), task)
    scores = SCORES[method](probabilities(logits, task), draws(seed, np.arange(len(logits))))
    true = np.take_along_axis(scores, truths(labels, task)[:, None], axis=1)[:, 0]
    quantile = float(np.sort(true)[_place(len(logits), coverage) - 1])
    return Conformal(
        method=method,
        coverage=coverage,
        quantile=quantile,
        images=len(logits),
        mean_size=float((scores <= quantile).sum(axis=1).mean()),
        seed=seed,
    )


def refuse_unpromisable(coverage: float, images: int, task: Task) -> None:
    """UserError for a multi-label task, no share, or too few images for it."""
    if task == "multi-label":
        raise UserError(
            "Prediction sets are for images of one class; in a multi-label task the labels of an "
            "image are a set already, and what share of them is found or right, the recall and "
            "precision of each class tell. Leave the sets out"
        )
    refuse_no_share(coverage)
    needed = fewest_images(coverage)
    if images < needed:
        raise UserError(
            f"Prediction sets that hold the true class of {100 * coverage:g} % of images need "
            f"{needed} or more images to be fitted on, got {images}; bring more, or want less"
        )


def refuse_no_share(coverage: float) -> None:
    """UserError for a coverage that sets cannot have, however many images there are."""
    if not 0 < coverage < 1:
        raise UserError(
            f"The wanted coverage of prediction sets must be above 0 and below 1, got {coverage:g};"
            " give the share of sets that must hold the true class, such as 0.95"
        )


def prediction_sets(
    logits: np.ndarray, conformal: Conformal, keys: np.ndarray | None = None
) -> np.ndarray:
    """Which classes are in the set of each image, bool [N,K], of (calibrated) logits [N,K].

    `keys` uint64 [N] tell the images apart where a method draws: the same key, the same draw. By
    default they are the numbers of the rows. A set may be empty, where no class is likely enough.
    """
    numbers = np.arange(len(logits)) if keys is None else keys
    shares = probabilities(logits, "single-label")
    scores = SCORES[conformal.method](shares, draws(conformal.seed, numbers))
    return scores <= conformal.quantile


def check_coverage(
    sets: np.ndarray, labels: np.ndarray, conformal: Conformal, class_names: Sequence[str]
) -> CoverageCheck:
    """What the sets bool [N,K] of images hold, as a whole and class by class.

    The images must be others than those the sets were fitted on. The number covered is then
    beta-binomial (Angelopoulos & Bates 2023, section 3.2).
    """
    from scipy.stats import betabinom

    assert len(sets), "no images"
    numbers = truths(labels, "single-label")
    held = np.take_along_axis(sets, numbers[:, None], axis=1)[:, 0]
    place = _place(conformal.images, conformal.coverage)
    spread = betabinom(len(sets), place, conformal.images + 1 - place)
    low, high = spread.ppf([(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]) / len(sets)
    sizes = sets.sum(axis=1)
    return CoverageCheck(
        images=len(sets),
        promised=conformal.coverage,
        covered=float(held.mean()),
        expected=(float(low), float(high)),
        kept=bool(held.mean() >= low),
        mean_size=float(sizes.mean()),
        empty=float((sizes == 0).mean()),
        single=float((sizes == 1).mean()),
        per_class=tuple(
            _class_coverage(str(name), held[numbers == k]) for k, name in enumerate(class_names)
        ),
    )


def _class_coverage(name: str, held: np.ndarray) -> ClassCoverage:
    images, covered = len(held), int(held.sum())
    return ClassCoverage(
        name=name,
        images=images,
        covered=covered / images if images else None,
        interval=wilson_interval(covered, images) if images else None,
    )


def draws(seed: int, keys: np.ndarray) -> np.ndarray:
    """A number in 0…1 for each key, float64 [N]: a function of seed and key, like chance.

    SplitMix64's (Steele, Lea & Flood 2014, "Fast splittable pseudorandom number generators").
    """
    with np.errstate(over="ignore"):  # it is meant to wrap around
        mixed = keys.astype(np.uint64) + np.uint64((seed + 1) * 0x9E3779B97F4A7C15 % 2**64)
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
        mixed ^= mixed >> np.uint64(31)
    return (mixed >> np.uint64(11)).astype(np.float64) / 2.0**53


def _lac_scores(shares: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """How unlikely each class is (Sadinle, Lei & Wasserman 2019): the smallest sets on average."""
    return 1 - shares


def _aps_scores(shares: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """The probability of all likelier classes, and a drawn part of a class's own.

    Romano, Sesia & Candès 2020, "Classification with valid and adaptive coverage", equation 5:
    without the draw the sets would hold more than was promised.
    """
    order = np.argsort(-shares, axis=1, kind="stable")
    ranked = np.take_along_axis(shares, order, axis=1)
    above = np.cumsum(ranked, axis=1) - (1 - drawn[:, None]) * ranked
    scores = np.empty_like(above)
    np.put_along_axis(scores, order, above, axis=1)
    return scores


SCORES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "lac": _lac_scores,
    "aps": _aps_scores,
}
