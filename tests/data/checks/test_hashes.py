import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance, ImageOps
from sklearn.datasets import load_sample_image

from resnetkit.data.checks.hashes import (
    CROPS,
    FLAT,
    mirrored,
    perceptual_hash,
    perceptual_hashes,
    pixel_hash,
)
from resnetkit.data.decode import UnreadableImage


def photograph(name="china"):
    return Image.fromarray(load_sample_image(f"{name}.jpg"))


def texture(seed, size=(60, 60)):
    noise = np.random.default_rng(seed).integers(0, 256, (*size, 3)).astype(np.uint8)
    return Image.fromarray(noise)


def encoded(image, kind="JPEG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return Image.open(buffer)


def bits_apart(first, second):
    return (perceptual_hash(first) ^ perceptual_hash(second)).bit_count()


def cropped(image, share):
    x, y = (round(length * share) for length in image.size)
    return image.crop((x, y, image.width - x, image.height - y))


CHANGES = {
    "recompressed": (lambda image: encoded(image, quality=20), 4),
    "smaller": (lambda image: image.resize((64, 43)), 6),
    "stretched": (lambda image: image.resize((300, 300)), 2),
    "darker": (lambda image: ImageEnhance.Brightness(image).enhance(0.6), 2),
    "less contrast": (lambda image: ImageEnhance.Contrast(image).enhance(0.5), 2),
    "grey": (lambda image: image.convert("L"), 0),
    "cropped": (lambda image: cropped(image, 0.02), 12),
}


@pytest.mark.parametrize("name", ["china", "flower"])
@pytest.mark.parametrize("change", CHANGES)
def test_one_picture_keeps_its_hash(name, change):
    alter, limit = CHANGES[change]
    assert bits_apart(photograph(name), alter(photograph(name))) <= limit


def test_different_pictures_are_far_apart():
    pieces = [photograph("china").crop((x, 0, x + 100, 100)) for x in range(0, 600, 100)]
    pictures = [photograph("china"), photograph("flower"), *pieces, *map(texture, range(8))]
    distances = [bits_apart(a, b) for i, a in enumerate(pictures) for b in pictures[:i]]
    assert min(distances) > 12


@pytest.mark.parametrize(
    "image",
    [
        Image.new("RGB", (40, 30), (250, 250, 250)),
        Image.new("L", (1, 1)),
        encoded(
            Image.fromarray(np.random.default_rng(0).integers(248, 256, (90, 90)).astype(np.uint8))
        ),
    ],
    ids=["one colour", "one pixel", "a noisy page"],
)
def test_nothing_to_see_is_flat(image):
    assert perceptual_hash(image) == FLAT


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10_000))
def test_mirrored_is_the_hash_of_the_mirrored_picture(seed):
    image = texture(seed, (32, 32)).resize((64, 64), Image.Resampling.BICUBIC)
    turned = mirrored(np.array([perceptual_hash(image)], np.uint64))[0]
    assert (int(turned) ^ perceptual_hash(ImageOps.mirror(image))).bit_count() <= 1


def test_mirrored_twice_is_the_same_and_flat_stays_flat():
    hashes = np.array([FLAT, 1, 2**63, 2**64 - 1], np.uint64)
    assert (mirrored(mirrored(hashes)) == hashes).all()
    assert mirrored(hashes)[0] == FLAT


def test_pixel_hash_is_of_what_is_seen():
    image = texture(1, (30, 20))
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = encoded(image.transpose(Image.Transpose.ROTATE_90), "PNG", exif=exif)
    assert len(pixel_hash(image)) == 16
    assert pixel_hash(encoded(image, "BMP")) == pixel_hash(encoded(image, "PNG"))
    assert pixel_hash(turned) == pixel_hash(image)
    grey = image.convert("L")
    assert pixel_hash(grey) == pixel_hash(grey.convert("RGB")) == pixel_hash(grey.convert("LA"))


def test_pixel_hash_knows_the_size_and_every_pixel():
    black = Image.new("RGB", (4, 6))
    assert pixel_hash(black) != pixel_hash(Image.new("RGB", (6, 4)))
    changed = black.copy()
    changed.putpixel((3, 5), (0, 0, 1))
    assert pixel_hash(changed) != pixel_hash(black)


def test_parts_are_hashed_as_if_they_were_cut_out():
    image = photograph().resize((320, 320))
    hashes = perceptual_hashes(image)
    assert hashes.shape == (1 + CROPS,)
    assert int(hashes[0]) == perceptual_hash(image)
    corners = [(x, y) for y in (0, 16, 32) for x in (0, 16, 32)]
    parts = [perceptual_hash(image.crop((x, y, x + 288, y + 288))) for x, y in corners]
    apart = [(int(a) ^ b).bit_count() for a, b in zip(hashes[1:], parts, strict=True)]
    assert max(apart) <= 3
    others = [(int(a) ^ b).bit_count() for a, b in zip(hashes[1:], parts[::-1], strict=True)]
    assert sum(others) > 10 * sum(apart)


def test_flat_parts_of_a_picture_are_flat():
    page = Image.new("L", (320, 320), 240)
    page.paste(0, (300, 300, 320, 320))
    hashes = perceptual_hashes(page)
    assert hashes[0] != FLAT
    assert hashes[1] == FLAT  # the part at the upper left
    assert hashes[9] != FLAT


def test_without_a_range_of_brightness_there_is_no_hash():
    with pytest.raises(UnreadableImage, match="mode F"):
        perceptual_hash(Image.new("F", (8, 8)))
