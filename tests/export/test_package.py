import json
import pickle
from dataclasses import replace

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from resnetkit import runtime
from resnetkit.data.contract import InputContract
from resnetkit.export.model_card import render_card
from resnetkit.export.package import (
    ModelPackage,
    golden_deviation,
    golden_outputs,
    load_package,
    save_package,
)
from resnetkit.models.heads import HeadConfig, replace_head
from resnetkit.models.lenet import LeNetConfig
from resnetkit.models.zoo import MODELS, ModelConfig, build_model, resolve_model
from resnetkit.runtime import DamagedFolder
from resnetkit.types import UserError

CLASSES = ("cat", "dog", "<b>ant</b> | *猫*")
METRICS = {"images": 40, "top1": 0.925, "top1_interval": [0.8, 0.97], "top5": None, "loss": 0.3}
PROVENANCE = {
    "recipe": "digits",
    "experiment": {"model": {"name": "digits-resnet8"}},
    "data": {"source": "/my/images", "images": {"train": 100, "val": 40}},
}


def make_package(name="digits-resnet8", per_pixel=False, size=16):
    contract = InputContract(
        class_names=CLASSES,
        color_mode="L",
        resize=size,
        crop=(size, size),
        mean=tuple(i / size**2 for i in range(size**2)) if per_pixel else (0.4,),
        std=(0.25,),
    )
    architecture = resolve_model(ModelConfig(name=name), len(CLASSES), 1)
    return ModelPackage(
        model=build_model(architecture, seed=1).eval(),
        architecture=architecture,
        contract=contract,
        provenance=PROVENANCE,
        metrics={"validation": METRICS},
    )


def images(count=3, size=16):
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 1, size, size), dtype=torch.uint8, generator=generator)


@pytest.fixture
def folder(tmp_path):
    package = make_package()
    save_package(tmp_path / "package", package, golden_outputs(package, images()))
    return tmp_path / "package"


def reseal(folder, name, change):
    """Change a file and make the manifest match, as someone who knows the format would."""
    content = json.loads((folder / name).read_text())
    change(content)
    text = json.dumps(content)
    (folder / name).write_text(text)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"][name] = runtime._facts(folder / name)
    (folder / "manifest.json").write_text(json.dumps(manifest))


def reseal_weights(folder, change):
    state = load_file(folder / "model.safetensors")
    change(state)
    save_file(state, folder / "model.safetensors")
    reseal(folder, "config.json", lambda config: None)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"]["model.safetensors"] = runtime._facts(folder / "model.safetensors")
    (folder / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize("name", ["digits-resnet8", "lenet"])
@pytest.mark.parametrize("per_pixel", [False, True])
def test_a_package_comes_back_as_it_was(tmp_path, name, per_pixel):
    package = make_package(name, per_pixel)
    reference = {"mean_feature": torch.arange(3.0)}
    save_package(tmp_path / "p", package, golden_outputs(package, images()), reference)
    loaded = load_package(tmp_path / "p")
    assert loaded.architecture == package.architecture
    assert loaded.contract == package.contract
    assert loaded.provenance == PROVENANCE
    assert loaded.metrics == {"validation": METRICS}
    assert not loaded.model.training
    for key, value in package.model.state_dict().items():
        assert torch.equal(value, loaded.model.state_dict()[key])
    assert torch.equal(loaded.logits(images()), package.logits(images()))
    assert golden_deviation(tmp_path / "p", loaded) < 1e-5
    assert torch.equal(
        load_file(tmp_path / "p/reference.safetensors")["mean_feature"], torch.arange(3.0)
    )


@pytest.mark.parametrize("head", [HeadConfig(kind="cosine"), HeadConfig(kind="mlp", hidden=6)])
@pytest.mark.parametrize("name", ["digits-resnet8", "lenet"])
def test_every_head_is_read_back_with_its_logits(name, head, tmp_path):
    package = make_package(name)
    replace_head(package.model, len(CLASSES), head, dropout=0.5, seed=2)
    package = replace(package, architecture=package.model.config)
    save_package(tmp_path / "p", package, golden_outputs(package, images()))
    loaded = load_package(tmp_path / "p")
    assert loaded.architecture == package.architecture
    assert loaded.architecture.head == head
    assert torch.equal(loaded.logits(images()), package.logits(images()))


def test_a_package_from_before_heads_had_a_choice_is_read_as_linear(folder):
    reseal(folder, "config.json", lambda config: config["architecture"].pop("head"))
    loaded = load_package(folder)
    assert loaded.architecture == make_package().architecture
    assert golden_deviation(folder, loaded) < 1e-5


@pytest.mark.parametrize("name", sorted(MODELS))
def test_every_architecture_survives_json(name):
    # Weights are left out: the largest networks have hundreds of megabytes of them.
    from resnetkit.export.package import _config, _read_architecture

    architecture = resolve_model(ModelConfig(name=name), len(CLASSES), 1)
    package = make_package()
    stored = json.loads(
        json.dumps(
            _config(
                ModelPackage(
                    model=package.model, architecture=architecture, contract=package.contract
                )
            )
        )
    )
    assert _read_architecture("p", stored) == architecture


def test_the_folder_holds_what_the_architecture_document_says(folder):
    assert {path.name for path in folder.iterdir()} == {
        "README.md",
        "config.json",
        "golden.safetensors",
        "manifest.json",
        "model.safetensors",
        "preprocessor_config.json",
    }
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    assert config["id2label"] == {"0": "cat", "1": "dog", "2": CLASSES[2]}
    assert config["label2id"]["dog"] == 1
    assert config["architecture"]["kind"] == "resnet"


def test_logits_do_not_depend_on_the_batch(folder):
    package = load_package(folder)
    many = images(64)
    alone = torch.cat([package.logits(image[None]) for image in many])
    torch.testing.assert_close(package.logits(many), alone, atol=1e-5, rtol=0)


def test_saving_again_replaces(folder):
    package = make_package("lenet")
    save_package(folder, package, golden_outputs(package, images()))
    assert isinstance(load_package(folder).architecture, LeNetConfig)


def test_an_edited_card_is_nobodys_damage(folder):
    (folder / "README.md").write_text("my own words")
    load_package(folder)
    (folder / "README.md").unlink()
    load_package(folder)


@pytest.mark.parametrize("name", ["weights.pt", "weights.pth", "pytorch_model.bin", "x.PKL"])
def test_a_pickle_is_refused_unopened(tmp_path, name):
    class Bomb:
        def __reduce__(self):
            return (tmp_path.joinpath("exploded").mkdir, ())

    (tmp_path / name).write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(UserError, match=r"is a pickle, which can run any program .* never opened"):
        load_package(tmp_path / name)
    assert not (tmp_path / "exploded").exists()


def test_other_things_are_refused(tmp_path, folder):
    with pytest.raises(UserError, match=r"absent: there is no such folder; .*RUN/package"):
        load_package(tmp_path / "absent")
    with pytest.raises(UserError, match=r"model\.safetensors is a file; needed is a model-package"):
        load_package(folder / "model.safetensors")
    with pytest.raises(UserError, match=r"is a run folder; .*: give .*package"):
        load_package(folder.parent)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"config\.json and manifest\.json are missing"):
        load_package(tmp_path / "empty")


