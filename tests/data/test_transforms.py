"""Geometry against torchvision, pass-through of fitting images, decoding of whole splits."""

import io

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms import v2

from resnetkit.data import transforms
from resnetkit.data.contract import InputContract
from resnetkit.data.source_types import Split
from resnetkit.data.transforms import (
    UnreadableImage,
    decode_split,
    find_unreadable,
    fit_image,
    image_sizes,
    load_contract_image,
)
from resnetkit.types import UserError


def make_contract(resize=20, crop=(16, 16), color_mode="RGB", interpolation="bilinear"):
    channels = 3 if color_mode == "RGB" else 1
    return InputContract(
        class_names=("a", "b"),
        color_mode=color_mode,
        resize=resize,
        crop=crop,
        interpolation=interpolation,
        mean=(0,) * channels,
        std=(1,) * channels,
    )


def noise(height, width, channels=3, seed=0):
    shape = (height, width, channels) if channels > 1 else (height, width)
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def encode(pixels, kind="PNG"):
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind)
    return stream.getvalue()


@settings(deadline=None, max_examples=50)
@given(
    height=st.integers(1, 70),
    width=st.integers(1, 70),
    crop=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    extra=st.integers(0, 9),
    interpolation=st.sampled_from(["nearest", "bilinear", "bicubic"]),
)
def test_resize_and_centre_crop_are_those_of_torchvision(height, width, crop, extra, interpolation):
    contract = make_contract(max(crop) + extra, crop, interpolation=interpolation)
    image = Image.fromarray(noise(height, width))
    mode = v2.InterpolationMode(interpolation)
    theirs = v2.Compose([v2.Resize(contract.resize, mode), v2.CenterCrop(crop)])(image)
    ours = fit_image(image, contract)
    assert ours.shape == (3, *crop)
    assert ours.flags.c_contiguous
    assert np.array_equal(ours, np.asarray(theirs).transpose(2, 0, 1))


@pytest.mark.parametrize("color_mode", ["RGB", "L"])
def test_an_image_that_fits_keeps_every_bit(color_mode):
    pixels = noise(16, 16, 3 if color_mode == "RGB" else 1)
    contract = make_contract(16, (16, 16), color_mode)
    channels_first = pixels.transpose(2, 0, 1) if pixels.ndim == 3 else pixels[None]
    for given_as in (pixels, Image.fromarray(pixels), encode(pixels)):
        assert np.array_equal(load_contract_image(given_as, contract), channels_first)


def test_file_bytes_picture_and_array_give_the_same(tmp_path):
    pixels = noise(50, 31)
    file = tmp_path / "a b'ö.png"
    file.write_bytes(encode(pixels))
    contract = make_contract()
    results = [
        load_contract_image(image, contract, "x")
        for image in (file, file.read_bytes(), Image.fromarray(pixels), pixels)
    ]
    assert all(np.array_equal(result, results[0]) for result in results)
    assert results[0].dtype == np.uint8


def test_array_kinds_and_channels():
    grey = noise(20, 20, 1)
    contract = make_contract()
    expected = load_contract_image(grey, contract)
    assert np.array_equal(load_contract_image(grey[:, :, None], contract), expected)
    assert np.array_equal(expected[0], expected[2])
    transparent = np.zeros((20, 20, 4), np.uint8)
    assert load_contract_image(transparent, contract).min() == 255


@pytest.mark.parametrize(
    ("array", "got"),
    [
        (np.zeros((4, 4, 3), np.float32), r"float32 \[4, 4, 3\]"),
        (np.zeros((3, 4, 5), np.uint8), r"uint8 \[3, 4, 5\]"),
        (np.zeros((2, 4, 4, 3), np.uint8), r"uint8 \[2, 4, 4, 3\]"),
        (np.zeros((0, 4, 3), np.uint8), "no pixels"),
    ],
)
def test_other_arrays_are_refused(array, got):
    with pytest.raises(UserError, match=f"'x'.*{got}"):
        load_contract_image(array, make_contract(), "x")


