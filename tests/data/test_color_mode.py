"""Colour modes: each ends as 8-bit RGB or L with the pixels a person would see."""

import io

import numpy as np
import pytest
from PIL import Image

from resnetkit.data.color_mode import to_color_mode
from resnetkit.data.decode import UnreadableImage, decode_image

RED = (255, 0, 0)


def round_trip(image, kind="PNG", **options):
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return decode_image(stream.getvalue(), "x")


def pixel(image, color_mode="RGB"):
    result = to_color_mode(image, color_mode, True, "x")
    assert result.mode == color_mode
    return result.getpixel((0, 0))


@pytest.mark.parametrize(
    "mode", ["1", "L", "P", "RGB", "RGBA", "LA", "PA", "CMYK", "YCbCr", "La", "RGBa", "HSV", "RGBX"]
)
@pytest.mark.parametrize("color_mode", ["RGB", "L"])
def test_every_mode_becomes_the_wanted_one(mode, color_mode):
    result = to_color_mode(Image.new(mode, (3, 2)), color_mode, True)
    assert result.mode == color_mode
    assert result.size == (3, 2)


def test_bilevel_is_black_and_white():
    image = Image.fromarray(np.array([[True, False]]))
    assert image.mode == "1"
    assert np.asarray(to_color_mode(image, "L", True)).tolist() == [[255, 0]]
    assert pixel(image) == (255, 255, 255)


def test_palette_gives_its_colours():
    image = round_trip(Image.new("RGB", (2, 2), RED).convert("P", palette=Image.Palette.ADAPTIVE))
    assert image.mode == "P"
    assert pixel(image) == RED


def test_transparency_is_blended_with_white():
    assert pixel(round_trip(Image.new("RGBA", (2, 2), (*RED, 0)))) == (255, 255, 255)
    assert pixel(round_trip(Image.new("RGBA", (2, 2), (*RED, 255)))) == RED
    assert pixel(round_trip(Image.new("RGBA", (2, 2), (0, 0, 0, 128)))) == (127, 127, 127)
    assert pixel(round_trip(Image.new("LA", (2, 2), (0, 0))), "L") == 255


def test_a_transparent_palette_entry_or_colour_is_blended():
    palette = Image.new("P", (2, 2), 0)
    palette.putpalette([255, 0, 0, 0, 255, 0])
    for transparency in (0, b"\0\xff"):
        assert pixel(round_trip(palette, transparency=transparency)) == (255, 255, 255)
    assert pixel(round_trip(Image.new("RGB", (2, 2), RED), transparency=RED)) == (255, 255, 255)
    assert pixel(round_trip(Image.new("L", (2, 2), 7), transparency=7), "L") == 255
    assert pixel(round_trip(palette, "GIF", transparency=0)) == (255, 255, 255)


def test_cmyk_jpeg_keeps_its_colour():
    image = round_trip(Image.new("RGB", (16, 16), RED).convert("CMYK"), "JPEG", quality=95)
    assert image.mode == "CMYK"
    red, green, blue = pixel(image)
    assert red > 240
    assert green < 15
    assert blue < 15


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_16_bit_grey_is_scaled_not_clipped(kind):
    values = np.array([[0, 128, 129, 32768, 65534, 65535]], np.uint16)
    image = round_trip(Image.fromarray(values), kind)
    assert image.mode in ("I;16", "I;16B", "I")
    assert np.asarray(to_color_mode(image, "L", True)).tolist() == [[0, 0, 1, 128, 255, 255]]
    assert to_color_mode(image, "RGB", True).getpixel((3, 0)) == (128, 128, 128)


def test_values_without_a_range_are_refused():
    with pytest.raises(UnreadableImage, match=r"'x'.* mode F.*8-bit"):
        to_color_mode(Image.new("F", (2, 2), 0.5), "RGB", True, "x")
    with pytest.raises(UnreadableImage, match=r"'x'.* 70000.*needed are 0..65535"):
        to_color_mode(Image.new("I", (2, 2), 70000), "L", True, "x")


def test_grey_of_a_colour_is_its_luma():
    assert pixel(Image.new("RGB", (1, 1), RED), "L") == 76


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
def test_exif_orientation_puts_the_corner_where_it_belongs(kind, orientation):
    upright = Image.new("L", (32, 16), 0)
    upright.paste(255, (0, 0, 8, 8))  # bright top left corner
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}
    stored = upright if orientation == 1 else upright.transpose(Image.Transpose(undo[orientation]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    result = to_color_mode(round_trip(stored, kind, exif=exif), "L", True)
    assert np.abs(np.asarray(result).astype(int) - np.asarray(upright)).max() < 20
    if orientation >= 5 and kind != "TIFF":  # Pillow turns TIFF itself
        assert to_color_mode(round_trip(stored, kind, exif=exif), "L", False).size == (16, 32)
