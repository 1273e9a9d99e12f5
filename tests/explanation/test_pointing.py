import numpy as np
import pytest
import torch

from resnetkit.evaluation.intervals import wilson_interval
from resnetkit.explanation.examples import Examples
from resnetkit.explanation.pointing import Hits, mark_regions, measure_energy, play

BOX = np.array([[2.0, 3.0, 5.0, 7.0]])  # left, top, right, bottom


def nothing_but(row, column, size=(50, 50)):
    one = np.zeros(size, np.float32)
    one[row, column] = 1
    return one


def examples(count, size=(50, 50), targets=None):
    return Examples(
        images=torch.zeros(count, 1, *size),
        targets=torch.zeros(count, dtype=torch.int64) if targets is None else targets,
        numbers=np.arange(count),
    )


def test_regions_by_hand():
    corners = np.array([[0.0, 0.0, 1.0, 1.0], [9.0, 9.0, 10.0, 10.0]])
    regions = mark_regions([BOX, corners], (10, 10))
    expected = np.zeros((10, 10), bool)
    expected[3:7, 2:5] = True
    np.testing.assert_array_equal(regions.inside[0], expected)
    assert regions.tolerance == pytest.approx(0.4)  # 15 pixels in 375
    np.testing.assert_array_equal(regions.near[0], expected)  # the next centre is 0.5 away
    assert np.argwhere(regions.inside[1]).tolist() == [[0, 0], [9, 9]]


def test_the_tolerance_grows_with_the_image():
    regions = mark_regions([np.array([[100.0, 100.0, 120.0, 120.0]])], (375, 500))
    assert regions.tolerance == pytest.approx(15)
    middle = regions.near[0, 110]
    assert np.flatnonzero(middle)[[0, -1]].tolist() == [85, 134]  # centres 85.5 … 134.5
    assert not regions.near[0, 87, 87], "corners are round: 12.5 and 12.5 are 17.7"
    assert regions.near[0, 91, 91]


def test_boxes_between_pixel_centres_have_the_pixel_they_lie_in():
    thin = np.array([[4.6, 2.0, 4.9, 8.0]])
    regions = mark_regions([thin], (10, 10))
    assert np.argwhere(regions.inside[0]).tolist() == [[5, 4]]
    np.testing.assert_array_equal(regions.near[0, 2:8, 4], True)  # 0.1 is within the tolerance


def test_hits_by_hand():
    regions = mark_regions([BOX] * 4, (50, 50))  # tolerance 2
    maps = np.stack(
        [nothing_but(4, 3), nothing_but(4, 6), nothing_but(4, 7), nothing_but(40, 40)]
    )  # inside; 1.5 away; 2.5 away; far
    found = play(maps, examples(4), regions, seed=0)
    assert (found.points.hits, found.points.trials) == (2, 4)
    assert found.points.interval == wilson_interval(2, 4)
    assert found.hard == found.points, "the box covers less than a quarter"
    assert found.centre.hits == 0
    assert found.random == pytest.approx(regions.near[0].mean())
    assert found.area == pytest.approx(12 / 2500)
    assert found.energy is not None
    assert found.energy.mean == pytest.approx(1 / 4)


def test_large_objects_are_not_hard():
    half = np.array([[0.0, 0.0, 50.0, 25.0]])
    regions = mark_regions([half, BOX], (50, 50))
    found = play(np.stack([nothing_but(1, 1)] * 2), examples(2), regions, seed=0)
    assert (found.points.hits, found.points.trials) == (2, 2)
    assert found.hard == Hits(hits=1, trials=1)
    alone = mark_regions([half], (50, 50))
    assert play(nothing_but(1, 1)[None], examples(1), alone, seed=0).hard is None


def test_classes_are_averaged_as_in_the_paper():
    regions = mark_regions([BOX] * 4, (50, 50))
    maps = np.stack([nothing_but(4, 3)] * 3 + [nothing_but(40, 40)])
    found = play(maps, examples(4, targets=torch.tensor([0, 0, 0, 1])), regions, seed=0)
    assert found.points.share == 0.75
    assert found.classes == 0.5


def test_flat_maps_point_anywhere_and_hit_as_chance_does():
    box = np.array([[10.0, 10.0, 40.0, 35.0]])
    count = 400
    regions = mark_regions([box] * count, (50, 50))
    found = play(np.zeros((count, 50, 50), np.float32), examples(count), regions, seed=0)
    low, high = found.points.interval
    assert low < found.random < high
    assert found.energy is None, "a map of zeros has no energy anywhere"
    assert not found.finds


def test_energy_counts_what_is_positive():
    regions = mark_regions([BOX], (50, 50))
    values = np.zeros((1, 50, 50), np.float32)
    values[0, 4, 3], values[0, 20, 20], values[0, 30, 30] = 3, 1, -5
    energy = measure_energy(values, regions)
    assert energy is not None
    assert energy.mean == pytest.approx(0.75)


def test_pointing_less_often_than_the_middle_finds_nothing():
    centred = np.array([[20.0, 20.0, 30.0, 30.0]])
    count = 40
    regions = mark_regions([centred] * count, (50, 50))
    half = np.stack([nothing_but(25, 25)] * 20 + [nothing_but(2, 2)] * 20)
    found = play(half, examples(count), regions, seed=0)
    assert found.points.interval[0] > found.random
    assert found.centre.share == 1
    assert not found.finds
    assert play(np.stack([nothing_but(25, 25)] * count), examples(count), regions, seed=0).finds
