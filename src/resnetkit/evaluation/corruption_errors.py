"""Errors under corruptions: by corruption, severity and class, their mean, beside a baseline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from resnetkit.evaluation.corruptions.settings import CorruptionConfig
from resnetkit.evaluation.corruptions.severities import (
    SEVERITIES,
    ParameterSet,
    choose_parameter_set,
)
from resnetkit.evaluation.intervals import Interval, mean_interval
from resnetkit.types import UserError


@dataclass(frozen=True, kw_only=True)
class CorruptionError:
    """The error under one corruption; fractions in 0…1."""

    name: str
    errors: tuple[float, ...]  # at severities 1 to 5
    error: float  # their mean
    interval: Interval
    hardest_class: str  # whose error rises most
    hardest_class_error: float


@dataclass(frozen=True, kw_only=True)
class ClassFlips:
    """What becomes of the images of a class that were right when clean."""

    name: str
    images: int
    clean_error: float
    corrupted_error: float
    flips: float | None  # share of right answers that a corruption turns; None: none was right
    towards: str | None  # the class most of them turn to
    towards_share: float | None  # of the turned ones


@dataclass(frozen=True, kw_only=True)
class Robustness:
    """Errors under corruptions; intervals at 95 % are over images, the corruptions given.

    The variants of one image fail together: 75 of them are no 75 images.
    """

    images: int
    seed: int
    parameter_set: ParameterSet
    frost: str  # "made textures", or the folder of the photographs
    clean_error: float
    mean_error: float  # over all corruptions and severities: mCE as it is given for CIFAR-10-C
    interval: Interval
    corruptions: tuple[CorruptionError, ...]
    classes: tuple[ClassFlips, ...]  # the most affected first
    drawn_from: int | None = None  # images there are, where these are a sample of them

    @property
    def relative_error(self) -> float:
        """By how much the mean error exceeds the clean one."""
        return self.mean_error - self.clean_error

    @property
    def worst(self) -> CorruptionError:
        """The corruption that hurts most."""
        return max(self.corruptions, key=lambda one: one.error)

    def as_dict(self) -> dict[str, Any]:
        """Everything as JSON-safe values."""
        return asdict(self) | {"relative_error": self.relative_error, "worst": self.worst.name}

    def describe(self) -> str:
        """The mean and the worst in words."""
        low, high = self.interval
        worst = self.worst
        sample = f" drawn from {self.drawn_from:,}" if self.drawn_from else ""
        return (
            f"mean corruption error {100 * self.mean_error:.2f} % (95 % interval {100 * low:.2f} "
            f"to {100 * high:.2f}) against {100 * self.clean_error:.2f} % clean, on {self.images:,}"
            f" images{sample}; {worst.name} hurts most ({100 * worst.error:.2f} %)"
        )


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """The errors of a network to measure others by, in 0…1."""

    name: str
    clean_error: float
    errors: Mapping[str, float]  # by corruption, the mean over the severities


@dataclass(frozen=True, kw_only=True)
class NormalisedErrors:
    """Errors as shares of a baseline's (Hendrycks & Dietterich 2019, section 4.2)."""

    baseline: str
    errors: Mapping[str, float]  # CE: error by the baseline's
    mean: float  # mCE: 1 is as good as the baseline
    relative: Mapping[str, float] | None  # relative CE: rise by the baseline's rise
    relative_mean: float | None  # None where the baseline's error does not rise


# ImageNet's 1,000 classes at 224 pixels, from the code of AugMix (github.com/google-research/
# augmix, imagenet.py); the clean error is that of torchvision's AlexNet.
ALEXNET = Baseline(
    name="AlexNet on ImageNet-C",
    clean_error=0.43478,
    errors={
        "gaussian_noise": 0.886428,
        "shot_noise": 0.894468,
        "impulse_noise": 0.922640,
        "defocus_blur": 0.819880,
        "glass_blur": 0.826268,
        "motion_blur": 0.785948,
        "zoom_blur": 0.798360,
        "snow": 0.866816,
        "frost": 0.826572,
        "fog": 0.819324,
        "brightness": 0.564592,
        "contrast": 0.853204,
        "elastic_transform": 0.646056,
        "pixelate": 0.717840,
        "jpeg_compression": 0.606500,
    },
)


