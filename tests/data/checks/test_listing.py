"""The lenient listing: the same images as training reads, and a finding where training refuses."""

import os
from pathlib import Path

import numpy as np
import pytest
from planted import encode, picture

from resnetkit.data.checks.class_folder import list_class_folder
from resnetkit.data.checks.classes import judge_classes
from resnetkit.data.checks.folder_kinds import FOLDER_KINDS
from resnetkit.data.checks.listing import list_source
from resnetkit.data.sources import load_source
from resnetkit.types import UserError

PICTURE = encode(picture(1, (8, 8)), "PNG")


def put(root, *names):
    for name in names:
        path = root / os.fsdecode(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(PICTURE)
    return root


def found(root):
    listing = list_source(str(root))
    return {finding.kind: finding for finding in [*listing.findings, *judge_classes(listing)]}


def assert_same_as_training(root):
    source = load_source(str(root), ("train", "val", "test"))
    listing = list_source(str(root))
    assert listing.class_names == source.class_names
    assert listing.training_classes == len(source.class_names)
    assert tuple(listing.splits) == source.present
    for name, split in source.splits.items():
        listed = listing.splits[name]
        assert list(listed.names) == list(split.names)
        assert split.encoded is not None
        assert [Path(str(file)) for file in listed.contents] == list(split.encoded)
        np.testing.assert_array_equal(listed.labels, split.labels)


def test_lists_what_training_reads(tmp_path):
    put(tmp_path / "plain", "10/b.png", "2/a.png", "2/deep/er/c.JPG", "1/x.png", '1/it\'s "x".png')
    assert_same_as_training(tmp_path / "plain")
    put(tmp_path / "split", "train/a/1.png", "train/b/1.png", "Valid/b/2.png", "test/a/3.png")
    assert_same_as_training(tmp_path / "split")
    put(tmp_path / "odd", "car/1.png", "train/2.png", b"car/\xff.png", "car/new\nline.png")
    (tmp_path / "odd/car/loop").symlink_to("..")
    (tmp_path / "odd/car/lost.png").symlink_to("nowhere")
    assert_same_as_training(tmp_path / "odd")


def test_split_folders_come_before_the_names(tmp_path):
    put(tmp_path, "train/a/1.png", "train/b/1.png", "Valid/b/2.png")
    listing = list_source(str(tmp_path))
    assert listing.prefixes == {"train": "train/", "val": "Valid/"}


REFUSED = {
    "hidden-folder": ["a/1.png", "b/1.png", ".ipynb_checkpoints/1.png"],
    "empty-class": ["a/1.png", "b/1.png", "c/notes.txt"],
    "loose-images": ["a/1.png", "b/1.png", "1.png"],
    "unknown-class": ["train/a/1.png", "train/b/1.png", "test/c/1.png"],
    "split-twice": ["train/a/1.png", "train/b/1.png", "val/a/1.png", "valid/a/1.png"],
    "one-class": ["a/1.png"],
    "no-images": ["a/x.txt", "b/x.txt"],
    "non-unicode-class": ["a/1.png", b"\xff/1.png"],
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_training_refuses_is_an_unsafe_finding(tmp_path, kind):
    root = put(tmp_path, *REFUSED[kind])
    with pytest.raises(UserError):
        load_source(str(root), ("train", "val", "test"))
    assert kind in found(root)
    assert FOLDER_KINDS[kind].severity == "unsafe"


def test_loose_images_alone(tmp_path):
    findings = found(put(tmp_path, "1.png", "2.png"))
    assert findings["loose-images"].names == ("1.png", "2.png")
    assert "no-images" in findings


def test_split_folders_read_as_classes(tmp_path):
    root = put(tmp_path, "train/a/1.png", "train/loose.png", "test/a/1.png", "other/a/1.png")
    assert load_source(str(root), ("train",)).class_names == ("other", "test", "train")
    assert found(root)["splits-as-classes"].names == ("test/", "train/")
    assert "splits-as-classes" not in found(put(tmp_path / "cars", "car/1.png", "train/2.png"))


def test_splits_inside_classes(tmp_path):
    root = put(tmp_path, "a/train/1.png", "a/test/2.png", "b/train/1.png", "b/test/1.png")
    finding = found(root)["splits-inside-classes"]
    assert finding.names == ("a/", "b/")
    assert "a/test, a/train" in finding.detail


def test_unreadable_folder(tmp_path, monkeypatch):
    put(tmp_path, "a/1.png", "b/1.png", "b/locked/2.png")
    scan = os.scandir

    def refuse(path):
        if Path(path).name == "locked":
            raise PermissionError(13, "Permission denied")
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    finding = found(tmp_path)["unreadable-folder"]
    assert finding.names == ("b/locked/",)
    assert finding.detail == "Permission denied"
    with pytest.raises(UserError, match="no permission"):
        load_source(str(tmp_path), ("train",))


def test_the_source_itself_unreadable(tmp_path, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied")

    put(tmp_path, "a/1.png")
    assert load_source  # resolved before the folder is locked
    monkeypatch.setattr("resnetkit.data.checks.class_folder.os.scandir", refuse)
    assert set(found(tmp_path)) == {"unreadable-folder", "no-images"}


def test_a_class_folder_that_may_not_be_read_is_not_called_empty(tmp_path, monkeypatch):
    put(tmp_path, "a/1.png", "b/1.png")
    scan = os.scandir

    def refuse(path):
        if Path(path).name == "b":
            raise PermissionError(13, "Permission denied")
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    findings = found(tmp_path)
    assert "unreadable-folder" in findings
    assert not {"empty-class", "no-images"} & set(findings)
    assert findings["unreadable-folder"].names == ("b/",)


def test_links(tmp_path):
    put(tmp_path, "a/1.png", "b/1.png")
    (tmp_path / "a/up").symlink_to("..")
    (tmp_path / "a/self").symlink_to("self")
    (tmp_path / "a/inner").mkdir()
    (tmp_path / "a/again").symlink_to("inner")
    finding = found(tmp_path)["link-loop"]
    assert finding.names in (("a/up/",), ("a/inner/",), ("a/again/",))
    assert [f.names for f in list_source(str(tmp_path)).findings if f.kind == "other-file"] == [
        ("a/self",)
    ]


def test_files_that_are_passed_over(tmp_path):
    put(tmp_path, "a/1.png", "b/1.png", "a/cover", "a/.hidden.png", "a/.cache/x.png")
    (tmp_path / "a/readme.md").write_text("hello")
    (tmp_path / "a/raw.cr2").write_bytes(b"II*\0")
    os.mkfifo(tmp_path / "a/pipe.png")
    findings = found(tmp_path)
    assert findings["image-without-ending"].names == ("a/cover",)
    assert findings["unread-format"].names == ("a/raw.cr2",)
    assert findings["hidden-image"].names == ("a/.cache/", "a/.hidden.png")
    assert findings["other-file"].names == ("a/pipe.png", "a/readme.md")
    assert "1 x .md" in findings["other-file"].detail
    assert_same_as_training(tmp_path)


def test_many_files_are_counted_and_some_named(tmp_path):
    put(tmp_path, "a/1.png")
    for number in range(50):
        (tmp_path / f"a/{number:02d}.txt").touch()
    [finding] = list_class_folder(tmp_path, "a", tmp_path).findings
    assert len(finding.names) == 20
    assert finding.detail == "50 in this class: 50 x .txt; the first 20 are named"


def test_other_sources_say_why_they_are_refused(tmp_path):
    table = tmp_path / "images.csv"
    table.write_text("path,label,split\nmissing.png,a,train\n")
    listing = list_source(str(table))
    assert len(listing) == 0
    assert {finding.kind for finding in listing.findings} == {"source-refused"}
    details = [finding.detail for finding in listing.findings]
    assert len(details) == len(set(details)) == 2
    assert any("only one class" in detail for detail in details)
    assert any("files of the train split are not there" in detail for detail in details)
    with pytest.raises(UserError, match="no file or folder"):
        list_source(str(tmp_path / "nothing"))


def test_one_split_of_a_table_may_be_bad(tmp_path):
    put(tmp_path, "1.png", "2.png")
    table = tmp_path / "images.csv"
    table.write_text("path,label,split\n1.png,a,train\n2.png,b,train\nno.png,a,test\n")
    listing = list_source(str(table))
    assert list(listing.splits) == ["train", "test"]
    assert [finding.names for finding in listing.findings] == [("test",)]
    put(tmp_path, "3.png")
    table.write_text("path,label,split\n1.png,a,train\n2.png,b,train\n3.png,c,test\n")
    listing = list_source(str(table))
    assert list(listing.splits) == ["train"]
    assert [finding.names for finding in listing.findings] == [("test",)]


def test_digits_are_clean():
    listing = list_source("digits")
    assert listing.findings == ()
    assert judge_classes(listing) == []
    assert len(listing) == 1797
