"""Keys of the images that were trained on: what is recognised, refused, or only told."""

import re
import shutil

import numpy as np
import pytest

from resnetkit.data import seen as module
from resnetkit.data.content import hash_contents
from resnetkit.data.seen import SeenWarning, find_seen, note_seen, refuse_seen
from resnetkit.data.source_types import Split
from resnetkit.types import UserError


def silent(what, done, total):
    """Progress that nobody watches."""


def write(root, contents):
    """A split of files; `contents` by name."""
    for name, content in contents.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content.encode())
    labels = np.zeros(len(contents), np.int64)
    return Split(labels=labels, names=list(contents), encoded=[root / name for name in contents])


def numbered(start, stop, folder="a"):
    return {f"{folder}/{n:03d}.png": f"picture {n}" for n in range(start, stop)}


@pytest.fixture
def seen(tmp_path):
    parts = {"train": numbered(0, 100), "val": numbered(100, 110)}
    return note_seen({k: write(tmp_path / "own", v) for k, v in parts.items()}, {}, silent)


def test_other_images_pass_in_silence(seen, tmp_path):
    assert seen.by == "content"
    assert [len(keys) for keys in seen.keys.values()] == [100, 100, 10, 10]
    refuse_seen(seen, write(tmp_path / "x", numbered(110, 200)), "test", "x", silent)


@pytest.mark.parametrize("name", ["a/005.png", "test/a/005.png", "a/105.png"])
def test_one_image_of_the_same_content_and_name_is_refused(seen, tmp_path, name):
    number = int(re.findall(r"\d+", name)[0])
    others = write(tmp_path / "x", {**numbered(110, 400), name: f"picture {number}"})
    message = f"x: 1 of the 291 images of test are among .* trained on: '{name}'.* --split all"
    with pytest.raises(UserError, match=message):
        refuse_seen(seen, others, "test", "x", silent)


@pytest.mark.parametrize(("copies", "refused"), [(5, False), (6, True)])
def test_copies_under_other_names_are_told_and_many_are_refused(seen, tmp_path, copies, refused):
    contents = numbered(200, 300 - copies) | {f"a/c{n}.png": f"picture {n}" for n in range(copies)}
    split = write(tmp_path / "x", contents)
    told = f"x: {copies} of the 100 images of test"
    if refused:
        with pytest.raises(UserError, match=f"{told} .* 'a/c4.png', …"):
            refuse_seen(seen, split, "test", "x", silent)
    else:
        with pytest.warns(SeenWarning, match=f"{told} .*under other names"):
            refuse_seen(seen, split, "test", "x", silent)


def test_the_same_name_with_another_content_is_another_image(seen, tmp_path):
    contents = {name: f"new {name}" for name in numbered(0, 50)}
    refuse_seen(seen, write(tmp_path / "x", contents), "test", "x", silent)


def test_contents_that_changed_names_are_recognised(seen, tmp_path):
    names = list(numbered(0, 120))
    rotated = {name: f"picture {(n + 60) % 120}" for n, name in enumerate(names)}
    test = write(tmp_path / "x", {name: rotated[name] for name in names[110:]})
    with pytest.raises(UserError, match="10 of the 10 images"):
        refuse_seen(seen, test, "test", "x", silent)


def test_validation_may_be_judged_again_and_training_is_only_told(seen, tmp_path):
    val = write(tmp_path / "own", numbered(100, 110))
    refuse_seen(seen, val, "val", "x", silent)
    with pytest.raises(UserError, match="10 of the 10 images of test"):
        refuse_seen(seen, val, "test", "x", silent)
    train = write(tmp_path / "own", numbered(0, 100))
    with pytest.raises(UserError, match="100 of the 100 images of val"):
        refuse_seen(seen, train, "val", "x", silent)
    for name in ("train", "all"):
        with pytest.warns(SeenWarning, match=f"100 of the 100 images of {name} .*say little"):
            refuse_seen(seen, train, name, "x", silent)


@pytest.mark.parametrize("limit", ["MOST_HASHED", "MOST_HASHED_BYTES"])
def test_large_sources_go_by_name_and_size_and_are_not_read(tmp_path, monkeypatch, limit):
    split = write(tmp_path / "own", numbered(0, 20))
    monkeypatch.setattr(module, limit, 19)
    monkeypatch.setattr(module, "hash_contents", None)
    seen = note_seen({"train": split}, {}, silent)
    assert seen.by == "size"
    shutil.move(tmp_path / "own", tmp_path / "moved")
    moved = write(tmp_path / "moved", {"a/003.png": "picture 3", "a/001.png": "longer than before"})
    content, named = find_seen(seen, moved, ("train",), silent)
    assert content.tolist() == named.tolist() == [True, False]


def test_known_hashes_are_not_computed_again_however_many(tmp_path, monkeypatch):
    split = write(tmp_path / "own", numbered(0, 20))
    hashes = hash_contents(split)
    wanted = note_seen({"train": split}, {}, silent)
    monkeypatch.setattr(module, "MOST_HASHED", 1)
    monkeypatch.setattr(module, "hash_contents", None)
    seen = note_seen({"train": split}, {"train": hashes}, silent)
    assert seen.by == "content"
    for name, keys in wanted.keys.items():
        np.testing.assert_array_equal(seen.keys[name], keys)


def test_pixels_are_content_too_and_missing_files_are_nobody(tmp_path):
    images = np.arange(5, dtype=np.uint8).repeat(4).reshape(5, 1, 2, 2)
    names = [f"digits[{n}]" for n in range(5)]
    arrays = Split(labels=np.zeros(5, np.int64), names=names, images=images)
    seen = note_seen({"train": arrays.subset([0, 1, 2])}, {}, silent)
    content, named = find_seen(seen, arrays, ("train",), silent)
    assert content.tolist() == named.tolist() == [True, True, True, False, False]
    split = write(tmp_path / "own", numbered(0, 3))
    shutil.rmtree(tmp_path / "own")
    gone = note_seen({"train": split}, {}, silent)
    assert len(gone.keys["train.content"]) == 0
    assert not find_seen(gone, split, ("train",), silent)[0].any()
