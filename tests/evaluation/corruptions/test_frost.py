"""Frost: made textures, photographs where there are some, and how they are laid over."""

from __future__ import annotations

import numpy as np
import pytest
from corrupted_pictures import pictures
from PIL import Image

from resnetkit.evaluation.corruptions.frost import (
    LOOKS,
    SIDE,
    frost,
    frost_from,
    load_textures,
    make_textures,
    shrink,
)
from resnetkit.evaluation.corruptions.keys import draw_each, image_keys
from resnetkit.evaluation.corruptions.severities import PARAMETERS
from resnetkit.types import UserError


def test_textures_are_five_different_ones_as_bright_rough_and_tinted_as_the_photographs():
    textures = make_textures()
    assert len(textures) == len(LOOKS) == 5
    for texture, (*colour, deviation) in zip(textures, LOOKS, strict=True):
        assert texture.shape == (3, SIDE, SIDE)
        assert texture.dtype == np.uint8
        assert texture.mean(axis=(1, 2)) == pytest.approx(np.array(colour), abs=3)
        assert texture[1].std() == pytest.approx(deviation, rel=0.1)
    assert len({texture.tobytes() for texture in textures}) == 5


def test_textures_wrap_around():
    texture = make_textures()[0].astype(float)
    inside = np.abs(np.diff(texture, axis=2)).mean()
    assert np.abs(texture[:, :, 0] - texture[:, :, -1]).mean() < 1.5 * inside


@pytest.mark.parametrize("channels", [1, 3])
def test_frost_is_a_part_of_a_texture_laid_over_the_image(channels):
    images, keys = pictures(12, channels, 32, 32), image_keys(0, "frost", np.arange(12))
    generator = np.random.default_rng(1)
    textures = [generator.integers(0, 256, (3, h, w)).astype(np.uint8) for h, w in [(200, 250)] * 3]
    changed = frost_from(textures)(images, 5, keys)
    draws = draw_each(keys, lambda rng: rng.random(3))
    kept, added, scale = PARAMETERS["frost"]["cifar"][4]
    chosen = set()
    for row in range(12):
        number = int(draws[row, 0] * 3)
        chosen.add(number)
        small = textures[number][:, 2::5, 2::5]  # at 0.2, OpenCV's bilinear takes every fifth
        assert np.array_equal(shrink(textures[number], scale), small)
        top, left = int(draws[row, 1] * (40 - 32)), int(draws[row, 2] * (50 - 32))
        part = small[:, top : top + 32, left : left + 32].astype(float)
        if channels == 1:
            part = 0.299 * part[:1] + 0.587 * part[1:2] + 0.114 * part[2:]
        expected = np.clip(kept * images[row] + added * part, 0, 255).astype(np.uint8)
        assert np.abs(changed[row].astype(int) - expected).max() <= (channels == 1)
    assert len(chosen) == 3


def test_without_textures_the_made_ones_are_laid_over():
    images, keys = pictures(6, 3, 64, 64), image_keys(0, "frost", np.arange(6))
    for severity in (1, 5):
        changed = frost(images, severity, keys)
        assert np.array_equal(changed, frost_from(make_textures())(images, severity, keys))


def test_shrinking_interpolates_between_near_pixels():
    ramp = np.arange(100.0)[None, None].repeat(3, 0).repeat(20, 1)
    small = shrink(ramp, 0.3)
    assert small.shape == (3, 6, 30)
    np.testing.assert_allclose(small[0, 0], (np.arange(30) + 0.5) / 0.3 - 0.5)


def test_small_textures_are_repeated():
    texture = np.zeros((3, 10, 12), np.uint8)
    texture[:, 0, 0] = 255
    images, keys = np.zeros((1, 3, 224, 224), np.uint8), image_keys(0, "frost", np.arange(1))
    changed = frost_from([texture])(images, 1, keys)
    assert np.array_equal(changed[:, :, :214], changed[:, :, 10:])
    assert np.array_equal(changed[..., :212], changed[..., 12:])


def test_photographs_are_read_by_name_the_first_five(tmp_path):
    for number in range(6, 0, -1):
        colour = (number, 2 * number, 3 * number)
        Image.new("RGB", (60, 40), colour).save(tmp_path / f"frost{number}.png")
    (tmp_path / "notes.txt").write_text("not a picture")
    textures = load_textures(tmp_path)
    assert [int(texture[0, 0, 0]) for texture in textures] == [1, 2, 3, 4, 5]
    assert textures[0].shape == (3, 40, 60)


def test_a_folder_without_photographs_is_refused(tmp_path):
    with pytest.raises(
        UserError, match=r"needed at least one \.png or \.jpg file, found none; give"
    ):
        load_textures(tmp_path)
    with pytest.raises(UserError, match="needed a folder of photographs; there is none"):
        load_textures(tmp_path / "nowhere")
