import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from resnetkit.explanation.examples import (
    Examples,
    choose_evenly,
    collect_maps,
    labelled_pairs,
    mean_of,
    spread_rows,
)
from resnetkit.types import UserError


def some_examples(count=5, size=(4, 6)):
    return Examples(
        images=torch.arange(count * size[0] * size[1]).float().view(count, 1, *size),
        targets=torch.arange(count) % 2,
        numbers=np.arange(count),
    )


def test_the_interval_is_students():
    values = np.array([0.1, 0.4, 0.35, 0.8, 0.2])
    found = mean_of(values)
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert found.mean == pytest.approx(values.mean())
    assert found.interval == pytest.approx((expected.low, expected.high))
    assert mean_of(values[:1]).interval is None


def test_maps_come_in_order_whatever_the_batch():
    examples = some_examples()
    whole = collect_maps(lambda images, _: images[:, 0], examples, 64, "itself")
    parts = collect_maps(lambda images, _: images[:, 0], examples, 2, "itself")
    np.testing.assert_array_equal(whole, examples.images[:, 0].numpy())
    np.testing.assert_array_equal(whole, parts)
    assert whole.dtype == np.float32


def test_maps_that_are_not_finite_are_refused():
    def attribute(images, targets):
        maps = images[:, 0].clone()
        maps[targets == 1, 0, 0] = torch.nan
        return maps

    with pytest.raises(UserError, match="the maps of wild need finite values, got NaN or infinity "
                       r"in 2 of 5 maps \(the first for picture 1\)"):  # fmt: skip
        collect_maps(attribute, some_examples(), 3, "wild")


def test_a_part_of_the_examples_keeps_its_numbers():
    part = some_examples().take(np.array([3, 1]))
    assert part.numbers.tolist() == [3, 1]
    assert part.targets.tolist() == [1, 1]
    assert part.images[0, 0, 0, 0] == 3 * 24
    assert part.size == (4, 6)


def test_pairs_are_what_a_picture_shows():
    rows, classes = labelled_pairs(np.array([2, 0, 1]), "single-label")
    assert (rows.tolist(), classes.tolist()) == ([0, 1, 2], [2, 0, 1])
    soft = np.array([[0.2, 0.8], [0.6, 0.4]], np.float32)
    assert labelled_pairs(soft, "single-label")[1].tolist() == [1, 0]
    several = np.array([[1, 0, 1], [0, 0, 0], [0, 1, 0]], np.float32)
    rows, classes = labelled_pairs(several, "multi-label")
    assert (rows.tolist(), classes.tolist()) == ([0, 0, 2], [0, 2, 1])


@settings(deadline=None, max_examples=50)
@given(
    classes=st.lists(st.integers(0, 4), min_size=1, max_size=60),
    count=st.integers(1, 70),
    seed=st.integers(0, 3),
)
def test_choices_are_even_and_nested(classes, count, seed):
    classes = np.array(classes)
    chosen = choose_evenly(classes, count, seed)
    assert len(set(chosen.tolist())) == len(chosen) == min(count, len(classes))
    taken = np.bincount(classes[chosen], minlength=5)
    there = np.bincount(classes, minlength=5)
    full = taken[taken < there]  # classes that had more to give
    assert not len(full) or taken.max() - full.min() <= 1
    assert set(choose_evenly(classes, max(1, count - 1), seed)) <= set(chosen.tolist())
    np.testing.assert_array_equal(chosen, choose_evenly(classes, count, seed))


def test_rows_are_spread_from_the_first_to_the_last():
    assert spread_rows(10, 4).tolist() == [0, 3, 6, 9]
    assert spread_rows(3, 8).tolist() == [0, 1, 2]
