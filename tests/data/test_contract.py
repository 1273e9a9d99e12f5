"""Input contract: round trip, hash, refusals, normalisation."""

import hashlib
import json
from dataclasses import asdict, replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from resnetkit.data.contract import (
    InputContract,
    check_class_names,
    check_task,
    from_preprocessor_config,
    normalisation_tensors,
    normalise,
    to_preprocessor_config,
)
from resnetkit.types import UserError

CONTRACT = InputContract(
    class_names=("cat", "dog"),
    resize=40,
    crop=(32, 24),
    interpolation="bicubic",
    mean=(0.1, 0.2, 0.3),
    std=(0.5, 0.6, 0.7),
)

fractions = st.floats(0.001, 1, allow_nan=False)


@st.composite
def contracts(draw):
    color_mode = draw(st.sampled_from(["RGB", "L"]))
    channels = 3 if color_mode == "RGB" else 1
    crop = draw(st.tuples(st.integers(1, 6), st.integers(1, 6)))
    entries = draw(st.sampled_from([channels, channels * crop[0] * crop[1]]))
    return InputContract(
        class_names=draw(st.lists(st.text(), min_size=1, max_size=5, unique=True)),
        task=draw(st.sampled_from(["single-label", "multi-label"])),
        color_mode=color_mode,
        exif_transpose=draw(st.booleans()),
        resize=max(crop) + draw(st.integers(0, 9)),
        interpolation=draw(st.sampled_from(["nearest", "bilinear", "bicubic"])),
        crop=crop,
        scale=draw(fractions),
        mean=draw(st.lists(fractions, min_size=entries, max_size=entries)),
        std=draw(st.lists(fractions, min_size=channels, max_size=channels)),
    )


@settings(deadline=None, max_examples=50)
@given(contract=contracts())
def test_config_round_trip_through_json_is_exact(contract):
    config = json.loads(json.dumps(to_preprocessor_config(contract)))
    read = from_preprocessor_config(config)
    assert read == contract
    assert read.hash == contract.hash


def test_config_has_the_field_names_of_hugging_face():
    config = to_preprocessor_config(CONTRACT)
    assert config["size"] == {"shortest_edge": 40}
    assert config["crop_size"] == {"height": 32, "width": 24}
    assert config["resample"] == 3
    assert config["image_mean"] == [0.1, 0.2, 0.3]
    assert config["do_convert_rgb"] is True
    assert config["rescale_factor"] == 1 / 255


@pytest.mark.parametrize(
    "change",
    [
        {"class_names": ("dog", "cat")},
        {"exif_transpose": False},
        {"resize": 41},
        {"interpolation": "bilinear"},
        {"crop": (24, 32)},
        {"scale": 1 / 256},
        {"mean": (0.1, 0.2, 0.30000000000000004)},
        {"std": (0.5, 0.6, 0.8)},
        {"color_mode": "L", "mean": (0.1,), "std": (0.5,)},
    ],
)
def test_hash_depends_on_every_field(change):
    assert replace(CONTRACT, **change).hash != CONTRACT.hash


def test_hash_is_pinned():
    # It is stored in packages: a change here makes every existing package unreadable.
    assert CONTRACT.hash == "7eb8cb675191995ffcdda58808eec7f0cd798382d55042db11ae8db54eb51fa8"


def test_equal_contracts_have_equal_hashes_whatever_the_number_types():
    whole = replace(CONTRACT, mean=(0, 0, 0), std=(1, 1, 1))
    assert replace(CONTRACT, mean=[0.0, 0.0, 0.0], std=[1.0, 1.0, 1.0]).hash == whole.hash


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("resnetkit", "class_names"), ["dog", "cat"]),
        (("resnetkit", "exif_transpose"), False),
        (("size", "shortest_edge"), 41),
        (("resample",), 2),
        (("crop_size", "width"), 23),
        (("rescale_factor",), 0.0039),
        (("image_mean",), [0.1, 0.2, 0.31]),
        (("image_std",), [0.5, 0.6, 0.71]),
        (("resnetkit", "hash"), "0" * 64),
    ],
)
def test_a_changed_field_is_refused(path, value):
    config = to_preprocessor_config(CONTRACT)
    target = config
    for key in path[:-1]:
        target = target[key]
    target[path[-1]] = value
    with pytest.raises(UserError, match=r"changed after it was written.*hash.*original package"):
        from_preprocessor_config(config)


def test_a_switched_off_step_is_refused():
    config = to_preprocessor_config(CONTRACT) | {"do_normalize": False}
    with pytest.raises(UserError, match=r"do_normalize = False.*only knows True"):
        from_preprocessor_config(config)


