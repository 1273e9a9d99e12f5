"""The stages that look after the data: a preview shows what a training gets, to the pixel."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from resnetkit.build import build_loader, build_preparation
from resnetkit.data.preview import to_pixels
from resnetkit.data.transforms import load_contract_image
from resnetkit.pipeline_data import expose, preview, read_training_data
from resnetkit.types import UserError

pytestmark = pytest.mark.usefixtures("one_thread")

STORAGE = pytest.mark.parametrize("storage", ["memory", "files"])


@pytest.fixture
def of(tiny):
    """of(source, {setting: value}): an experiment with augmentation, and its data."""

    def build(source, changes):
        settings = {"augment.horizontal_flip": True, "augment.pad_crop": 2, "data.workers": None}
        experiment = tiny(source, settings | changes)
        return experiment, read_training_data(experiment, None)

    return build


@STORAGE
def test_pictures_are_the_batches_of_training(pictures, of, storage):
    changes = {"data.storage": storage, "augment.resized_crop_scale": (0.3, 1.0)}
    experiment, data = of(pictures, changes)
    shown = expose(experiment, data, 2, 12)
    batches = build_loader(experiment, data.train, data.contract, shuffle=True)
    prepare = build_preparation(experiment, data.contract, batches)
    expected = torch.cat([prepare(batch, 1)[0] for batch in batches.batches(1)])[:12]
    for one, pixels in zip(shown, to_pixels(expected, data.contract), strict=True):
        np.testing.assert_array_equal(one.seen, pixels)


@STORAGE
def test_below_each_is_the_same_image_as_evaluation_sees_it(pictures, of, storage):
    experiment, data = of(pictures, {"data.storage": storage})
    for one in expose(experiment, data, 1, 10):
        path = pictures / one.name
        np.testing.assert_array_equal(one.evaluated, load_contract_image(path, data.contract))
        assert one.targets == ((path.parent.name, 1.0),)
        assert one.label == ""


@pytest.mark.parametrize("setting", ["augment.mixup_alpha", "augment.cutmix_alpha"])
def test_mixed_targets_are_shown_with_their_shares_and_the_own_class(pictures, of, setting):
    experiment, data = of(pictures, {setting: 1.0})
    shown = expose(experiment, data, 1, 16)
    assert any(len(one.targets) == 2 for one in shown)
    for one in shown:
        assert sum(share for _, share in one.targets) == pytest.approx(1, abs=0.02)
        assert one.label == one.name.split("/")[0]
        assert one.label in dict(one.targets) or one.targets[0][1] > 0.99


def test_early_epochs_are_shown_small(pictures, of, tmp_path):
    changes = {"augment.early_size": 8, "augment.early_share": 0.5, "training.epochs": 4}
    experiment, _ = of(pictures, changes)
    sizes = [preview(experiment, tmp_path / f"{n}.png", epoch=n).seen_size for n in (2, 3)]
    assert sizes == [(8, 8), (12, 12)]


def test_the_same_call_writes_the_same_bytes_and_another_epoch_others(pictures, of, tmp_path):
    experiment, _ = of(pictures, {})
    for name, epoch in (("a", 1), ("b", 1), ("c", 2)):
        preview(experiment, tmp_path / f"{name}.png", epoch=epoch)
    a, b, c = ((tmp_path / f"{name}.png").read_bytes() for name in "abc")
    assert a == b != c
    with Image.open(tmp_path / "a.png") as sheet:
        assert sheet.format == "PNG"


def test_an_epoch_ends_where_the_images_end(pictures, of):
    experiment, data = of(pictures, {})
    assert len(expose(experiment, data, 1, 200)) == len(data.train) // 8 * 8


def test_a_preview_says_what_is_on_it(pictures, of, tmp_path):
    experiment, data = of(pictures, {})
    result = preview(experiment, tmp_path / "a.png", images=3)
    assert result.contract_hash == data.contract.hash
    assert [name for name, _ in result.images] == [
        one.name for one in expose(experiment, data, 1, 3)
    ]


@pytest.mark.parametrize(
    ("out", "arguments", "message"),
    [
        ("a.jpg", {}, "needed a file name that ends in .png"),
        ("pictures/red/a.png", {}, "lies in the source"),
        ("a.png", {"images": 0}, "--images must be between 1 and 256, got 0"),
        ("a.png", {"epoch": 6}, "--epoch must be between 1 and 5, the last of this run; got 6"),
        ("a.png", {"epoch": 0}, "--epoch must be between 1 and 5"),
    ],
)
def test_what_cannot_be_drawn_is_refused(draw_pictures, of, tmp_path, out, arguments, message):
    folder = draw_pictures(tmp_path / "pictures")
    experiment, _ = of(folder, {})
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError, match=message.replace(".", r"\.")):
        preview(experiment, tmp_path / out, **arguments)
    assert sorted(tmp_path.rglob("*")) == before
