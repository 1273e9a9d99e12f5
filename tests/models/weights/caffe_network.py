"""A small network of the authors' kind: its `.caffemodel`, and what Caffe computes with it.

The file is written with the messages of caffe.proto, declared here once more as they are there; the
forward pass follows prototxt/ResNet-50-deploy.prototxt layer by layer and knows nothing of ours.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache

import numpy as np
import torch
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from seeded_weights import seeded_uniform
from torch import Tensor
from torch.nn import functional as F

BLOCKS_50 = (("a", "b"), ("a", "b", "c"))  # as in the 50 layers, two stages of them
BLOCKS_101 = (("a", "b"), ("a", "b1", "b2"))  # numbered, as in the longer stages of 101 and 152
WIDTHS, STEM_WIDTH, CLASSES = (4, 8), 8, 7
FIELDS = {
    "BlobShape": {"dim": (1, "packed int64")},
    "BlobProto": {
        "num": (1, "int64"),
        "channels": (2, "int64"),
        "height": (3, "int64"),
        "width": (4, "int64"),
        "data": (5, "packed float"),
        "shape": (7, "BlobShape"),
        "double_data": (8, "packed double"),
    },
    "ConvolutionParameter": {
        "num_output": (1, "uint32"),
        "bias_term": (2, "bool"),
        "pad": (3, "repeated uint32"),
        "kernel_size": (4, "repeated uint32"),
        "stride": (6, "repeated uint32"),
        "dilation": (18, "repeated uint32"),
    },
    "PoolingParameter": {
        "pool": (1, "int32"),
        "kernel_size": (2, "uint32"),
        "stride": (3, "uint32"),
        "pad": (4, "uint32"),
    },
    "BatchNormParameter": {"use_global_stats": (1, "bool"), "eps": (3, "float")},
    "LayerParameter": {
        "name": (1, "string"),
        "type": (2, "string"),
        "bottom": (3, "repeated string"),
        "top": (4, "repeated string"),
        "blobs": (7, "repeated BlobProto"),
        "convolution_param": (106, "ConvolutionParameter"),
        "pooling_param": (121, "PoolingParameter"),
        "batch_norm_param": (139, "BatchNormParameter"),
    },
    "V1LayerParameter": {"name": (4, "string"), "blobs": (6, "repeated BlobProto")},
    "NetParameter": {
        "name": (1, "string"),
        "layers": (2, "repeated V1LayerParameter"),
        "layer": (100, "repeated LayerParameter"),
    },
}


@cache
def caffe_messages() -> dict[str, type]:
    file = descriptor_pb2.FileDescriptorProto(name="whole.proto", package="caffe", syntax="proto2")
    for message, fields in FIELDS.items():
        described = file.message_type.add(name=message)
        for name, (number, kind) in fields.items():
            how, _, kind = kind.rpartition(" ")
            field = described.field.add(name=name, number=number, label=3 if how else 1)
            if kind in FIELDS:
                field.type, field.type_name = field.TYPE_MESSAGE, f".caffe.{kind}"
            else:
                field.type = getattr(field, f"TYPE_{kind.upper()}")
            if how == "packed":
                field.options.packed = True
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"caffe.{name}"))
        for name in FIELDS
    }


def blob(values: Tensor | np.ndarray, *, legacy: bool = False, double: bool = False):
    """A BlobProto; `legacy` has four axes in num, channels, height, width."""
    values = np.asarray(values)
    message = caffe_messages()["BlobProto"]()
    if legacy:
        sizes = [1] * (4 - values.ndim) + list(values.shape)
        message.num, message.channels, message.height, message.width = sizes
    else:
        message.shape.dim.extend(values.shape)
    (message.double_data if double else message.data).extend(values.ravel().tolist())
    return message


class CaffeNetwork:
    """Blobs by layer name, in the order of the prototxt; seeded by their names."""

    def __init__(self, blocks: Sequence[Sequence[str]] = BLOCKS_50, *, conv1_bias: bool = True):
        self.blocks = blocks
        self.blobs: dict[str, list[Tensor]] = {}
        self.settings: dict[str, dict[str, int]] = {"pool1": {"kernel_size": 3, "stride": 2}}
        self._convolution("conv1", "_conv1", (STEM_WIDTH, 3, 7, 7), 2, 3, bias=conv1_bias)
        width_in = STEM_WIDTH
        for stage, (names, width) in enumerate(zip(blocks, WIDTHS, strict=True), start=2):
            for position, name in enumerate(names):
                stride = 2 if stage > 2 and position == 0 else 1
                self._block(f"{stage}{name}", width_in, width, stride, position == 0)
                width_in = 4 * width
        self.blobs["fc1000"] = [
            seeded_uniform("fc1000/0", (CLASSES, width_in), -0.3, 0.3),
            seeded_uniform("fc1000/1", (CLASSES,), -0.3, 0.3),
        ]

    def _block(self, name: str, width_in: int, width: int, stride: int, first: bool) -> None:
        if first:
            shape = (4 * width, width_in, 1, 1)
            self._convolution(f"res{name}_branch1", f"{name}_branch1", shape, stride, 0)
        for place, shape, step, pad in (
            ("a", (width, width_in, 1, 1), stride, 0),
            ("b", (width, width, 3, 3), 1, 1),
            ("c", (4 * width, width, 1, 1), 1, 0),
        ):
            branch = f"{name}_branch2{place}"
            self._convolution(f"res{branch}", branch, shape, step, pad)

    def _convolution(
        self, name: str, norm: str, shape: Sequence[int], stride: int, pad: int, *, bias=False
    ) -> None:
        channels, bound = shape[0], math.sqrt(6 / math.prod(shape[1:]))
        self.blobs[name] = [seeded_uniform(f"{name}/0", shape, -bound, bound)]
        if bias:
            self.blobs[name].append(seeded_uniform(f"{name}/1", (channels,), -0.5, 0.5))
        self.settings[name] = {"stride": stride, "pad": pad}
        factor = 999.98236  # as the sums of a moving average have it
        self.blobs[f"bn{norm}"] = [
            factor * seeded_uniform(f"bn{norm}/0", (channels,), -0.2, 0.2),
            factor * seeded_uniform(f"bn{norm}/1", (channels,), 0.5, 1.5),
            torch.tensor([factor]),
        ]
        self.blobs[f"scale{norm}"] = [
            seeded_uniform(f"scale{norm}/0", (channels,), 0.3, 0.8),
            seeded_uniform(f"scale{norm}/1", (channels,), -0.2, 0.2),
        ]

    def serialized(self, *, legacy: bool = False, double: bool = False) -> bytes:
        """The bytes of the `.caffemodel`."""
        network = caffe_messages()["NetParameter"](name="ResNet")
        for name in ("data", *self.blobs, "pool1", "prob"):
            layer = network.layer.add(name=name, type=_kind(name), bottom=["below"], top=[name])
            for values in self.blobs.get(name, ()):
                layer.blobs.append(blob(values, legacy=legacy, double=double))
            for setting, value in self.settings.get(name, {}).items():
                stated = layer.pooling_param if name == "pool1" else layer.convolution_param
                if name == "pool1":
                    setattr(stated, setting, value)
                else:
                    getattr(stated, setting).append(value)
            if name.startswith("bn"):
                layer.batch_norm_param.use_global_stats = True
        return network.SerializeToString()

    def logits(self, data: Tensor) -> Tensor:
        """The blob fc1000 for `data` [N,3,H,W] in blue, green, red, less the mean."""
        x = F.relu(self._normed(data, "conv1", "_conv1"))
        x = caffe_max_pooling(x)
        for stage, names in enumerate(self.blocks, start=2):
            for position, name in enumerate(names):
                branch = f"{stage}{name}_branch"
                residual = x
                for place in "abc":
                    residual = self._normed(residual, f"res{branch}2{place}", f"{branch}2{place}")
                    residual = F.relu(residual) if place != "c" else residual
                shortcut = x if position else self._normed(x, f"res{branch}1", f"{branch}1")
                x = F.relu(shortcut + residual)
        weight, bias = self.blobs["fc1000"]
        return x.mean((2, 3)) @ weight.T + bias

    def _normed(self, x: Tensor, name: str, norm: str) -> Tensor:
        weight, *bias = self.blobs[name]
        stride, padding = self.settings[name]["stride"], self.settings[name]["pad"]
        x = F.conv2d(x, weight, *bias, stride=stride, padding=padding)
        mean, variance, factor = self.blobs[f"bn{norm}"]
        x = (x - channelwise(mean / factor)) / (channelwise(variance / factor) + 1e-5).sqrt()
        gamma, beta = self.blobs[f"scale{norm}"]
        return x * channelwise(gamma) + channelwise(beta)


def _kind(name: str) -> str:
    if name.startswith(("conv", "res")):
        return "Convolution"
    kinds = {"bn": "BatchNorm", "sc": "Scale", "fc": "InnerProduct", "po": "Pooling"}
    return kinds.get(name[:2], "Softmax")


def channelwise(values: Tensor) -> Tensor:
    return values.reshape(1, -1, 1, 1)


def caffe_max_pooling(x: Tensor) -> Tensor:
    """3x3 of stride 2 as pooling_layer.cpp has it: sizes rounded up, windows cut at the border."""
    height, width = (-(-(size - 3) // 2) + 1 for size in x.shape[2:])
    rows = [
        torch.stack(
            [x[:, :, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3].amax((2, 3)) for j in range(width)], -1
        )
        for i in range(height)
    ]
    return torch.stack(rows, 2)
