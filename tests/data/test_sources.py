"""What a SOURCE may be, and what it may not."""

from pathlib import Path

import pytest
from PIL import Image

from resnetkit.data.sources import (
    ACCEPTED,
    FORMATS,
    PREFIXES,
    SOURCES,
    is_image_folder,
    is_manifest,
    load_source,
    place_of,
    refuse_inside,
)
from resnetkit.types import UserError


def refused(location, message):
    with pytest.raises(UserError, match=message):
        load_source(str(location), ["train"])


def test_builtin_names():
    assert list(SOURCES) == ["digits", "cifar10", "cifar100", "mnist", "fashion-mnist"]
    assert load_source("digits", ["train"]).location == "digits"


@pytest.mark.parametrize(
    ("location", "hint"),
    [
        ("digit", "Did you mean 'digits'"),
        ("CIFAR-10", "Did you mean 'cifar10'"),
        ("fashion_mnist", "'fashion-mnist'"),
        ("coco-crop:/data/x", "Did you mean 'coco-crops:/data/x'"),
        ("voc_crops:/data/x", "Did you mean 'voc-crops:/data/x'"),
        ("C:/pictures", "no file or folder 'C:/pictures'"),
        ("", "no file"),
        ("/no/such", "no file or folder '/no/such'"),
        ("a\0b", "no file"),
    ],
)
def test_an_unknown_location(location, hint):
    refused(
        location, f"{hint}.*Needed is an image folder .*manifest.*built-in name .digits, cifar10"
    )


def test_an_unknown_path_gets_no_hint():
    with pytest.raises(UserError) as caught:
        load_source("/no/such/folder", ["train"])
    assert "Did you mean" not in str(caught.value)


def test_a_single_image(tmp_path):
    Image.new("L", (4, 4)).save(tmp_path / "a.JPG")
    refused(tmp_path / "a.JPG", "a.JPG: this is a single image. Needed is an image folder")


def test_a_file_of_another_kind(tmp_path):
    (tmp_path / "model.pt").touch()
    refused(tmp_path / "model.pt", "a file of a kind that is not read. Needed is")


def test_a_model_package(tmp_path):
    (tmp_path / "model.safetensors").touch()
    refused(tmp_path, "this is a model package, not images")


def test_the_home_folder_is_understood(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in "ab":
        (tmp_path / "pictures" / name).mkdir(parents=True)
        Image.new("L", (4, 4)).save(tmp_path / "pictures" / name / "1.png")
    assert load_source("~/pictures", ["train"]).class_names == ("a", "b")


@pytest.mark.parametrize("prefix", PREFIXES)
def test_a_prefix_without_a_path(prefix, tmp_path):
    refused(f"{prefix}:/no/such", f"{prefix}:/no/such: there is no file or folder '/no/such'")
    refused(f"{prefix}:", f"{prefix}:: there is no file or folder ''")
    refused(f"{prefix}:{tmp_path}", "needed is|there are no|are not there")


def test_every_prefix_is_told_and_every_format_tried():
    assert all(name in ACCEPTED for name in (*PREFIXES, *SOURCES))
    assert list(FORMATS)[-1] == "folder"  # it takes any folder
    assert {name.removesuffix("-crops") for name in PREFIXES} <= set(FORMATS)


def test_a_path_called_like_a_prefix(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("coco:x/a", "coco:x/b"):
        (tmp_path / name).mkdir(parents=True)
        Image.new("L", (4, 4)).save(tmp_path / name / "1.png")
    refused("coco:x", "coco:x: there is no file or folder 'x'")
    assert load_source("./coco:x", ["train"]).class_names == ("a", "b")


def test_what_a_location_is_taken_for(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "m.csv").write_text("path,label\n")
    (tmp_path / "m.json").write_text("{}")
    (tmp_path / "package").mkdir()
    (tmp_path / "package/model.safetensors").touch()
    folders = ["", "a", "m.csv", "m.json", "package", "gone", "a\0b"]
    assert [name for name in folders if is_image_folder(f"{tmp_path}/{name}")] == ["", "a"]
    assert [name for name in folders if is_manifest(f"{tmp_path}/{name}")] == ["m.csv"]
    for name in ("digits", "hf:x", f"coco:{tmp_path}", "", " "):
        assert not is_image_folder(name)
        assert not is_manifest(name)


def test_where_a_location_is(tmp_path):
    assert place_of(str(tmp_path)) == place_of(f"coco-crops:{tmp_path}") == tmp_path
    assert place_of(f"{tmp_path}/a-{{0..9}}.tar") == tmp_path
    assert place_of("digits") is None
    assert place_of("hf:org/name") is None


def test_a_path_called_like_a_builtin_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits").mkdir()
    assert len(load_source("digits", ["train"]).splits["train"]) == 1438
    refused("./digits", "there are no images in this folder")


def test_nothing_may_be_written_into_a_source(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data" / "cat").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "data" / "dog").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "link").symlink_to(tmp_path / "data")
    (tmp_path / "digits").mkdir()
    for location in (tmp_path / "data", "data", "link", "coco-crops:data", "data/a-{0..9}.tar"):
        for out in ("data", "data/run", "data/cat/../x", "link/cat/y.parquet"):
            with pytest.raises(UserError, match=r"lies in the source .*, which is only read; give"):
                refuse_inside(str(location), Path(out))
        refuse_inside(str(location), Path("run"))
        refuse_inside(str(location), Path("database"))
    with pytest.raises(UserError, match="lies in the source"):
        refuse_inside("data", Path("elsewhere/run"))  # the dogs are there
    with pytest.raises(UserError, match="lies in the source"):
        refuse_inside("data/{train,val}/a-{0..9}.tar", Path("data/run"))
    refuse_inside("digits", Path("digits/run"))


def test_beside_a_manifest_there_may_be_other_things(tmp_path):
    manifest = tmp_path / "images.csv"
    manifest.write_text("path,label\n1.png,a\npictures/cat/1.png,a\n../far/2.png,b\n")
    for out in ("run", "pictures/run", "../run"):
        refuse_inside(str(manifest), tmp_path / out)
    for out in ("images.csv", "pictures/cat/run", "pictures/cat", "../far/run"):
        with pytest.raises(UserError, match="lies in the source"):
            refuse_inside(str(manifest), tmp_path / out)
    manifest.write_text("nothing\n1")
    refuse_inside(str(manifest), tmp_path / "run")  # what is wrong with it, reading it says
