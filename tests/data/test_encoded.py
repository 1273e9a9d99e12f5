"""Where encoded images lie: regions of files, crops, and what travels to a worker."""

import hashlib
import io
import pickle

import numpy as np
import pytest
from PIL import Image

from resnetkit.data.decode import UnreadableImage, decode_image, image_header
from resnetkit.data.encoded import (
    Crop,
    Crops,
    FileRegion,
    FileRegions,
    hash_encoded,
    identify,
    open_encoded,
    picture_groups,
)
from resnetkit.data.source_types import Source, Split
from resnetkit.data.splits import cut_source
from resnetkit.types import UserError

PIXELS = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)


def png(pixels=PIXELS, **options):
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG", **options)
    return stream.getvalue()


@pytest.fixture
def region(tmp_path):
    content = png()
    (tmp_path / "archive").write_bytes(b"before" + content + b"after")
    return FileRegion(path=tmp_path / "archive", offset=6, size=len(content))


def test_a_region_is_read_and_hashed_as_its_bytes(region):
    assert open_encoded(region).read() == png()
    assert hash_encoded(region) == hash_encoded(png()) == hashlib.sha256(png()).hexdigest()
    assert np.array_equal(np.asarray(decode_image(region, "x")), PIXELS)
    assert image_header(region, "x") == (20, 30, "RGB")
    assert pickle.loads(pickle.dumps(region)) == region


def test_a_file_that_became_shorter_is_named(region):
    region.path.write_bytes(b"before" + png()[:-1])
    with pytest.raises(UnreadableImage, match=r"archive has become shorter since it was listed"):
        decode_image(region, "x")
    with pytest.raises(UserError, match="become shorter"):
        hash_encoded(region)


def test_an_empty_region_is_told_apart(region):
    empty = FileRegion(path=region.path, offset=6, size=0)
    with pytest.raises(UnreadableImage, match="it is empty"):
        decode_image(empty, "x")


@pytest.mark.parametrize(
    ("box", "rows", "columns"),
    [
        ((3, 2, 10, 9), slice(2, 9), slice(3, 10)),
        ((-4, -4, 5, 5), slice(0, 5), slice(0, 5)),
        ((25, 15, 99, 99), slice(15, 20), slice(25, 30)),
    ],
)
def test_a_crop_is_the_part_inside_the_box(region, box, rows, columns):
    for whole in (region, png()):
        crop = Crop(of=whole, box=box)
        expected = PIXELS[rows, columns]
        assert np.array_equal(np.asarray(decode_image(crop, "x")), expected)
        assert image_header(crop, "x") == (*expected.shape[:2], "RGB")
        assert pickle.loads(pickle.dumps(crop)) == crop


@pytest.mark.parametrize("read", [decode_image, image_header])
def test_a_box_outside_the_picture_is_unreadable(read):
    crop = Crop(of=png(), box=(30, 0, 40, 10))
    with pytest.raises(UnreadableImage, match=r"'x': its box .* outside the picture of 30 x 20"):
        read(crop, "x")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_boxes_count_in_the_upright_picture_and_it_is_not_turned_twice(kind):
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying on its left side
    stream = io.BytesIO()
    pixels = np.zeros((20, 30, 3), np.uint8)
    pixels[:, :10] = 255  # at the top once upright
    Image.fromarray(pixels).save(stream, kind, exif=exif, lossless=True, quality=95)
    crop = Crop(of=stream.getvalue(), box=(2, 0, 18, 8))
    part = decode_image(crop, "x")
    assert part.size == (16, 8)
    assert np.asarray(part.convert("L")).min() > 200
    assert part.getexif().get(0x0112, 1) == 1
    assert image_header(crop, "x")[:2] == (8, 16)


def test_identity_follows_the_file_the_place_and_the_box(region, tmp_path):
    other = FileRegion(path=region.path, offset=7, size=region.size)
    crops = [Crop(of=region, box=(0, 0, 2, 2)), Crop(of=region, box=(0, 0, 2, 3))]
    assert len({identify(item) for item in (region, other, *crops, region.path)}) == 5
    before = identify(crops[0])
    region.path.write_bytes(region.path.read_bytes() + b"x")
    assert identify(crops[0]) != before
    assert identify(b"bytes") == b"bytes"
    assert len({hash_encoded(item) for item in (region, *crops)}) == 3


def test_columns_of_regions_and_crops(tmp_path):
    files = [tmp_path / "a", tmp_path / "b"]
    regions = FileRegions(files, np.array([0, 1, 1]), np.array([0, 0, 5]), np.array([7, 5, 2]))
    assert regions[2] == FileRegion(path=files[1], offset=5, size=2)
    assert regions[-3:1] == [FileRegion(path=files[0], offset=0, size=7)]
    crops = Crops(regions, np.array([2, 0]), np.array([[0, 1, 2, 3], [4, 5, 6, 7]], np.int32))
    assert list(crops) == [
        Crop(of=regions[2], box=(0, 1, 2, 3)),
        Crop(of=regions[0], box=(4, 5, 6, 7)),
    ]
    assert crops[1:] == [crops[1]]
    with pytest.raises(IndexError):
        regions[3]
    with pytest.raises(IndexError):
        crops[2]


def make_crops(pictures=40, each=3):
    count = pictures * each
    wholes = [f"picture {number}".encode() for number in range(pictures)]
    numbers = np.repeat(np.arange(pictures), each)
    crops = Crops(wholes, numbers, np.tile(np.array([0, 0, 5, 5], np.int32), (count, 1)))
    return Split(
        labels=np.arange(count) % 2,
        names=[f"{i // each}#{i % each}" for i in range(count)],
        encoded=crops,
    )


def test_crops_of_one_picture_are_not_divided():
    split = make_crops()
    source = Source(
        location="x", class_names=("a", "b"), splits={"train": split}, present=("train",)
    )
    parts = cut_source(source, 0.2, 0.2, seed=0)
    pictures = {name: {n.partition("#")[0] for n in part.names} for name, part in parts.items()}
    assert sum(map(len, pictures.values())) == 40
    assert [len(parts[name]) for name in ("train", "val", "test")] == pytest.approx(
        [77, 19, 24], abs=4
    )


def test_groups_of_chosen_crops_and_of_other_images():
    split = make_crops(pictures=3, each=2).subset([5, 0, 4])
    assert split.encoded is not None
    groups = picture_groups(split.encoded)
    assert groups is not None
    assert groups.tolist() == [0, 1, 0]
    assert picture_groups([b"x", b"y"]) is None
    assert picture_groups([]) is None