@pytest.mark.parametrize("key", ["resnetkit", "size", "crop_size", "image_mean", "resample"])
def test_a_missing_field_is_named(key):
    config = to_preprocessor_config(CONTRACT)
    del config[key]
    with pytest.raises(UserError, match=f"not an input contract.*{key}"):
        from_preprocessor_config(config)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("image_mean", "abc"),
        ("size", 3),
        ("crop_size", {"height": "a", "width": 2}),
        ("resample", 9),
    ],
)
def test_a_damaged_field_is_refused(key, value):
    with pytest.raises(UserError, match="not an input contract"):
        from_preprocessor_config(to_preprocessor_config(CONTRACT) | {key: value})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"resize": 31}, r"resize .*31 pixels.* at least .*\(32, 24\).*set resize to 32"),
        ({"crop": (0, 4)}, "crop must be"),
        ({"color_mode": "CMYK"}, "color_mode must be one of"),
        ({"interpolation": "lanczos"}, "interpolation must be one of"),
        ({"class_names": ()}, "at least one class"),
        ({"class_names": ("a", "b", "a")}, r"\['a'\] occur twice"),
        ({"mean": (0.0, 0.0)}, "mean must have 3 entries .*2304.*got 2"),
        ({"std": (1.0,)}, "std must have 3 entries; got 1"),
        ({"std": (1.0, 0.0, 1.0)}, "above 0"),
        ({"mean": (float("nan"), 0, 0)}, "finite"),
    ],
)
def test_contradicting_fields_are_refused(change, message):
    with pytest.raises(UserError, match=message):
        replace(CONTRACT, **change)


def test_normalise_per_channel():
    images = torch.randint(0, 256, (2, 3, 5, 4), dtype=torch.uint8)
    mean, std = torch.tensor(CONTRACT.mean), torch.tensor(CONTRACT.std)
    expected = (images.double() / 255 - mean[:, None, None]) / std[:, None, None]
    result = normalise(images, CONTRACT)
    assert result.dtype == torch.float32
    torch.testing.assert_close(result.double(), expected, atol=1e-6, rtol=1e-6)


def test_normalise_per_pixel_subtracts_in_channel_height_width_order():
    mean = torch.arange(3 * 2 * 4).float() / 100
    contract = InputContract(
        class_names=("a",), resize=4, crop=(2, 4), mean=tuple(mean.tolist()), std=(1, 1, 1)
    )
    images = torch.zeros(2, 3, 2, 4, dtype=torch.uint8).to(memory_format=torch.channels_last)
    result = normalise(images, contract)
    torch.testing.assert_close(result[1], -mean.reshape(3, 2, 4))
    assert result.is_contiguous(memory_format=torch.channels_last)


def test_normalise_with_statistics_made_before_is_the_same_and_keeps_float_input():
    images = torch.full((1, 3, 2, 2), 7.0)
    result = normalise(images, CONTRACT, normalisation_tensors(CONTRACT, "cpu"))
    assert torch.equal(result, normalise(images, CONTRACT))
    assert torch.equal(images, torch.full((1, 3, 2, 2), 7.0))


def test_other_classes_are_refused_by_name():
    check_class_names(CONTRACT, ["cat", "dog"], "data")
    with pytest.raises(UserError, match=r"classes of data.*lacks: dog.*does not know: bird"):
        check_class_names(CONTRACT, ("cat", "bird"), "data")
    with pytest.raises(UserError, match="order is not"):
        check_class_names(CONTRACT, ("dog", "cat"), "data")


def test_contracts_of_one_class_an_image_are_as_before_there_were_tasks():
    fields = {key: value for key, value in asdict(CONTRACT).items() if key != "task"}
    text = json.dumps(fields, sort_keys=True, separators=(",", ":"))
    assert CONTRACT.hash == hashlib.sha256(text.encode()).hexdigest()
    assert "task" not in to_preprocessor_config(CONTRACT)["resnetkit"]
    several = replace(CONTRACT, task="multi-label")
    assert several.hash != CONTRACT.hash
    config = to_preprocessor_config(several)
    del config["resnetkit"]["task"]
    with pytest.raises(UserError, match="changed after it was written"):
        from_preprocessor_config(config)


def test_a_task_nobody_knows_or_another_one_is_refused():
    with pytest.raises(UserError, match=r"task must be one of .* got 'regression'"):
        replace(CONTRACT, task="regression")
    check_task(CONTRACT, "single-label", "pictures")
    with pytest.raises(UserError, match=r"labels of pictures .* for one class an image .* several"):
        check_task(CONTRACT, "multi-label", "pictures")
