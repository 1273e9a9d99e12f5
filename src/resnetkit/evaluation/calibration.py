"""Calibration: logits scaled so that answers given as 90 % sure are right nine times in ten.

Temperature scaling (Guo et al. 2017, "On calibration of modern neural networks", section 4.2)
divides all logits by one number: the order of the classes, and with it every answer, stays. Vector
scaling (ibid.) also gives each class a factor and a shift; it can change answers, and is only taken
where it wins by cross-validation. In a multi-label task the same is done to the sigmoid of each
class, where vector scaling is Platt's (1999). Both are fitted by maximum likelihood on images that
the network was not trained on; the same images give the same figures.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from resnetkit.evaluation.probabilities import indicators, log_losses, probabilities, truths
from resnetkit.types import Task, UserError

LEAST_TEMPERATURE, MOST_TEMPERATURE = 0.05, 20.0  # beyond, it would be all or nothing sure
FOLDS = 5
# Standard errors: of vector scalings that are no better, one in forty is taken for better.
NOISE = 1.96
IMAGES_PER_CLASS = 20  # ten for each of a class's two numbers, below which they are mostly noise
MOST_LOGITS = 2_000_000  # for which vector scaling is tried: six fits of seconds each


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Logits divided by `temperature`, then per class times `scale` plus `bias` where it has them.

    The order of the classes changes only with the latter two, which go together.
    """

    temperature: float = 1.0
    scale: tuple[float, ...] | None = None  # [K]
    bias: tuple[float, ...] | None = None  # [K]

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise UserError(f"calibration.temperature must be above 0, got {self.temperature}")
        if (self.scale is None) != (self.bias is None):
            raise UserError("calibration.scale and calibration.bias go together: give both or none")
        if self.scale is not None and self.bias is not None:
            if len(self.scale) != len(self.bias):
                raise UserError(
                    f"calibration.scale and calibration.bias need one number a class each, got "
                    f"{len(self.scale)} and {len(self.bias)}"
                )
            if not all(number > 0 for number in self.scale):
                raise UserError(f"calibration.scale must be above 0, got {min(self.scale)}")

    @property
    def method(self) -> str:
        """The entry of `FITS` that it comes from."""
        return "temperature" if self.scale is None else "vector"


def calibrate(logits: np.ndarray, calibration: Calibration | None) -> np.ndarray:
    """Calibrated logits [N,K] float32; without a calibration those given, as they are."""
    if calibration is None:
        return logits
    return scale_logits(logits, calibration).astype(np.float32)


def scale_logits(logits: np.ndarray, calibration: Calibration | None) -> np.ndarray:
    """As `calibrate`, in float64, where different logits stay different."""
    values = logits.astype(np.float64)
    if calibration is None:
        return values
    values = values / calibration.temperature
    if calibration.scale is not None:
        values = values * np.array(calibration.scale) + np.array(calibration.bias)
    return values


def deciding_logits(logits: np.ndarray, calibration: Calibration | None) -> np.ndarray:
    """The logits whose order is the answer: those given, but for vector scaling the scaled ones.

    So that accuracy is judged of the answers that `predict` gives, and is to the last bit that of
    the network where calibration does not change an answer.
    """
    if calibration is None or calibration.method == "temperature":
        return logits
    return calibrate(logits, calibration)


def fit_calibration(
    logits: np.ndarray,
    labels: np.ndarray,
    task: Task,
    methods: Sequence[str] = ("temperature", "vector"),
) -> Calibration:
    """The calibration for logits [N,K] of images with these labels, of one of `methods`.

    Vector scaling is chosen over a temperature where it is allowed, affordable (`MOST_LOGITS`), has
    images enough (`IMAGES_PER_CLASS`) and wins by cross-validation.
    """
    assert len(logits), "no images"
    assert set(methods) <= set(FITS), methods
    if "vector" not in methods:
        return fit_temperature(logits, labels, task)
    images, classes = logits.shape
    alternative = "temperature" in methods
    tried = images >= IMAGES_PER_CLASS * classes and logits.size <= MOST_LOGITS
    if alternative and not (tried and wins_by_cross_validation(logits, labels, task)):
        return fit_temperature(logits, labels, task)
    return fit_vector(logits, labels, task)


def fit_temperature(logits: np.ndarray, labels: np.ndarray, task: Task) -> Calibration:
    """The temperature of the highest likelihood, to the precision of float64.

    The negative log-likelihood is convex in the inverse temperature, so its slope has one root,
    which is found by Brent's method within `LEAST_TEMPERATURE` and `MOST_TEMPERATURE`. Where no
    image is mistaken ever surer would fit ever better, and nothing says where to stop; the logits
    then stay as they are, as they do where all classes have the same.
    """
    from scipy.optimize import brentq

    values, shown = logits.astype(np.float64), indicators(labels, logits.shape[1], task)
    if _nothing_to_learn(values, shown, task):
        return Calibration()

    def slope(log_temperature: float) -> float:
        expected = probabilities(values * math.exp(-log_temperature), task)
        return float(((expected - shown) * values).sum(axis=1).mean())

    coldest, hottest = math.log(LEAST_TEMPERATURE), math.log(MOST_TEMPERATURE)
    if slope(hottest) >= 0:  # worse than knowing nothing
        return Calibration(temperature=MOST_TEMPERATURE)
    if slope(coldest) <= 0:
        return Calibration(temperature=LEAST_TEMPERATURE)
    root = brentq(slope, coldest, hottest, xtol=1e-12)
    return Calibration(temperature=math.exp(root))  # pyright: ignore[reportArgumentType]


