"""Telling files by their first bytes, and EXIF that is whole from EXIF that is not."""

import pytest
from PIL import Image
from planted import encode, picture

from resnetkit.data.checks.exif import exif_problem
from resnetkit.data.checks.file_types import FORMAT_OF_ENDING, ends_early, file_type
from resnetkit.data.formats.folder import EXTENSIONS


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP", "PPM"])
def test_formats_that_are_read(kind):
    data = encode(picture(1, (20, 20)), kind)
    found = file_type(data[:512])
    assert found is not None
    assert (found.what, found.name) == ("read", kind)
    if kind not in ("TIFF", "PPM"):
        assert not ends_early(kind, len(data), data[:512], data[-64:])
        cut = data[:-100] if kind != "GIF" else data[:-1]
        assert ends_early(kind, len(cut), cut[:512], cut[-1:])


@pytest.mark.parametrize(
    ("head", "what", "name"),
    [
        (b"\xef\xbb\xbf<!DOCTYPE HTML>\n<svg>", "other", "HTML"),
        (b'<svg xmlns="http://www.w3.org/2000/svg">', "image", "SVG"),
        (b'<?xml version="1.0"?>\n<svg>', "image", "SVG"),
        (b'<?xml version="1.0"?>\n<note>', "other", "XML"),
        (b'[{"a": 1}]', "other", "JSON"),
        (b"\0\0\0\x1cftypavif", "image", "AVIF"),
        (b"\0\0\0\x1cftypmp42", "other", "video"),
        (b"RIFF\0\0\0\0AVI ", "other", "video"),
        ("Größe: 3".encode(), "other", "text"),
        (bytes(128) + b"DICM", "image", "DICOM"),
    ],
)
def test_others(head, what, name):
    found = file_type(head)
    assert found is not None
    assert found.what == what
    assert name in found.name


def test_what_nobody_knows():
    assert file_type(b"") is None
    assert file_type(bytes(range(200))) is None


def test_every_ending_that_is_read_has_a_format():
    assert set(FORMAT_OF_ENDING) == set(EXTENSIONS)


def exif(**tags):
    made = Image.Exif()
    made[0x0112] = tags.get("orientation", 1)
    made[0x010F] = "a maker whose name is long"
    return made.tobytes()


def test_exif():
    whole = exif()
    assert exif_problem(whole) is None
    assert exif_problem(whole.removeprefix(b"Exif\0\0")) is None
    assert exif_problem(b"Exif\0\0junk") == "it does not begin as EXIF does"
    assert "orientation is 0" in (exif_problem(exif(orientation=0)) or "")
    assert "lies outside the data" in (exif_problem(whole[:-20]) or "")
    for length in range(7, len(whole) - 20):
        assert exif_problem(whole[:length]) is not None
