"""The map that fog is made of."""

from __future__ import annotations

import numpy as np

from resnetkit.evaluation.corruptions import weather
from resnetkit.evaluation.corruptions.keys import image_keys


def test_fog_maps_wrap_around_and_fill_0_to_1():
    keys = image_keys(0, "fog", np.arange(3))
    maps = weather.plasma(keys, 64, 2.0)
    assert maps.min(axis=(1, 2)).tolist() == [0] * 3
    assert maps.max(axis=(1, 2)).tolist() == [1] * 3
    inside = np.abs(np.diff(maps, axis=1)).mean()
    assert np.abs(maps[:, 0] - maps[:, -1]).mean() < 2 * inside
