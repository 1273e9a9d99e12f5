"""Packing: exact pixels, renewal, kills, a full disk, and what is refused."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from resnetkit.data import pack as packing
from resnetkit.data import pack_building
from resnetkit.data.contract import InputContract
from resnetkit.data.pack import CHUNK, PackReport, pack_source
from resnetkit.data.packed import IMAGES, Pack, load_pack
from resnetkit.data.sources import load_source
from resnetkit.data.transforms import fit_image, load_contract_image, to_picture
from resnetkit.runtime import DamagedFolder
from resnetkit.types import UserError

COUNT = CHUNK + 30  # more than one chunk
SIDE = 12


def write_picture(path: Path, seed: int, size: tuple[int, int] | None = None) -> None:
    generator = np.random.default_rng(seed)
    height, width = size or generator.integers(6, 40, 2)
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = generator.integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path, quality=95)


@pytest.fixture
def source(tmp_path) -> Path:
    root = tmp_path / "a source 'ö'"
    for number in range(COUNT):
        write_picture(root / "cd"[number % 2] / f"{number:03d}.jpg", number)
    return root


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("RESNETKIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def tree(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def pixels_by_name(report: PackReport, source: Path) -> dict[str, np.ndarray]:
    pack = load_pack(report.folder)
    split = load_source(str(source), ("train",)).splits["train"]
    positions = pack.index.positions(packing.text_keys(split.names))
    return {
        name: pack.pixels(position).copy()
        for name, position in zip(split.names, positions.tolist(), strict=True)
        if position not in pack.index.problems
    }


def same_pixels(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> bool:
    return one.keys() == other.keys() and all(
        np.array_equal(one[name], other[name]) for name in one
    )


def test_a_raw_pack_holds_what_judging_sees_and_the_source_is_untouched(source, cache):
    before = tree(source)
    told: list[tuple[str, int, int]] = []
    report = pack_source(str(source), side=SIDE, progress=lambda *what: told.append(what))
    assert tree(source) == before
    assert (report.images, report.decoded, report.reused) == (COUNT, COUNT, 0)
    assert report.folder.is_relative_to(cache / "packs")
    assert told[-1] == ("packing", COUNT, COUNT)
    contract = InputContract(
        class_names=("c", "d"), resize=SIDE, crop=(SIDE, SIDE - 1), mean=(0,) * 3, std=(1,) * 3
    )
    for name, pixels in pixels_by_name(report, source).items():
        assert min(pixels.shape[:2]) <= SIDE
        expected = load_contract_image(source / name, contract)
        assert np.array_equal(fit_image(to_picture(pixels), contract), expected)
    assert not list(report.folder.parent.glob(".*"))


def test_a_jpeg_pack_is_smaller_and_close(source):
    raw = pack_source(str(source), side=SIDE)
    jpeg = pack_source(str(source), side=SIDE, storage="jpeg")
    assert jpeg.folder != raw.folder
    exact, close = pixels_by_name(raw, source), pixels_by_name(jpeg, source)
    assert exact.keys() == close.keys()
    errors = [np.abs(exact[name].astype(int) - close[name]).mean() for name in exact]
    assert 0 < np.mean(errors) < 40  # noise is the hardest thing to compress


def test_grey_and_colour_are_decided_as_training_does(source, tmp_path):
    grey = tmp_path / "grey"
    for path in source.rglob("*.jpg"):
        target = grey / path.relative_to(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.open(path).convert("L").save(target)
    report = pack_source(str(grey), side=SIDE)
    assert report.settings.color_mode == "L"
    assert next(iter(pixels_by_name(report, grey).values())).shape[2] == 1
    assert pack_source(str(grey), side=SIDE, color_mode="RGB").settings.color_mode == "RGB"


def test_only_what_changed_is_decoded_again(source, monkeypatch):
    first = pack_source(str(source), side=SIDE)
    assert pack_source(str(source), side=SIDE).up_to_date
    write_picture(source / "c" / "000.jpg", 999)
    (source / "c" / "002.jpg").unlink()
    write_picture(source / "c" / "new.jpg", 998)
    os.utime(source / "d" / "001.jpg", ns=(1, 1))  # touched, as by a copy: the content is the same
    decoded: list[str] = []
    original = packing.decode_image
    monkeypatch.setattr(
        packing,
        "decode_image",
        lambda content, name: decoded.append(name) or original(content, name),
    )
    second = pack_source(str(source), side=SIDE)
    assert sorted(decoded) == ["c/000.jpg", "c/new.jpg"]
    assert (second.images, second.decoded, second.reused) == (COUNT, 2, COUNT - 2)
    assert second.folder == first.folder
    shutil.rmtree(second.folder)
    again = pack_source(str(source), side=SIDE)
    fresh = pixels_by_name(again, source)
    assert again.decoded == COUNT
    assert len(fresh) == COUNT
    assert pack_source(str(source), side=SIDE).up_to_date


def test_bytes_the_disk_altered_are_not_copied_into_the_next_pack(source):
    report = pack_source(str(source), side=SIDE)
    expected = pixels_by_name(report, source)
    with (report.folder / IMAGES).open("r+b") as file:
        file.write(bytes(255 - byte for byte in file.read(10)) and b"\0" * 10)
    write_picture(source / "c" / "new.jpg", 998)
    second = pack_source(str(source), side=SIDE)
    assert second.decoded >= 2
    renewed = pixels_by_name(second, source)
    assert same_pixels(expected, {name: renewed[name] for name in expected})


def test_unreadable_images_are_named_and_not_tried_again(source):
    (source / "c" / "000.jpg").write_bytes(b"no image")
    report = pack_source(str(source), side=SIDE)
    assert report.images == COUNT - 1
    assert len(report.unreadable) == 1
    assert "c/000.jpg" in report.unreadable[0]
    again = pack_source(str(source), side=SIDE)
    assert again.up_to_date
    assert again.unreadable == report.unreadable


class Stop(BaseException):
    pass


def stop_after(chunks: int):
    def progress(what: str, done: int, total: int) -> None:
        nonlocal chunks
        chunks -= 1
        if chunks <= 0:
            raise Stop

    return progress


@pytest.mark.parametrize("tail", ["whole", "torn journal", "torn images", "no images"])
def test_a_stopped_call_is_continued(source, monkeypatch, tail):
    expected = pixels_by_name(pack_source(str(source), side=SIDE), source)
    shutil.rmtree(load_only_pack(source).folder)
    monkeypatch.setattr(pack_building, "SAVE_SECONDS", -1.0)
    with pytest.raises(Stop):
        pack_source(str(source), side=SIDE, progress=stop_after(1))
    (part,) = packing.pack_folder(
        str(source), packing.PackSettings(side=SIDE, storage="raw", color_mode="RGB")
    ).parent.glob(".*.part")
    saved = CHUNK
    if tail == "torn journal":
        with (part / pack_building.JOURNAL).open("a") as journal:
            journal.write('{"begin": 5, "en')
        with (part / IMAGES).open("ab") as images:
            images.write(b"torn")
    elif tail == "torn images":
        os.truncate(part / IMAGES, 100)
        saved = 0
    elif tail == "no images":
        (part / IMAGES).unlink()
        saved = 0
    report = pack_source(str(source), side=SIDE)
    assert (report.decoded, report.reused) == (COUNT - saved, saved)
    assert same_pixels(pixels_by_name(report, source), expected)
    assert not part.exists()


def load_only_pack(source: Path) -> Pack:
    (folder,) = packing.pack_folder(
        str(source), packing.PackSettings(side=SIDE, storage="raw", color_mode="RGB")
    ).parent.glob("raw-*")
    return load_pack(folder)


def test_a_source_changed_since_the_stop_begins_anew(source, monkeypatch):
    monkeypatch.setattr(pack_building, "SAVE_SECONDS", -1.0)
    with pytest.raises(Stop):
        pack_source(str(source), side=SIDE, progress=stop_after(1))
    write_picture(source / "c" / "000.jpg", 999)
    assert pack_source(str(source), side=SIDE).decoded == COUNT


KILLED = """
import os, signal, sys
from pathlib import Path
from resnetkit.data import pack_building
from resnetkit.data.pack import pack_source
pack_building.SAVE_SECONDS = -1.0
where, source, out = sys.argv[1:]
def die(*_): os.kill(os.getpid(), signal.SIGKILL)
if where == "commit":
    original = pack_building.commit_folder
    pack_building.commit_folder = lambda final, write: original(final, lambda f: (write(f), die()))
