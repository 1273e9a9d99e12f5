"""The contact sheet: pictures, what is written with them, and the same bytes every time."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from resnetkit.data.augment import AugmentConfig, shrink
from resnetkit.data.contract import InputContract, normalise
from resnetkit.data.preview import (
    GUTTER,
    MARGIN,
    WIDEST_SHEET,
    Exposure,
    Sheet,
    describe_augment,
    describe_contract,
    describe_label,
    draw_sheet,
    rank_targets,
    render_sheet,
    to_pixels,
)

SHEET = Sheet(title="t", seen="training\n8 × 8", evaluated="evaluation\n8 × 8", caption=("small",))


def contract(**changes):
    settings = {"class_names": ("cat", "dog"), "resize": 8, "crop": (8, 8)}
    return InputContract(**{**settings, "mean": (0.5, 0.4, 0.3), "std": (0.2,) * 3, **changes})


def exposures(count, side=8, **changes):
    generator = np.random.default_rng(count)
    plain = Exposure(
        seen=np.zeros((3, side, side), np.uint8),
        evaluated=np.zeros((3, side, side), np.uint8),
        name="cat/001.png",
        targets=(("cat", 1.0),),
    )
    pictures = generator.integers(0, 256, (count, 2, 3, side, side), dtype=np.uint8)
    return [replace(plain, seen=a, evaluated=b, **changes) for a, b in pictures]


@pytest.mark.parametrize("per_pixel", [False, True])
def test_pixels_come_back_as_they_went_in(per_pixel):
    generator = np.random.default_rng(0)
    mean = tuple(generator.random(192)) if per_pixel else (0.5, 0.4, 0.3)
    images = torch.from_numpy(generator.integers(0, 256, (4, 3, 8, 8), dtype=np.uint8))
    there = normalise(images, contract(mean=mean))
    np.testing.assert_array_equal(to_pixels(there, contract(mean=mean)), images.numpy())


@pytest.mark.parametrize("per_pixel", [False, True])
def test_shrunk_images_look_as_if_the_pixels_had_been_shrunk(per_pixel):
    generator = np.random.default_rng(1)
    mean = tuple(generator.random(192)) if per_pixel else (0.5, 0.4, 0.3)
    images = torch.from_numpy(generator.integers(0, 256, (4, 3, 8, 8), dtype=np.uint8))
    shown = to_pixels(shrink(normalise(images, contract(mean=mean)), 6), contract(mean=mean))
    expected = shrink(images.float(), 6).round().numpy()
    assert np.abs(shown - expected).max() <= 1


def test_what_lies_outside_the_range_is_cut_off():
    shown = to_pixels(torch.tensor([-9.0, 9.0]).repeat(1, 3, 4, 4), contract())
    assert (shown[..., 0] == 0).all()
    assert (shown[..., 1] == 255).all()


def test_targets_are_named_largest_first():
    target = np.array([0.3, 0.7, 0.0, 0.001], np.float32)
    assert rank_targets(target, ("a", "b", "c", "d")) == (
        ("b", pytest.approx(0.7)),
        ("a", pytest.approx(0.3)),
    )


def test_labels_of_either_task_are_named():
    assert describe_label(np.int64(1), ("cat", "dog")) == "dog"
    assert describe_label(np.array([1, 1], np.float32), ("cat", "dog")) == "cat, dog"
    assert describe_label(np.array([0, 0], np.float32), ("cat", "dog")) == "no class"


def test_the_contract_is_told_in_words():
    text = describe_contract(contract())
    for part in ("RGB 8x8", "2 classes", "EXIF", "bilinear", "divided by 255", "0.5 0.4 0.3"):
        assert part in text
    assert "each of 192 values" in describe_contract(contract(mean=(0.25,) * 192))


def test_only_augmentations_that_act_are_told():
    assert describe_augment(AugmentConfig()) == "none"
    config = AugmentConfig(pad_crop=4, horizontal_flip=True, resized_crop_scale=(0.3, 1.0))
    assert describe_augment(config) == "pad_crop 4, horizontal_flip, resized_crop_scale 0.3 1.0"


def test_the_pictures_are_on_the_sheet_pixel_by_pixel():
    shown = exposures(1)
    canvas = np.asarray(draw_sheet(shown, SHEET))
    left, top = MARGIN + GUTTER, MARGIN + 40
    seen = canvas[top : top + 128, left : left + 128]
    expected = shown[0].seen.transpose(1, 2, 0).repeat(16, 0).repeat(16, 1)
    np.testing.assert_array_equal(seen, expected)
    below = shown[0].evaluated.transpose(1, 2, 0).repeat(16, 0).repeat(16, 1)
    rows = [
        y
        for y in range(top + 128, len(canvas) - 128)
        if np.array_equal(canvas[y : y + 128, left : left + 128], below)
    ]
    assert len(rows) == 1


def test_the_same_input_gives_the_same_png():
    one, two = (render_sheet(exposures(3), SHEET) for _ in range(2))
    assert one == two
    assert Image.open(io.BytesIO(one)).format == "PNG"
    assert render_sheet(exposures(3, targets=(("dog", 1.0),)), SHEET) != one


@pytest.mark.parametrize("side", [1, 8, 32, 100, 300])
@pytest.mark.parametrize("count", [1, 7, 40])
def test_sheets_stay_of_a_size_to_look_at(side, count):
    canvas = draw_sheet(exposures(count, side), SHEET)
    assert canvas.width <= WIDEST_SHEET
    light = np.asarray(canvas)[:, 1 - MARGIN :]
    assert (light > 240).all(), "nothing is drawn on the margin"


def test_mixed_targets_get_a_line_each_and_many_are_counted():
    two = exposures(1, targets=(("cat", 0.7), ("dog", 0.3)), label="cat")
    many = exposures(1, targets=tuple((f"class {i}", 1.0) for i in range(9)))
    heights = [draw_sheet(shown, SHEET).height for shown in (exposures(1), two, many)]
    assert heights[0] < heights[1]
    assert heights[2] - heights[0] == 2 * 19


def test_any_class_and_file_name_can_be_drawn():
    strange = "a\nb\udcff\u202e" + "very long " * 50
    draw_sheet(exposures(2, name=strange, targets=((strange, 0.5), ("", 0.5))), SHEET)
