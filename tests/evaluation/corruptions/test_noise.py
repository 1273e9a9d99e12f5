"""Noise has the published strength."""

from __future__ import annotations

import math

import numpy as np
import pytest
from corrupted_pictures import apply

from resnetkit.evaluation.corruptions.keys import image_keys
from resnetkit.evaluation.corruptions.noise import impulse_noise
from resnetkit.evaluation.corruptions.severities import PARAMETERS, SEVERITIES


def test_impulse_noise_loses_the_published_share_half_to_black_half_to_white():
    images = np.full((200, 3, 32, 32), 100, np.uint8)
    for severity, lost in zip(SEVERITIES, PARAMETERS["impulse_noise"]["cifar"], strict=True):
        changed = impulse_noise(images, severity, image_keys(0, "x", np.arange(200)))
        assert set(np.unique(changed)) == {0, 100, 255}
        for value in (0, 255):
            share = (changed == value).mean()
            assert share == pytest.approx(lost / 2, abs=4 * math.sqrt(lost / 2 / changed.size))


@pytest.mark.parametrize("severity", SEVERITIES)
def test_noise_has_the_published_strength(severity):
    images = np.full((100, 3, 32, 32), 128, np.uint8)
    deviation = PARAMETERS["gaussian_noise"]["cifar"][severity - 1]
    values = apply("gaussian_noise", images, severity).astype(float)
    assert values.std() == pytest.approx(255 * deviation, rel=0.02)
    photons = PARAMETERS["shot_noise"]["cifar"][severity - 1]
    values = apply("shot_noise", images, severity).astype(float)
    assert values.mean() == pytest.approx(127.5, abs=0.6)
    assert values.std() == pytest.approx(255 * math.sqrt(128 / 255 / photons), rel=0.03)
