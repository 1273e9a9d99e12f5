"""Zooming and smearing."""

from __future__ import annotations

import math

import numpy as np
import pytest

from resnetkit.evaluation.corruptions import resampling


@pytest.mark.parametrize("factor", [1, 1.03, 1.25, 1.75, 4.5])
@pytest.mark.parametrize("side", [28, 32, 224])
def test_zooming_keeps_flat_rows_flat_and_the_middle_in_place(factor, side):
    matrix = resampling.zoom_matrix(side, factor)
    assert matrix.shape == (side, side)
    np.testing.assert_allclose(matrix.sum(axis=1), 1)
    places = matrix @ np.arange(side)  # where each pixel comes from
    assert places[side // 2 - 1 : side // 2 + 1].mean() == pytest.approx((side - 1) / 2, abs=1)
    kept = math.ceil(side / factor)
    slope = (kept - 1) / (round(kept * factor) - 1)  # the outermost pixels stay the outermost
    np.testing.assert_allclose(np.diff(places), slope)


def test_smearing_goes_along_the_angle_on_one_side():
    image = np.zeros((1, 1, 21, 21), np.uint8)
    image[0, 0, 10, 10] = 255
    for degrees, row, column in [(0, 0, -1), (90, -1, 0), (-90, 1, 0), (45, -1, -1), (180, 0, 1)]:
        smeared = resampling.smear(image, 4, 2.0, np.array([float(degrees)]))[0, 0]
        along = [int(smeared[10 + k * row, 10 + k * column]) for k in range(9)]
        if degrees != 45:  # there two of the whole-pixel steps fall on the same pixel
            assert along == sorted(along, reverse=True)
        assert along[2] > 20
        assert abs(int(smeared.sum()) - 255) <= 6  # nothing elsewhere; each pixel is rounded
        assert sum(along) == smeared.sum()
