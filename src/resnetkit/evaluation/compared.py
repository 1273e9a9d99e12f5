"""What a comparison of network B with network A found, in figures and in words.

Differences are B minus A, on the same images; `comparison.compare` finds them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from resnetkit.evaluation.gate import Gate, judge_change
from resnetkit.evaluation.intervals import Interval, percent_text, points_text
from resnetkit.evaluation.metrics import SHOWN_SCORES
from resnetkit.evaluation.significance import SIGNIFICANCE
from resnetkit.types import Task

ClassVerdict = Literal["lost", "gained", "same", "unknown"]


@dataclass(frozen=True, kw_only=True)
class ScoreChange:
    """One figure of A and of B, in 0…1; `difference` is B's minus A's, its interval paired."""

    name: str  # "top1", "mean_average_precision" or "macro_f1"
    a: float | None
    b: float | None
    difference: float | None
    interval: Interval | None


@dataclass(frozen=True, kw_only=True)
class ClassComparison:
    """One class under A and under B.

    Where an image shows one class, `a` and `b` are its recall: of its `support` images `lost` are
    right with A and wrong with B, `gained` the reverse; the interval of the difference is Agresti &
    Min's, `p_value` the exact McNemar test. Where images may show several, they are its average
    precision, with interval and normal p-value from the paired bootstrap; `lost` and `gained` are
    then the answers on this class, over all images, and `answers_p_value` is McNemar's on them.
    `verdict` is "same" where no difference is shown, which with few images does not say that there
    is none; "unknown" without a test.
    """

    name: str
    support: int
    a: float | None
    b: float | None
    difference: float | None
    difference_interval: Interval | None
    lost: int
    gained: int
    p_value: float | None
    adjusted_p_value: float | None
    verdict: ClassVerdict
    answers_p_value: float | None = None


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """B against A; an answer is one image's class or, of several, whether it shows one of them.

    `lost` answers are right with A and wrong with B, `gained` the reverse. `lost_images` are the
    rows of the arrays in which B has fewer right answers than A, `gained_images` more, and
    `changed_images` as many but others: the largest change of the truth's likelihood first.
    `p_value` is the exact test of the number of images lost against gained: McNemar's.
    """

    task: Task
    images: int
    score: ScoreChange  # what decides between networks: top-1, or mean average precision
    macro_f1: ScoreChange
    both_right: int
    lost: int
    gained: int
    both_wrong: int
    p_value: float
    per_class: tuple[ClassComparison, ...]
    lost_images: tuple[int, ...]
    gained_images: tuple[int, ...]
    changed_images: tuple[int, ...]

    def worse_than(
        self, margin: float = 0.0, class_margin: float = 0.05, chance: float = SIGNIFICANCE
    ) -> Gate:
        """Whether B may take A's place: not if it loses more than the margins allow.

        Margins are fractions: 0.01 is a point. B fails when the score's difference is below
        -`margin`, or a class's is below -`class_margin` in enough images to be more than chance,
        which is where its p-value, adjusted for all classes, is at most `chance`.

        The score goes by the point estimate, not by a bound of its interval. By the upper bound
        (fail where the loss is proven) any loss would pass on few enough images, by the lower bound
        (pass where its absence is proven) a network would be refused its own twin; what was seen
        on the same images is the best guess of the difference, and the margin, not the interval, is
        where the user says how much may be lost. The interval stands beside it for who wants more
        images first. Classes need the test as well, because the worst of many is below any margin
        by chance: where one of two equal networks alone is right on a fourth of the images, a third
        of classes of 100 images differ by more than 5 points. What is below it within chance is
        listed as `undecided`. `chance` 1 lets the point estimate decide there too.

        Raises UserError for a margin that is not in 0…1.
        """
        rows = [
            (row.name, row.support, row.difference, row.adjusted_p_value) for row in self.per_class
        ]
        shown, limits = SHOWN_SCORES[self.score.name], (margin, class_margin, chance)
        return judge_change(shown, self.score.difference, self.score.interval, rows, limits)

    def as_dict(self) -> dict[str, Any]:
        """Everything as JSON-safe values; what is undefined is None, never NaN."""
        return asdict(self)

    def describe(self) -> str:
        """Scores, what was lost and gained, and the classes that changed, a line each."""
        noun = "images" if self.task == "single-label" else "images with fewer right answers"
        more = "" if self.task == "single-label" else " with more"
        lines = [
            f"B against A on the same {self.images:,} images",
            _score_text(self.score),
            _score_text(self.macro_f1),
            f"{len(self.lost_images):,} {noun} lost, {len(self.gained_images):,}{more} gained, "
            f"p {self.p_value:.2g}"
            + ("" if self.p_value <= SIGNIFICANCE else ": no difference is shown"),
            _classes_text(self.per_class),
        ]
        return "\n".join(lines)


def table_rows(comparison: Comparison) -> list[tuple[str, ...]]:
    """The classes as a table of text, heads first: the largest loss first, unknown ones last."""
    figure = "Recall" if comparison.task == "single-label" else "AP"
    heads = ("Class", "Images", f"{figure} A", f"{figure} B", "Difference", "Lost", "Gained")
    table: list[tuple[str, ...]] = [(*heads, "p (all classes)", "Verdict")]
    rows = sorted(
        comparison.per_class, key=lambda row: (row.difference is None, row.difference or 0.0)
    )
    for row in rows:
        p_value = row.adjusted_p_value
        table.append(
            (
                row.name,
                f"{row.support:,}",
                "–" if row.a is None else f"{100 * row.a:.1f} %",
                "–" if row.b is None else f"{100 * row.b:.1f} %",
                "–" if row.difference is None else f"{100 * row.difference:+.1f}",
                f"{row.lost:,}",
                f"{row.gained:,}",
                "–" if p_value is None else f"{p_value:.2g}",
                row.verdict,
            )
        )
    return table


def _score_text(change: ScoreChange) -> str:
    name = {**SHOWN_SCORES, "macro_f1": "macro F1"}[change.name]
    return (
        f"{name}: A {percent_text(change.a, None)}, B {percent_text(change.b, None)}, "
        f"{points_text(change.difference, change.interval)}"
    )


def _classes_text(per_class: Sequence[ClassComparison]) -> str:
    told = []
    for verdict in ("lost", "gained"):
        rows = [row for row in per_class if row.verdict == verdict]
        rows.sort(key=lambda row: -abs(row.difference or 0.0))
        if rows:
            shown = [f"{row.name} {100 * (row.difference or 0.0):+.1f}" for row in rows[:5]]
            more = ", …" if len(rows) > 5 else ""
            told.append(f"{len(rows)} {verdict} ({', '.join(shown)}{more})")
    changed = ", ".join(told) or "none is shown to have changed"
    return f"of {len(per_class)} classes {changed}"