progress = die if where == "packing" else lambda *_: None
pack_source(source, Path(out), side=12, progress=progress)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL there")
@pytest.mark.parametrize(("where", "decoded"), [("packing", COUNT - CHUNK), ("commit", 0)])
def test_a_killed_call_leaves_the_old_pack_and_is_continued(source, tmp_path, where, decoded):
    out = tmp_path / "packs" / "mine"
    command = [sys.executable, "-c", KILLED, where, str(source), str(out)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (-signal.SIGKILL, "")
    assert not out.exists()
    report = pack_source(str(source), out, side=SIDE)
    assert (report.images, report.decoded) == (COUNT, decoded)
    assert len(pixels_by_name(report, source)) == COUNT
    assert [path.name for path in out.parent.iterdir() if ".tmp-" not in path.name] == ["mine"]


def test_a_disk_that_fills_up_leaves_what_was_there(source, monkeypatch):
    before = pack_source(str(source), side=SIDE)
    kept = tree(before.folder)
    for number in range(COUNT):
        write_picture(source / "c" / f"more{number}.jpg", 500 + number)
    original = pack_building.Building.append

    def append(self, rows, contents):
        if self.done:
            raise OSError(errno.ENOSPC, "No space left on device")
        original(self, rows, contents)

    with monkeypatch.context() as patch:
        patch.setattr(pack_building.Building, "append", append)
        with pytest.raises(
            UserError, match="the disk is too full for this pack: it needs more than"
        ):
            pack_source(str(source), side=SIDE)
    assert tree(before.folder) == kept
    assert [path.name for path in before.folder.parent.iterdir()] == [before.folder.name]
    assert pack_source(str(source), side=SIDE).images == 2 * COUNT


def test_a_disk_too_small_is_refused_at_once(source, monkeypatch):
    usage = shutil.disk_usage(source)._replace(free=1000)
    monkeypatch.setattr(pack_building.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(
        UserError, match=r"it needs about \d+ MB more, 0 MB are free now.*--storage"
    ):
        pack_source(str(source), side=SIDE)


def test_what_cannot_be_packed_is_refused(source, tmp_path):
    with pytest.raises(UserError, match=r"lies in the source .* which is only read"):
        pack_source(str(source), source / "pack")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="needed a new folder or a pack, found something else"):
        pack_source(str(source), tmp_path / "other")
    with pytest.raises(UserError, match=r"decoded arrays, .* nothing to pack"):
        pack_source("digits")
    with pytest.raises(UserError, match="1 pixel or more, got 0"):
        pack_source(str(source), side=0)


def test_a_second_process_is_told_to_wait(source):
    def second(*_):
        with pytest.raises(UserError, match="another process is making this pack"):
            pack_source(str(source), side=SIDE)
        raise Stop

    with pytest.raises(Stop):
        pack_source(str(source), side=SIDE, progress=second)


def test_altered_bytes_are_named_and_repaired(source):
    report = pack_source(str(source), side=SIDE)
    before = tree(report.folder)
    path = report.folder / IMAGES
    altered = bytearray(path.read_bytes())
    altered[100] ^= 0xFF
    path.write_bytes(altered)
    pack = load_pack(report.folder)
    damaged = next(position for position in range(COUNT) if not pack.is_whole(position))
    with pytest.raises(DamagedFolder, match="not those that were written; repair it with data"):
        pack.pixels(damaged)
    again = pack_source(str(source), side=SIDE)
    assert not again.up_to_date
    assert again.decoded == 1
    assert again.reused == COUNT - 1
    assert tree(report.folder)[IMAGES] == before[IMAGES]


def test_a_given_place_keeps_its_pack(source, tmp_path):
    place = tmp_path / "pack"
    pack_source(str(source), place, side=SIDE)
    before = tree(place)
    with pytest.raises(UserError, match=r"a pack of another kind .* give another place"):
        pack_source(str(source), place, side=SIDE + 1)
    other = tmp_path / "other"
    for number in range(4):
        write_picture(other / "xy"[number % 2] / f"new{number}.jpg", number)
    with pytest.raises(UserError, match="a pack of other images"):
        pack_source(str(other), place, side=SIDE)
    assert tree(place) == before


def test_unreadable_images_are_not_counted_as_decoded(source):
    (source / "c" / "bad.jpg").write_bytes(b"no image")
    report = pack_source(str(source), side=SIDE)
    assert (report.images, report.decoded, len(report.unreadable)) == (COUNT, COUNT, 1)
