from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from caffe_network import BLOCKS_50, BLOCKS_101, CaffeNetwork, blob, caffe_messages
from seeded_weights import seeded_uniform

from resnetkit.models.weights import caffe_proto
from resnetkit.models.weights.caffe import MEAN_FILE, MEAN_VALUES, read_caffe
from resnetkit.models.weights.proof import build_network
from resnetkit.types import UserError


def write(folder: Path, network: CaffeNetwork, **layout: bool) -> Path:
    path = folder / "ResNet-50-model.caffemodel"
    path.write_bytes(network.serialized(**layout))
    return path


def pixels(height: int, width: int) -> torch.Tensor:
    """[1,3,H,W], 0 to 255, red, green, blue."""
    return seeded_uniform("pixels", (1, 3, height, width), 0, 255).round()


def assert_equal_logits(network: CaffeNetwork, path: Path, size: tuple[int, int]) -> None:
    foreign = read_caffe(path)
    preprocessing = foreign.preprocessing
    images = pixels(*size)
    mean = torch.tensor(preprocessing.mean).reshape(1, 3, 1, 1)
    blue_green_red = images.flip(1) - torch.tensor(MEAN_VALUES).reshape(1, 3, 1, 1)
    with torch.inference_mode():
        ours = build_network(foreign)(images * preprocessing.scale - mean)
    theirs = network.logits(blue_green_red)
    assert theirs.abs().max() > 1
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("blocks", [BLOCKS_50, BLOCKS_101])
@pytest.mark.parametrize("size", [(64, 64), (75, 61)])
def test_logits_equal_those_of_the_prototxt(tmp_path, blocks, size):
    network = CaffeNetwork(blocks, conv1_bias=blocks is BLOCKS_50)
    assert_equal_logits(network, write(tmp_path, network), size)


@pytest.mark.parametrize("layout", [{"legacy": True}, {"double": True}])
def test_older_shapes_and_double_precision_are_read(tmp_path, layout):
    network = CaffeNetwork()
    assert_equal_logits(network, write(tmp_path, network, **layout), (64, 64))


def test_a_scale_factor_of_zero_means_statistics_of_zero(tmp_path):
    network = CaffeNetwork()
    for part in network.blobs["bn_conv1"]:
        part.zero_()
    foreign = read_caffe(write(tmp_path, network))
    assert not foreign.state["bn1.running_var"].any()
    offset = network.blobs["conv1"][1]
    torch.testing.assert_close(foreign.state["bn1.running_mean"], -offset)


def test_the_architecture_matters(tmp_path):
    """Each option this importer sets changes the logits: none is there for nothing."""
    foreign = read_caffe(write(tmp_path, CaffeNetwork()))
    architecture, images = foreign.architecture, pixels(64, 64)
    block = replace(architecture.block, stride_in_first_convolution=False)
    with torch.inference_mode():
        ours = build_network(foreign)(images)
        for other in (
            replace(architecture, stem_pool="padded"),
            replace(architecture, block=block),
        ):
            different = build_network(replace(foreign, architecture=other))(images)
            assert (different - ours).abs().max() > 0.01


def test_the_report_counts_every_blob(tmp_path):
    network = CaffeNetwork()
    foreign = read_caffe(write(tmp_path, network))
    assert foreign.report.used == sum(map(len, network.blobs.values()))
    assert foreign.report.renamed == foreign.report.used
    assert foreign.report.layout == "caffe"
    assert all(name.endswith("num_batches_tracked") for name in foreign.report.missing)
    assert "No ResNet_mean.binaryproto lies beside" in foreign.report.notes[-1]
    assert foreign.class_names is None
    assert foreign.architecture.stage_depths == (2, 3)


def test_a_mean_image_is_cropped_and_turned_around(tmp_path):
    image = seeded_uniform("mean", (1, 3, 256, 256), 90, 130)
    (tmp_path / MEAN_FILE).write_bytes(blob(image, legacy=True).SerializeToString())
    preprocessing = read_caffe(write(tmp_path, CaffeNetwork())).preprocessing
    assert (preprocessing.image_size, preprocessing.resize, preprocessing.scale) == (224, 256, 1.0)
    mean = torch.tensor(preprocessing.mean).reshape(3, 224, 224)
    assert torch.equal(mean, image[0, :, 16:240, 16:240].flip(0))


def test_a_mean_of_one_pixel_can_be_given(tmp_path):
    path = tmp_path / "mean.binaryproto"
    path.write_bytes(blob(torch.tensor([1.0, 2.0, 3.0]).reshape(3, 1, 1)).SerializeToString())
    foreign = read_caffe(write(tmp_path, CaffeNetwork()), mean=path)
    assert foreign.preprocessing.mean == (3.0, 2.0, 1.0)
    assert str(path) in foreign.report.notes[-1]


def test_a_mean_image_of_another_size_is_refused(tmp_path):
    path = tmp_path / "mean.binaryproto"
    path.write_bytes(blob(torch.zeros(1, 3, 64, 64)).SerializeToString())
    with pytest.raises(UserError, match=r"at least 224x224 pixels, .* got the shape \[3, 64, 64\]"):
        read_caffe(write(tmp_path, CaffeNetwork()), mean=path)


