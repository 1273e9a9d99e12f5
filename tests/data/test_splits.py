"""Stratified splits: counts, determinism, stability."""

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resnetkit.data.splits import stratified_split
from resnetkit.types import UserError


@settings(deadline=None, max_examples=50)
@given(
    labels=st.lists(st.integers(0, 5), max_size=80),
    fraction=st.floats(0.01, 0.99),
    seed=st.integers(0, 2**70),
)
def test_every_class_gives_its_share(labels, fraction, seed):
    labels = np.array(labels, dtype=np.int64)
    kept, held = stratified_split(labels, fraction, seed)
    assert sorted([*kept, *held]) == list(range(len(labels)))
    assert list(kept) == sorted(kept)
    assert list(held) == sorted(held)
    for label in set(labels.tolist()):
        total, out = (labels == label).sum(), (labels[held] == label).sum()
        expected = min(max(round(fraction * total), 1), total - 1) if total > 1 else 0
        assert out == expected
    again = stratified_split(labels, fraction, seed)
    assert np.array_equal(kept, again[0])
    assert np.array_equal(held, again[1])


def test_seeds_differ_and_position_is_not_favoured():
    labels = np.repeat([0, 1], 500)
    held = [stratified_split(labels, 0.1, seed)[1] for seed in range(40)]
    assert len({tuple(h) for h in held}) == 40
    hits = np.bincount(np.concatenate(held), minlength=1000)
    assert 3.6 < hits[:500].mean() < 4.4
    assert 3.5 < hits[:250].mean() < 4.5  # binomial: standard error 0.12
    assert hits.max() <= 15


def test_the_split_is_pinned():
    # Held-out images must stay held out when NumPy or this code is updated.
    _, held = stratified_split(np.arange(1000) % 7, 0.2, 3)
    assert hashlib.sha256(held.astype("<i8").tobytes()).hexdigest()[:16] == "075bd1eafefc06bb"


@pytest.mark.parametrize("fraction", [0, 1, -0.1, 1.5, float("nan")])
def test_a_fraction_outside_is_refused(fraction):
    with pytest.raises(UserError, match="between 0 and 1"):
        stratified_split(np.zeros(4, np.int64), fraction, 0)
