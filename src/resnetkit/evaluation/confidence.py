"""What a package keeps to know how sure it may be: calibration, reject threshold, prediction sets.

A threshold and a set are promises about images the probabilities were not fitted to. Where either
is wanted, a third of the images calibrates and the others decide what can be promised; otherwise
all calibrate, and the error afterwards is cross-fitted: each fifth of the images by what the others
gave.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from resnetkit.config import flatten, from_dict, refuse_non_finite, to_dict
from resnetkit.evaluation.calibration import (
    Calibration,
    cross_calibrate,
    deal_folds,
    fit_calibration,
    scale_logits,
)
from resnetkit.evaluation.calibration_error import CalibrationError, answers, measure_calibration
from resnetkit.evaluation.conformal import (
    Conformal,
    SetMethod,
    fit_conformal,
    refuse_no_share,
    refuse_unpromisable,
)
from resnetkit.evaluation.probabilities import probabilities, truths
from resnetkit.evaluation.selective import Reject, choose_threshold, settle_target
from resnetkit.types import Task, UserError

# A fitted number costs 1 / (2 N) nats on other images: 0.005, where calibration wins 0.02 and more.
FEWEST_IMAGES = 100
PARTS = 3  # of which one calibrates, where the others are to promise something


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What to fit: one of the calibrations `methods`, and promises where they are not None.

    At most one of `precision` and `coverage`, for a reject threshold; `sets` is the coverage of
    prediction sets, made by `set_method`. Raises UserError for what no images could promise.
    """

    methods: tuple[Literal["temperature", "vector"], ...] = ("temperature", "vector")
    precision: float | None = None
    coverage: float | None = None
    sets: float | None = None
    set_method: SetMethod = "lac"

    def __post_init__(self) -> None:
        if (self.precision, self.coverage) != (None, None):
            settle_target(self.precision, self.coverage)
        if self.sets is not None:
            refuse_no_share(self.sets)

    @property
    def promises(self) -> bool:
        """Whether anything is to be promised."""
        return (self.precision, self.coverage, self.sets) != (None, None, None)

    @property
    def fewest_images(self) -> int:
        """How many images this needs."""
        return FEWEST_IMAGES * (PARTS if self.promises else 1)


@dataclass(frozen=True, kw_only=True)
class FittedOn:
    """The images behind a confidence, and the calibration error `before` and `after`.

    Both are of images that did not calibrate: "cross-fitted", or "held-out" for the promises.
    """

    source: str
    split: str
    images: int
    measured: Literal["cross-fitted", "held-out"]
    before: CalibrationError
    after: CalibrationError


@dataclass(frozen=True, kw_only=True)
class Confidence:
    """How logits become probabilities to rely on, when not to answer, and which sets to give."""

    calibration: Calibration
    fitted_on: FittedOn
    reject: Reject | None = None
    conformal: Conformal | None = None

    def __post_init__(self) -> None:
        refuse_non_finite(self)

    def as_dict(self) -> dict[str, Any]:
        """Everything as JSON-safe values, as `read_confidence` takes them."""
        return to_dict(self)


def fit_confidence(
    logits: np.ndarray,
    labels: np.ndarray,
    task: Task,
    *,
    source: str,
    split: str,
    wanted: Wanted,
) -> Confidence:
    """The confidence for logits [N,K] of images with these labels, from `split` of `source`.

    Raises UserError where the images are too few, and where what is wanted cannot be promised.
    """
    refuse_unfittable(wanted, task, len(logits), split)
    dealt = deal_folds(truths(labels, task), PARTS)
    fitting = dealt == 0 if wanted.promises else np.ones(len(logits), bool)
    calibration = fit_calibration(logits[fitting], labels[fitting], task, wanted.methods)
    if wanted.promises:
        judged, labels = logits[~fitting], labels[~fitting]
        calibrated = scale_logits(judged, calibration)  # as predictions are
    else:
        judged, calibrated = logits, cross_calibrate(logits, labels, task, calibration.method)
    fitted_on = FittedOn(
        source=source,
        split=split,
        images=len(logits),
        measured="held-out" if wanted.promises else "cross-fitted",
        before=measure_calibration(judged, labels, task),
        after=measure_calibration(calibrated, labels, task),
    )
    return Confidence(
        calibration=calibration,
        fitted_on=fitted_on,
        reject=_fit_reject(calibrated, labels, task, wanted),
        conformal=None
        if wanted.sets is None
        else fit_conformal(calibrated, labels, wanted.sets, wanted.set_method, task=task),
    )


def confidence_of_training(
    logits: np.ndarray, labels: np.ndarray, task: Task, source: str
) -> Confidence | None:
    """What a training keeps from its validation images: a temperature; of few of them None.

    No vector scaling: an answer must not change unasked. Both the weights and the temperature have
    seen these images where the best weights by validation were kept, so that the error is somewhat
    larger on others.
    """
    if len(logits) < FEWEST_IMAGES:
        return None
    wanted = Wanted(methods=("temperature",))
    return fit_confidence(logits, labels, task, source=source, split="val", wanted=wanted)


