"""XML from anyone: entities are refused before they expand, everything broken has its line."""

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resnetkit.data.formats import safe_xml
from resnetkit.data.formats.safe_xml import parse_xml
from resnetkit.types import UserError

LAUGHS = "".join(
    f'<!ENTITY lol{i} "{f"&lol{i - 1};" * 10 if i else "lol" * 10}">\n' for i in range(12)
)


def refused(tmp_path, content, message):
    file = tmp_path / "a.xml"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError, match=message):
        parse_xml(file)


def test_elements_and_their_text(tmp_path):
    (tmp_path / "a.xml").write_text("<?xml version='1.0'?><a><b>x &amp; y</b><!-- c --><b/></a>")
    root = parse_xml(tmp_path / "a.xml")
    assert [item.text for item in root.findall("b")] == ["x & y", None]


@pytest.mark.parametrize(
    "declaration",
    [LAUGHS, '<!ENTITY lol0 SYSTEM "file:///etc/passwd">', '<!ENTITY % lol0 "x">'],
)
def test_entities_are_refused(tmp_path, declaration):
    content = f"<!DOCTYPE a [{declaration}]>\n<a>&lol0;</a>"
    refused(
        tmp_path, content, "a.xml: it declares the XML entity 'lol0', which an annotation never"
    )


def test_an_external_definition_is_not_fetched(tmp_path):
    (tmp_path / "a.xml").write_text('<!DOCTYPE a SYSTEM "http://127.0.0.1:9/x.dtd"><a/>')
    assert parse_xml(tmp_path / "a.xml").tag == "a"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("<a>\n<b>\n</a>", r"line 3: broken XML \(mismatched tag\)"),
        ("<a>&nothing;</a>", r"line 1: broken XML \(undefined entity\)"),
        ("", "broken XML"),
        (b"\x89PNG\r\n", "broken XML"),
        ("<?xml version='1.0' encoding='nonsense'?><a/>", r"broken XML \(unknown encoding"),
        (b"<?xml version='1.0' encoding='utf-7'?><a/>", "broken XML"),
    ],
)
def test_broken_files(tmp_path, content, message):
    refused(tmp_path, content, message)


def test_deep_and_large_files_do_no_harm(tmp_path, monkeypatch):
    (tmp_path / "a.xml").write_text("<a>" * 100_000 + "</a>" * 100_000)
    assert parse_xml(tmp_path / "a.xml").tag == "a"
    monkeypatch.setattr(safe_xml, "LARGEST_BYTES", 10)
    refused(tmp_path, "<a>" + " " * 10 + "</a>", "one small XML file for each picture")


@settings(max_examples=50, deadline=None)
@given(content=st.one_of(st.binary(max_size=40), st.text(max_size=40).map(str.encode)))
def test_any_content_is_an_element_or_a_user_error(tmp_path_factory, content):
    file = tmp_path_factory.mktemp("any") / "a.xml"
    file.write_bytes(b"<a>" + content + b"</a>")
    with contextlib.suppress(UserError):
        assert parse_xml(file).tag == "a"
