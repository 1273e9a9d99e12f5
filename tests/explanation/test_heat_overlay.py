"""A map over its image: at its place, in its strength, at a size to look at."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from resnetkit.data.lettering import Pen
from resnetkit.explanation.overlay import (
    LARGEST_SIDE,
    Caption,
    brightest,
    color_heat,
    cover,
    draw_overlay,
    overlay_pixels,
    relative_heat,
    scale_picture,
    to_png,
)

CAPTION = Caption(heading="predicted cat 93.1%", explained="cat (93.1%) by gradcam", name="a/b.png")


def render_overlay(image, heat, caption):
    texts = [caption.heading, caption.explained, caption.shows, caption.name, *caption.notes]
    return to_png(draw_overlay(Pen(texts), image, heat, caption))


def grey_image(height=32, width=32, channels=3, level=120):
    return np.full((channels, height, width), level, np.uint8)


@pytest.mark.parametrize(
    ("shape", "size"),
    [
        ((32, 32), (288, 288)),
        ((8, 8), (288, 288)),
        ((224, 224), (224, 224)),
        ((16, 24), (288, 192)),
    ],
)
def test_small_pictures_are_magnified_by_whole_steps(shape, size):
    assert scale_picture(grey_image(*shape)).size == size


def test_magnified_pixels_stay_sharp_and_large_pictures_are_reduced():
    image = grey_image(8, 8)
    image[:, 2, 3] = 255
    pixels = np.asarray(scale_picture(image))
    assert set(np.unique(pixels)) == {120, 255}
    assert (pixels[72:108, 108:144] == 255).all()
    assert scale_picture(grey_image(512, 1024)).size == (LARGEST_SIDE, LARGEST_SIDE // 2)
    assert scale_picture(grey_image(2, 3000)).size == (LARGEST_SIDE, 1)


def test_the_colour_is_where_the_evidence_is_and_nowhere_else():
    heat = np.zeros((32, 32), np.float32)
    heat[4:12, 16:24] = 3.0
    pixels = overlay_pixels(grey_image(), heat).astype(int)
    hot, cold = pixels[72, 180], pixels[250, 30]
    assert cold.tolist() == [120, 120, 120]
    expected = 0.4 * 120 + 0.6 * color_heat(np.ones(1))[0]
    assert hot.tolist() == pytest.approx(expected.tolist(), abs=1)
    # Smooth at the edge: no step between two neighbours.
    row = pixels[72, :, 0]
    assert np.abs(np.diff(row)).max() < 40


def test_the_scale_of_a_map_does_not_matter_and_none_is_grey():
    generator = np.random.default_rng(0)
    heat = generator.random((16, 24), np.float32)
    image = generator.integers(0, 256, (3, 16, 24), np.uint8)
    assert np.array_equal(overlay_pixels(image, heat), overlay_pixels(image, 1024 * heat))
    assert relative_heat(heat).max() == 1
    nothing = np.zeros((16, 24), np.float32)
    assert relative_heat(nothing).max() == 0
    single = nothing.copy()
    single[3, 4] = 5.0
    assert relative_heat(single)[3, 4] == 1
    grey = np.asarray(scale_picture(image).convert("L").convert("RGB"))
    assert np.array_equal(overlay_pixels(image, nothing), grey)


def test_a_few_hot_pixels_do_not_dim_all_others():
    heat = np.ones((32, 32), np.float32)
    heat[:2, :4] = 1000.0
    assert brightest(heat) == 1
    assert relative_heat(heat).min() == 1
    heat[:4] = 1000.0
    assert brightest(heat) == 1000


def test_more_evidence_is_brighter():
    colors = color_heat(np.linspace(0, 1, 64))
    luma = colors @ np.array([0.299, 0.587, 0.114])
    assert (np.diff(luma) > 0).all()


@pytest.mark.parametrize("channels", [1, 3])
def test_the_picture_is_a_png_and_always_the_same(channels):
    heat = np.random.default_rng(1).random((16, 24), np.float32)
    image = grey_image(16, 24, channels)
    written = render_overlay(image, heat, CAPTION)
    assert written == render_overlay(image, heat, CAPTION)
    picture = Image.open(io.BytesIO(written))
    assert picture.format == "PNG"
    assert picture.width >= 2 * 288
    assert picture.mode == "RGB"


def test_a_long_or_strange_caption_stays_on_the_picture():
    heat = np.ones((32, 32), np.float32)
    strange = Caption(
        heading="predicted " + "猫" * 300,
        explained="x\n\x1b[31m" + "y" * 500,
        notes=("many words " * 60, ""),
        name="/" + "folder/" * 80 + "b\udcff.png",
    )
    sizes = [
        Image.open(io.BytesIO(render_overlay(grey_image(), heat, caption))).size
        for caption in (CAPTION, strange)
    ]
    assert sizes[0][0] == sizes[1][0]
    assert sizes[0][1] < sizes[1][1] < 900


def test_only_finite_maps_are_drawn():
    with pytest.raises(AssertionError, match="must be finite"):
        cover(scale_picture(grey_image()), np.full((32, 32), np.nan, np.float32))
