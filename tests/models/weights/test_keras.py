from __future__ import annotations

import gzip
import json
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from resnetkit.models.weights import hdf5_child, keras_hdf5
from resnetkit.models.weights.foreign import ForeignWeights, Preprocessing
from resnetkit.models.weights.keras import read_keras
from resnetkit.models.weights.keras_hdf5 import KerasFile
from resnetkit.models.weights.proof import build_network
from resnetkit.types import UserError

h5py = pytest.importorskip("h5py")
GOLDEN = Path(__file__).parent / "golden"  # see make_keras_golden.py
SUFFIXES = (".h5", ".weights.h5", ".keras")
SIZES = {1: 64, 2: 75}


ORIGINAL = keras_hdf5.read_in_child


def read_here(path: Path) -> KerasFile:
    arrays, names, config = hdf5_child.read(path)
    return KerasFile(arrays=arrays, names=names, config=config)


@pytest.fixture(autouse=True)
def _without_child(monkeypatch):
    """Starting a process for each test would take most of their time; two tests do."""
    monkeypatch.setattr(keras_hdf5, "read_in_child", read_here)


def unpack(folder: Path, version: int, suffix: str) -> Path:
    path = folder / f"keras-v{version}{suffix}"
    path.write_bytes(gzip.decompress((GOLDEN / f"{path.name}.gz").read_bytes()))
    return path


def recorded_logits(version: int) -> Tensor:
    return load_file(GOLDEN / f"keras-v{version}.safetensors")["logits"]


def prepared_images(version: int, preprocessing: Preprocessing) -> Tensor:
    """The pixels of make_keras_golden.images_of, as our contract prepares them."""
    size = SIZES[version]
    cells = -(-size // 5)
    raw = np.random.Philox(key=1).random_raw(2 * cells * cells * 3)
    colors = (raw >> np.uint64(56)).astype(np.float32).reshape(2, cells, cells, 3)
    images = colors.repeat(5, 1).repeat(5, 2)[:, :size, :size]
    pixels = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))
    mean, std = (
        torch.tensor(values).reshape(1, 3, 1, 1)
        for values in (preprocessing.mean, preprocessing.std)
    )
    return (pixels * preprocessing.scale - mean) / std


def our_logits(foreign: ForeignWeights, version: int) -> Tensor:
    assert foreign.preprocessing is not None
    with torch.inference_mode():
        return build_network(foreign)(prepared_images(version, foreign.preprocessing))


def change(path: Path, edit) -> Path:
    """Change an HDF5 file in place, also the one within a `.keras` archive."""
    if path.suffix != ".keras":
        with h5py.File(path, "r+") as root:
            edit(root)
        return path
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    inner = path.with_name("model.weights.h5")
    inner.write_bytes(members[inner.name])
    members[inner.name] = change(inner, edit).read_bytes()
    return rewrite(path, members)


