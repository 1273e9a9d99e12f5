"""Every image has draws of its own."""

from __future__ import annotations

import numpy as np

from resnetkit.evaluation.corruptions.keys import draw_each, image_keys


def test_keys_differ_by_seed_name_and_index():
    indices = np.arange(50)
    keys = [image_keys(seed, name, indices) for seed in (0, 1) for name in ("snow", "fog")]
    assert len({tuple(key) for key in np.concatenate(keys).tolist()}) == 200
    first = draw_each(keys[0], lambda generator: generator.random(3))
    again = draw_each(keys[0][10:20], lambda generator: generator.random(3))
    assert np.array_equal(first[10:20], again)
