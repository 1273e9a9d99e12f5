import json
from dataclasses import replace

import pytest
import torch

from resnetkit.data.contract import normalise
from resnetkit.export.imported import (
    assumed_preprocessing,
    build_contract,
    generated_images,
    package_foreign,
    read_class_names,
)
from resnetkit.export.model_card import render_card
from resnetkit.export.package import golden_deviation, golden_outputs, load_package, save_package
from resnetkit.models.families import cifar_resnet, imagenet_resnet
from resnetkit.models.weights.convert import convert_state
from resnetkit.models.weights.foreign import Preprocessing
from resnetkit.models.zoo import build_model
from resnetkit.types import UserError

NARROW = replace(imagenet_resnet(18), stage_widths=(4, 8, 12, 16), stem_width=4, num_classes=3)
CAFFE = Preprocessing(
    image_size=32,
    resize=36,
    interpolation="bicubic",
    scale=1.0,
    mean=tuple(float(n % 255) for n in range(3 * 32 * 32)),
    std=(1.0, 1.0, 1.0),
)


@pytest.fixture(scope="module")
def foreign():
    state = build_model(NARROW, seed=1).state_dict()
    return convert_state(state, model=None, origin="a.pth")


def test_the_contract_is_the_sources_own(foreign):
    contract = build_contract(replace(foreign, preprocessing=CAFFE), ["a", "b", "c"])
    assert (contract.resize, contract.crop, contract.interpolation) == (36, (32, 32), "bicubic")
    images = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    needed = images.float() - torch.tensor(CAFFE.mean).reshape(3, 32, 32)
    assert torch.equal(normalise(images, contract), needed)
    assert contract.class_names == ("a", "b", "c")


def test_what_a_file_does_not_say_is_assumed_and_said(foreign):
    bare = replace(foreign, preprocessing=None)
    package = package_foreign(bare)
    assert package.contract.class_names == ("class_0", "class_1", "class_2")
    assert (package.contract.resize, package.contract.crop) == (256, (224, 224))
    imported = package.provenance["imported"]
    assert imported["preprocessing"] == "assumed"
    assert imported["class_names"] == "numbered"
    assert assumed_preprocessing(cifar_resnet(20)).image_size == 32


def test_class_names_must_be_as_many_as_the_head_has(foreign):
    with pytest.raises(UserError, match="3 classes, so as many names are needed, got 2"):
        package_foreign(foreign, ["a", "b"])
    own = replace(foreign, class_names=("crane", "crane", "x"))
    assert package_foreign(own).contract.class_names == ("crane", "crane (2)", "x")


def test_grey_networks_are_for_grey_images_and_others_refused(foreign):
    grey = build_model(replace(NARROW, in_channels=1)).state_dict()
    contract = build_contract(convert_state(grey, model=None, origin="grey.pth"))
    assert contract.color_mode == "L"
    assert len(contract.mean) == len(contract.std) == 1
    four = build_model(replace(NARROW, in_channels=4)).state_dict()
    with pytest.raises(UserError, match="one for 4"):
        build_contract(convert_state(four, model=None, origin="four.pth"))


def test_a_package_of_imported_weights_comes_back_and_says_where_from(foreign, tmp_path):
    package = package_foreign(replace(foreign, preprocessing=CAFFE), sha256="00" * 32)
    golden = golden_outputs(package, generated_images(package.contract))
    save_package(tmp_path / "package", package, golden)
    again = load_package(tmp_path / "package")
    assert golden_deviation(tmp_path / "package", again) == 0
    imported = again.provenance["imported"]
    assert imported["origin"] == "a.pth"
    assert imported["sha256"] == "00" * 32
    assert imported["report"]["used"] == len(foreign.state)
    json.dumps(again.provenance)
    card = render_card(again.contract, again.provenance, again.metrics)
    assert "imported by resnetkit" in card
    assert "a.pth" in card
    assert "trained with resnetkit" not in card


def test_golden_images_look_like_photographs(foreign):
    contract = build_contract(foreign)
    images = generated_images(contract)
    assert images.dtype == torch.uint8
    assert list(images.shape) == [4, 3, 224, 224]
    assert torch.equal(images, generated_images(contract))
    pixels = images.float()
    assert float(pixels.std()) > 30
    assert float((pixels[..., 1:] - pixels[..., :-1]).abs().mean()) < 15  # neighbours are alike
    assert len({image.numpy().tobytes() for image in images}) == 4


def test_class_names_from_a_file(tmp_path):
    path = tmp_path / "names.txt"
    path.write_bytes("\ufeffcat\r\n dog \n猫\n\n".encode())
    assert read_class_names(str(path)) == ("cat", "dog", "猫")
    assert len(read_class_names("imagenet")) == 1000


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"cat\n\ndog\n", "line 2 is empty"),
        (b"cat\ndog\ncat\n", "'cat' is there twice"),
        (b"\n", "the file is empty"),
        (b"\xff\xfe\x00", "UTF-8"),
    ],
)
def test_class_names_that_are_none(tmp_path, content, said):
    path = tmp_path / "names.txt"
    path.write_bytes(content)
    with pytest.raises(UserError, match=said):
        read_class_names(str(path))
    with pytest.raises(UserError, match="no such file"):
        read_class_names(str(tmp_path / "none.txt"))
