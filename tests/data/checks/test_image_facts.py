"""Facts of single images: every defect named, and readable is what training can read."""

import hashlib
import io
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from planted import Planter, encode, picture, plant_images

from resnetkit.data.checks.hashes import perceptual_hash, pixel_hash
from resnetkit.data.checks.image_facts import inspect_image
from resnetkit.data.checks.image_kinds import OUTLIER_KINDS, TREATED_KINDS, UNREADABLE_KINDS
from resnetkit.data.checks.scan_types import load_rgb
from resnetkit.data.color_mode import UnreadableImage
from resnetkit.data.encoded import Crop, FileRegion, hash_encoded


@pytest.fixture(scope="module")
def special(tmp_path_factory):
    planter = Planter(tmp_path_factory.mktemp("facts"))
    plant_images(planter, "special", huge=False)
    return planter


def kinds_of(content, name="x.jpg"):
    return [kind for kind, _ in inspect_image(content, name).findings]


def test_every_planted_image_has_its_kinds_and_no_other(special):
    for path in sorted((special.root / "special").iterdir()):
        name = f"special/{path.name}"
        wanted = {kind for kind, names in special.expected.items() if name in names}
        assert set(kinds_of(path, name)) == wanted - set(OUTLIER_KINDS), name


def test_readable_is_what_training_can_decode(special):
    for path in sorted((special.root / "special").iterdir()):
        facts = inspect_image(path, path.name)
        try:
            upright = load_rgb(path, path.name)
        except UnreadableImage:
            upright = None
        assert facts.readable == (upright is not None), path.name
        unreadable = [kind for kind, _ in facts.findings if kind in UNREADABLE_KINDS]
        assert len(unreadable) == (0 if facts.readable else 1), path.name
        if upright is not None:
            assert (facts.width, facts.height) == upright.size


def test_hashes_are_those_of_the_upright_picture():
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encode(picture(1, (40, 30)), "JPEG", exif=exif.tobytes())
    facts = inspect_image(data, "turned.jpg")
    upright = load_rgb(data, "turned.jpg")
    upright.info = {}
    assert (facts.width, facts.height) == (30, 40)
    assert facts.pixel_hash == pixel_hash(upright)
    assert facts.perceptual == perceptual_hash(upright)
    assert facts.sha256 == hashlib.sha256(data).digest()
    assert inspect_image(encode(upright, "PNG"), "same.png").pixel_hash == facts.pixel_hash


def test_details_say_what_it_is():
    def detail(data, name):
        [(_, text)] = inspect_image(data, name).findings
        return text

    assert "web page" in detail(b"  <HTML><body>503", "a.jpg")
    assert "git lfs pull" in detail(b"version https://git-lfs.github.com/spec/v1\n", "a.jpg")
    assert detail(encode(picture(1), "PNG"), "a.jpg") == "its name says JPEG, its content is PNG"
    assert "HEIC" in detail(b"\0\0\0\x18ftypheic" + bytes(20), "a.jpg")
    assert "orientation is 77" in detail(_with_orientation(77), "a.jpg")
    assert "stored on its left side" in detail(_with_orientation(6), "a.jpg")
    assert "RGB 3, 3, 3" in detail(encode(Image.new("L", (9, 9), 3), "PNG"), "a.png")


def _with_orientation(value):
    exif = Image.Exif()
    exif[0x0112] = value
    return encode(picture(3), "JPEG", exif=exif.tobytes())


def test_nothing_is_said_of_ordinary_pictures():
    for kind, name in (
        ("JPEG", "a.jpg"),
        ("PNG", "a.png"),
        ("WEBP", "a.webp"),
        ("BMP", "a.bmp"),
        ("TIFF", "a.tif"),
        ("PPM", "a.ppm"),
    ):
        assert kinds_of(encode(picture(5), kind), name) == []
    assert kinds_of(encode(picture(5).convert("L"), "JPEG"), "grey.jpeg") == []
    exif = Image.Exif()
    exif[0x010F] = "a maker with a long name that does not fit into four bytes"
    exif[0x0112] = 1
    assert kinds_of(encode(picture(5), "JPEG", exif=exif.tobytes()), "a.jpg") == []
    assert kinds_of(encode(picture(5), "PNG", exif=exif.tobytes()), "a.png") == []


def test_arrays_and_their_tone():
    pixels = np.asarray(picture(6)).transpose(2, 0, 1)
    facts = inspect_image(pixels, "digits[0]")
    assert facts.readable
    assert not facts.grey
    assert facts.sha256 == hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).digest()
    grey = inspect_image(pixels[:1], "digits[1]")
    assert grey.grey
    assert grey.mode == "L"
    assert kinds_of(np.full((1, 8, 8), 7, np.uint8)) == ["blank"]


def test_parts_of_files(tmp_path):
    data = encode(picture(7, (60, 40)), "PNG")
    (tmp_path / "shard.tar").write_bytes(b"x" * 100 + data)
    region = FileRegion(path=tmp_path / "shard.tar", offset=100, size=len(data))
    assert inspect_image(region, "a.png").sha256 == hashlib.sha256(data).digest()
    crop = Crop(of=region, box=(10, 10, 30, 25))
    facts = inspect_image(crop, "a.png")
    assert (facts.width, facts.height) == (20, 15)
    assert facts.sha256.hex() == hash_encoded(crop)
    outside = inspect_image(Crop(of=data, box=(70, 10, 90, 20)), "a.png")
    assert [kind for kind, _ in outside.findings] == ["unreadable"]


def test_no_permission(tmp_path, monkeypatch):
    def refuse(path, *arguments):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", refuse)
    facts = inspect_image(tmp_path / "secret.jpg", "secret.jpg")
    assert facts.findings == [("no-permission", "no permission to read the file")]


def test_a_file_that_vanished(tmp_path):
    facts = inspect_image(tmp_path / "gone.jpg", "gone.jpg")
    assert facts.findings == [("unreadable", os.strerror(2))]


@settings(max_examples=50, deadline=None)
@given(
    seed=st.sampled_from(["JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP"]),
    start=st.floats(0, 1),
    bytes_=st.binary(max_size=64),
    share=st.floats(0, 1),
)
def test_never_raises_and_agrees_with_training(seed, start, bytes_, share):
    data = encode(picture(1, (24, 18)), seed)
    place = int(start * len(data))
    data = (data[:place] + bytes_ + data[place + len(bytes_) :])[: int(len(data) * share)]
    facts = inspect_image(data, "any.jpg")
    try:
        load_rgb(data, "any.jpg")
        usable = True
    except UnreadableImage:
        usable = False
    assert facts.readable == usable
    assert set(dict(facts.findings)) <= set(UNREADABLE_KINDS) | set(TREATED_KINDS)


def test_the_source_is_only_read(tmp_path):
    path = tmp_path / "a.jpg"
    path.write_bytes(encode(picture(9), "JPEG"))
    os.utime(path, ns=(5, 5))
    inspect_image(path, "a.jpg")
    assert path.stat().st_mtime_ns == 5
    assert path.read_bytes() == io.BytesIO(encode(picture(9), "JPEG")).read()
