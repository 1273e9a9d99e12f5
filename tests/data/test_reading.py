"""Decoding at reduced scale: only for random parts, never below the network's size."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFilter

from resnetkit.data import reading
from resnetkit.data.contract import InputContract
from resnetkit.data.crops import crop_boxes, resize_part
from resnetkit.data.decode import decode_image
from resnetkit.data.reading import Item, Reading, read_encoded
from resnetkit.data.transforms import load_contract_image, picture_pixels

CONTRACT = InputContract(
    class_names=("a",), resize=36, crop=(32, 24), mean=(0.5,) * 3, std=(0.2,) * 3
)


def photo(height, width, orientation=1, kind="JPEG"):
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    picture = Image.fromarray(noise).filter(ImageFilter.GaussianBlur(4))
    exif = picture.getexif()
    exif[0x0112] = orientation
    stream = io.BytesIO()
    picture.save(stream, kind, exif=exif, **({"quality": 95} if kind == "JPEG" else {}))
    return stream.getvalue()


def read(encoded, number=5, epoch=2, scale=(0.3, 1.0)):
    rows = np.empty((1, *CONTRACT.crop, 3), np.uint8)
    reader = Reading(contract=CONTRACT, seed=1, crop_scale=scale)
    read_encoded(reader, epoch, [Item(number, "x", encoded)], rows)
    return rows[0]


@given(
    height=st.integers(1, 300),
    width=st.integers(1, 300),
    number=st.integers(0, 1000),
    orientation=st.sampled_from([1, 6]),
    low=st.floats(0.05, 1.0),
)
@settings(deadline=None, max_examples=50)
def test_a_reduced_part_is_never_smaller_than_the_network_needs(
    height, width, number, orientation, low
):
    seen = []

    def record(part, contract):
        seen.append(part.shape[:2])
        return resize_part(part, contract)

    whole = (width, height) if orientation == 6 else (height, width)
    draws = Reading(contract=CONTRACT, seed=1, crop_scale=None).draws(2, np.array([number]))
    needed = crop_boxes(draws, np.array([whole]), (low, 1.0))[0, 2:]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "resize_part", record)
        read(photo(height, width, orientation), number, scale=(low, 1.0))
    for side, full, target in zip(seen[0], needed, CONTRACT.crop, strict=True):
        assert side >= min(full - 1, target)


def test_large_jpegs_are_decoded_smaller_and_look_alike(monkeypatch):
    sizes = []
    original = reading.decode_pixels

    def record(*arguments):
        pixels = original(*arguments)
        sizes.append(pixels.shape[:2])
        return pixels

    monkeypatch.setattr(reading, "decode_pixels", record)
    small = read(photo(640, 480)).astype(int)
    exact = read(photo(640, 480, kind="PNG")).astype(int)
    assert sizes == [(80, 60), (640, 480)]
    assert np.abs(small - exact).mean() < 3
    turned = read(photo(480, 640, orientation=6))
    assert sizes[-1] == (80, 60)
    assert turned.shape == (32, 24, 3)


def test_judging_decodes_at_full_size_as_predicting_does():
    encoded = photo(640, 480)
    fitted = read(encoded, scale=None)
    assert np.array_equal(fitted, load_contract_image(encoded, CONTRACT).transpose(1, 2, 0))


def test_a_reduction_of_what_is_no_jpeg_or_too_small_changes_nothing():
    for encoded, size in ((photo(64, 64, kind="PNG"), 64), (photo(3, 3), 3)):
        assert decode_image(encoded, "x", lambda *_: 1.9).size == (size, size)
    assert decode_image(photo(64, 64), "x", lambda *_: 0.2).size == (64, 64)
    assert decode_image(photo(64, 64, kind="PNG"), "x", lambda *_: 8.0).size == (64, 64)
    assert decode_image(photo(64, 64), "x", lambda *_: 7.9).size == (16, 16)


def test_a_part_is_that_of_its_draws():
    encoded = photo(50, 40, kind="PNG")
    draws = Reading(contract=CONTRACT, seed=1, crop_scale=(0.3, 1.0)).draws(2, np.array([5]))
    top, left, height, width = crop_boxes(draws, np.array([[50, 40]]), (0.3, 1.0))[0]
    whole = picture_pixels(decode_image(encoded, "x"))
    expected = resize_part(whole[top : top + height, left : left + width], CONTRACT)
    assert np.array_equal(read(encoded), expected)
    assert not np.array_equal(read(encoded, epoch=3), expected)
    assert not np.array_equal(read(encoded, number=6), expected)