def rewrite(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_logits_equal_those_of_keras(tmp_path, version, suffix):
    foreign = read_keras(unpack(tmp_path, version, suffix))
    logits = recorded_logits(version)
    assert logits.abs().max() > 1
    torch.testing.assert_close(our_logits(foreign, version), logits, rtol=1e-5, atol=1e-5)
    assert foreign.architecture.stage_depths == (2, 3)
    assert foreign.architecture.num_classes == 7
    assert foreign.report.left_over == ()
    assert foreign.report.layout == "keras"


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("suffix", [".weights.h5", ".keras"])
def test_without_stored_names_the_order_tells_them(tmp_path, version, suffix):
    def forget(root) -> None:
        for group in root["layers"].values():
            del group["vars"].attrs["name"]

    path = change(unpack(tmp_path, version, suffix), forget)
    logits = our_logits(read_keras(path), version)
    torch.testing.assert_close(logits, recorded_logits(version), rtol=1e-5, atol=1e-5)


def test_the_architecture_matters(tmp_path):
    """Each option this importer sets changes the logits: none is there for nothing."""
    for version, option in ((1, "stride_in_first_convolution"), (2, "stride_in_last_block")):
        foreign = read_keras(unpack(tmp_path, version, ".h5"))
        block = replace(foreign.architecture.block, **{option: False})
        other = replace(foreign, architecture=replace(foreign.architecture, block=block))
        assert (our_logits(other, version) - recorded_logits(version)).abs().max() > 0.01


def test_the_zeros_around_the_pooling_matter(tmp_path):
    foreign = read_keras(unpack(tmp_path, 2, ".h5"))
    network = build_network(foreign)
    images = prepared_images(2, foreign.preprocessing)
    network.maxpool = torch.nn.MaxPool2d(3, stride=2, padding=1)
    with torch.inference_mode():
        assert (network(images) - recorded_logits(2)).abs().max() > 0.001


@pytest.mark.parametrize(("version", "used"), [(1, 110), (2, 92)])
def test_the_report_counts_every_weight(tmp_path, version, used):
    report = read_keras(unpack(tmp_path, version, ".h5")).report
    assert report.used == report.renamed == used
    assert all(name.endswith("num_batches_tracked") for name in report.missing)


def test_each_version_brings_its_preprocessing(tmp_path):
    first = read_keras(unpack(tmp_path, 1, ".h5")).preprocessing
    assert (first.scale, first.mean, first.std) == (1.0, (123.68, 116.779, 103.939), (1.0,) * 3)
    assert (first.image_size, first.resize) == (64, 73)
    second = read_keras(unpack(tmp_path, 2, ".weights.h5")).preprocessing
    assert (second.scale, second.mean, second.std) == (1 / 127.5, (1.0,) * 3, (1.0,) * 3)
    assert (second.image_size, second.resize) == (224, 256)  # nothing says so in weights only
    notes = read_keras(unpack(tmp_path, 2, ".weights.h5")).report.notes
    assert "The file has no config: images of 224 pixels are taken." in notes


def test_names_end_in_a_number_in_keras_2(tmp_path):
    """There, datasets are called kernel:0, and models may lie within models."""

    def rename(root) -> None:
        outer = root.create_group("nested")
        for layer in list(root["model_weights"]):
            root.move(f"model_weights/{layer}", f"nested/{layer}")
        for layer in outer.values():
            for inner in layer.values():
                for variable in list(inner):
                    inner.move(variable, f"{variable}:0")

    path = change(unpack(tmp_path, 1, ".h5"), rename)
    logits = our_logits(read_keras(path), 1)
    torch.testing.assert_close(logits, recorded_logits(1), rtol=1e-5, atol=1e-5)


def test_a_head_of_any_name_is_one(tmp_path):
    def rename(root) -> None:
        root.move("model_weights/predictions", "model_weights/my_classes")
        group = root["model_weights/my_classes"]
        group.move("predictions", "my_classes")

    assert read_keras(change(unpack(tmp_path, 1, ".h5"), rename)).architecture.num_classes == 7


def test_two_dense_layers_are_refused(tmp_path):
    def add(root) -> None:
        root["model_weights/hidden/hidden/kernel"] = [[0.0, 0.0]]

    with pytest.raises(UserError, match=r"one dense layer, .* got hidden, predictions"):
        read_keras(change(unpack(tmp_path, 1, ".h5"), add))


def test_without_a_head_only_where_that_is_allowed(tmp_path):
    def remove(root) -> None:
        del root["model_weights/predictions"]

    path = change(unpack(tmp_path, 2, ".h5"), remove)
    with pytest.raises(UserError, match="has no classifier"):
        read_keras(path)
    foreign = read_keras(path, allow_headless=True)
    assert not foreign.has_head


def test_epsilon_is_read_from_the_config(tmp_path):
    def replace_epsilon(root) -> None:
        config = json.loads(root.attrs["model_config"])
        for layer in config["config"]["layers"]:
            if layer["config"]["name"] == "conv1_bn":
                layer["config"]["epsilon"] = 0.001
        root.attrs["model_config"] = json.dumps(config)

    usual = read_keras(unpack(tmp_path, 1, ".h5")).state["bn1.running_var"]
    path = change(tmp_path / "keras-v1.h5", replace_epsilon)
    changed = read_keras(path).state["bn1.running_var"]
    torch.testing.assert_close(changed - usual, torch.full((64,), 0.001 - 1.001e-5))


def edit_config(name: str, settings: dict):
    def edit(root) -> None:
        config = json.loads(root.attrs["model_config"])
        for layer in config["config"]["layers"]:
            if layer["config"]["name"] == name:
                layer["config"] |= settings
        root.attrs["model_config"] = json.dumps(config)

    return edit


@pytest.mark.parametrize(
    ("version", "layer", "settings", "message"),
    [
        (1, "conv3_block1_1_conv", {"strides": [1, 1]}, "must have strides 2, as .* got 1"),
        (
            1,
            "conv3_block2_2_conv",
            {"dilation_rate": [2, 2]},
            "must have dilation_rate 1, as .* got 2",
        ),
        (2, "conv2_block2_2_conv", {"strides": [1, 1]}, "must have strides 2, as .* got 1"),
    ],
)
def test_variants_are_refused(tmp_path, version, layer, settings, message):
    path = change(unpack(tmp_path, version, ".h5"), edit_config(layer, settings))
    with pytest.raises(UserError, match=f"{layer} {message}"):
        read_keras(path)


def test_layers_around_the_network_and_sigmoids_are_noted(tmp_path):
    def edit(root) -> None:
        config = json.loads(root.attrs["model_config"])
        settings = {"name": "rescaling", "scale": 0.5}
        config["config"]["layers"].append({"class_name": "Rescaling", "config": settings})
        root.attrs["model_config"] = json.dumps(config)
        edit_config("predictions", {"activation": "sigmoid"})(root)

    notes = read_keras(change(unpack(tmp_path, 1, ".h5"), edit)).report.notes
    assert "These layers were not read: rescaling (Rescaling)." in notes
    assert "The head ends in a sigmoid: its classes do not exclude each other." in notes


def test_missing_layers_and_other_shapes_are_named(tmp_path):
    def remove(root) -> None:
        del root["model_weights/conv3_block2_2_bn"]

    message = r"4 missing: layer2\.1\.bn2\.bias, layer2\.1\.bn2\.running_mean"
    with pytest.raises(UserError, match=message):
        read_keras(change(unpack(tmp_path, 1, ".h5"), remove))

    def shorten(root) -> None:
        bias = root["model_weights/conv3_block2_2_conv/conv3_block2_2_conv"]
        del bias["bias"]
        bias["bias"] = [0.0] * 5

    with pytest.raises(UserError, match=r"before layer2\.1\.bn2, got 5 for 8"):
        read_keras(change(unpack(tmp_path, 1, ".h5"), shorten))


def test_other_networks_are_refused(tmp_path):
    path = tmp_path / "vgg.h5"
    with h5py.File(path, "w") as root:
        root["block1_conv1/block1_conv1/kernel:0"] = [[0.0]]
    with pytest.raises(UserError, match=r"ResNet50, 101 or 152 .* got the layers block1_conv1\."):
        read_keras(path)
    with h5py.File(path, "w") as root:
        root["res2a_branch2a/res2a_branch2a_W"] = [[0.0]]
    with pytest.raises(UserError, match="those of before"):
        read_keras(path)
    with h5py.File(path, "w"):
        pass
    with pytest.raises(UserError, match="got the layers none"):
        read_keras(path)


def test_one_network_twice_is_refused(tmp_path):
    def double(root) -> None:
        root.copy("model_weights", "second")

    with pytest.raises(UserError, match=r"got the layer .* twice, at "):
        read_keras(change(unpack(tmp_path, 1, ".h5"), double))


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("share", [0.02, 0.5, 0.98])
def test_truncated_files_are_refused(tmp_path, suffix, share):
    path = unpack(tmp_path, 1, suffix)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(UserError, match=r"keras-v1.*saved by Keras .* got a damaged file"):
        read_keras(path)


def test_archives_of_something_else_are_refused(tmp_path):
    path = rewrite(tmp_path / "x.keras", {"config.json": b"{}"})
    with pytest.raises(UserError, match=r"an archive without model\.weights\.h5"):
        read_keras(path)
    path = rewrite(path, {"config.json": b"[" * 10**5, "model.weights.h5": b""})
    with pytest.raises(UserError, match="a damaged file"):
        read_keras(path)


def link_outside(root) -> None:
    root["layers/conv2d/vars/elsewhere"] = h5py.ExternalLink("/etc/passwd", "/")


def link_within(root) -> None:
    root["layers/conv2d/vars/elsewhere"] = h5py.SoftLink("/layers")


def circle(root) -> None:
    root["layers/circle"] = root["layers"]


def virtual_values(root) -> None:
    layout = h5py.VirtualLayout(shape=(4,), dtype="f4")
    layout[:] = h5py.VirtualSource("other.h5", "data", shape=(4,))
    root.create_virtual_dataset("layers/conv2d/vars/2", layout)


def values_outside(root) -> None:
    external = [("/etc/passwd", 0, 8)]
    root.create_dataset("layers/conv2d/vars/2", (2,), "f4", external=external)


def huge_values(root) -> None:
    root.create_dataset("layers/conv2d/vars/2", (2**40,), "f4", chunks=(2**20,), compression="gzip")


def text(root) -> None:
    root["layers/conv2d/vars/2"] = "text"


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (link_outside, "a link to elsewhere at layers/conv2d/vars/elsewhere"),
        (link_within, "a link to elsewhere at layers/conv2d/vars/elsewhere"),
        (circle, "a group in two places, or more than 16 levels, at layers/circle/"),
        (virtual_values, "values that lie in another file at layers/conv2d/vars/2"),
        (values_outside, "values that lie in another file at layers/conv2d/vars/2"),
        (huge_values, "more values than any network here has"),
        (text, "object values at layers/conv2d/vars/2, where numbers belong"),
    ],
)
def test_hostile_files_are_refused(tmp_path, edit, message):
    path = change(unpack(tmp_path, 1, ".weights.h5"), edit)
    with pytest.raises(UserError, match=message):
        read_keras(path)


