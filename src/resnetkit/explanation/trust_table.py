"""The reports of several methods side by side: a Markdown table, the curves as a picture."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

from resnetkit.explanation.examples import Mean
from resnetkit.explanation.pixel_curves import Curves
from resnetkit.explanation.pointing import PointingGame
from resnetkit.explanation.randomised_weights import LARGEST_SIMILARITY
from resnetkit.explanation.trust import Trial, TrustReport, summarise_curves

HEADS = (
    "map",
    "verdict",
    "insertion ↑",
    "deletion ↓",
    "gain over itself shifted",
    "alike without learning ↓",
    "decisions kept there",
    "ms a map",
)
POINTING_HEADS = ("pointing game ↑", "small objects ↑", "in boxes ↑")
# Okabe & Ito 2008: told apart by the colour-blind too.
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#b8a800")
GREY = "#777777"


def render_table(reports: Sequence[TrustReport], trial: Trial) -> str:
    """A row for each method, those to believe first, then the controls; the reasons below it."""
    ordered = sorted(reports, key=lambda report: not report.believed)
    boxes = trial.regions is not None
    heads = [*HEADS, *POINTING_HEADS] if boxes else [*HEADS]
    rows = [_row(report) for report in ordered]
    rows += [_control("random order", trial.random, boxes), _control("middle", trial.centre, boxes)]
    first = reports[0].pointing if reports else None
    if first is not None:
        rows[-2][-3:] = [_percent(first.random), "", f"{_percent(first.area)} (area)"]
        rows[-1][-3] = _percent(first.centre.share)
    lines = [heads, ["---"] * len(heads), *rows]
    table = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
    reasons = "\n".join(f"- **{report.method}**: {report.verdict}." for report in ordered)
    return f"{table}\n\n{reasons}\n"


def _row(report: TrustReport) -> list[str]:
    decisive = report.randomised.decisive
    cells = [
        report.method,
        "**believe**" if report.believed else "do not believe",
        f"{report.curves.insertion_area.mean:.3f}",
        f"{report.curves.deletion_area.mean:.3f}",
        _signed(report.gain_over_shifted),
        f"{decisive.similarity.mean:.2f} (SSIM {decisive.structural_similarity:.2f})",
        _percent(decisive.decisions_kept),
        f"{report.milliseconds:.1f}",
    ]
    return cells if report.pointing is None else [*cells, *_pointing(report.pointing)]


def _pointing(game: PointingGame) -> list[str]:
    low, high = game.points.interval
    hard = "none" if game.hard is None else f"{_percent(game.hard.share)} of {game.hard.trials}"
    return [
        f"{_percent(game.points.share)} ({100 * low:.1f} to {100 * high:.1f})",
        hard,
        "nothing" if game.energy is None else _percent(game.energy.mean),
    ]


def _control(name: str, curves: Curves, boxes: bool) -> list[str]:
    summary = summarise_curves(curves)
    areas = [f"{summary.insertion_area.mean:.3f}", f"{summary.deletion_area.mean:.3f}"]
    empty = len(HEADS) - 4 + (len(POINTING_HEADS) if boxes else 0)
    return [f"*{name}*", "control", *areas, *[""] * empty]


def _signed(gain: Mean) -> str:
    if gain.interval is None:
        return f"{gain.mean:+.3f}"
    low, high = gain.interval
    return f"{gain.mean:+.3f} ({low:+.3f} to {high:+.3f})"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def draw_curves(reports: Sequence[TrustReport], trial: Trial) -> bytes:
    """A PNG of three charts: deletion, insertion, and likeness as the network forgets."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    deletion, insertion, forgetting = figure.subplots(1, 3)
    lines = [
        (report.method, report.curves, COLORS[number % len(COLORS)], "-")
        for number, report in enumerate(reports)
    ]
    lines.append(("random order", summarise_curves(trial.random), GREY, "--"))
    lines.append(("middle", summarise_curves(trial.centre), GREY, ":"))
    for label, curves, color, style in lines:
        shares = [100 * share for share in curves.shares]
        for axes, values in ((deletion, curves.deletion), (insertion, curves.insertion)):
            axes.plot(shares, values, color=color, linestyle=style, linewidth=1.6, label=label)
    height = "probability of the class"
    _name(deletion, "Deletion: lower is better", "pixels taken away (%)", height)
    _name(insertion, "Insertion: higher is better", "pixels put in (%)", height)
    _draw_forgetting(forgetting, reports)
    insertion.legend(fontsize=8, frameon=False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=130, metadata={"Software": None})
    return buffer.getvalue()


def _draw_forgetting(axes: Any, reports: Sequence[TrustReport]) -> None:
    for number, report in enumerate(reports):
        steps = report.randomised.cascade
        names = [("+ " if place else "") + step.parts[place] for place, step in enumerate(steps)]
        values = [step.similarity.mean for step in steps]
        color = COLORS[number % len(COLORS)]
        axes.plot(names, values, color=color, marker="o", markersize=3.5, linewidth=1.6)
    axes.axhline(LARGEST_SIMILARITY, color=GREY, linestyle="--", linewidth=1)
    axes.tick_params(axis="x", labelrotation=30)
    _name(axes, "Alike once these have forgotten", "parts, from the head down", "rank correlation")


def _name(axes: Any, title: str, x_label: str, y_label: str) -> None:
    axes.set_title(title, fontsize=10)
    axes.set_xlabel(x_label, fontsize=9)
    axes.set_ylabel(y_label, fontsize=9)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
