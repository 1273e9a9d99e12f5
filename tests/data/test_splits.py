"""Stratified splits: counts, determinism, stability."""

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resnetkit.data.source_types import Source, Split
from resnetkit.data.splits import cut_source, describe_cut, stratified_split
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


def named_source(count):
    names = [f"{label}/{number:03d}.png" for label in "ab" for number in range(count)]
    labels = np.repeat(np.arange(2), count)
    split = Split(labels=labels, names=names, encoded=[b""] * len(names))
    return Source(
        location="here", class_names=("a", "b"), splits={"train": split}, present=("train",)
    )


def test_one_more_image_does_not_deal_all_others_anew():
    small, large = (cut_source(named_source(count), 0.1, 0.1, 0) for count in (40, 41))
    moved = set(small["test"].names) ^ set(large["test"].names)
    assert len(moved) <= 4  # at most one in and one out for each class
    assert describe_cut(small) != describe_cut(large)


def test_a_cut_covers_everything_once():
    parts = cut_source(named_source(40), 0.2, 0.1, 3)
    names = [name for part in parts.values() for name in part.names]
    assert sorted(names) == sorted(named_source(40).splits["train"].names)
    assert {name: len(part) for name, part in parts.items()} == {"train": 58, "val": 14, "test": 8}
    assert describe_cut(parts) == describe_cut({k: parts[k] for k in ("train", "val")})
