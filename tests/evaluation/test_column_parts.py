"""Columns cut into parts, and what images have to say by themselves."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resnetkit.evaluation.column_parts import cut_column, image_statistics


def parts_of(values):
    return {part.value: part.rows.tolist() for part in cut_column(values)}


CELLS = st.one_of(
    st.none(),
    st.floats(),
    st.integers(-5, 5),
    st.sampled_from(["", " ", "nan", "A", "B", "1_0", "inf", "3.5", "猫"]),
    st.text(max_size=3),
    st.booleans(),
)


@settings(max_examples=50, deadline=None)
@given(st.lists(CELLS, max_size=60))
def test_parts_hold_every_image_once(values):
    parts = cut_column(values)
    rows = np.concatenate([part.rows for part in parts]) if parts else np.empty(0)
    assert sorted(rows.tolist()) == list(range(len(values)))
    assert all(len(part.rows) for part in parts)
    assert len({(part.kind, part.value) for part in parts}) == len(parts)
    assert len(parts) <= 12


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=80))
def test_ranges_are_in_order_and_named_by_their_bounds(values):
    parts = [part for part in cut_column(values) if part.kind == "range"]
    taken = [[float(values[row]) for row in part.rows] for part in parts]
    for lower, upper in pairwise(taken):
        assert max(lower) < min(upper)
    for part, numbers in zip(parts, taken, strict=True):
        bounds = [float(text.replace(",", "")) for text in part.value.split(" to ")]
        near = 0.5 + 1e-9  # the names have as few decimals as will do
        assert bounds[0] == pytest.approx(min(numbers), abs=near)
        assert bounds[-1] == pytest.approx(max(numbers), abs=near)


def test_few_values_are_parts_of_their_own():
    assert parts_of(["B", "A", "B", None, ""]) == {"A": [1], "B": [0, 2], "missing": [3, 4]}
    assert parts_of([32, 64, 32, math.nan]) == {"32": [0, 2], "64": [1], "missing": [3]}
    assert parts_of([True, False]) == {"False": [1], "True": [0]}
    assert parts_of([]) == {}


def test_a_value_called_missing_is_not_the_missing_ones():
    first, second = cut_column(["missing", None])
    assert (first.kind, second.kind) == ("value", "missing")


def test_many_numbers_become_quarters():
    values = [*range(100, 1300, 10)]
    parts = cut_column(values)
    assert [part.value for part in parts] == [
        "100 to 390",
        "400 to 690",
        "700 to 990",
        "1,000 to 1,290",
    ]
    assert {len(part.rows) for part in parts} == {30}
    assert parts_of([str(value) for value in values]) == parts_of(values)  # as CSV has them
    assert parts_of([0.001 * value for value in values]).keys() == {
        "0.10 to 0.39",
        "0.40 to 0.69",
        "0.70 to 0.99",
        "1.00 to 1.29",
    }


def test_equal_numbers_stay_together():
    low = parts_of([0] * 80 + list(range(1, 21)))
    assert list(low) == ["0", "1 to 20"]
    high = parts_of([*range(20), *[99] * 80, None])
    assert list(high) == ["0 to 19", "99", "missing"]


def test_of_many_texts_the_commonest_are_parts():
    values = ["a"] * 30 + ["b"] * 9 + [f"x{number}" for number in range(20)] + ["c"] * 10
    parts = cut_column(values)
    assert [(part.value, part.kind) for part in parts] == [
        ("a", "value"),
        ("c", "value"),
        ("other (21 values)", "other"),
    ]
    names = [f"file {number}.png" for number in range(50)]
    assert list(parts_of(names)) == ["other (50 values)"]


@pytest.mark.parametrize("odd", ["1_000", "inf", "-Infinity", "12 px"])
def test_what_is_no_number_makes_a_column_of_texts(odd):
    parts = cut_column([*range(40), odd])
    assert [part.kind for part in parts] == ["other"]


def test_statistics_of_known_images():
    flat = np.full((1, 1, 4, 4), 100, np.uint8)
    board = (255 * (np.indices((6, 6)).sum(0) % 2)).astype(np.uint8)[None, None]
    found = image_statistics(flat)
    assert {name: values.tolist() for name, values in found.items()} == {
        "brightness": [100.0],
        "contrast": [0.0],
        "sharpness": [0.0],
    }
    found = image_statistics(board)
    assert found["brightness"][0] == found["contrast"][0] == 127.5
    assert found["sharpness"][0] == (4 * 255) ** 2  # ±1020, mean 0
    red = np.zeros((1, 3, 4, 4), np.uint8)
    red[:, 0] = 200
    assert image_statistics(red)["brightness"][0] == pytest.approx(0.299 * 200)


def test_statistics_equal_scipys_laplacian_and_do_not_depend_on_the_batch():
    from scipy.ndimage import laplace

    images = np.random.default_rng(0).integers(0, 256, (5, 3, 9, 7)).astype(np.uint8)
    found = image_statistics(images)
    for row, image in enumerate(images):
        grey = np.tensordot([0.299, 0.587, 0.114], image.astype(float), 1)
        assert found["contrast"][row] == pytest.approx(grey.std(), rel=1e-5)
        expected = laplace(grey)[1:-1, 1:-1].var()
        assert found["sharpness"][row] == pytest.approx(expected, rel=1e-5)
        alone = image_statistics(images[row : row + 1])
        assert {name: values[0] for name, values in alone.items()} == {
            name: pytest.approx(values[row]) for name, values in found.items()
        }


def test_images_too_small_to_be_sharp():
    found = image_statistics(np.zeros((2, 3, 2, 5), np.uint8))
    assert np.isnan(found["sharpness"]).all()
    assert cut_column(found["sharpness"].tolist())[0].kind == "missing"
