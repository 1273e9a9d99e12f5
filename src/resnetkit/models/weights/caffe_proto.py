"""Caffe's binary files: the few messages of caffe.proto that weights are in, read with care.

Field numbers: BVLC/caffe, src/caffe/proto/caffe.proto. Nested messages and the numbers of a blob
are declared as bytes: on the wire they are the same, and a file of millions of empty messages then
costs no more memory than its size. What a blob holds is handed on as arrays without a Python float.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from resnetkit.types import UserError

MAX_BYTES = 2**29  # twice the largest model of the authors
MAX_LAYERS = 5000
MAX_BLOBS = 16  # of one layer

# message -> field -> (number, label, type); "?" optional, "*" repeated
FIELDS: dict[str, dict[str, tuple[int, str, str]]] = {
    "NetParameter": {
        "layers": (2, "*", "bytes"),  # V1LayerParameter, of before 2014
        "layer": (100, "*", "bytes"),  # LayerParameter
    },
    "V1LayerParameter": {"name": (4, "?", "bytes"), "blobs": (6, "*", "bytes")},
    "LayerParameter": {
        "name": (1, "?", "bytes"),
        "type": (2, "?", "bytes"),
        "blobs": (7, "*", "bytes"),
        "convolution_param": (106, "?", "ConvolutionParameter"),
        "pooling_param": (121, "?", "PoolingParameter"),
        "batch_norm_param": (139, "?", "BatchNormParameter"),
    },
    "ConvolutionParameter": {
        "pad": (3, "*", "uint32"),
        "group": (5, "?", "uint32"),
        "stride": (6, "*", "uint32"),
        "dilation": (18, "*", "uint32"),
    },
    "PoolingParameter": {
        "pool": (1, "?", "uint32"),  # an enum: 0 is MAX
        "kernel_size": (2, "?", "uint32"),
        "stride": (3, "?", "uint32"),
        "pad": (4, "?", "uint32"),
        "round_mode": (13, "?", "uint32"),  # an enum: 0 is CEIL
    },
    "BatchNormParameter": {"eps": (3, "?", "float")},
    "BlobShape": {"dim": (1, "*", "int64")},
    "BlobProto": {
        "num": (1, "?", "int64"),  # of before 2014, as the next three
        "channels": (2, "?", "int64"),
        "height": (3, "?", "int64"),
        "width": (4, "?", "int64"),
        "data": (5, "*", "bytes"),  # packed floats
        "shape": (7, "?", "BlobShape"),
        "double_data": (8, "*", "bytes"),  # packed doubles
    },
}


@dataclass(frozen=True, kw_only=True, eq=False)
class CaffeLayer:
    """A layer with its numbers, and the settings it states; None for those it does not."""

    name: str
    kind: str  # "Convolution", "BatchNorm", …; empty in files of before 2014
    blobs: tuple[np.ndarray, ...]
    convolution: dict[str, int] | None  # pad, group, stride, dilation
    pooling: dict[str, int] | None  # pool, kernel_size, stride, pad, round_mode
    epsilon: float  # of a BatchNorm


def read_layers(path: Path) -> list[CaffeLayer]:
    """The layers of a `.caffemodel` in order.

    Raises UserError for files that are cut off, too large, or nothing of Caffe's.
    """
    network = _parse("NetParameter", _read(path), path)
    if len(network.layer) + len(network.layers) > MAX_LAYERS:
        raise _refusal(path, f"more than {MAX_LAYERS} layers")
    layers = [_layer(_parse("LayerParameter", data, path), path) for data in network.layer]
    layers += [_layer(_parse("V1LayerParameter", data, path), path) for data in network.layers]
    if not any(layer.blobs for layer in layers):
        raise _refusal(path, "no layer with weights")
    return layers


def read_blob(path: Path) -> np.ndarray:
    """The array of a `.binaryproto`, such as a mean image [1,3,H,W] in blue, green, red."""
    blob = _parse("BlobProto", _read(path), path)
    return _array(blob, path, "the blob")


def _read(path: Path) -> bytes:
    if not path.is_file():
        raise UserError(f"{path}: a file of Caffe's is needed there, got none; check the path.")
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise _refusal(path, f"{size / 2**20:.0f} MiB, more than the {MAX_BYTES / 2**20:.0f} read")
    return path.read_bytes()


def _parse(name: str, data: bytes, path: Path) -> Any:
    from google.protobuf.message import DecodeError

    message = _messages()[name]()
    try:
        message.ParseFromString(data)
    except DecodeError:
        raise _refusal(path, f"bytes that do not parse as its {name}") from None
    return message


def _refusal(path: Path, came: str) -> UserError:
    return UserError(
        f"{path}: a binary file written by Caffe is needed, got {came}. If it was downloaded, it "
        "may be cut off or a web page: download it again and compare its size."
    )


@cache
def _messages() -> dict[str, Any]:
    """A class for each message, in a pool of our own: an installed Caffe has the same names."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    file = descriptor_pb2.FileDescriptorProto(name="caffe.proto", package="caffe", syntax="proto2")
    for message, fields in FIELDS.items():
        described = file.message_type.add(name=message)
        for name, (number, label, kind) in fields.items():
            field = described.field.add(name=name, number=number, label=2 * (label == "*") + 1)
            if kind in FIELDS:
                field.type, field.type_name = field.TYPE_MESSAGE, f".caffe.{kind}"
            else:
                field.type = getattr(field, f"TYPE_{kind.upper()}")
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"caffe.{name}"))
        for name in FIELDS
    }


