"""The shortest way to pixels gives those of the ordinary way, or leaves the image to it."""

import io
from unittest import mock

import numpy as np
import pytest
from PIL import Image, ImageFilter

from resnetkit.data import decode_pixels as module
from resnetkit.data.color_mode import to_color_mode
from resnetkit.data.contract import InputContract
from resnetkit.data.decode import UnreadableImage, decode_image
from resnetkit.data.decode_pixels import decode_pixels
from resnetkit.data.encoded import Crop
from resnetkit.data.transforms import picture_pixels

ORIENTATION = 0x0112


def contract(color_mode="RGB"):
    channels = 3 if color_mode == "RGB" else 1
    return InputContract(
        class_names=("a",),
        color_mode=color_mode,
        resize=8,
        crop=(8, 8),
        mean=(0,) * channels,
        std=(1,) * channels,
    )


def jpeg(size=(61, 47), mode="RGB", orientation=1, **options):
    noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    picture = Image.fromarray(noise).filter(ImageFilter.GaussianBlur(1)).convert(mode)
    exif = picture.getexif()
    exif[ORIENTATION] = orientation
    stream = io.BytesIO()
    picture.save(stream, "JPEG", exif=exif, **options)
    return stream.getvalue()


def ordinary(encoded, color_mode="RGB"):
    return picture_pixels(to_color_mode(decode_image(encoded, "x"), color_mode, True))


def whole(*_):
    return 1.0


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"progressive": True},
        {"subsampling": 0, "quality": 100},
        {"subsampling": 1, "quality": 30},
        {"optimize": True, "size": (1, 1)},
        {"size": (17, 300)},
        {"mode": "L"},
    ],
)
def test_plain_jpegs_have_the_same_bits_without_pillow(options):
    encoded, mode = jpeg(**options), options.get("mode", "RGB")
    with mock.patch.object(Image.Image, "load", side_effect=AssertionError):
        pixels = decode_pixels(encoded, "x", contract(mode), whole)
    assert np.array_equal(pixels, ordinary(encoded, mode))


@pytest.mark.parametrize(
    ("encoded", "mode"),
    [
        (jpeg(orientation=6), "RGB"),
        (jpeg(mode="CMYK"), "RGB"),
        (jpeg(mode="L"), "RGB"),
        (jpeg(), "L"),
        (Crop(of=jpeg(orientation=3), box=(2, 3, 20, 30)), "RGB"),
    ],
)
def test_all_others_go_the_ordinary_way(encoded, mode):
    with mock.patch.object(module, "decode_jpeg", side_effect=AssertionError):
        pixels = decode_pixels(encoded, "x", contract(mode), whole)
    assert np.array_equal(pixels, ordinary(encoded, mode))


def test_what_is_damaged_is_refused_as_everywhere():
    for encoded in (jpeg()[:-200], jpeg()[:100], b"", b"no image"):
        with pytest.raises(UnreadableImage) as expected:
            decode_image(encoded, "x")
        with pytest.raises(UnreadableImage, match="'x'") as found:
            decode_pixels(encoded, "x", contract(), whole)
        assert str(found.value) == str(expected.value)
