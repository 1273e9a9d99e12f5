"""What attacks on a network have shown, and the signs that they were too weak to show it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from resnetkit.evaluation.intervals import Interval, percent_text, wilson_interval
from resnetkit.types import UserError

CURVES = {"noise": "random noise", "fgsm": "FGSM", "pgd": "PGD"}
UNBOUNDED = 128.0  # the ε that turns any image into the same grey, which no network tells apart


@dataclass(frozen=True, kw_only=True, eq=False)
class Outcome:
    """Which images are recognised: bool, a row for each ε, and one more of PGD without a bound."""

    labels: np.ndarray  # [N] int64
    clean: np.ndarray  # [N], before any attack
    noise: np.ndarray  # [E,N]
    fgsm: np.ndarray  # [E,N]
    pgd: np.ndarray  # [E+1,N]
    without_gradient: np.ndarray  # [N], recognised images at which the loss has no slope at all


@dataclass(frozen=True, kw_only=True)
class AttackPoint:
    """Accuracy where no pixel value, 0 to 255, changes by more than `epsilon`; Wilson at 95 %."""

    epsilon: float
    right: int
    accuracy: float
    interval: Interval


@dataclass(frozen=True, kw_only=True)
class AttackCurve:
    """Accuracy over ε under one attack: "noise", "fgsm" or "pgd"."""

    attack: str
    points: tuple[AttackPoint, ...]


@dataclass(frozen=True, kw_only=True)
class AttackReport:
    """How a network fares against an adversary; `warnings` say where it was too weak an adversary.

    PGD is cumulative: an image counts as lost from the smallest ε on at which it was.
    """

    images: int
    steps: int
    restarts: int
    clean: AttackPoint  # ε is 0
    curves: tuple[AttackCurve, ...]
    unbounded: AttackPoint  # PGD, where half of the range makes any image the same grey
    warnings: tuple[str, ...]

    def curve(self, attack: str) -> AttackCurve:
        """The curve of "noise", "fgsm" or "pgd"."""
        return next(curve for curve in self.curves if curve.attack == attack)

    def as_dict(self) -> dict[str, Any]:
        """Everything as JSON-safe values."""
        return asdict(self)


def summarise_attacks(
    outcomes: Sequence[Outcome], epsilons: Sequence[float], steps: int, restarts: int
) -> AttackReport:
    """The report on all batches. Raises UserError where there was no image."""
    if not outcomes:
        raise UserError("Attacks: needed at least one image, got none; choose another split.")
    names = [field.name for field in fields(Outcome)]
    whole = Outcome(
        **{name: np.concatenate([getattr(one, name) for one in outcomes], -1) for name in names}
    )
    curves = tuple(
        AttackCurve(
            attack=attack,
            points=tuple(
                _point(epsilon, row)
                for epsilon, row in zip(epsilons, getattr(whole, attack), strict=False)
            ),
        )
        for attack in CURVES
    )
    return AttackReport(
        images=len(whole.labels),
        steps=steps,
        restarts=restarts,
        clean=_point(0.0, whole.clean),
        curves=curves,
        unbounded=_point(UNBOUNDED, whole.pgd[-1]),
        warnings=tuple(_find_weakness(whole, epsilons)),
    )


def _point(epsilon: float, right: np.ndarray) -> AttackPoint:
    count = int(right.sum())
    return AttackPoint(
        epsilon=float(epsilon),
        right=count,
        accuracy=count / len(right),
        interval=wilson_interval(count, len(right)),
    )


def _find_weakness(outcome: Outcome, epsilons: Sequence[float]) -> list[str]:
    """Signs that the gradient is hidden rather than the network robust (Athalye et al. 2018)."""
    found = []
    for name in ("fgsm", "noise"):
        rows = zip(epsilons, getattr(outcome, name), outcome.pgd, strict=False)
        weaker = [(epsilon, row, pgd) for epsilon, row, pgd in rows if pgd.sum() > row.sum()]
        for epsilon, row, pgd in weaker[:1]:
            found.append(
                f"at ε {epsilon:g} PGD leaves {pgd.sum()} of {len(pgd)} images recognised, "
                f"{CURVES[name]} only {row.sum()}: a search that finds less is misled by the "
                "gradient, and PGD's curve is too good. Raise steps and restarts."
            )
    flat = int(outcome.without_gradient.sum())
    if flat:
        found.append(
            f"at {flat} of {outcome.clean.sum()} recognised images the loss has no gradient at "
            "all: FGSM does nothing there and PGD starts blind, so their curves are too good."
        )
    chance = float(np.bincount(outcome.labels).max() / len(outcome.labels))
    left = _point(UNBOUNDED, outcome.pgd[-1])
    if left.interval[0] > chance:
        found.append(
            f"where every image may be turned into the same grey (ε {UNBOUNDED:g}), PGD still "
            f"leaves {percent_text(left.accuracy, left.interval)} right; always naming the "
            f"commonest class would give {100 * chance:.2f} %. The gradient does not lead it to "
            "changes that are there, and its curve is too good."
        )
    return found
