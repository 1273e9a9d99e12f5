"""The frame: nothing from elsewhere, and a policy that knows exactly what is inside."""

import base64
import hashlib
import re
from pathlib import Path

import pytest
from markup import Markup
from sample_blocks import every_block

import resnetkit.page
from resnetkit.page.blocks import Document, Section, Text
from resnetkit.page.html import render_html
from resnetkit.page.shell import identify, render_shell

HOSTILE = '<script src="https://example.org/x.js">alert(1)</script>&"\''
FOLDER = Path(resnetkit.page.__file__).parent


def digest(text):
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def test_the_policy_lets_in_this_style_and_this_script_and_nothing_else():
    html = render_shell("t", "l", "", [], ".more { color: red; }")
    policy = re.search(r'Security-Policy" content="([^"]+)"', html)[1]
    style = re.search(r"<style>(.*?)</style>", html, re.DOTALL)[1]
    script = re.search(r"<script>(.*?)</script>", html, re.DOTALL)[1]
    assert policy == (
        f"default-src 'none'; img-src data:; style-src 'sha256-{digest(style)}'; "
        f"script-src 'sha256-{digest(script)}'; base-uri 'none'; form-action 'none'"
    )
    assert ".more { color: red; }" in style


def test_style_and_script_load_nothing():
    for name in ("page.css", "page.js"):
        text = (FOLDER / name).read_text(encoding="utf-8")
        for word in ("url(", "@import", "http", "fetch", "</", "eval", "innerHTML"):
            assert word not in text, (name, word)


def test_everything_of_the_user_is_escaped():
    sections = [Section(title=HOSTILE, blocks=every_block(HOSTILE)) for _ in range(5)]
    html = render_html(Document(title=HOSTILE, lead=HOSTILE, sections=sections))
    page = Markup(html)
    assert html.count("<script") == 1
    assert {"link", "iframe", "object", "embed", "base", "form"}.isdisjoint(page.tags)
    for name, value in page.attributes:
        assert not name.startswith("on")
        assert name != "style"  # the policy would not let it in
        if name in ("src", "xlink:href", "srcset", "action", "data", "poster"):
            assert value.startswith("data:image/")
        if name == "href":
            assert value.startswith("#")
    assert page.shown.count(HOSTILE) > 50
    assert all(page.values("alt"))


def test_contents_lead_to_their_sections():
    sections = [Section(title=f"Part {k} (test)", blocks=[Text(text="x")]) for k in range(4)]
    html = render_html(Document(title="t", lead="l", sections=sections))
    places = re.findall(r'href="#([^"]+)"', html)
    assert places == [f"part-{k}-test" for k in range(4)]
    for place in places:
        assert html.count(f'id="{place}"') == 1
    short = render_html(Document(title="t", lead="l", sections=sections[:3]))
    assert "<nav" not in short


@pytest.mark.parametrize(
    ("title", "name"), [("Per class (test)", "per-class-test"), ("猫", "section")]
)
def test_headings_as_names(title, name):
    assert identify(title) == name
