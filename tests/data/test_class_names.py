"""Class order and label encoding."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resnetkit.data.class_names import encode_labels, sort_class_names
from resnetkit.types import UserError


@pytest.mark.parametrize(
    "names",
    [
        ["1", "2", "10"],
        ["-2", "-1", "0", "0.5", "3"],
        ["item1", "item2", "item10"],
        ["apple", "Banana", "cherry"],
        ["2 cats", "10 cats", "cats"],
        ["猫", "鸟"],
    ],
)
def test_natural_order(names):
    assert sort_class_names(reversed(names)) == tuple(names)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.text()))
def test_any_names_sort_the_same_from_any_order(names):
    assert sort_class_names(names) == sort_class_names(reversed(names))
    assert set(sort_class_names(names)) == set(names)


def test_labels_are_positions():
    assert encode_labels(["b", "a", "b"], ["a", "b"], "x", "val").tolist() == [1, 0, 1]


def test_an_unknown_class_is_named():
    with pytest.raises(UserError, match=r"x: the val split has 2 class.*lacks: 'c', 'd'.*remove"):
        encode_labels(["d", "a", "c"], ["a"], "x", "val")