def fit_vector(logits: np.ndarray, labels: np.ndarray, task: Task) -> Calibration:
    """A temperature, and each class's factor and shift of the logits it gives, together.

    Factors and shifts are held by a standard normal around 1 and 0, which weighs as much as one
    image among N does: the likelihood alone has no optimum where a class has no image, or no
    mistake. The objective is strictly convex; L-BFGS-B solves for it.
    """
    from scipy.optimize import minimize

    temperature = fit_temperature(logits, labels, task).temperature
    values = logits.astype(np.float64) / temperature
    images, classes = values.shape
    shown = indicators(labels, classes, task)

    def objective(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        factors, shifts = parameters[:classes], parameters[classes:]
        scaled = values * factors + shifts
        errors = probabilities(scaled, task) - shown
        away = np.concatenate([factors - 1, shifts])
        slope = np.concatenate([(errors * values).sum(axis=0), errors.sum(axis=0)]) + away
        loss = log_losses(scaled, labels, task).sum() + away @ away / 2
        return float(loss) / images, slope / images

    found = minimize(
        objective,
        np.concatenate([np.ones(classes), np.zeros(classes)]),
        jac=True,
        method="L-BFGS-B",
        bounds=[(LEAST_TEMPERATURE, None)] * classes + [(None, None)] * classes,
        options={"maxiter": 1000, "ftol": 1e-14, "gtol": 1e-8},
    )
    return Calibration(
        temperature=temperature,
        scale=tuple(found.x[:classes].tolist()),
        bias=tuple(found.x[classes:].tolist()),
    )


def cross_calibrate(
    logits: np.ndarray, labels: np.ndarray, task: Task, method: str, folds: int = FOLDS
) -> np.ndarray:
    """Logits [N,K] float32, each image's calibrated by what was fitted on the other folds."""
    dealt = deal_folds(truths(labels, task), folds)
    calibrated = np.empty(logits.shape, np.float32)
    for fold in range(folds):
        held = dealt == fold
        if held.any() and not held.all():
            fitted = FITS[method](logits[~held], labels[~held], task)
            calibrated[held] = calibrate(logits[held], fitted)
        else:
            calibrated[held] = logits[held]
    return calibrated


def wins_by_cross_validation(logits: np.ndarray, labels: np.ndarray, task: Task) -> bool:
    """Whether vector scaling has a lower loss than a temperature on images not fitted on.

    The mean difference must be `NOISE` standard errors above 0. As the fits of the folds share
    images, the variance is that of Nadeau & Bengio 2003 ("Inference for the generalization error",
    section 4): 1 + FOLDS / (FOLDS - 1) times that of independent images.
    """
    by_temperature, by_vector = (
        log_losses(cross_calibrate(logits, labels, task, method), labels, task)
        for method in ("temperature", "vector")
    )
    gains = by_temperature - by_vector
    shared = 1 + FOLDS / (FOLDS - 1)
    error = math.sqrt(shared * float(gains.var(ddof=1)) / len(gains)) if len(gains) > 1 else 0.0
    return float(gains.mean()) > NOISE * error > 0


def deal_folds(shown: np.ndarray, folds: int) -> np.ndarray:
    """A fold for each image, int64 [N]: in equal parts, each class too; always the same.

    `shown` are class numbers [N], or of several labels indicators [N,K], whose classes are left to
    chance.
    """
    order = np.random.default_rng(0).permutation(len(shown))
    if shown.ndim == 1:
        order = order[np.argsort(shown[order], kind="stable")]
    dealt = np.empty(len(shown), np.int64)
    dealt[order] = np.arange(len(shown)) % folds
    return dealt


def _nothing_to_learn(values: np.ndarray, shown: np.ndarray, task: Task) -> bool:
    """Whether no image is mistaken, or none of the logits differ: float64 [N,K], bool [N,K]."""
    if task == "multi-label":
        return bool(((values >= 0) | ~shown).all() and ((values <= 0) | shown).all())
    highest = values.max(axis=1)
    return bool((values[shown] == highest).all() or (values.min(axis=1) == highest).all())


FITS: dict[str, Callable[[np.ndarray, np.ndarray, Task], Calibration]] = {
    "temperature": fit_temperature,
    "vector": fit_vector,
}