def test_a_picture_opened_but_cut_short_is_unreadable():
    picture = Image.open(io.BytesIO(encode(noise(99, 99))[:-500]))
    with pytest.raises(UnreadableImage, match="Cannot read image 'x'"):
        load_contract_image(picture, make_contract(), "x")


def test_a_hair_thin_image_is_refused_instead_of_filling_the_memory():
    with pytest.raises(UnreadableImage, match="'x': 1 x 300000 pixels are too elongated"):
        load_contract_image(np.zeros((300000, 1), np.uint8), make_contract(224, (224, 224)), "x")


def make_split(count=150, bad=()):
    encoded = [encode(noise(24, 20 + i % 3, seed=i), "JPEG") for i in range(count)]
    for index in bad:
        encoded[index] = encoded[index][:300]
    return Split(
        labels=np.zeros(count, np.int64),
        names=[f"c/{i}.jpg" for i in range(count)],
        encoded=encoded,
    )


@pytest.mark.parametrize("threads", [1, 3, None])
def test_decode_split_decodes_all_and_reports_the_unreadable_in_order(threads):
    split, contract, told = make_split(bad=(140, 7)), make_contract(), []
    images, unreadable = decode_split(split, contract, threads=threads, progress=told.append)
    assert images.shape == (150, 3, 16, 16)
    assert [index for index, _ in unreadable] == [7, 140]
    assert "c/7.jpg" in unreadable[0][1]
    assert not images[7].any()
    assert split.encoded is not None
    for index in (0, 6, 8, 149):
        assert np.array_equal(images[index], load_contract_image(split.encoded[index], contract))
    assert told == [64, 128, 150]
    assert find_unreadable(split, threads=threads) == unreadable


def test_decode_split_of_chosen_indices():
    split, contract = make_split(10, bad=(4,)), make_contract()
    images, unreadable = decode_split(split, contract, indices=[9, 4, 0])
    whole, _ = decode_split(split, contract)
    assert np.array_equal(images, whole[[9, 4, 0]])
    assert [index for index, _ in unreadable] == [4]


def test_decoded_images_that_fit_are_not_copied_and_others_are_fitted():
    images = np.stack([noise(16, 16, seed=i).transpose(2, 0, 1) for i in range(3)])
    split = Split(labels=np.zeros(3, np.int64), names=list("abc"), images=images)
    decoded, unreadable = decode_split(split, make_contract(16, (16, 16)))
    assert decoded is images
    assert unreadable == find_unreadable(split) == []
    grey, _ = decode_split(split, make_contract(8, (8, 8), "L"))
    expected = load_contract_image(images[1].transpose(1, 2, 0), make_contract(8, (8, 8), "L"))
    assert np.array_equal(grey[1], expected)
    enlarged, _ = decode_split(split, make_contract(20, (16, 16)))
    assert not np.array_equal(enlarged, images)
    assert image_sizes(split) == [(16, 16, "RGB")] * 3
    assert torch.from_numpy(decoded).shape == (3, 3, 16, 16)


def test_sizes_come_from_the_headers_and_leave_the_unreadable_out():
    split = make_split(9)
    assert isinstance(split.encoded, list)
    split.encoded[0] = b"no image"
    split.encoded[2] = split.encoded[2][:-100]  # the header is whole
    assert image_sizes(split) == [(24, 20 + i % 3, "RGB") for i in range(1, 9)]
    assert image_sizes(split, 3) == [(24, 21, "RGB"), (24, 22, "RGB")]


def test_another_error_is_not_swallowed_and_stops_the_rest(monkeypatch):
    seen = []

    def fail(image, contract, name):
        seen.append(name)
        raise RuntimeError("ours")

    monkeypatch.setattr(transforms, "load_contract_image", fail)
    with pytest.raises(RuntimeError, match="ours"):
        decode_split(make_split(1000 // 8), make_contract(), threads=1)
    assert len(seen) <= 2
