"""The findings of one kind on the page: pictures with what is wrong, groups side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np

from resnetkit.data.checks.exclusion import Groups
from resnetkit.data.checks.findings import Finding
from resnetkit.data.checks.scan_types import ImageFindings, Scan
from resnetkit.data.checks.thumbnails import Thumbnail, draw_file

FINDINGS_SHOWN = 60  # of each kind
GROUP_SHOWN = 8  # images of one finding
NAMES_SHOWN = 20  # of a finding about folders or files


@dataclass(frozen=True, kw_only=True, eq=False)
class Shown:
    """The findings of a kind that the page shows, and where their images are in the scan."""

    kind: str
    findings: Sequence[Finding]
    groups: Groups
    places: tuple[int, ...]  # of `findings`: those with a picture on the page

    def rows(self, place: int) -> list[int]:
        """The images of finding `place` that are shown; none of a finding about a folder."""
        return self.groups[place][:GROUP_SHOWN].tolist()


def choose_shown(kind: str, findings: Sequence[Finding], groups: Groups) -> Shown:
    """The first findings of a kind; of those about single images some spread over all."""
    count = min(len(findings), FINDINGS_SHOWN)
    places = range(count)
    if isinstance(findings, ImageFindings):
        places = np.linspace(0, len(findings) - 1, count).astype(int).tolist()
    return Shown(kind=kind, findings=findings, groups=groups, places=tuple(places))


def render_findings(shown: Shown, scan: Scan, thumbnails: Mapping[int, Thumbnail]) -> str:
    """All shown findings of a kind, and how many are not shown."""
    singles, groups, texts = [], [], []
    for place in shown.places:
        rows = shown.rows(place)
        finding = shown.findings[place]
        if not rows:
            texts.append(_text(scan, finding))
        elif len(rows) == 1:
            singles.append(_figure(scan, rows[0], thumbnails[rows[0]], finding.detail))
        else:
            more = len(shown.groups[place]) - len(rows)
            groups.append(_group(scan, rows, thumbnails, finding.detail, more))
    return (
        _omitted(shown)
        + (f'<ul class="texts">{"".join(texts)}</ul>' if texts else "")
        + (f'<div class="singles">{"".join(singles)}</div>' if singles else "")
        + (f'<div class="groups">{"".join(groups)}</div>' if groups else "")
    )


def _omitted(shown: Shown) -> str:
    total, count = len(shown.findings), len(shown.places)
    if count == total:
        return ""
    how = "spread over all" if isinstance(shown.findings, ImageFindings) else "the first"
    return (
        f'<p class="omitted">{count} of {total:,} are shown here, {how}. All are in '
        f"manifest.parquet: the rows whose column <code>findings</code> holds "
        f"<code>{escape(shown.kind)}</code>.</p>"
    )


def _text(scan: Scan, finding: Finding) -> str:
    """A finding about folders, or about files that are not read; with a picture where there is."""
    names = finding.names[:NAMES_SHOWN]
    listed = " ".join(f"<code>{escape(_visible(name))}</code>" for name in names)
    more = len(finding.names) - len(names)
    listed += f" and {more:,} more" if more else ""
    drawn = (draw_file(Path(scan.location) / name) for name in finding.names[:GROUP_SHOWN])
    pictures = "".join(_picture(thumbnail) for thumbnail in drawn if thumbnail is not None)
    strip = f'<div class="strip">{pictures}</div>' if pictures else ""
    return f"<li>{listed}<span>{escape(_visible(finding.detail))}</span>{strip}</li>"


def _group(
    scan: Scan, rows: list[int], thumbnails: Mapping[int, Thumbnail], detail: str, more: int
) -> str:
    figures = "".join(_figure(scan, row, thumbnails[row], "") for row in rows)
    rest = f'<p class="omitted">and {more:,} more images in this group</p>' if more else ""
    return f"<div><h3>{escape(_visible(detail))}</h3><div>{figures}</div>{rest}</div>"


def _figure(scan: Scan, row: int, thumbnail: Thumbnail, detail: str) -> str:
    said = f"<b>{escape(_visible(detail))}</b>" if detail else ""
    size = f"{scan.width[row]} x {scan.height[row]}" if scan.readable[row] else ""
    label = " · ".join(filter(None, (escape(_visible(scan.label_name(row))), size)))
    name = escape(_visible(scan.names[row]))
    return (
        f"<figure>{_picture(thumbnail)}<figcaption>{said}<span>{label}</span>"
        f"<small>{name}</small></figcaption></figure>"
    )


def _picture(thumbnail: Thumbnail) -> str:
    if thumbnail.uri is None:
        return f'<div class="frame"><pre>{escape(_visible(thumbnail.preview))}</pre></div>'
    kinds = " ".join(name for name in ("small", "partial") if getattr(thumbnail, name))
    note = "<i>decodes only in part</i>" if thumbnail.partial else ""
    return f'<div class="frame"><img class="{kinds}" alt="" src="{thumbnail.uri}">{note}</div>'


def _visible(text: str) -> str:
    """Text with its control characters written out, so that a name cannot break the page's line."""
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in text
    )
