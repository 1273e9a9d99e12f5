import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resnetkit.evaluation.subset import draw_subset
from resnetkit.types import UserError


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=8), st.integers(1, 200), st.integers(0, 9))
def test_every_class_keeps_its_share(sizes, images, seed):
    labels = np.repeat(np.arange(len(sizes)), sizes)
    rows = draw_subset(labels, images, seed)
    assert (np.diff(rows) > 0).all()
    if images >= len(labels):
        assert len(rows) == len(labels)
        return
    shares = np.array(sizes) * images / len(labels)
    kept = np.bincount(labels[rows], minlength=len(sizes))
    assert (np.abs(kept - shares) <= 1 + 1e-9).all()
    assert kept[np.array(sizes) > 1].min(initial=1) >= 1


def test_the_draw_follows_from_labels_and_seed():
    labels = np.arange(300) % 3
    np.testing.assert_array_equal(draw_subset(labels, 30, 1), draw_subset(labels, 30, 1))
    assert not np.array_equal(draw_subset(labels, 30, 1), draw_subset(labels, 30, 2))


def test_images_of_several_classes():
    labels = np.random.default_rng(0).random((200, 4)).astype(np.float32) * [0.55, 0.7, 0.9, 1.2]
    rows = draw_subset(labels, 40, 0)
    assert len(rows) == pytest.approx(40, abs=4)
    shares = (labels > 0.5).mean(axis=0)
    np.testing.assert_allclose((labels[rows] > 0.5).mean(axis=0), shares, atol=0.08)


def test_nothing_is_too_few():
    with pytest.raises(UserError, match="needed 1 or more to look at, got 0"):
        draw_subset(np.zeros(3, np.int64), 0, 0)
