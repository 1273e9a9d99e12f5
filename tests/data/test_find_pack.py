"""Which pack training takes, and why not another."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from resnetkit.data.contract import InputContract
from resnetkit.data.find_pack import attach_pack, choose_pack
from resnetkit.data.pack import pack_source
from resnetkit.data.packed import INDEX, SETTINGS, load_pack
from resnetkit.data.source_types import Split
from resnetkit.data.sources import load_source
from resnetkit.runtime import DamagedFolder

COUNT = 20
CONTRACT = InputContract(
    class_names=("c", "d"), resize=12, crop=(10, 10), mean=(0,) * 3, std=(1,) * 3
)


@pytest.fixture
def source(tmp_path, monkeypatch) -> str:
    monkeypatch.setenv("RESNETKIT_CACHE", str(tmp_path / "cache"))
    generator = np.random.default_rng(0)
    for number in range(COUNT):
        folder = tmp_path / "source" / "cd"[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        noise = generator.integers(0, 256, (20 + number, 30, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / f"{number}.png")
    return str(tmp_path / "source")


def splits_of(source: str) -> dict[str, Split]:
    whole = load_source(source, ("train",)).splits["train"]
    return {"train": whole.subset(range(0, COUNT, 2)), "val": whole.subset(range(1, COUNT, 2))}


def test_without_a_pack_nothing_is_said(source):
    choice = choose_pack(splits_of(source), source, CONTRACT)
    assert (choice.pack, choice.note) == (None, "")
    assert choice.splits["train"].packed is None


def test_an_exact_pack_serves_training_and_judging(source):
    report = pack_source(source, side=12)
    choice = choose_pack(splits_of(source), source, CONTRACT)
    assert choice.pack is not None
    assert choice.note == (
        f"images come decoded from the pack {report.folder} (raw, shorter side 12)"
    )
    for split in choice.splits.values():
        assert split.packed is not None
        assert split.subset([2, 0]).packed is not None
        for index, content in enumerate(split.encoded):
            pixels = np.asarray(Image.open(content))
            part = split.packed[index]
            assert min(part.shape[:2]) == 12
            assert part.shape[1] / part.shape[0] == pytest.approx(
                pixels.shape[1] / pixels.shape[0], abs=0.1
            )


@pytest.mark.parametrize(("side", "storage"), [(16, "raw"), (12, "jpeg")])
def test_judging_takes_only_exact_pixels(source, side, storage):
    pack_source(source, side=side, storage=storage)
    choice = choose_pack(splits_of(source), source, CONTRACT)
    assert choice.splits["train"].packed is not None
    assert choice.splits["val"].packed is None
    assert choice.note.endswith("judging still decodes the files, whose pixels differ")


def test_raw_comes_before_jpeg_and_the_smallest_that_will_do_first(source):
    for side, storage in ((12, "jpeg"), (20, "raw"), (16, "raw"), (8, "raw")):
        pack_source(source, side=side, storage=storage)
    choice = choose_pack(splits_of(source), source, CONTRACT)
    assert choice.pack is not None
    assert (choice.pack.settings.side, choice.pack.settings.storage) == (16, "raw")


@pytest.mark.parametrize(
    ("settings", "contract", "reason"),
    [
        ({"side": 8}, {}, "its shorter side is 8 pixels, needed are 12"),
        ({"side": 12, "color_mode": "L"}, {}, "its color_mode is L, needed is RGB"),
        (
            {"side": 12},
            {"interpolation": "bicubic"},
            "its interpolation is bilinear, needed is bicubic",
        ),
        ({"side": 12}, {"exif_transpose": False}, "its exif_transpose is True, needed is False"),
    ],
)
def test_another_kind_of_pack_is_not_used(source, settings, contract, reason):
    report = pack_source(source, **settings)
    choice = choose_pack(splits_of(source), source, replace(CONTRACT, **contract))
    assert choice.pack is None
    assert choice.splits["train"].packed is None
    assert choice.note.startswith(f"no pack is used ({report.folder}: {reason}")


def test_a_changed_or_new_image_makes_the_pack_unfit_and_a_touched_one_does_not(source):
    report = pack_source(source, side=12)
    pack = load_pack(report.folder)
    Path(source, "c", "0.png").touch()
    attached = attach_pack(splits_of(source)["train"], pack)
    assert isinstance(attached, Split)
    Image.new("RGB", (30, 30)).save(Path(source, "c", "0.png"))
    choice = choose_pack(splits_of(source), source, CONTRACT)
    assert choice.pack is None
    assert "1 image(s) such as 'c/0.png' have changed; make it again" in choice.note
    pack_source(source, side=12)
    assert choose_pack(splits_of(source), source, CONTRACT).pack is not None
    Image.new("RGB", (30, 30)).save(Path(source, "c", "new.png"))
    whole = {"train": load_source(source, ("train",)).splits["train"]}
    assert "it lacks 1 image(s) such as 'c/new.png'" in choose_pack(whole, source, CONTRACT).note


def test_a_pack_in_a_place_of_ones_own(source, tmp_path):
    pack_source(source, tmp_path / "mine", side=12)
    assert choose_pack(splits_of(source), source, CONTRACT).note == ""
    choice = choose_pack(splits_of(source), source, CONTRACT, tmp_path / "mine")
    assert choice.pack is not None
    missing = choose_pack(splits_of(source), source, CONTRACT, tmp_path / "nowhere")
    assert "nowhere: not a whole pack" in missing.note


@pytest.mark.parametrize("file", ["manifest.json", INDEX, SETTINGS, "images.bin"])
def test_a_damaged_pack_is_not_used(source, file):
    report = pack_source(source, side=12)
    path = report.folder / file
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DamagedFolder, match="make it again"):
        load_pack(report.folder)
    assert choose_pack(splits_of(source), source, CONTRACT).pack is None
    renewed = pack_source(source, side=12)
    assert renewed.decoded == COUNT
    assert choose_pack(splits_of(source), source, CONTRACT).pack is not None


def test_a_pack_of_a_later_format_is_not_read(source):
    report = pack_source(source, side=12)
    path = report.folder / SETTINGS
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 2}))
    with pytest.raises(DamagedFolder, match="format 2, needed is 1"):
        load_pack(report.folder)


def test_unreadable_images_are_known_without_decoding(source):
    Path(source, "c", "0.png").write_bytes(b"nothing")
    pack_source(source, side=12)
    split = choose_pack(splits_of(source), source, CONTRACT).splits["train"]
    assert split.packed is not None
    assert [index for index, _ in split.packed.problems()] == [0]
    assert "c/0.png" in split.packed.problems()[0][1]


def test_images_in_memory_are_no_files_to_look_up(source):
    pack = load_pack(pack_source(source, side=12).folder)
    decoded = Split(
        labels=np.zeros(1, np.int64), names=["x"], images=np.zeros((1, 3, 4, 4), np.uint8)
    )
    assert attach_pack(decoded, pack) == "its images are decoded already"
