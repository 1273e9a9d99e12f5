from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from resnetkit.data.draws import Draws, epoch_order, stream, uniform_draws

SEEDS = st.integers(min_value=-(2**70), max_value=2**70)
WORDS = st.integers(min_value=-(2**63), max_value=2**63 - 1)  # beyond, seeds repeat
CPU = torch.device("cpu")


@given(seed=SEEDS, epoch=st.integers(0, 10**6), data=st.data())
@settings(deadline=None, max_examples=50)
def test_an_images_draws_depend_on_nothing_but_its_key_and_index(seed, epoch, data):
    indices = np.array(
        data.draw(st.lists(st.integers(0, 2**40), min_size=1, max_size=9, unique=True))
    )
    order = np.array(data.draw(st.permutations(range(len(indices)))))
    together = uniform_draws((seed, epoch), indices, 5)
    np.testing.assert_array_equal(uniform_draws((seed, epoch), indices[order], 5), together[order])
    for row, index in enumerate(indices):
        alone = uniform_draws((seed, epoch), np.array([index]), 5)
        np.testing.assert_array_equal(alone[0], together[row])
        fewer = uniform_draws((seed, epoch), np.array([index]), 2)
        np.testing.assert_array_equal(fewer[0], together[row, :2])
    assert together.dtype == np.float32
    assert together.min() >= 0
    assert together.max() < 1


def test_draws_are_these_numbers_on_every_machine():
    """Golden: another generator would silently change every published run."""
    values = uniform_draws((0, 0), np.array([0, 1]), 3)
    golden = [[3084319, 10487332, 7640639], [758133, 6838212, 11185307]]
    np.testing.assert_array_equal(values * 2**24, golden)


@pytest.mark.parametrize("key", [(0, 0, 0), (1, 0, 0), (-1, 3, 7), (2**63, 1, 2), (10**30, 5, 1)])
def test_draws_are_uniform(key):
    values = uniform_draws(key, np.arange(20_000), 4)
    for column in values.T:
        counts = np.bincount((column * 64).astype(int), minlength=64)
        chi_square = ((counts - 20_000 / 64) ** 2 / (20_000 / 64)).sum()
        assert 25 < chi_square < 120  # 63 degrees of freedom: outside in one of 10^5 seeds


def test_draws_of_neighbouring_keys_images_and_positions_are_uncorrelated():
    indices = np.arange(20_000)
    base = uniform_draws((0, 0, stream("flip")), indices, 2)
    others = [
        base[:, 1],
        np.roll(base[:, 0], 1),
        uniform_draws((1, 0, stream("flip")), indices, 1)[:, 0],
        uniform_draws((0, 1, stream("flip")), indices, 1)[:, 0],
        uniform_draws((0, 0, stream("cutout")), indices, 1)[:, 0],
    ]
    for other in others:
        assert abs(np.corrcoef(base[:, 0], other)[0, 1]) < 0.03  # 4 standard deviations


@given(parts=st.lists(WORDS, min_size=2, max_size=3, unique=True))
@settings(deadline=None, max_examples=50)
def test_the_parts_of_a_key_are_told_apart(parts):
    indices = np.arange(4)
    ours = uniform_draws(tuple(parts), indices, 4)
    assert not np.array_equal(ours, uniform_draws(tuple(reversed(parts)), indices, 4))
    assert not np.array_equal(ours, uniform_draws((parts[0], parts[1] + 1), indices, 4))
    assert not np.array_equal(ours, uniform_draws((*parts, 0), indices, 4))


@given(seed=st.integers(0, 2**70), epoch=st.integers(0, 1000), count=st.integers(1, 300))
@settings(deadline=None, max_examples=50)
def test_an_epochs_order_is_a_permutation_of_its_own(seed, epoch, count):
    order = epoch_order(seed, epoch, count)
    assert sorted(order.tolist()) == list(range(count))
    np.testing.assert_array_equal(order, epoch_order(seed, epoch, count))
    if count > 50:
        assert not np.array_equal(order, epoch_order(seed, epoch + 1, count))
        assert not np.array_equal(order, epoch_order(seed + 1, epoch, count))


@given(bound=st.integers(1, 2**20), seed=SEEDS)
@settings(deadline=None, max_examples=50)
def test_whole_numbers_stay_below_their_bound(bound, seed):
    values = Draws(seed, 0, torch.arange(200), CPU).integers("x", 3, bound)
    assert values.dtype == torch.int64
    assert values.min() >= 0
    assert values.max() < bound


@pytest.mark.parametrize("bound", [3, 5, 9, 31, 1000, 2**20 + 1])
def test_the_largest_draw_does_not_round_up_to_the_bound(bound):
    largest = torch.tensor(1 - 2.0**-24)
    assert int((largest * bound).long()) == bound - 1


def test_whole_numbers_are_equally_likely():
    counts = Draws(0, 0, torch.arange(9000), CPU).integers("x", 1, 9).flatten().bincount()
    assert counts.numel() == 9
    assert counts.min() > 850
    assert counts.max() < 1150


def test_streams_of_a_batch_are_independent_and_repeatable():
    draws = Draws(7, 3, torch.tensor([4, 9]), CPU)
    torch.testing.assert_close(draws.uniform("flip", 3), draws.uniform("flip", 3), rtol=0, atol=0)
    assert not torch.equal(draws.uniform("flip", 3), draws.uniform("cutout", 3))


def test_a_batchs_own_generator_depends_on_where_the_batch_is():
    def first(seed, epoch, index):
        draws = Draws(seed, epoch, torch.tensor([index, 1]), CPU)
        return draws.generator("mix").random()

    assert first(0, 0, 5) == first(0, 0, 5)
    assert len({first(0, 0, 5), first(1, 0, 5), first(0, 1, 5), first(0, 0, 6)}) == 4