def test_an_archive_that_unpacks_to_too_much_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(hdf5_child, "MAX_BYTES", 10_000)
    with pytest.raises(UserError, match=r"an archive whose config\.json has"):
        read_keras(unpack(tmp_path, 1, ".keras"))


def test_without_h5py_the_message_says_what_to_install(tmp_path, monkeypatch):
    path = unpack(tmp_path, 1, ".h5")
    monkeypatch.setattr(keras_hdf5, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'resnetkit\[keras\]'"):
        read_keras(path)


@pytest.mark.parametrize("suffix", [".h5", ".keras"])
def test_the_child_reads_the_same(tmp_path, suffix):
    path = unpack(tmp_path, 1, suffix)
    here = read_here(path)
    there = ORIGINAL(path)
    assert list(here.arrays) == list(there.arrays)
    assert all(np.array_equal(values, there.arrays[name]) for name, values in here.arrays.items())
    assert (here.names, here.config) == (there.names, there.config)


def test_what_the_child_refuses_or_dies_of_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(keras_hdf5, "read_in_child", ORIGINAL)
    path = tmp_path / "x.h5"
    path.write_bytes(b"<html>")
    with pytest.raises(UserError, match="got a damaged file, or one of another kind"):
        read_keras(path)
    monkeypatch.setattr(keras_hdf5.hdf5_child, "__file__", str(tmp_path / "none.py"))
    with pytest.raises(UserError, match=r"the HDF5 library loops over or dies of \(exit code 2\)"):
        read_keras(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"none\.h5: a file of Keras' is needed there"):
        read_keras(tmp_path / "none.h5")
