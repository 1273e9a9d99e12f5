"""The page: what it leaves out it says, and nothing of the user's becomes markup."""

import re

import pytest
from planted import Planter, encode, picture

from resnetkit.data.checks import page_findings
from resnetkit.data.checks.check import check_source


def silent(what, done, total):
    pass


def page_of(root, out):
    return check_source(str(root), out, progress=silent).paths["report"].read_text("utf-8")


@pytest.fixture
def many(tmp_path):
    planter = Planter(tmp_path / "many")
    for number in range(40):
        planter.put(f"a<b>&'/{number}.jpg", encode(picture(number, (30, 20)), "JPEG"))
        planter.put(f"other/{number}.gif", encode(picture(100 + number, (30, 20)), "GIF"))
    return planter.root


def test_what_is_not_shown_is_said(many, tmp_path, monkeypatch):
    monkeypatch.setattr(page_findings, "FINDINGS_SHOWN", 7)
    page = page_of(many, tmp_path / "out")
    assert "7 of 40 are shown here, spread over all" in page
    section = re.search(r'<section id="palette".*?</section>', page, re.DOTALL)
    assert section is not None
    assert section[0].count("<img") == 7
    assert "other/0.gif" in section[0]
    assert "other/9.gif" in section[0]


def test_every_finding_has_its_picture(many, tmp_path):
    page = page_of(many, tmp_path / "out")
    section = re.search(r'<section id="palette".*?</section>', page, re.DOTALL)
    assert section is not None
    assert section[0].count("<img") == 40
    assert "are shown here" not in page


def test_names_are_escaped(many, tmp_path):
    (many / "a<b>&'" / "<i>.jpg").write_bytes(b"<script>alert(1)</script>")
    page = page_of(many, tmp_path / "out")
    assert "<i>.jpg" not in page
    assert page.count("<script") == 1  # ours, which the page's policy knows by its hash
    assert "alert(1)</script>" not in page
    assert "a&lt;b&gt;&amp;&#x27;" in page


def test_files_that_are_not_read_are_shown_too(many, tmp_path):
    (many / "stray.png").write_bytes(encode(picture(300), "PNG"))
    page = page_of(many, tmp_path / "out")
    section = re.search(r'<section id="loose-images".*?</section>', page, re.DOTALL)
    assert section is not None
    assert section[0].count("<img") == 1
