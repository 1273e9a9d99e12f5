"""Elastic distortion and pixelation, in what makes them."""

from __future__ import annotations

import numpy as np
from corrupted_pictures import pictures

from resnetkit.evaluation.corruptions.digital import elastic_transform, pixelate
from resnetkit.evaluation.corruptions.keys import image_keys


def test_elastic_without_waves_is_the_affine_map_alone():
    images = pictures(2, 3, 32, 32)
    keys = image_keys(0, "elastic_transform", np.arange(2))
    changed = elastic_transform(images, 1, keys).astype(float)  # strength 0 in the published table
    assert np.abs(changed - images).mean() > 1
    smooth = np.abs(np.diff(changed, n=2, axis=3)).mean()
    waved = elastic_transform(images, 5, keys).astype(float)
    assert np.abs(np.diff(waved, n=2, axis=3)).mean() > smooth


def test_pixelation_makes_blocks():
    changed = pixelate(pictures(1, 3, 224, 224), 5, image_keys(0, "x", np.arange(1)))
    assert np.array_equal(
        changed[:, :, :4, :4], np.broadcast_to(changed[:, :, :1, :1], (1, 3, 4, 4))
    )
