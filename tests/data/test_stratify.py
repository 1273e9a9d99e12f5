"""Dealing: shares by class, groups kept together, several labels, stability."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resnetkit.data.stratify import ALONE, deal

SHARES = np.array([0.8, 0.1, 0.1])


def keys_of(count, seed=0):
    return np.random.default_rng(seed).random(count)


def table_of(labels, parts, number_of_parts):
    counts = np.zeros((number_of_parts, labels.max() + 1))
    np.add.at(counts, (parts, labels), 1)
    return counts


@settings(deadline=None, max_examples=50)
@given(
    labels=st.lists(st.integers(0, 4), min_size=1, max_size=200),
    shares=st.lists(st.integers(0, 5), min_size=1, max_size=4).filter(any),
    seed=st.integers(0, 1000),
)
def test_single_images_meet_the_shares_to_one_image(labels, shares, seed):
    labels, shares = np.array(labels), np.array(shares) / sum(shares)
    parts = deal(labels, shares, keys_of(len(labels), seed))
    counts = table_of(labels, parts, len(shares))
    wanted = np.outer(shares, np.bincount(labels))
    assert (counts[shares == 0] == 0).all()
    used = int((shares > 0).sum())
    # To one image, and one for each part that would have had none of a class.
    assert np.abs(counts - wanted).max() < 1 + used
    assert np.array_equal(parts, deal(labels, shares, keys_of(len(labels), seed)))


def test_large_classes_are_exact_and_small_ones_are_everywhere():
    labels = np.repeat([0, 1, 2, 3], [1000, 50, 3, 2])
    counts = table_of(labels, deal(labels, SHARES, keys_of(len(labels))), 3)
    assert counts[:, 0].tolist() == [800, 100, 100]
    assert counts[:, 1].tolist() == [40, 5, 5]
    assert counts[:, 2].tolist() == [1, 1, 1]
    assert counts[0, 3] == 1
    assert counts[:, 3].sum() == 2


def test_folds_are_of_one_size_although_no_class_can_be_divided():
    labels = np.repeat(np.arange(10), 12)
    parts = deal(labels, np.full(5, 0.2), keys_of(120))
    assert np.bincount(parts).tolist() == [24] * 5
    assert table_of(labels, parts, 5).min() >= 2


def test_one_more_image_hardly_moves_another():
    labels, keys = np.repeat([0, 1], 200), keys_of(400)
    before = deal(labels, SHARES, keys)
    after = deal(np.append(labels, 0), SHARES, np.append(keys, 0.0001))
    assert (before != after[:-1]).sum() <= 2


@settings(deadline=None, max_examples=50)
@given(
    labels=st.lists(st.integers(0, 3), min_size=4, max_size=150),
    number_of_groups=st.integers(1, 40),
    seed=st.integers(0, 1000),
)
def test_groups_never_straddle(labels, number_of_groups, seed):
    labels, generator = np.array(labels), np.random.default_rng(seed)
    groups = generator.integers(ALONE, number_of_groups, len(labels))
    parts = deal(labels, SHARES, generator.random(len(labels)), groups)
    for group in range(number_of_groups):
        assert len(set(parts[groups == group])) <= 1
    assert ((parts >= 0) & (parts < 3)).all()


def test_shares_hold_with_groups_of_mixed_sizes_and_classes():
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 6, 3000)
    groups = np.where(generator.random(3000) < 0.4, generator.integers(0, 150, 3000), ALONE)
    parts = deal(labels, SHARES, keys_of(3000), groups)
    counts = table_of(labels, parts, 3)
    assert np.abs(counts - np.outer(SHARES, np.bincount(labels))).max() <= 1
    together = groups != ALONE
    # Neither only to training: a test set without any group would be an easier one.
    assert (np.bincount(parts[together], minlength=3) > 40).all()


def test_only_groups_come_as_near_as_whole_groups_can():
    groups = np.repeat(np.arange(20), 10)
    labels = np.repeat(np.arange(2), 100)
    counts = table_of(labels, deal(labels, SHARES, keys_of(200), groups), 3)
    assert counts.tolist() == [[80, 80], [10, 10], [10, 10]]


def several_labels(count, generator):
    chances = np.array([0.5, 0.3, 0.1, 0.03, 0.01])
    labels = generator.random((count, 5)) < chances
    labels[:, 1] |= labels[:, 0] & (generator.random(count) < 0.7)  # labels that come together
    return labels.astype(np.float32)


def test_several_labels_are_dealt_better_than_by_chance():
    generator = np.random.default_rng(1)
    labels = several_labels(2000, generator)
    parts = deal(labels, SHARES, keys_of(2000))
    chance = generator.permutation(np.repeat([0, 1, 2], [1600, 200, 200]))

    def distance(dealt):
        counts = np.stack([labels[dealt == part].sum(axis=0) for part in range(3)])
        return np.abs(counts - np.outer(SHARES, labels.sum(axis=0))).max()

    assert distance(parts) <= 1.5
    assert distance(parts) < distance(chance) / 4
    assert np.abs(np.bincount(parts) - 2000 * SHARES).max() <= 3
    assert np.array_equal(parts, deal(labels, SHARES, keys_of(2000)))


def test_several_labels_in_groups():
    labels = several_labels(600, np.random.default_rng(2))
    groups = np.where(np.arange(600) < 300, np.arange(600) // 3, ALONE)
    parts = deal(labels, np.full(3, 1 / 3), keys_of(600), groups)
    assert all(len(set(parts[groups == group])) == 1 for group in range(100))
    counts = np.stack([labels[parts == part].sum(axis=0) for part in range(3)])
    assert np.abs(counts - labels.sum(axis=0) / 3).max() <= 3
    assert np.abs(np.bincount(parts) - 200).max() <= 4


@pytest.mark.parametrize("labels", [np.zeros(0, np.int64), np.zeros((0, 3), np.float32)])
def test_nothing_to_deal(labels):
    assert deal(labels, SHARES, np.zeros(0)).tolist() == []


def test_images_without_any_label_are_dealt_too():
    parts = deal(np.zeros((50, 3), np.float32), SHARES, keys_of(50))
    assert np.bincount(parts).tolist() == [40, 5, 5]
