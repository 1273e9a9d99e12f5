from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from resnetkit.export import starting
from resnetkit.export.imported import generated_images, package_foreign
from resnetkit.export.package import golden_outputs, save_package
from resnetkit.export.starting import load_starting_package
from resnetkit.models.families import imagenet_resnet
from resnetkit.models.weights.convert import convert_state
from resnetkit.models.zoo import build_model
from resnetkit.types import UserError

NARROW = replace(imagenet_resnet(18), stage_widths=(4, 8, 12, 16), stem_width=4, num_classes=3)


@pytest.fixture
def package(tmp_path):
    state = build_model(NARROW, seed=1).state_dict()
    package = package_foreign(convert_state(state, model=None, origin="a.pth"), ["a", "b", "c"])
    save_package(
        tmp_path / "run" / "package",
        package,
        golden_outputs(package, generated_images(package.contract)),
    )
    return tmp_path / "run" / "package"


def test_a_package_is_read_and_a_run_says_where_its_is(package):
    assert load_starting_package(str(package)).contract.class_names == ("a", "b", "c")
    with pytest.raises(UserError, match=r"is a run folder.*give .*package"):
        load_starting_package(str(package.parent))


def test_a_damaged_package_is_not_mistaken_for_something_else(package):
    (package / "config.json").unlink()
    with pytest.raises(UserError, match=r"config\.json is missing"):
        load_starting_package(str(package))


def test_the_shipped_backbone_where_there_is_one(package, monkeypatch, tmp_path):
    monkeypatch.setattr(starting, "SHIPPED_FOLDER", tmp_path / "none")
    with pytest.raises(UserError, match="this installation has no backbone"):
        load_starting_package("shipped")
    monkeypatch.setattr(starting, "SHIPPED_FOLDER", package)
    assert load_starting_package("shipped").contract.num_classes == 3


def test_a_file_is_packaged_in_memory_without_a_classifier_too(tmp_path):
    state = build_model(NARROW, seed=1).state_dict()
    body = {name: value for name, value in state.items() if not name.startswith("fc.")}
    save_file(body, tmp_path / "body.safetensors")
    package = load_starting_package(str(tmp_path / "body.safetensors"))
    assert not package.provenance["imported"]["has_head"]
    assert torch.equal(package.model.state_dict()["conv1.weight"], state["conv1.weight"])
    assert [path.name for path in tmp_path.iterdir()] == ["body.safetensors"]