def _layer(message: Any, path: Path) -> CaffeLayer:
    name = message.name.decode(errors="replace")
    if len(message.blobs) > MAX_BLOBS:
        raise _refusal(path, f"{len(message.blobs)} blobs in the layer {name!r}")
    blobs = [_parse("BlobProto", data, path) for data in message.blobs]
    arrays = tuple(_array(blob, path, f"a blob of the layer {name!r}") for blob in blobs)
    new = message.DESCRIPTOR.name == "LayerParameter"
    norm = message.batch_norm_param if new else None
    return CaffeLayer(
        name=name,
        kind=message.type.decode(errors="replace") if new else "",
        blobs=arrays,
        convolution=_convolution(message)
        if new and message.HasField("convolution_param")
        else None,
        pooling=_pooling(message) if new and message.HasField("pooling_param") else None,
        epsilon=norm.eps if norm is not None and norm.HasField("eps") else 1e-5,
    )


def _convolution(message: Any) -> dict[str, int]:
    stated = message.convolution_param
    return {
        "pad": _single(stated.pad, 0),
        "group": stated.group if stated.HasField("group") else 1,
        "stride": _single(stated.stride, 1),
        "dilation": _single(stated.dilation, 1),
    }


def _single(sizes: Sequence[int], default: int) -> int:
    """One size for both axes; -1, which nothing needs, where they differ."""
    different = set(sizes)
    return (different or {default}).pop() if len(different) <= 1 else -1


def _pooling(message: Any) -> dict[str, int]:
    defaults = {"pool": 0, "kernel_size": 0, "stride": 1, "pad": 0, "round_mode": 0}
    stated = message.pooling_param
    return {
        name: getattr(stated, name) if stated.HasField(name) else default
        for name, default in defaults.items()
    }


def _array(blob: Any, path: Path, what: str) -> np.ndarray:
    data, kind = (
        (blob.double_data, np.dtype("<f8")) if blob.double_data else (blob.data, np.dtype("<f4"))
    )
    joined = b"".join(data)
    if len(joined) % kind.itemsize:
        raise _refusal(path, f"{len(joined)} bytes of {kind.itemsize}-byte numbers in {what}")
    values = np.frombuffer(joined, kind)
    legacy = [blob.num, blob.channels, blob.height, blob.width]
    shape = list(blob.shape.dim) if blob.HasField("shape") else [max(size, 1) for size in legacy]
    if min(shape, default=1) < 0 or math.prod(shape) != len(values):
        raise _refusal(path, f"{len(values)} numbers for the shape {shape} in {what}")
    return values.reshape(shape)