@pytest.mark.parametrize(
    ("layer", "setting", "message"),
    [
        ("pool1", {"pad": 1}, "pool1 must have pad 0, as .* got pad 1"),
        ("res3a_branch2a", {"stride": 1}, "res3a_branch2a must have stride 2, as .* got stride 1"),
        ("res3b_branch2b", {"dilation": 2}, "must have dilation 1, as .* got dilation 2"),
    ],
)
def test_variants_are_refused(tmp_path, layer, setting, message):
    network = CaffeNetwork()
    network.settings[layer] |= setting
    with pytest.raises(UserError, match=message):
        read_caffe(write(tmp_path, network))


def test_a_missing_layer_is_named(tmp_path):
    network = CaffeNetwork()
    del network.blobs["bn3b_branch2b"]
    with pytest.raises(UserError, match=r"2 missing: layer2\.1\.bn2\.running_mean, "):
        read_caffe(write(tmp_path, network))


def test_another_shape_is_named(tmp_path):
    network = CaffeNetwork()
    network.blobs["res3b_branch2b"] = [torch.zeros(8, 4, 3, 3)]
    message = r"layer2\.1\.conv2\.weight \[8, 4, 3, 3\] for \[8, 8, 3, 3\]"
    with pytest.raises(UserError, match=message):
        read_caffe(write(tmp_path, network))


def test_a_layer_we_do_not_have_is_refused(tmp_path):
    network = CaffeNetwork()
    network.blobs["conv_extra"] = [torch.zeros(2, 2, 1, 1)]
    with pytest.raises(UserError, match="got 1 others: conv_extra/0"):
        read_caffe(write(tmp_path, network))


def test_without_a_head_only_where_that_is_allowed(tmp_path):
    network = CaffeNetwork()
    del network.blobs["fc1000"]
    path = write(tmp_path, network)
    with pytest.raises(UserError, match="has no classifier"):
        read_caffe(path)
    foreign = read_caffe(path, allow_headless=True)
    assert not foreign.has_head
    assert foreign.architecture.num_classes == 1


def test_the_given_name_must_fit(tmp_path):
    with pytest.raises(
        UserError, match=r"'resnet50' are needed, .* 2-3 bottleneck blocks, 4-8 wide"
    ):
        read_caffe(write(tmp_path, CaffeNetwork()), model="resnet50")


def test_another_network_is_refused(tmp_path):
    network = caffe_messages()["NetParameter"](name="AlexNet")
    for name in ("conv1", "conv2", "fc6"):
        network.layers.add(name=name).blobs.append(blob(torch.zeros(2, 2)))
    path = tmp_path / "alexnet.caffemodel"
    path.write_bytes(network.SerializeToString())
    with pytest.raises(UserError, match=r"authors' layers .* got the layers conv1, conv2, fc6\."):
        read_caffe(path)


@pytest.mark.parametrize("share", [0.3, 0.7, 0.999])
def test_a_truncated_file_is_refused(tmp_path, share):
    path = write(tmp_path, CaffeNetwork())
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(UserError, match=r"ResNet-50-model\.caffemodel: .* is needed, got"):
        read_caffe(path)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"<!DOCTYPE html><html></html>", "a binary file written by Caffe is needed, got"),
        (b"", "got no layer with weights"),
        (b"\xa2\x06\x00" * 6000, "more than 5000 layers"),
        (b"\xa2\x06" + b"\x22" + b"\x3a\x00" * 17, "17 blobs in the layer ''"),
    ],
)
def test_bytes_of_something_else_are_refused(tmp_path, data, message):
    path = tmp_path / "x.caffemodel"
    path.write_bytes(data)
    with pytest.raises(UserError, match=message):
        read_caffe(path)


def test_a_blob_with_fewer_numbers_than_its_shape_says_is_refused(tmp_path):
    network = caffe_messages()["NetParameter"]()
    wrong = blob(torch.zeros(4))
    wrong.shape.dim[:] = [2**40]
    network.layer.add(name="conv1").blobs.append(wrong)
    path = tmp_path / "x.caffemodel"
    path.write_bytes(network.SerializeToString())
    with pytest.raises(UserError, match=r"4 numbers for the shape \[1099511627776\] in a blob of"):
        read_caffe(path)


def test_a_file_that_is_too_large_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(caffe_proto, "MAX_BYTES", 1000)
    with pytest.raises(UserError, match="MiB, more than"):
        read_caffe(write(tmp_path, CaffeNetwork()))


def test_numbers_that_are_not_finite_are_refused(tmp_path):
    network = CaffeNetwork()
    network.blobs["res2a_branch1"][0][0] = float("nan")
    with pytest.raises(
        UserError, match=r"finite weights are needed, got 8 .* layer1\.0\.downsample"
    ):
        read_caffe(write(tmp_path, network))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"none\.caffemodel: a file of Caffe's is needed there"):
        read_caffe(tmp_path / "none.caffemodel")
