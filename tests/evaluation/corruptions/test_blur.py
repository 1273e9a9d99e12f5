"""The parts of the blurs: scattered pixels against the loop, and the disk."""

from __future__ import annotations

import numpy as np
import pytest

from resnetkit.evaluation.corruptions import blur
from resnetkit.evaluation.corruptions.keys import draw_each, image_keys
from resnetkit.evaluation.corruptions.severities import PARAMETERS


@pytest.mark.parametrize(("reach", "rounds"), [(1, 1), (1, 3), (2, 1), (4, 3)])
@pytest.mark.parametrize("size", [(9, 14), (20, 20), (6, 3)])
def test_scattering_is_the_loop_over_pixels(reach, rounds, size):
    key = image_keys(3, "glass_blur", np.array([5]))
    sources = draw_each(key, lambda rng: blur.scatter(rng, size, reach, rounds))[0]
    rng = np.random.Generator(np.random.Philox(key=key[0]))
    height, width = size
    pixels = np.arange(height * width).reshape(height, width, 1)
    for _ in range(rounds):
        rows, columns = range(height - reach, reach, -1), range(width - reach, reach, -1)
        steps = iter(rng.integers(-reach, reach, (len(rows) * len(columns), 2)))
        for row in rows:
            for column in columns:
                x, y = next(steps)
                pixels[row, column] = pixels[row + y, column + x]
    assert np.array_equal(sources, pixels.ravel())


def test_the_disk_is_symmetric_sums_to_about_one_and_is_trimmed():
    for by_set in PARAMETERS["defocus_blur"].values():
        for radius, deviation in by_set:
            kernel = blur.disk_kernel(radius, deviation)
            assert kernel.sum() == pytest.approx(1, abs=1e-6 if radius < 8 else 0.02)
            np.testing.assert_allclose(kernel, kernel[::-1], atol=1e-9)
            np.testing.assert_allclose(kernel, kernel.T, atol=1e-9)
            assert len(kernel) % 2 == 1
            assert kernel[0].max() > 0
    assert len(blur.disk_kernel(0.3, 0.4)) == 3
