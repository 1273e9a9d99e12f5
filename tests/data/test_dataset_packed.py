"""Training data out of a pack: when it is taken, what it must not change, and when it is missed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from resnetkit.data.dataset import TrainingData, load_evaluation_split, load_training_data
from resnetkit.data.loader import Loader, LoaderConfig
from resnetkit.data.pack import pack_source
from resnetkit.data.past import DealtSource, Past
from resnetkit.data.settings import DataConfig
from resnetkit.types import UserError

SIZE, RESIZE = 14, 16


def nothing(*_: object) -> None:
    pass


@pytest.fixture
def source(tmp_path, monkeypatch) -> str:
    monkeypatch.setenv("RESNETKIT_CACHE", str(tmp_path / "cache"))
    generator = np.random.default_rng(0)
    for number in range(40):
        folder = tmp_path / "source" / "cd"[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        noise = generator.integers(0, 256, (20 + number % 7, 30, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / f"{number}.png")
    return str(tmp_path / "source")


def load(source: str, **settings: object) -> TrainingData:
    config = DataConfig(source=source, image_size=SIZE, resize=RESIZE, **settings)
    return load_training_data(config, SIZE, nothing)


def test_an_exact_pack_changes_nothing_but_where_the_pixels_come_from(source):
    files = load(source)
    assert (files.config.storage, files.pack) == ("files", "")
    folder = pack_source(source, side=RESIZE).folder
    packed = load(source)
    assert packed.config.storage == "packed"
    assert str(folder) in packed.pack
    assert packed.contract == files.contract
    assert packed.train.packed is not None
    assert packed.validation is not None
    assert packed.validation.packed is not None
    assert packed.digest != files.digest  # random parts are cut from other pixels
    judge = LoaderConfig(batch_size=8, workers=0, seed=0, shuffle=False)
    pairs = ((files.train, packed.train), (files.validation, packed.validation))
    for one, other in pairs:
        images = [
            torch.cat([batch.images for batch in Loader(split, files.contract, judge).batches(0)])
            for split in (one, other)
        ]
        assert torch.equal(*images)


def test_evaluation_takes_an_exact_pack_and_no_other(source):
    data = load(source)
    for side, taken in ((RESIZE + 4, False), (RESIZE, True)):
        pack_source(source, side=side)
        dealt = DealtSource(config=data.config, cut=data.cut)
        split = load_evaluation_split([dealt], "val", Past(contract=data.contract), nothing)
        assert (split.packed is not None) == taken


def test_a_pack_can_be_ignored_asked_for_and_missed(source):
    with pytest.raises(UserError, match=r"needs a pack of these images, but there is none\. Make"):
        load(source, storage="packed")
    with pytest.raises(UserError, match="nowhere: not a whole pack"):
        load(source, pack="nowhere")
    folder = pack_source(source, side=RESIZE).folder
    assert load(source, storage="files").train.packed is None
    assert load(source, pack=str(folder)).config.storage == "packed"
    assert load(source, storage="packed").config.storage == "packed"
    with pytest.raises(UserError, match=r"data\.pack has no effect with data\.storage files"):
        DataConfig(storage="files", pack="x")
    with pytest.raises(UserError, match=r"storage packed has no effect for digits"):
        load_training_data(DataConfig(source="digits", storage="packed"), 8, nothing)


def test_a_stale_pack_is_not_taken_and_the_user_is_told(source):
    pack_source(source, side=RESIZE)
    Image.new("RGB", (30, 30)).save(Path(source, "c", "new.png"))
    data = load(source)
    assert data.config.storage == "files"
    assert data.pack.startswith("no pack is used (")
    with pytest.raises(UserError, match=r"but no pack is used .*it lacks 1 image"):
        load(source, storage="packed")


def test_unreadable_images_of_a_pack_stop_training_or_are_left_out(source):
    Path(source, "c", "0.png").write_bytes(b"nothing")
    pack_source(source, side=RESIZE)
    with pytest.raises(UserError, match=r"1 unreadable image\(s\):\n.*c/0\.png"):
        load(source)
    data = load(source, skip_unreadable=True)
    assert data.config.storage == "packed"
    assert len(data.skipped) == 1
    assert data.validation is not None
    assert len(data.train) + len(data.validation) + (data.test_images or 0) == 39


def test_what_the_pack_was_made_with_belongs_to_the_data(source):
    digests = set()
    for side in (RESIZE + 4, RESIZE + 2, RESIZE):
        pack_source(source, side=side)
        digests.add(load(source).digest)
    assert len(digests) == 3
    again = load(source)
    assert again.digest in digests
    assert replace(again.config, pack=None) == again.config
