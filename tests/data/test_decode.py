"""Decoding: every kind of bad file gets one clear message, warnings stay in."""

import io
import struct
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from resnetkit.data import decode
from resnetkit.data.decode import UnreadableImage, decode_image, image_header
from resnetkit.types import UserError

PIXELS = np.random.default_rng(0).integers(0, 256, (40, 30, 3), np.uint8)
FORMATS = ["JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM"]


def encode(image, kind, **options):
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


@pytest.mark.parametrize("kind", FORMATS)
def test_allowed_formats_are_read(kind, tmp_path):
    content = encode(Image.fromarray(PIXELS), kind)
    file = tmp_path / "wrong ending.txt"
    file.write_bytes(content)
    for encoded in (content, file):
        image = decode_image(encoded, "x")
        assert image.size == (30, 40)
        assert image_header(encoded, "x")[:2] == (40, 30)
        if kind not in ("JPEG", "WEBP", "GIF"):
            assert np.array_equal(np.asarray(image.convert("RGB")), PIXELS)


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("part", [0.1, 0.5, 0.9])
def test_a_truncated_image_is_refused(kind, part):
    content = encode(Image.fromarray(PIXELS), kind)
    with pytest.raises(UnreadableImage, match=r"Cannot read image 'cat/1.jpg': \S.*\.$"):
        decode_image(content[: int(len(content) * part)], "cat/1.jpg")


def test_the_reason_is_given(tmp_path):
    missing, empty, text = tmp_path / "no.jpg", tmp_path / "0.jpg", tmp_path / "t.jpg"
    empty.touch()
    text.write_text("hello")
    for file, reason in (
        (missing, "there is no such file"),
        (empty, r"it is empty \(0 bytes\)"),
        (text, "it is not a whole image in one of the formats JPEG, PNG"),
        (tmp_path, "Is a directory"),
    ):
        with pytest.raises(UserError, match=f"Cannot read image 'n': {reason}"):
            decode_image(file, "n")
        with pytest.raises(UserError, match=f"Cannot read image 'n': {reason}"):
            image_header(file, "n")
    with pytest.raises(UnreadableImage, match="truncated"):
        decode_image(encode(Image.fromarray(PIXELS), "JPEG")[:-200], "n")


def test_a_format_that_is_not_allowed_is_refused():
    for kind in ("ICO", "TGA", "PCX"):
        with pytest.raises(UnreadableImage, match="not a whole image in one of the formats"):
            decode_image(encode(Image.fromarray(PIXELS), kind), "x")


def test_a_decompression_bomb_is_refused_at_both_limits(monkeypatch):
    content = encode(Image.fromarray(PIXELS), "PNG")
    for limit in (PIXELS.size // 3 - 1, 100):
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        with pytest.raises(UnreadableImage, match=r"more than .* pixels; make it smaller"):
            decode_image(content, "x")


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_header_gives_the_upright_size(kind, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encode(Image.fromarray(PIXELS), kind, exif=exif)
    upright = decode.turn_upright(decode_image(content, "x"))
    assert upright.size == ((40, 30) if orientation >= 5 else (30, 40))
    assert image_header(content, "x")[:2] == (upright.height, upright.width)


def test_damaged_exif_is_no_obstacle():
    damaged = b"Exif\0\0II*\0" + struct.pack("<IHHHII", 8, 9, 0x0112, 3, 1, 6)
    for exif in (b"Exif\0\0garbage", damaged, b"Exif\0\0"):
        content = encode(Image.fromarray(PIXELS), "JPEG", exif=exif)
        image = decode.turn_upright(decode_image(content, "x"))
        assert image.size in ((30, 40), (40, 30))


def test_of_an_animation_the_first_frame_is_read():
    frames = [Image.new("RGB", (4, 4), color) for color in ("red", "blue")]
    content = encode(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert decode_image(content, "x").convert("RGB").getpixel((0, 0)) == (255, 0, 0)


def test_warning_filters_are_as_before_after_many_threads():
    content = encode(Image.fromarray(PIXELS), "JPEG", exif=b"Exif\0\0garbage")
    before = list(warnings.filters)
    with ThreadPoolExecutor(8) as executor:
        results = list(executor.map(lambda _: decode_image(content, "x").size, range(200)))
    assert set(results) == {(30, 40)}
    assert list(warnings.filters) == before
    with pytest.raises(UnreadableImage):
        decode_image(b"x", "x")
    assert list(warnings.filters) == before


@pytest.mark.parametrize("name", ["a b.jpg", "it's.jpg", 'say "x".jpg', "two\nlines.jpg", "猫.jpg"])
def test_strange_names_are_read_and_named_in_one_line(name, tmp_path):
    file = tmp_path / name
    file.write_bytes(encode(Image.fromarray(PIXELS), "JPEG"))
    assert decode_image(file, name).size == (30, 40)
    with pytest.raises(UnreadableImage) as caught:
        decode_image(tmp_path / "none" / name, name)
    assert repr(name) in str(caught.value)
    assert "\n" not in str(caught.value)
