"""Names without a network: caches are folders of this test, libraries where they are installed."""

import json
import re
import sys
from dataclasses import replace
from types import ModuleType

import pytest
import torch
from safetensors.torch import save_file

from resnetkit.models.families import imagenet_resnet
from resnetkit.models.weights import names
from resnetkit.models.weights.names import (
    distinct_names,
    find_huggingface,
    find_timm,
    find_torchvision,
    imagenet_class_names,
)
from resnetkit.models.weights.reading import read_source
from resnetkit.models.zoo import build_model
from resnetkit.types import UserError

NARROW = replace(imagenet_resnet(18), stage_widths=(4, 8, 12, 16), stem_width=4, num_classes=2)


def no_network(*arguments, **options):
    raise OSError("Network is unreachable")


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """torch.hub's cache in a folder of its own, without a network."""
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", no_network)
    (tmp_path / "checkpoints").mkdir()
    return tmp_path / "checkpoints"


@pytest.fixture
def hugging_face(tmp_path, monkeypatch):
    """Stands for huggingface_hub: repositories are folders; also without that library."""
    module = ModuleType("huggingface_hub")

    def download(repository, name, revision=None):
        path = tmp_path / "hub" / repository / name
        if not path.is_file():
            raise OSError(f"{repository} {name}: offline, and not in the cache\nmore lines")
        return str(path)

    module.__dict__["hf_hub_download"] = download
    monkeypatch.setitem(sys.modules, "huggingface_hub", module)
    return tmp_path / "hub"


def test_torchvision_from_the_cache_held_to_its_hash(hub, monkeypatch):
    with pytest.raises(UserError, match="not in the cache") as refused:
        find_torchvision("resnet18")
    assert "resnet18-f37072fd.pth" in str(refused.value)
    assert "Network is unreachable" in str(refused.value)
    (hub / "resnet18-f37072fd.pth").write_bytes(b"half a download")
    with pytest.raises(UserError, match="needs a SHA-256 that begins with f37072fd"):
        find_torchvision("resnet18")
    monkeypatch.setattr(names, "HASH_IN_NAME", re.compile("no hash in (any) name"))
    found = find_torchvision("resnet18.IMAGENET1K_V1")
    assert found.path == hub / "resnet18-f37072fd.pth"
    assert found.origin == "torchvision:resnet18.IMAGENET1K_V1"
    assert found.preprocessing is not None
    assert (found.preprocessing.resize, found.preprocessing.image_size) == (256, 224)
    assert found.class_names == imagenet_class_names()


def test_torchvision_names_that_are_none(hub):
    with pytest.raises(UserError, match=r"residual network is needed.*resnext50_32x4d"):
        find_torchvision("vgg11")
    with pytest.raises(UserError, match="IMAGENET1K_V2"):
        find_torchvision("resnet50.IMAGENET1K_V9")
    with pytest.raises(UserError, match="resnet50x"):
        find_torchvision("resnet50x")


def test_imagenet_has_a_thousand_distinct_classes():
    classes = imagenet_class_names()
    assert len(set(classes)) == 1000
    assert (classes[0], classes[517].split()[0]) == ("tench", "crane")
    assert distinct_names(["a", "b", "a", "a"]) == ("a", "b", "a (2)", "a (3)")


def test_timm_by_name_from_the_cache(hugging_face, monkeypatch):
    pytest.importorskip("timm")
    monkeypatch.setitem(sys.modules, "huggingface_hub", sys.modules["huggingface_hub"])
    with pytest.raises(UserError, match="offline, and not in the cache"):
        find_timm("resnet18.a1_in1k")
    folder = hugging_face / "timm" / "resnet18.a1_in1k"
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"x")
    found = find_timm("resnet18.a1_in1k")
    assert found.path == folder / "model.safetensors"
    assert found.layout == "timm"
    assert found.class_names == imagenet_class_names()
    assert found.preprocessing is not None
    assert found.preprocessing.interpolation in ("bilinear", "bicubic")
    with pytest.raises(UserError, match="Did you mean 'resnet18"):
        find_timm("resnet18.nonsense")
    with pytest.raises(UserError, match="Did you mean 'resnet50"):
        find_timm("resnet50x")


def test_libraries_that_are_missing_are_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(UserError, match=r"pip install .resnetkit\[timm\].*hf:timm/resnet18"):
        find_timm("resnet18")
    with pytest.raises(UserError, match="pip install"):
        find_huggingface("microsoft/resnet-18")


def write_repository(folder, **config):
    """A repository as timm writes it, with a narrow network."""
    folder.mkdir(parents=True)
    facts = {"num_classes": 2, "input_size": [3, 64, 64], "crop_pct": 0.9, "tag": "own"}
    config = {"architecture": "resnet18", "pretrained_cfg": facts} | config
    (folder / "config.json").write_text(json.dumps(config))
    torch.save(build_model(NARROW, seed=2).state_dict(), folder / "pytorch_model.bin")


def test_a_repository_of_the_hub_and_the_same_folder(hugging_face, tmp_path):
    write_repository(hugging_face / "someone" / "net", label_names=["cat", "dog"])
    for location in ("hf:someone/net@main", f"hf:{hugging_face / 'someone' / 'net'}"):
        foreign = read_source(location).foreign
        assert foreign.class_names == ("cat", "dog")
        assert foreign.preprocessing is not None
        assert (foreign.preprocessing.image_size, foreign.preprocessing.resize) == (64, 71)
        ours = build_model(NARROW, seed=2).state_dict()
        assert all(torch.equal(foreign.state[name], ours[name]) for name in ours)


def test_repositories_that_lack_something(hugging_face, tmp_path):
    with pytest.raises(UserError, match=r"config.json: someone/none") as refused:
        find_huggingface("someone/none")
    assert "more lines" not in str(refused.value)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"config.json is needed.*got nothing"):
        find_huggingface(str(tmp_path / "empty"))
    write_repository(hugging_face / "a" / "b", pretrained_cfg={})
    (hugging_face / "a" / "b" / "config.json").write_text("[1]")
    with pytest.raises(UserError, match="needs an object"):
        find_huggingface("a/b")
    (hugging_face / "a" / "b" / "config.json").write_text("{")
    with pytest.raises(UserError, match="is not JSON"):
        find_huggingface("a/b")
    config = {"model_type": "resnet", "id2label": {"0": "x", "1": "y"}}
    (hugging_face / "a" / "b" / "config.json").write_text(json.dumps(config))
    found = find_huggingface("a/b")
    assert found.preprocessing is None
    processor = {
        "image_processor_type": "ConvNextImageProcessor",
        "size": {"shortest_edge": 224},
        "crop_pct": 0.875,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
        "resample": 3,
    }
    (hugging_face / "a" / "b" / "preprocessor_config.json").write_text(json.dumps(processor))
    (hugging_face / "a" / "b" / "pytorch_model.bin").unlink()
    save_file({"a": torch.zeros(1)}, hugging_face / "a" / "b" / "model.safetensors")
    found = find_huggingface("a/b")
    assert found.path.name == "model.safetensors"
    assert found.preprocessing is not None
    assert found.preprocessing.resize == 256
