"""The page of a check: one HTML file that needs nothing else, with a picture of every finding.

It holds no script and loads nothing. Everything that came from the user (names, paths, classes,
what files contain) is escaped.
"""

from __future__ import annotations

import datetime
import re
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

Progress = Callable[[str, int, int], None]  # what, done, total

CLASSES_SHOWN = 50
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
    style = Path(__file__).with_name("page.css").read_text(encoding="utf-8")
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    title = f"Data check: {Path(report.location).name or report.location}"
    day = datetime.datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>\n{style}</style></head>\n<body><main>"
        f"<header><h1>{escape(title)}</h1>"
        f'<p class="lead">{escape(report.location)} · {escape(day)}</p></header>\n'
        + "\n".join(filter(None, sections))
        + "\n</main></body></html>\n"
    )


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
    cards = [
        _card("images", f"{sum(report.images.values()):,}", splits or "none could be listed"),
        _card("classes", f"{len(report.class_names):,}", _some_classes(report.class_names)),
    ]
    for severity in SEVERITIES:
        kinds = [kind for kind in report.findings if KINDS[kind].severity == severity]
        count = sum(len(report.findings[kind]) for kind in kinds)
        below = f"{len(kinds)} kind(s)" if kinds else "nothing found"
        style = severity if count else ""
        cards.append(_card(SEVERITY_NAMES[severity], f"{count:,}", below, style))
    return f'<div class="cards">{"".join(cards)}</div>'


def _card(label: str, value: str, below: str, style: str = "") -> str:
    return (
        f'<div class="{style}"><span>{label}</span><b>{value}</b><span>{escape(below)}</span></div>'
    )


def _some_classes(names: Sequence[str]) -> str:
    return ", ".join(names[:4]) + (", …" if len(names) > 4 else "")


def _overview(shown: Sequence[Shown]) -> str:
    if not shown:
        return _section("What was found", "<p>Nothing. This source is clean.</p>")
    rows = "".join(
        f'<tr><td><span class="badge {KINDS[one.kind].severity}">{KINDS[one.kind].severity}</span>'
        f'</td><td><a href="#{one.kind}">{escape(KINDS[one.kind].title)}</a></td>'
        f"<td><code>{one.kind}</code></td>"
        f'<td class="number">{len(one.findings):,}</td>'
        f'<td class="number">{_images(one.groups)}</td></tr>'
        for one in shown
    )
    head = (
        "<tr><th></th><th>What</th><th>Kind</th>"
        '<th class="number">Findings</th><th class="number">Images</th></tr>'
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
        f'<p class="treatment">{_with_code(kind.treatment)}</p>'
        f"{render_findings(shown, scan, thumbnails)}</section>"
    )


def _with_code(text: str) -> str:
    """Escaped text whose `commands` are set as code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))


def _classes(report: CheckReport) -> str:
    """Images of each class by split, with a bar for the first split's share of the largest."""
    if not report.counts:
        return ""
    splits = list(report.counts)
    largest = max(max(report.counts[splits[0]], default=0), 1)
    rows = [
        _class_row(name, [report.counts[split][row] for split in splits], largest)
        for row, name in enumerate(report.class_names)
    ]
    heads = "".join(f'<th class="number">{split}</th>' for split in splits)
    head = f"<tr><th>Class</th>{heads}<th>{splits[0]}, of the largest class</th></tr>"
    first = f'<div class="scroll"><table>{head}{"".join(rows[:CLASSES_SHOWN])}</table></div>'
    rest = rows[CLASSES_SHOWN:]
    more = (
        f"<details><summary>{len(rest):,} more classes</summary>"
        f'<div class="scroll"><table>{head}{"".join(rest)}</table></div></details>'
    )
    return _section("Classes", first + (more if rest else ""))


def _class_row(name: str, counts: Sequence[int], largest: int) -> str:
    cells = "".join(f'<td class="number">{count:,}</td>' for count in counts)
    bar = f'<span class="bar"><i style="width:{100 * counts[0] / largest:.1f}%"></i></span>'
    return f'<tr><td class="name">{escape(name)}</td>{cells}<td>{bar}</td></tr>'


def _section(title: str, body: str) -> str:
    return f"<section><h2>{title}</h2>{body}</section>"
