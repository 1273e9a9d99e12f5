import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resnetkit.page.blocks import Column, Estimate, Picture
from resnetkit.page.numbers import (
    percent,
    percent_range,
    sorting_key,
    write_cell,
    write_number,
)


@pytest.mark.parametrize(
    ("value", "kind", "digits", "text"),
    [
        (0.91624, "percent", 2, "91.62"),
        (1.0, "percent", None, "100.0"),
        (-0.031, "percent", None, "−3.1"),
        (-0.0001, "percent", None, "0.0"),
        (1234567, "count", None, "1,234,567"),
        (0.0, "number", None, "0.00"),
        (0.98765, "number", 4, "0.9877"),
        (12.34, "number", None, "12.3"),
        (12345.6, "number", None, "12,346"),
        (3.2e-7, "number", None, "3.20e−07"),
        (None, "percent", None, "–"),
        (math.nan, "number", None, "–"),
        (math.inf, "percent", None, "–"),
    ],
)
def test_numbers_are_written_as_people_write_them(value, kind, digits, text):
    assert write_number(value, kind, digits) == text


def test_shares_have_their_unit():
    assert percent(0.9162, 2) == "91.62\N{NO-BREAK SPACE}%"
    assert percent(None) == "–"
    assert percent_range((0.9106, 0.9215), 2) == "91.06 to 92.15\N{NO-BREAK SPACE}%"


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        ("cat", "cat"),
        (0.5, "50.0"),
        (Estimate(value=0.5, interval=(0.4, 0.6)), "50.0 (40.0 to 60.0)"),
        (Estimate(value=0.5), "50.0"),
        (Estimate(value=None), "–"),
        (None, "–"),
        ([], "–"),
        ([Picture(images=[], alt="")], "1 in report.html"),
    ],
)
def test_cells_as_text(cell, text):
    assert write_cell(cell, Column(title="x", kind="percent")) == text


@settings(max_examples=50, deadline=None)
@given(st.floats(allow_nan=True, allow_infinity=True))
def test_what_is_sorted_by_is_the_number_and_nothing_where_there_is_none(value):
    key = sorting_key(Estimate(value=value))
    assert sorting_key(value) == key
    if math.isfinite(value):
        assert float(key) == pytest.approx(value, rel=1e-5, abs=1e-300)
    else:
        assert key == ""


@settings(max_examples=50, deadline=None)
@given(st.floats(-1e9, 1e9), st.integers(1, 6))
def test_plain_numbers_keep_their_significant_digits(value, digits):
    text = write_number(value, "number", digits)
    written = float(text.replace(",", "").replace("−", "-"))
    assert written == pytest.approx(value, rel=0.51 * 10 ** (1 - digits), abs=1e-12)
