import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from resnetkit.explanation.map_controls import (
    centre_maps,
    highest_pixels,
    pixel_ranks,
    random_maps,
    shifted_maps,
)

NUMBERS = np.arange(6)


def test_draws_follow_from_seed_and_picture_alone():
    maps = random_maps(NUMBERS, (5, 7), seed=3)
    np.testing.assert_array_equal(maps[[4, 1]], random_maps(np.array([4, 1]), (5, 7), seed=3))
    assert not np.array_equal(maps, random_maps(NUMBERS, (5, 7), seed=4))
    assert 0.4 < random_maps(NUMBERS, (50, 70), seed=0).mean() < 0.6


def test_the_middle_is_in_the_middle():
    for size in ((8, 8), (9, 5)):
        maps = centre_maps(2, size)
        assert maps.shape == (2, *size)
        np.testing.assert_allclose(maps, maps[:, ::-1, ::-1], atol=1e-7)
        row, column = np.unravel_index(maps[0].argmax(), size)
        assert row in ((size[0] - 1) // 2, size[0] // 2)
        assert column in ((size[1] - 1) // 2, size[1] // 2)


def test_shifted_maps_are_the_same_in_the_wrong_place():
    maps = np.zeros((200, 12, 16), np.float32)
    maps[:, 5, 7] = 1
    maps[:, 5, 8] = 0.5
    moved = shifted_maps(maps, np.arange(200), seed=0)
    np.testing.assert_array_equal(np.sort(moved.reshape(200, -1)), np.sort(maps.reshape(200, -1)))
    _, rows, columns = np.nonzero(moved == 1)
    down, right = (rows - 5) % 12, (columns - 7) % 16
    assert {down.min(), down.max()} == {3, 9}
    assert {right.min(), right.max()} == {4, 12}
    np.testing.assert_array_equal(  # the neighbour has come along
        moved[np.arange(200), rows, (columns + 1) % 16], np.full(200, 0.5, np.float32)
    )


def test_ranks_follow_the_values_and_equals_come_at_random():
    maps = np.array([[[3.0, 1.0], [2.0, -1.0]]], np.float32)
    assert pixel_ranks(maps, NUMBERS[:1], 0).tolist() == [[0, 2, 1, 3]]
    flat = np.zeros((6, 10, 10), np.float32)
    flat[:, 4, 4] = 1
    ranks = pixel_ranks(flat, NUMBERS, 0)
    assert (ranks[:, 44] == 0).all()
    rest = np.delete(ranks, 44, axis=1)
    assert abs(np.corrcoef(rest[0], np.arange(99))[0, 1]) < 0.4, "equals in memory order"
    assert not np.array_equal(rest[0], rest[1])


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10), levels=st.integers(1, 5))
def test_ranks_are_a_permutation_that_never_contradicts_the_map(seed, levels):
    maps = np.random.default_rng(seed).integers(0, levels, (3, 4, 5)).astype(np.float32)
    ranks = pixel_ranks(maps, NUMBERS[:3], seed)
    np.testing.assert_array_equal(np.sort(ranks, axis=1), np.tile(np.arange(20), (3, 1)))
    in_order = np.take_along_axis(maps.reshape(3, -1), np.argsort(ranks, axis=1), axis=1)
    assert (np.diff(in_order, axis=1) <= 0).all()
    points = highest_pixels(maps, NUMBERS[:3], seed)
    highest = maps[np.arange(3), points[:, 0], points[:, 1]]
    np.testing.assert_array_equal(highest, maps.max(axis=(1, 2)))


def test_the_highest_pixel_of_a_flat_map_is_anywhere():
    points = highest_pixels(np.zeros((300, 10, 10), np.float32), np.arange(300), 0)
    assert len(np.unique(points[:, 0])) == len(np.unique(points[:, 1])) == 10
