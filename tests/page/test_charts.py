import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markup import Markup

from resnetkit.page.blocks import Axis, Bars, Chart, Line, Mark
from resnetkit.page.charts import HEIGHT, WIDTH, draw_chart, draw_range, ticks

NUMBERS = st.floats(-1e6, 1e6, allow_nan=False).filter(lambda x: x == 0 or abs(x) > 1e-6)
PLAIN = Axis(label="x")


def chart(series, **changes):
    fields = {"title": "a & b", "x": PLAIN, "y": PLAIN, "says": "<much>", "series": series}
    return Chart(**(fields | changes))


@settings(max_examples=50, deadline=None)
@given(st.lists(NUMBERS, min_size=1, max_size=20))
def test_ticks_enclose_the_values_evenly(values):
    found = ticks(PLAIN, values)
    assert 3 <= len(found) <= 9
    reach = 1e-6 * max(abs(tick) for tick in found)
    assert found[0] <= min(values) + reach
    assert found[-1] >= max(values) - reach
    np.testing.assert_allclose(np.diff(found), found[1] - found[0], rtol=1e-3)


@settings(max_examples=50, deadline=None)
@given(st.floats(0, 1), st.floats(0, 1))
def test_ticks_stay_within_limits(one, other):
    low, high = sorted((one, other))
    found = ticks(Axis(label="x", limits=(low, high + 0.01)), [5.0])
    assert all(low - 1e-9 <= tick <= high + 0.01 + 1e-9 for tick in found)


def test_whole_axes_have_whole_ticks():
    assert ticks(Axis(label="epoch", whole=True), [1, 2, 3]) == [1, 2, 3]
    assert ticks(Axis(label="epoch", whole=True), [1, 1]) == [1]
    assert all(tick == int(tick) for tick in ticks(Axis(label="epoch", whole=True), [1, 8]))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 500), NUMBERS), min_size=1, max_size=20))
def test_every_point_lies_inside_the_chart(points):
    drawn = draw_chart(chart([Line(label="c & d", points=points)]))
    places = re.findall(r'cx="([-\d.]+)" cy="([-\d.]+)"', drawn)
    assert len(places) == len(points)
    for x, y in places:
        assert 0 <= float(x) <= WIDTH
        assert 0 <= float(y) <= HEIGHT
    assert "c &amp; d" in drawn


def test_what_it_shows_is_said_to_those_who_cannot_see():
    drawn = draw_chart(chart([Line(label="l", points=[(0, 0), (1, 1)])]))
    assert Markup(drawn).values("aria-label") == ["a & b. <much>"]
    assert Markup(drawn).values("role") == ["img"]


def test_bars_stand_on_the_floor_and_reach_their_height():
    series = [Bars(label="n", bars=[(0, 0.5, 0.25), (0.5, 1, 0.5)])]
    drawn = draw_chart(chart(series, y=Axis(label="y", limits=(0, 0.5))))
    found = re.findall(r'<rect x="[\d.]+" y="([\d.]+)" width="[\d.]+" height="([\d.]+)"', drawn)
    (top, low), (first, high) = [tuple(map(float, one)) for one in found]
    assert top + low == pytest.approx(first + high)
    assert high == pytest.approx(2 * low, rel=0.01)


def test_marks_bands_and_dashes():
    line = Line(label="l", points=[(0, 0), (1, 1)], band=[(0, 0.1), (0.9, 1)], style="blue dashed")
    drawn = draw_chart(chart([line], marks=[Mark(label="here", x=0.5)]))
    assert 'class="band"' in drawn
    assert "here</text>" in drawn
    assert "<circle" not in drawn  # a dashed line has no points of its own


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_a_range_has_its_words(value):
    drawn = draw_range(value, (max(0, value - 0.1), min(1, value + 0.1)), "50 <%>")
    assert Markup(drawn).shown == "50 <%>"
    assert f'width="{100 * value:.1f}"' in drawn