PARTS = (
    "config.json",
    "preprocessor_config.json",
    "model.safetensors",
    "golden.safetensors",
    "manifest.json",
)


@pytest.mark.parametrize("name", PARTS)
def test_a_missing_part_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(DamagedFolder, match=rf"package: {name} is missing"):
        load_package(folder)


@pytest.mark.parametrize("name", PARTS)
@pytest.mark.parametrize("place", [0, 0.5, -1])
def test_one_changed_byte_is_found(folder, name, place):
    data = bytearray((folder / name).read_bytes())
    position = int(len(data) * place) if place >= 0 else -2
    data[position] ^= 1
    (folder / name).write_bytes(data)
    # A damaged manifest may put the blame on the file whose entry was hit.
    with pytest.raises(UserError, match="package: " if name == "manifest.json" else name):
        load_package(folder)


@pytest.mark.parametrize("name", PARTS)
def test_a_truncated_part_is_named(folder, name):
    data = (folder / name).read_bytes()
    (folder / name).write_bytes(data[: len(data) // 2])
    with pytest.raises(DamagedFolder, match=name):
        load_package(folder)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        (
            "preprocessor_config.json",
            lambda config: config.update(image_mean=[0.5]),
            r"package: The input contract was changed after it was written",
        ),
        (
            "config.json",
            lambda config: config["id2label"].update({"0": "cow"}),
            r"config\.json and preprocessor_config\.json are of different models",
        ),
        (
            "config.json",
            lambda config: config.update(contract_hash="0" * 64),
            r"needed contract 000000000000…",
        ),
        (
            "config.json",
            lambda config: config["architecture"].update(num_classes=7),
            r"does not fit the architecture.*needs shape \[7.*, has \[3",
        ),
        (
            "config.json",
            lambda config: config["architecture"].update(stage_depths=[9, 9, 9]),
            r"does not fit the architecture.*, has none \(\d+ such entries\)",
        ),
        (
            "config.json",
            lambda config: config["architecture"].update(colour="red"),
            r"config\.json: architecture.*colour",
        ),
        (
            "config.json",
            lambda config: config["architecture"].update(kind="transformer"),
            r"needs an architecture of kind resnet or lenet, has 'transformer'",
        ),
        ("config.json", lambda config: config.pop("architecture"), r"has None"),
    ],
)
def test_parts_that_contradict_each_other_are_refused(folder, name, change, message):
    reseal(folder, name, change)
    with pytest.raises(UserError, match=message):
        load_package(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.update(extra=torch.zeros(1)), r"extra needs shape none, has \[1\]"),
        (lambda state: state["bn1.running_var"].fill_(torch.nan), r"has NaN or infinity"),
    ],
)
def test_weights_that_do_not_fit_are_refused(folder, change, message):
    reseal_weights(folder, change)
    with pytest.raises(UserError, match=message):
        load_package(folder)


def test_a_diverged_network_is_not_saved(tmp_path):
    package = make_package()
    next(package.model.parameters()).data.fill_(torch.inf)
    with pytest.raises(UserError, match="has NaN or infinity: training diverged"):
        save_package(tmp_path / "p", package, {"images": images(), "logits": torch.zeros(3, 3)})
    assert not (tmp_path / "p").exists()


def test_a_contract_of_another_model_is_refused(tmp_path):
    package = make_package()
    architecture = resolve_model(ModelConfig(name="lenet"), 10, 1)
    other = ModelPackage(model=package.model, architecture=architecture, contract=package.contract)
    with pytest.raises(UserError, match="has 1 channels and 3 classes, the network 1 and 10"):
        save_package(tmp_path / "p", other, {})


def test_the_card_says_what_it_is_and_escapes():
    package = make_package()
    card = render_card(package.contract, PROVENANCE, {"validation": METRICS})
    _, front, body = card.split("---\n", 2)
    assert yaml.safe_load(front)["pipeline_tag"] == "image-classification"
    assert "| validation | 40 | 92.50% | 80.00% to 97.00% |" in body
    assert r"\<b\>ant\</b\> \| \*猫\*" in body
    assert "/my/images" in body
    assert "train 100, val 40" in body
    assert "Not evaluated yet." in render_card(package.contract, {}, {})
