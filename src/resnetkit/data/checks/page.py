"""The page of a check: one HTML file that needs nothing else, with a picture of every finding.

Everything that came from the user (names, paths, classes, what files contain) is escaped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from html import escape
from pathlib import Path

import numpy as np

from resnetkit.data.checks.check_report import CheckReport
from resnetkit.data.checks.exclusion import Groups
from resnetkit.data.checks.findings import SEVERITIES
from resnetkit.data.checks.kinds import KINDS
from resnetkit.data.checks.page_findings import Shown, choose_shown, render_findings
from resnetkit.data.checks.scan_types import Scan
from resnetkit.data.checks.thumbnails import Thumbnail, draw_thumbnails
from resnetkit.page.blocks import Card, Cards, Column, Table
from resnetkit.page.html import write_cards, write_words
from resnetkit.page.shell import render_shell
from resnetkit.page.tables import write_table

Progress = Callable[[str, int, int], None]  # what, done, total

SEVERITY_NAMES = {"unsafe": "unsafe", "warning": "warnings", "note": "notes"}


def render_page(
    report: CheckReport, scan: Scan, located: Mapping[str, Groups], progress: Progress
) -> str:
    """The page as HTML text."""
    shown = [choose_shown(kind, found, located[kind]) for kind, found in report.findings.items()]
    rows = [row for one in shown for place in one.places for row in one.rows(place)]
    thumbnails = draw_thumbnails(scan, rows, progress)
    sections = [
        _verdict(report),
        _cards(report),
        _overview(shown),
        *(_kind(one, scan, thumbnails, one.kind in report.allowed) for one in shown),
        _classes(report),
    ]
    title = f"Data check: {Path(report.location).name or report.location}"
    places = [(one.kind, KINDS[one.kind].title) for one in shown]
    style = Path(__file__).with_name("page.css").read_text(encoding="utf-8")
    body = "\n".join(filter(None, sections))
    return render_shell(title, report.location, body, places, style)


def _verdict(report: CheckReport) -> str:
    links = "".join(
        f'<a href="#{kind}">{escape(KINDS[kind].title)} <b>{len(report.findings[kind]):,}</b></a>'
        for kind in report.unsafe
    )
    left_out = (
        f"<p>The manifest leaves {report.excluded:,} image(s) out; <code>quarantine.csv</code> "
        "lists them with reasons. Not a byte of the source was changed.</p>"
        if report.excluded
        else "<p>Not a byte of the source was changed.</p>"
    )
    if report.unsafe:
        head = '<div class="verdict bad"><h2>Not safe to train on</h2>'
        return f'{head}<p class="links">{links}</p>{left_out}</div>'
    allowed = ", ".join(kind for kind in report.allowed if kind in report.findings)
    because = f"<p>Allowed by you: {escape(allowed)}</p>" if allowed else ""
    return f'<div class="verdict good"><h2>Safe to train on</h2>{because}{left_out}</div>'


def _cards(report: CheckReport) -> str:
    splits = ", ".join(f"{split} {count:,}" for split, count in report.images.items())
    images, classes = f"{sum(report.images.values()):,}", f"{len(report.class_names):,}"
    cards = [
        Card(label="images", value=images, below=splits or "none could be listed"),
        Card(label="classes", value=classes, below=_some_classes(report.class_names)),
    ]
    for severity in SEVERITIES:
        kinds = [kind for kind in report.findings if KINDS[kind].severity == severity]
        count = sum(len(report.findings[kind]) for kind in kinds)
        below = f"{len(kinds)} kind(s)" if kinds else "nothing found"
        name, style = SEVERITY_NAMES[severity], severity if count else ""
        cards.append(Card(label=name, value=f"{count:,}", below=below, style=style))
    return write_cards(Cards(cards=cards))


def _some_classes(names: Sequence[str]) -> str:
    return ", ".join(names[:4]) + (", …" if len(names) > 4 else "")


def _overview(shown: Sequence[Shown]) -> str:
    if not shown:
        return _section("What was found", "<p>Nothing. This source is clean.</p>")
    rows = "".join(
        f'<tr><td><span class="badge {KINDS[one.kind].severity}">{KINDS[one.kind].severity}</span>'
        f'</td><td><a href="#{one.kind}">{escape(KINDS[one.kind].title)}</a></td>'
        f"<td><code>{one.kind}</code></td>"
        f'<td class="n">{len(one.findings):,}</td>'
        f'<td class="n">{_images(one.groups)}</td></tr>'
        for one in shown
    )
    head = (
        "<tr><th></th><th>What</th><th>Kind</th>"
        '<th class="n">Findings</th><th class="n">Images</th></tr>'
    )
    return _section("What was found", f'<div class="scroll"><table>{head}{rows}</table></div>')


def _images(groups: Groups) -> str:
    count = len(np.unique(groups.rows))
    return f"{count:,}" if count else "–"


def _kind(shown: Shown, scan: Scan, thumbnails: Mapping[int, Thumbnail], allowed: bool) -> str:
    kind = KINDS[shown.kind]
    count = f'<span class="count">{len(shown.findings):,}</span>'
    badge = f'<span class="badge {kind.severity}">{kind.severity}</span>'
    badge += '<span class="badge note">allowed</span>' if allowed else ""
    return (
        f'<section id="{shown.kind}" class="{kind.severity}"><div class="head">'
        f"<h2>{escape(kind.title)} {count}</h2><div>{badge}<code>{shown.kind}</code></div></div>"
        f'<p class="treatment">{write_words(kind.treatment)}</p>'
        f"{render_findings(shown, scan, thumbnails)}</section>"
    )


def _classes(report: CheckReport) -> str:
    """Images of each class by split, with a bar for the first split's share of the largest."""
    if not report.counts:
        return ""
    splits = list(report.counts)
    largest = max(max(report.counts[splits[0]], default=0), 1)
    columns = [
        Column(title="Class"),
        *(Column(title=split, kind="count") for split in splits),
        Column(title=f"{splits[0]}, of the largest class", kind="bar"),
    ]
    rows = []
    for row, name in enumerate(report.class_names):
        counts = [report.counts[split][row] for split in splits]
        rows.append([name, *counts, counts[0] / largest])
    return _section("Classes", write_table(Table(columns=columns, rows=rows, name="classes")))


def _section(title: str, body: str) -> str:
    return f"<section><h2>{title}</h2>{body}</section>"