def refuse_unfittable(wanted: Wanted, task: Task, images: int, split: str) -> None:
    """UserError where so many images of a `split` cannot give what is wanted."""
    if task == "multi-label" and (wanted.precision, wanted.coverage) != (None, None):
        raise UserError(
            "A reject threshold is for images of one class; in a multi-label task every class is "
            "an answer of its own. Leave precision and coverage out"
        )
    if wanted.sets is not None:
        refuse_unpromisable(wanted.sets, images - math.ceil(images / PARTS), task)
    if images < wanted.fewest_images:
        why = (
            f": {FEWEST_IMAGES} to calibrate, the others for what is promised"
            if wanted.promises
            else ", since of fewer the probabilities would come out worse rather than better"
        )
        raise UserError(
            f"Calibration needs {wanted.fewest_images} or more images, and the split {split} has "
            f"{images}{why}. Give a source with more of them"
        )


def read_confidence(data: object, where: str, classes: int, task: Task) -> Confidence | None:
    """The inverse of `Confidence.as_dict`, for a package of so many classes; None of None.

    Raises UserError naming `where` and the field: what is not known, not finite, out of its range,
    of another type or number of classes, and what a multi-label task does not have.
    """
    if data is None:
        return None
    if not isinstance(data, dict):
        raise UserError(f"{where}: needs an object, has {type(data).__name__}")
    confidence = from_dict(Confidence, data, where)
    _refuse_other_values(data, confidence, where)
    scale = confidence.calibration.scale
    if scale is not None and len(scale) != classes:
        raise UserError(
            f"{where}: calibration.scale and calibration.bias need {classes} numbers, one a class, "
            f"have {len(scale)}"
        )
    for name in ("reject", "conformal"):
        if task == "multi-label" and getattr(confidence, name) is not None:
            raise UserError(f"{where}: {name} is for images of one class, and these have several")
    return confidence


def describe_confidence(confidence: Confidence | None) -> str:
    """In a sentence or two what probabilities are worth: for a report, a model card, a terminal."""
    if confidence is None:
        return (
            "Probabilities are the network's own and have not been calibrated: training does it "
            f"with {FEWEST_IMAGES} validation images or more, resnetkit calibrate with others."
        )
    fitted, calibration = confidence.fitted_on, confidence.calibration
    temperature = f"a temperature of {calibration.temperature:.3g}"
    how = temperature if calibration.method == "temperature" else f"{temperature} and by class"
    parts = [
        f"Probabilities are calibrated by {how}, fitted on {fitted.images:,} images "
        f"({fitted.split} of {fitted.source}); expected calibration error {describe_change(fitted)}"
        "."
    ]
    if confidence.reject is not None:
        parts.append(f"{describe_reject(confidence.reject)}.")
    if confidence.conformal is not None:
        parts.append(f"{describe_sets(confidence.conformal)}.")
    return " ".join(parts)


def describe_change(fitted: FittedOn) -> str:
    """The calibration error before and after, in words, with what chance alone would give."""
    before, after = 100 * fitted.before.ece, 100 * fitted.after.ece
    chance = 100 * fitted.after.ece_by_chance
    return (
        f"{before:.2f} % before, {after:.2f} % after ({fitted.measured}; by chance {chance:.2f} %)"
    )


def describe_reject(reject: Reject) -> str:
    """The threshold with what is promised of it and what was found, in words."""
    kind = "of the answers are right" if reject.wanted == "precision" else "of images are answered"
    right = "" if reject.precision is None else f", {100 * reject.precision:.2f} % of them rightly"
    withheld = f"Below a probability of {reject.threshold:.6g} no answer is given"
    if not reject.threshold:
        withheld = "Every image is answered"
    return (
        f"{withheld}, so that at least {100 * reject.target:g} % {kind} "
        f"({100 * reject.assurance:g} % sure; of {reject.images:,} images "
        f"{100 * reject.coverage:.1f} % were answered{right})"
    )


def describe_sets(conformal: Conformal) -> str:
    """What is promised of prediction sets, and their size, in words."""
    return (
        f"Prediction sets hold the true class of at least {100 * conformal.coverage:g} % of images "
        f"({conformal.mean_size:.2f} classes on average)"
    )


def _fit_reject(
    calibrated: np.ndarray, labels: np.ndarray, task: Task, wanted: Wanted
) -> Reject | None:
    if (wanted.precision, wanted.coverage) == (None, None):
        return None
    sure, right = answers(probabilities(calibrated, task), labels, task)
    return choose_threshold(sure, right, precision=wanted.precision, coverage=wanted.coverage)


def _refuse_other_values(data: dict[str, Any], confidence: Confidence, where: str) -> None:
    """UserError where a value was read as another than it is, as a text that holds a number."""
    read = flatten(asdict(confidence))
    for name, value in flatten(data).items():
        here = read[name]
        same = list(here) == value if isinstance(here, tuple) else here == value
        if not same or isinstance(here, bool) != isinstance(value, bool):
            raise UserError(f"{where}: {name} needs a {type(here).__name__}, has {value!r}")
