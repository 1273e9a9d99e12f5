import json
import os
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from resnetkit.models.families import imagenet_resnet
from resnetkit.models.weights import reading
from resnetkit.models.weights.names import WeightsFile
from resnetkit.models.weights.reading import find_weights, read_source
from resnetkit.models.zoo import build_model
from resnetkit.types import UserError

NARROW = replace(imagenet_resnet(18), stage_widths=(4, 8, 12, 16), stem_width=4, num_classes=3)


def state(architecture=NARROW):
    return build_model(architecture, seed=1).state_dict()


def refusal(location, **options):
    with pytest.raises(UserError) as refused:
        read_source(str(location), **options)
    return str(refused.value)


@pytest.fixture
def file(tmp_path):
    save_file(state(), tmp_path / "weights.safetensors")
    return tmp_path / "weights.safetensors"


def test_a_file_becomes_a_network_with_the_same_logits(file):
    source = read_source(str(file))
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        network = build_model(source.foreign.architecture).eval()
        network.load_state_dict(source.foreign.state)
        assert torch.equal(network(images), build_model(NARROW, seed=1).eval()(images))
    assert source.foreign.origin == str(file)
    assert source.foreign.class_names is None
    assert len(source.sha256) == 64
    assert source.path == file


def test_a_checkpoint_of_a_training_script_is_unwrapped(tmp_path):
    named = {f"module.{name}": value for name, value in state().items()}
    torch.save({"state_dict": named, "optimizer": {"lr": 1}, "epoch": 3}, tmp_path / "run.pth.tar")
    foreign = read_source(str(tmp_path / "run.pth.tar")).foreign
    assert foreign.architecture.num_classes == 3
    assert any("optimizer" in note for note in foreign.report.notes)


def test_headless_weights_only_where_a_head_is_given_later(tmp_path):
    headless = {name: value for name, value in state().items() if not name.startswith("fc.")}
    save_file(headless, tmp_path / "body.safetensors")
    assert "classifier" in refusal(tmp_path / "body.safetensors")
    foreign = read_source(str(tmp_path / "body.safetensors"), allow_headless=True).foreign
    assert not foreign.has_head


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "git lfs pull"),
        (b"\n<!DOCTYPE html><html><body>404</body></html>", "web page"),
        (b"<html>", "web page"),
        (b'{"error": "unauthorised"}', "refuses"),
        (b"\x1f\x8b\x08rest", "gzip"),
        (bytes(257) + b"ustar" + bytes(250), "tar archive"),
    ],
)
@pytest.mark.parametrize("ending", [".pth", ".safetensors", ".caffemodel", ".h5"])
def test_what_downloads_leave_in_a_files_place_is_named(tmp_path, content, said, ending):
    path = tmp_path / f"resnet50{ending}"
    path.write_bytes(content)
    message = refusal(path)
    assert str(path) in message
    assert said in message


def test_damaged_safetensors_are_refused(tmp_path, file):
    whole = file.read_bytes()
    cut, lying = tmp_path / "cut.safetensors", tmp_path / "lying.safetensors"
    for length in (3, 8, 100, len(whole) - 1):
        cut.write_bytes(whole[:length])
        assert "incomplete" in refusal(cut)
    for claimed in (2**63, reading.LARGEST_HEADER + 1, len(whole)):
        lying.write_bytes(claimed.to_bytes(8, "little") + whole[8:])
        assert "incomplete" in refusal(lying)
    header = json.dumps(
        {"a": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 4]}}
    ).encode()
    lying.write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    assert "cannot be read as safetensors" in refusal(lying)


def test_what_is_not_there_is_answered_with_what_was_meant(tmp_path):
    assert "torchvision:resnet50 or timm:resnet50" in refusal("resnet50")
    assert "torchvision:resnext50_32x4d" in refusal("resnext50-32x4d")
    assert "hf:microsoft/resnet-50" in refusal("microsoft/resnet-50")
    assert "did you mean 'torchvision'" in refusal("torchvison:resnet50")
    assert "no such file" in refusal(tmp_path / "none.pth")
    (tmp_path / "weights.onnx").write_bytes(b"x")
    message = refusal(tmp_path / "weights.onnx")
    assert ".onnx" in message
    assert ".safetensors" in message


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.pth")
    assert "a pipe" in refusal(tmp_path / "pipe.pth")


def test_a_mean_image_is_for_caffe_only(tmp_path, file):
    assert "--mean" in refusal(file, mean=tmp_path / "mean.binaryproto")


def test_weights_of_another_network_say_which_fits(tmp_path):
    with torch.device("meta"):
        names = build_model(imagenet_resnet(18)).state_dict()
    save_file({n: torch.zeros(v.shape) for n, v in names.items()}, tmp_path / "r18.safetensors")
    message = refusal(tmp_path / "r18.safetensors", model="resnet34")
    assert "resnet18" in message


def test_a_file_beside_its_config_is_read_with_it(tmp_path, file):
    file.rename(tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "vit"}))
    assert "'vit'" in refusal(tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"architecture": "resnet18"}))
    assert find_weights(str(tmp_path / "model.safetensors")).layout == "timm"
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "resnetkit"}))
    assert "package already" in refusal(tmp_path)


def test_weights_by_name_must_compute_what_their_library_computes(file, monkeypatch):
    def library(negative_slope):
        network = build_model(NARROW, seed=2)
        for module in network.modules():
            if isinstance(module, torch.nn.ReLU):
                module.forward = lambda x: torch.nn.functional.leaky_relu(x, negative_slope)
        return network

    for slope in (0.0, 0.2):
        found = WeightsFile(
            path=file, origin="timm:odd", build_library_network=lambda slope=slope: library(slope)
        )
        monkeypatch.setitem(reading.FINDERS, "timm", lambda name, found=found: found)
        if not slope:
            assert read_source("timm:odd").foreign.origin == "timm:odd"
        else:
            assert "It computes something that its weights do not show" in refusal("timm:odd")
