import base64
import io
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from resnetkit.evaluation.figures import (
    HEIGHT,
    WIDTH,
    Line,
    _ticks,
    confusion_figure,
    line_chart,
    picture_uri,
)

NUMBERS = st.floats(-1e6, 1e6, allow_nan=False).filter(lambda x: x == 0 or abs(x) > 1e-6)


@settings(max_examples=50, deadline=None)
@given(st.lists(NUMBERS, min_size=1, max_size=20))
def test_ticks_enclose_the_values_evenly(values):
    ticks = _ticks(values)
    assert 3 <= len(ticks) <= 9
    reach = 1e-6 * max(abs(tick) for tick in ticks)
    assert ticks[0] <= min(values) + reach
    assert ticks[-1] >= max(values) - reach
    np.testing.assert_allclose(np.diff(ticks), ticks[1] - ticks[0], rtol=1e-3)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 500), NUMBERS), min_size=1, max_size=20))
def test_every_point_lies_inside_the_chart(points):
    chart = line_chart([Line(label="a & b", style="training", points=points)], "epoch", "loss")
    places = re.findall(r'cx="([-\d.]+)" cy="([-\d.]+)"', chart)
    assert len(places) == len(points)
    for x, y in places:
        assert 0 <= float(x) <= WIDTH
        assert 0 <= float(y) <= HEIGHT
    assert "a &amp; b" in chart


def pixels_of(uri):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))))


@pytest.mark.parametrize("shape", [(3, 5), (3, 5, 3), (3, 5, 4)])
def test_pictures_keep_every_bit(shape):
    pixels = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    np.testing.assert_array_equal(pixels_of(picture_uri(pixels)), pixels)


def test_small_matrices_have_a_number_in_every_used_cell():
    figure = confusion_figure(np.array([[5, 2], [0, 9]]), ["cat", "dog"])
    assert re.findall(r">(\d+)</text>", figure) == ["5", "2", "9"]
    assert "cat taken for dog: 2 (28.6%)" in figure


def test_large_matrices_are_pictures_with_a_pixel_per_pair():
    confusion = np.eye(30, dtype=int) * 4
    confusion[3, 7] = 1
    figure = confusion_figure(confusion, [str(index) for index in range(30)])
    picture = pixels_of(re.search(r'src="([^"]+)"', figure)[1])
    assert picture.shape == (30, 30, 4)
    assert picture[3, 7, 3] > picture[3, 8, 3]
    assert picture[3, 7, 0] > picture[3, 7, 2]
    assert picture[3, 3, 2] > picture[3, 3, 0]