def summarise_corruptions(
    answers: np.ndarray,
    labels: np.ndarray,
    class_names: Sequence[str],
    config: CorruptionConfig,
    size: tuple[int, int],
) -> Robustness:
    """What predicted classes int64 [N, 1 + corruptions * 5], clean ones first, say of a network.

    `labels` are int64 [N], `size` the height and width that were corrupted.
    """
    count = len(labels)
    assert answers.shape == (count, config.pictures_for(1)), answers.shape
    wrong = answers != labels[:, None]
    clean = wrong[:, 0]
    under = wrong[:, 1:].reshape(count, len(config.names), len(SEVERITIES))
    images_of = np.bincount(labels, minlength=len(class_names))
    return Robustness(
        images=count,
        seed=config.seed,
        parameter_set=choose_parameter_set(*size),
        frost=config.frost_textures or "made textures",
        clean_error=float(clean.mean()),
        mean_error=float(under.mean()),
        interval=mean_interval(under.mean(axis=(1, 2))),
        corruptions=tuple(
            _corruption_error(name, under[:, number], clean, labels, class_names)
            for number, name in enumerate(config.names)
        ),
        classes=_class_flips(answers, labels, class_names, images_of),
    )


def _corruption_error(
    name: str,
    wrong: np.ndarray,  # bool [N,5]
    clean: np.ndarray,
    labels: np.ndarray,
    class_names: Sequence[str],
) -> CorruptionError:
    share = wrong.mean(axis=1)
    present = np.unique(labels)
    rises = [float((share - clean)[labels == k].mean()) for k in present]
    hardest = int(present[int(np.argmax(rises))])
    return CorruptionError(
        name=name,
        errors=tuple(wrong.mean(axis=0).tolist()),
        error=float(share.mean()),
        interval=mean_interval(share),
        hardest_class=class_names[hardest],
        hardest_class_error=float(share[labels == hardest].mean()),
    )


def _class_flips(
    answers: np.ndarray, labels: np.ndarray, class_names: Sequence[str], images_of: np.ndarray
) -> tuple[ClassFlips, ...]:
    """For each class that has images; those whose error rises most come first."""
    found = []
    for k in np.flatnonzero(images_of).tolist():
        own = answers[labels == k]
        clean, under = own[:, 0] != k, own[:, 1:] != k
        turned = own[~clean, 1:]
        counts = np.bincount(turned[turned != k], minlength=len(class_names))
        flips = None if clean.all() else float((turned != k).mean())
        found.append(
            ClassFlips(
                name=class_names[k],
                images=int(images_of[k]),
                clean_error=float(clean.mean()),
                corrupted_error=float(under.mean()),
                flips=flips,
                towards=class_names[int(counts.argmax())] if counts.any() else None,
                towards_share=float(counts.max() / counts.sum()) if counts.any() else None,
            )
        )
    return tuple(sorted(found, key=lambda one: one.clean_error - one.corrupted_error))


def normalise_errors(robustness: Robustness, baseline: Baseline) -> NormalisedErrors:
    """The errors of `robustness` by those of `baseline`: mCE and relative mCE.

    Raises:
        UserError: the baseline lacks a corruption, or made no error under one.
    """
    own = {one.name: one.error for one in robustness.corruptions}
    unusable = [name for name in own if not baseline.errors.get(name)]
    if unusable:
        raise UserError(
            f"baseline {baseline.name}: needed an error above 0 for every corruption, got none for "
            f"{', '.join(unusable)}; leave these corruptions out, or give another baseline."
        )
    errors = {name: error / baseline.errors[name] for name, error in own.items()}
    rises = {name: baseline.errors[name] - baseline.clean_error for name in own}
    relative = None
    if min(rises.values()) > 0:
        clean = robustness.clean_error
        relative = {name: (error - clean) / rises[name] for name, error in own.items()}
    return NormalisedErrors(
        baseline=baseline.name,
        errors=errors,
        mean=sum(errors.values()) / len(errors),
        relative=relative,
        relative_mean=None if relative is None else sum(relative.values()) / len(relative),
    )
