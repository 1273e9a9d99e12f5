"""The verdict on a network that is to take another's place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from resnetkit.evaluation.intervals import Interval, points_text
from resnetkit.types import UserError

ROUNDING = 1e-9  # a difference of exactly the margin passes, however it was rounded


@dataclass(frozen=True, kw_only=True)
class Gate:
    """Whether B may take A's place; each of `reasons` is one, in words, why it may not.

    `undecided` classes are below the margin by no more than chance would have it; of `untested`
    ones there are too few images to say anything.
    """

    passed: bool
    margin: float
    class_margin: float
    reasons: tuple[str, ...]
    undecided: tuple[str, ...]
    untested: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Everything as JSON-safe values."""
        return asdict(self)

    def describe(self) -> str:
        """The verdict, and what it leaves open, a line each."""
        allowed = (
            f"margin {100 * self.margin:g} points, in a class {100 * self.class_margin:g} points"
        )
        lines = [f"B is {'not worse than A' if self.passed else 'worse than A'} ({allowed})"]
        lines += self.reasons
        if self.undecided:
            lines.append(
                f"below the margin, but within chance: {_some(self.undecided)}; more images of "
                "them would tell"
            )
        if self.untested:
            lines.append(f"too few images to say: {_some(self.untested)}")
        return "\n".join(lines)


def judge_change(
    score: str,
    difference: float | None,
    interval: Interval | None,
    classes: Sequence[tuple[str, int, float | None, float | None]],
    limits: tuple[float, float, float],
) -> Gate:
    """The gate of `Comparison.worse_than`, where its rule and the reasons for it stand.

    `interval` is that of the `difference` of the score, `classes` are (name, images, difference,
    adjusted p-value), `limits` (margin, class margin, chance). Raises UserError for a limit that is
    not in 0…1.
    """
    margin, class_margin, chance = limits
    for name, value in zip(("margin", "class margin", "chance"), limits, strict=True):
        if not 0 <= value <= 1:  # NaN too
            raise UserError(
                f"Comparison: needed a {name} between 0 and 1 (0.01 is one point), got {value}; "
                "give how much may be lost."
            )
    reasons: list[str] = []
    undecided: list[str] = []
    if difference is None:
        reasons.append(f"{score} cannot be judged: no image shows any class")
    elif difference < -margin - ROUNDING:
        reasons.append(_describe_loss(score, difference, interval, margin))
    for name, images, change, p_value in classes:
        if change is None or change >= -class_margin - ROUNDING or p_value is None:
            continue
        if p_value <= chance:
            reasons.append(
                f"class {name} {100 * change:+.1f} points of {images:,} images, "
                f"{0.0 - 100 * class_margin:.1f} allowed"
            )
        else:
            undecided.append(name)
    return Gate(
        passed=not reasons,
        margin=margin,
        class_margin=class_margin,
        reasons=tuple(reasons),
        undecided=tuple(undecided),
        untested=tuple(name for name, _, _, p_value in classes if p_value is None),
    )


def _describe_loss(score: str, difference: float, interval: Interval | None, margin: float) -> str:
    """How much was lost and how sure that is; what to do where chance alone may have done it."""
    lost = f"{score} {points_text(difference, interval)}, {0.0 - 100 * margin:.2f} allowed"
    if interval is None or interval[1] < -margin:
        return lost
    return f"{lost}; this is within chance: more images would tell, or allow a margin"


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
