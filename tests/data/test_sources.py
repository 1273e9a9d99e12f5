"""What a SOURCE may be, and what it may not."""

import pytest
from PIL import Image

from resnetkit.data.sources import SOURCES, load_source
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


def test_a_path_called_like_a_builtin_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits").mkdir()
    assert len(load_source("digits", ["train"]).splits["train"]) == 1438
    refused("./digits", "there are no images in this folder")
