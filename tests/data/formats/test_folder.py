"""Image folders: what is read, in which order, and every message about a folder that is not one."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from resnetkit.data.formats import folder as folder_module
from resnetkit.data.sources import load_source
from resnetkit.data.transforms import decode_image, find_unreadable
from resnetkit.types import UserError


def put(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((4, 4, 3), 7, np.uint8)).save(path, "PNG")
    return str(root)


def refused(location, message, splits=("train", "val", "test")):
    with pytest.raises(UserError, match=message):
        load_source(str(location), splits)


def test_classes_in_natural_order_images_sorted(tmp_path):
    source = load_source(
        put(tmp_path, "10/b.png", "2/a.png", "2/deep/er/c.JPG", "1/x.png"), ["train"]
    )
    assert source.class_names == ("1", "2", "10")
    assert source.present == ("train",)
    train = source.splits["train"]
    assert train.names == ["1/x.png", "2/a.png", "2/deep/er/c.JPG", "10/b.png"]
    assert train.labels.tolist() == [0, 1, 1, 2]
    assert train.labels.dtype == np.int64
    assert train.encoded is not None
    assert list(train.encoded) == [tmp_path / name for name in train.names]


@pytest.mark.parametrize("name", ["val", "valid", "validation", "Val"])
def test_split_folders(tmp_path, name):
    put(
        tmp_path, "train/a/1.png", "train/b/1.png", f"{name}/b/2.png", "test/a/3.png", "extra/x.png"
    )
    source = load_source(str(tmp_path), ["train", "val", "test"])
    assert source.present == ("train", "val", "test")
    assert source.splits["val"].names == [f"{name}/b/2.png"]
    assert source.splits["val"].labels.tolist() == [1]
    assert source.splits["test"].labels.tolist() == [0]


def test_only_the_splits_asked_for_are_looked_into(tmp_path, monkeypatch):
    put(tmp_path, "train/a/1.png", "train/b/1.png", "test/a/3.png", "test/zzz/3.png")
    scanned = []
    scan = os.scandir
    monkeypatch.setattr(
        folder_module.os, "scandir", lambda path: scanned.append(path) or scan(path)
    )
    source = load_source(str(tmp_path), ["train", "val"])
    assert set(source.splits) == {"train"}
    assert source.present == ("train", "test")
    # Which format it is, the names in test/ may say; its class folders are not opened.
    assert not [path for path in scanned if "test" in Path(path).relative_to(tmp_path).parts[:-1]]
    assert load_source(str(tmp_path), []).class_names == ("a", "b")


def test_without_training_the_classes_are_those_there(tmp_path):
    source = load_source(put(tmp_path, "test/b/1.png", "test/a/1.png"), ["test"])
    assert source.class_names == ("a", "b")
    assert source.present == ("test",)


def test_train_may_be_a_class(tmp_path):
    source = load_source(put(tmp_path, "car/1.png", "train/2.png"), ["train"])
    assert source.class_names == ("car", "train")


def test_strange_file_names(tmp_path):
    names = ["a/it's.png", "a/two\nlines.png", "b/b c.png", 'b/say "x".png', "b/猫 ö.png"]
    source = load_source(put(tmp_path, *names), ["train"])
    train = source.splits["train"]
    assert sorted(train.names) == sorted(names)
    assert train.encoded is not None
    assert all(decode_image(file, "x").size == (4, 4) for file in train.encoded)


def test_a_name_that_is_not_unicode_is_readable_and_printable(tmp_path):
    put(tmp_path, "a/1.png", "b/1.png")
    Path(tmp_path / "a/1.png").rename(os.fsdecode(os.fsencode(tmp_path) + b"/a/\xff.png"))
    train = load_source(str(tmp_path), ["train"]).splits["train"]
    assert train.names[0] == "a/\\xff.png"
    assert train.encoded is not None
    assert decode_image(train.encoded[0], "x").size == (4, 4)


def test_hidden_files_and_other_files_are_passed_over(tmp_path):
    put(tmp_path, "a/1.png", "a/.2.png", "a/.ipynb_checkpoints/3.png", "b/1.png", "b/._1.png")
    (tmp_path / "a/notes.txt").write_text("x")
    (tmp_path / ".git").mkdir()
    (tmp_path / "readme.md").write_text("x")
    assert load_source(str(tmp_path), ["train"]).splits["train"].names == ["a/1.png", "b/1.png"]


def test_links_in_circles_end_and_lead_to_no_other_class(tmp_path):
    put(tmp_path, "a/1.png", "b/1.png")
    (tmp_path / "a/again").symlink_to(tmp_path / "a")
    (tmp_path / "a/up").symlink_to(tmp_path)
    (tmp_path / "a/self").symlink_to(tmp_path / "a/self")
    (tmp_path / "a/self.png").symlink_to(tmp_path / "a/self.png")
    (tmp_path / "a/gone.png").symlink_to(tmp_path / "nowhere")
    train = load_source(str(tmp_path), ["train"]).splits["train"]
    # Links to nowhere are images that cannot be read: named at decoding, not lost in silence.
    assert train.names == ["a/1.png", "a/gone.png", "a/self.png", "b/1.png"]
    assert [index for index, _ in find_unreadable(train)] == [1, 2]


def test_a_linked_class_folder_is_followed(tmp_path):
    put(tmp_path, "data/a/1.png", "elsewhere/1.png")
    (tmp_path / "data/b").symlink_to(tmp_path / "elsewhere")
    source = load_source(str(tmp_path / "data"), ["train"])
    assert source.splits["train"].names == ["a/1.png", "b/1.png"]


def test_pipes_do_not_hang(tmp_path):
    put(tmp_path, "a/1.png", "b/1.png")
    os.mkfifo(tmp_path / "a/pipe.png")
    assert len(load_source(str(tmp_path), ["train"]).splits["train"]) == 2


def test_an_empty_folder(tmp_path):
    refused(tmp_path, r"there are no images in this folder; needed is one folder per class.*\.png")


def test_folders_without_images(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    (tmp_path / "b/x.txt").touch()
    refused(tmp_path, r"no images in its 2 class folder\(s\) \(it holds other files: 1 x \.txt\)")


def test_an_empty_class_folder(tmp_path):
    put(tmp_path, "a/1.png", "b/1.png")
    (tmp_path / "c").mkdir()
    refused(tmp_path, "the class folder 'c' is empty; add images to it or remove it")


def test_a_class_folder_with_files_of_another_kind(tmp_path):
    put(tmp_path, "a/1.png", "b/1.png")
    (tmp_path / "c").mkdir()
    for name in ("1.HEIC", "2.heic", "3.mp4"):
        (tmp_path / "c" / name).touch()
    refused(tmp_path, r"'c' is empty \(it holds other files: 2 x \.heic, 1 x \.mp4\)")


@pytest.mark.parametrize("layout", ["", "train/", "val/"])
def test_a_hidden_class_folder(tmp_path, layout):
    if layout == "val/":
        put(tmp_path, "train/a/1.png", "train/b/1.png")
    put(tmp_path, f"{layout}a/1.png", f"{layout}b/1.png")
    (tmp_path / layout / ".ipynb_checkpoints").mkdir()
    refused(
        tmp_path, "hidden folder '.ipynb_checkpoints' lies among the class.* remove it, or rename"
    )
    (tmp_path / layout / ".ipynb_checkpoints").rmdir()
    put(tmp_path, f"{layout}.cats/deep/1.png")
    refused(tmp_path, "hidden folder '.cats' lies among the class folders")


def test_a_class_that_training_lacks(tmp_path):
    put(tmp_path, "train/a/1.png", "train/b/1.png", "valid/a/1.png", "valid/c/1.png")
    refused(tmp_path, "the valid split has 1 class.*training lacks: 'c'. Add training images")


def test_one_class(tmp_path):
    refused(put(tmp_path, "a/1.png"), r"only one class \(a\); needed are two or more")


def test_images_without_class_folders(tmp_path):
    refused(put(tmp_path, "1.png", "2.png"), r"2 image\(s\) lie directly in it \('1.png'")
    put(tmp_path, "a/1.png", "b/1.png")
    refused(tmp_path, r"2 image\(s\) lie beside the class folders \('1.png'.*no class")


def test_images_directly_in_split_folders(tmp_path):
    refused(put(tmp_path, "train/1.png", "val/2.png"), r"train: 1 image\(s\) lie directly in it")


def test_two_folders_for_one_split(tmp_path):
    put(tmp_path, "train/a/1.png", "train/b/1.png", "val/a/1.png", "valid/a/1.png")
    refused(tmp_path, "val/ and valid/ are both the val split")


def test_an_empty_split_folder(tmp_path):
    put(tmp_path, "train/a/1.png", "train/b/1.png")
    (tmp_path / "val").mkdir()
    refused(tmp_path, "val: there are no images in this folder")
    assert len(load_source(str(tmp_path), ["train"]).splits["train"]) == 2


def test_a_folder_that_may_not_be_read(tmp_path, monkeypatch):
    """Root may read everything, so the system's refusal is played."""
    put(tmp_path, "a/1.png", "a/deep/2.png", "b/1.png")
    scan = os.scandir

    def refuse(path):
        if Path(path).name == "deep":
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(folder_module.os, "scandir", refuse)
    refused(tmp_path, "a/deep: no permission to read this folder; change its rights")


def test_names_are_told_apart_over_all_splits(tmp_path):
    put(tmp_path, "train/a/1.png", "train/b/1.png", "test/a/1.png", "test/b/1.png")
    source = load_source(str(tmp_path), ["train", "test"])
    assert source.splits["train"].names == ["train/a/1.png", "train/b/1.png"]
    assert source.splits["test"].names == ["test/a/1.png", "test/b/1.png"]
    assert list(source.splits["test"].encoded or ()) == [
        tmp_path / "test/a/1.png",
        tmp_path / "test/b/1.png",
    ]
