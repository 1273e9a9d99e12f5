import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sample_blocks import every_block

from resnetkit.page.blocks import Code, Column, Document, Estimate, Heat, Section, Table
from resnetkit.page.html import render_html
from resnetkit.page.markdown import escape_markdown, render_markdown

HOSTILE = "<b>|*x*|</b> `a` _y_ [z](w) &lt; # 1."


def page(blocks):
    return Document(title="t", lead="l", sections=[Section(title="s", blocks=blocks)])


def test_every_block_can_be_written_both_ways():
    document = page(every_block("plain"))
    for text in (render_markdown(document), render_html(document)):
        assert text.count("plain") >= 20


def test_a_table_as_a_table():
    table = Table(
        columns=[Column(title="Class"), Column(title="Recall", kind="percent")],
        rows=[["a|b", Estimate(value=0.5, interval=(0.4, 0.6))], ["c", None]],
        totals=[["mean", 0.5]],
        name="classes",
    )
    assert render_markdown(page([table])).split("\n\n", 3)[3].splitlines() == [
        "| Class | Recall % |",
        "| --- | ---: |",
        "| a\\|b | 50.0 (40.0 to 60.0) |",
        "| c | – |",
        "| mean | 50.0 |",
    ]


def test_long_tables_say_what_they_leave_out():
    rows = [[f"class {k}"] for k in range(25)]
    text = render_markdown(page([Table(columns=[Column(title="c")], rows=rows, name="classes")]))
    assert "class 19" in text
    assert "class 20" not in text
    assert "5 more classes are in report.html." in text


def test_wide_matrices_are_left_to_the_page():
    names = [f"n{k}" for k in range(30)]
    values = np.zeros((30, 30))
    heat = Heat(row_names=names, column_names=names, values=values, shades=values, corner="c")
    assert "n29" not in render_markdown(page([heat]))


def test_code_cannot_end_its_own_fence():
    text = render_markdown(page([Code(text="a\n```\nb")]))
    assert "````\na\n```\nb\n````" in text


@pytest.mark.parametrize("text", ["# a", "- a", "1. a", "+ a", "=====", "12) a"])
def test_text_starts_no_heading_and_no_list(text):
    assert escape_markdown(text)[0] in "\\1"
    assert escape_markdown(text).replace("\\", "") == text


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=30))
def test_escaped_text_is_one_line_that_says_the_same(text):
    escaped = escape_markdown(text)
    assert len(escaped.splitlines()) <= 1
    assert re.sub(r"\\(.)", r"\1", escaped) == " ".join(text.split())


def test_markup_of_the_user_is_none():
    kept = [block for block in every_block(HOSTILE) if not isinstance(block, Code)]
    text = render_markdown(page(kept))
    for line in text.splitlines():
        assert "<b>" not in line.replace("\\<b\\>", ""), line
