"""The frame of a page: style and script inside, and a policy that forbids everything else."""

from __future__ import annotations

import base64
import datetime
import hashlib
import re
from collections.abc import Sequence
from html import escape
from pathlib import Path

FEWEST_LISTED = 4  # sections; a shorter page needs no contents


def render_shell(
    title: str, lead: str, body: str, contents: Sequence[tuple[str, str]], more_style: str = ""
) -> str:
    """A page as HTML text around `body`, with links to its `contents`: (id, title).

    The policy (CSP level 3) lets exactly this style and this script in, by their hashes: even text
    that escaped escaping could neither run nor load anything.
    """
    style, script = _asset("page.css") + more_style, _asset("page.js")
    policy = (
        f"default-src 'none'; img-src data:; style-src '{_digest(style)}'; "
        f"script-src '{_digest(script)}'; base-uri 'none'; form-action 'none'"
    )
    day = datetime.datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z")
    listed = _contents(contents) if len(contents) >= FEWEST_LISTED else ""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>{escape(title)}</title><style>{style}</style></head>\n"
        f"<body{' class=listed' if listed else ''}>{listed}<main>"
        f'<header><h1>{escape(title)}</h1><p class="lead">{escape(lead)}'
        f"<span>{escape(day)}</span></p></header>\n{body}\n</main>"
        f"<script>{script}</script></body></html>\n"
    )


def identify(title: str) -> str:
    """A heading as the name of its place on the page: `Per class (test)` is per-class-test."""
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-") or "section"


def _contents(places: Sequence[tuple[str, str]]) -> str:
    links = "".join(
        f'<li><a href="#{escape(place)}">{escape(title)}</a></li>' for place, title in places
    )
    return f'<nav aria-label="Contents"><ol>{links}</ol></nav>'


def _asset(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    """The hash that a policy knows inline text by."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
