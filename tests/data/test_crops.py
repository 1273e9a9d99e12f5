"""Random parts: their area, ratio and place; and the resampling of bytes against Pillow's."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from resnetkit.data.contract import InputContract
from resnetkit.data.crops import ASPECT_RATIOS, CROP_DRAWS, crop_boxes, crop_shares, resize_part

unit = st.floats(0, 1, exclude_max=True, width=32)


def contract(crop=(16, 16), interpolation="bilinear", channels=3):
    return InputContract(
        class_names=("a",),
        color_mode="RGB" if channels == 3 else "L",
        resize=max(crop),
        crop=crop,
        interpolation=interpolation,
        mean=(0,) * channels,
        std=(1,) * channels,
    )


@given(
    size=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    draws=st.lists(unit, min_size=CROP_DRAWS, max_size=CROP_DRAWS),
    low=st.floats(0.05, 1),
    high=st.floats(0.05, 1),
)
@settings(deadline=None, max_examples=50)
def test_a_part_lies_inside_with_the_area_and_ratio_asked_for(size, draws, low, high):
    scale = min(low, high), max(low, high)
    draws, aspect = np.array([draws]), size[1] / size[0]
    height, width = crop_shares(draws, aspect, scale)[0]
    largest = min(1.0, ASPECT_RATIOS[1] / aspect, aspect / ASPECT_RATIOS[0])
    assert min(scale[0], largest) - 1e-9 <= height * width <= min(scale[1], largest) + 1e-9
    ratio = width / height * aspect
    assert ASPECT_RATIOS[0] - 1e-9 <= ratio <= ASPECT_RATIOS[1] + 1e-9
    top, left, part_height, part_width = crop_boxes(draws, np.array([size]), scale)[0]
    assert 0 <= top < top + part_height <= size[0]
    assert 0 <= left < left + part_width <= size[1]
    assert abs(part_height - height * size[0]) <= 1
    assert abs(part_width - width * size[1]) <= 1


def test_parts_are_spread_over_area_ratio_and_place():
    draws = np.random.default_rng(1).random((4000, CROP_DRAWS))
    boxes = crop_boxes(draws, np.full((4000, 2), 400), (0.1, 0.5))
    areas = boxes[:, 2] * boxes[:, 3] / 400**2
    assert 0.098 < areas.min() < 0.11
    assert 0.49 < areas.max() < 0.503
    assert abs(areas.mean() - 0.3) < 0.01
    ratios = np.log(boxes[:, 3] / boxes[:, 2])
    assert abs(ratios.mean()) < 0.015
    assert ratios.std() == pytest.approx(2 * np.log(4 / 3) / 12**0.5, abs=0.01)
    assert np.all(abs((boxes[:, :2] + boxes[:, 2:] / 2).mean(axis=0) - 200) < 5)


def test_many_images_are_drawn_as_each_alone():
    generator = np.random.default_rng(2)
    draws, sizes = generator.random((50, CROP_DRAWS)), generator.integers(1, 500, (50, 2))
    together = crop_boxes(draws, sizes, (0.08, 1.0))
    for draw, size, box in zip(draws, sizes, together, strict=True):
        assert np.array_equal(crop_boxes(draw[None], size[None], (0.08, 1.0))[0], box)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic"])
@pytest.mark.parametrize("size", [(16, 16), (40, 23), (7, 9), (1, 1), (16, 31)])
def test_parts_are_resized_as_pillow_does_but_for_rounding(size, interpolation, channels):
    pixels = np.random.default_rng(0).integers(0, 256, (60, 60, channels), dtype=np.uint8)
    part = pixels[5 : 5 + size[0], 3 : 3 + size[1]]
    ours = resize_part(part, contract((16, 20), interpolation, channels))
    picture = Image.fromarray(part if channels == 3 else part[:, :, 0])
    resampling = Image.Resampling[interpolation.upper()]
    theirs = np.asarray(picture.resize((20, 16), resampling)).reshape(16, 20, channels)
    assert ours.shape == theirs.shape
    assert (
        np.abs(ours.astype(int) - theirs).max()
        <= {"nearest": 0, "bilinear": 1, "bicubic": 10}[interpolation]
    )


def test_a_part_of_the_right_size_keeps_every_bit():
    pixels = np.random.default_rng(0).integers(0, 256, (30, 30, 3), dtype=np.uint8)
    pixels.flags.writeable = False  # as a memory map's are
    assert np.array_equal(resize_part(pixels[2:18, 3:19], contract()), pixels[2:18, 3:19])
    assert resize_part(pixels, contract()).shape == (16, 16, 3)
