"""The original authors' ResNet-50, -101 and -152, as they published them for Caffe.

Layer names and their meaning: KaimingHe/deep-residual-networks, prototxt/. A convolution without
bias, a BatchNorm of statistics only, and a Scale of gamma and beta are one convolution and one norm
here. The networks stride in the first 1x1 convolution, pool without padding, and take pixels from 0
to 255 in the order blue, green, red, less a mean image.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from resnetkit.models.resnet import ResNetConfig
from resnetkit.models.weights.caffe_proto import CaffeLayer, read_blob, read_layers
from resnetkit.models.weights.complete import Translated
from resnetkit.models.weights.folding import (
    complete_layers,
    fold_into_norms,
    reverse_input_channels,
)
from resnetkit.models.weights.foreign import ForeignWeights, Preprocessing
from resnetkit.models.weights.infer import infer_architecture
from resnetkit.models.weights.strict_loading import shorten
from resnetkit.types import UserError

IMAGE_SIZE, RESIZE = 224, 256
MEAN_FILE = "ResNet_mean.binaryproto"  # as the authors' archive calls it
# The mean of that image over its pixels, blue, green, red; in ry/tensorflow-resnet, among others.
MEAN_VALUES = (103.062623801, 115.902882574, 123.151630838)

CONVOLUTION = re.compile(r"conv1|res\d[a-z]\d*_branch[12][a-c]?")
NORM = re.compile(r"(bn|scale)(_conv1|(\d[a-z]\d*_branch[12][a-c]?))")
BRANCH = re.compile(r"(\d)([a-z])(\d*)_branch([12])([a-c]?)")
BATCH_NORM_BLOBS, SCALE_BLOBS = ("running_mean", "running_var", "scale_factor"), ("weight", "bias")


@dataclass
class Read:
    """What was read so far: entries under our keys, and what has to be folded into norms."""

    state: dict[str, Tensor] = field(default_factory=dict)
    source_names: dict[str, str] = field(default_factory=dict)
    offsets: dict[str, Tensor] = field(default_factory=dict)  # biases, by the norm after them
    epsilons: dict[str, float] = field(default_factory=dict)
    left_over: list[str] = field(default_factory=list)


def read_caffe(
    path: Path, *, mean: Path | None = None, model: str | None = None, allow_headless: bool = False
) -> ForeignWeights:
    """A `.caffemodel` with the authors' layer names, for images in red, green, blue.

    `mean` is a mean image (`.binaryproto`) of at least 224x224 or of one pixel; None takes
    `ResNet_mean.binaryproto` where it lies beside the model, else its mean value. `model` is a name
    of the zoo to insist on. `allow_headless`: see `complete`.
    Raises UserError for files of other networks and damaged ones, and for layers whose own settings
    (stride, padding, dilation, pooling) say that they compute something else.
    """
    layers = read_layers(path)
    origin = str(path)
    _check_names(layers, origin)
    _check_settings(layers, origin)
    read = _read(layers, origin)
    state = fold_into_norms(read.state, read.offsets, read.epsilons, origin)
    inferred = infer_architecture(state, origin)
    architecture = replace(
        inferred,
        block=replace(inferred.block, stride_in_first_convolution=True),
        stem_pool="unpadded",
    )
    if mean is None and (path.parent / MEAN_FILE).is_file():
        mean = path.parent / MEAN_FILE
    translated = Translated(
        state=reverse_input_channels(state),
        layout="caffe",
        source_names=read.source_names,
        left_over=tuple(read.left_over),
        notes=tuple(_notes(architecture, mean)),
    )
    return complete_layers(
        translated,
        architecture,
        origin=origin,
        model=model,
        preprocessing=_preprocessing(mean),
        allow_headless=allow_headless,
    )


def _check_names(layers: Sequence[CaffeLayer], origin: str) -> None:
    names = {layer.name for layer in layers}
    if {"conv1", "bn_conv1", "res2a_branch2a", "res2a_branch2c"} <= names:
        return
    found = [layer.name for layer in layers if layer.blobs]
    raise UserError(
        f"{origin}: a ResNet-50, -101 or -152 with its authors' layers (conv1, bn_conv1, "
        f"res2a_branch2a, …, fc1000) is needed, got the layers {shorten(found)}. Other networks in "
        "Caffe's format cannot be imported; give one of KaimingHe/deep-residual-networks."
    )


def _check_settings(layers: Sequence[CaffeLayer], origin: str) -> None:
    """A file may state strides and paddings; they must be those of the network it becomes."""
    for layer in layers:
        stated = layer.pooling if layer.name == "pool1" else layer.convolution
        needed = _needed_settings(layer.name)
        if stated is None or needed is None:
            continue
        wrong = {name: stated[name] for name in needed if stated[name] != needed[name]}
        if wrong:
            raise UserError(
                f"{origin}: the layer {layer.name} must have {_listed(needed, wrong)}, as the "
                f"authors' networks have, got {_listed(wrong, wrong)}. The network here would "
                "compute something else; this variant cannot be imported."
            )


def _needed_settings(name: str) -> dict[str, int] | None:
    if name == "pool1":
        return {"pool": 0, "kernel_size": 3, "stride": 2, "pad": 0, "round_mode": 0}
    if name == "conv1":
        return {"pad": 3, "stride": 2, "dilation": 1, "group": 1}
    if not CONVOLUTION.fullmatch(name):
        return None
    stage, block, number, branch, place = _parts(name.removeprefix("res"))
    starts = stage > 2 and block + number == "a"
    strides = starts and (branch == "1" or place == "a")
    pad = 1 if place == "b" else 0
    return {"pad": pad, "stride": 2 if strides else 1, "dilation": 1, "group": 1}


def _listed(settings: dict[str, int], names: dict[str, int]) -> str:
    return " and ".join(f"{name} {settings[name]}" for name in names)


def _read(layers: Sequence[CaffeLayer], origin: str) -> Read:
    read = Read()
    head = _head_name(layers, origin)
    for layer in layers:
        if layer.name == head:
            _read_head(layer, read, origin)
        elif CONVOLUTION.fullmatch(layer.name):
            _read_convolution(layer, read)
        elif NORM.fullmatch(layer.name):
            _read_norm(layer, read, origin)
        else:
            read.left_over += [f"{layer.name}/{number}" for number in range(len(layer.blobs))]
    for norm in read.epsilons:
        _unscale(norm, read)
    return read


def _head_name(layers: Sequence[CaffeLayer], origin: str) -> str | None:
    names = [layer.name for layer in layers if layer.kind == "InnerProduct" and layer.blobs]
    names = names or [layer.name for layer in layers if layer.name == "fc1000" and layer.blobs]
    if len(names) > 1:
        raise UserError(
            f"{origin}: one classifier (a layer InnerProduct) is needed, got {shorten(names)}; the "
            "networks here have no others."
        )
    return names[0] if names else None


def _read_head(layer: CaffeLayer, read: Read, origin: str) -> None:
    _check_count(layer, 2, origin)
    weight, bias = layer.blobs
    # Older files have four axes, [1,1,K,D] and [1,1,1,K].
    read.state |= {"fc.weight": _tensor(weight).reshape(weight.shape[-2:])}
    read.state |= {"fc.bias": _tensor(bias).flatten()}
    read.source_names |= {"fc.weight": f"{layer.name}/0", "fc.bias": f"{layer.name}/1"}


def _read_convolution(layer: CaffeLayer, read: Read) -> None:
    convolution, norm = _keys(layer.name.removeprefix("res"))
    for number, (entry, blob) in enumerate(zip(("weight", "bias"), layer.blobs, strict=False)):
        read.source_names[f"{convolution}.{entry}"] = f"{layer.name}/{number}"
        if entry == "weight":
            read.state[f"{convolution}.weight"] = _tensor(blob)
        else:  # only conv1 of the 50 layers has one
            read.offsets[norm] = _tensor(blob).flatten()


def _read_norm(layer: CaffeLayer, read: Read, origin: str) -> None:
    found = NORM.fullmatch(layer.name)
    assert found is not None
    _, norm = _keys(found[3] or "conv1")
    entries = BATCH_NORM_BLOBS if found[1] == "bn" else SCALE_BLOBS
    _check_count(layer, len(entries), origin)
    for number, (entry, blob) in enumerate(zip(entries, layer.blobs, strict=True)):
        read.source_names[f"{norm}.{entry}"] = f"{layer.name}/{number}"
        read.state[f"{norm}.{entry}"] = _tensor(blob).flatten()
    if found[1] == "bn":
        read.epsilons[norm] = layer.epsilon


def _check_count(layer: CaffeLayer, needed: int, origin: str) -> None:
    if len(layer.blobs) != needed:
        raise UserError(
            f"{origin}: {needed} arrays are needed in the layer {layer.name}, got "
            f"{len(layer.blobs)}; the file is incomplete or of another network. Get the original."
        )


def _unscale(norm: str, read: Read) -> None:
    """Divide Caffe's sums by their common weight; where that is 0, it takes both as 0."""
    factor = read.state.pop(f"{norm}.scale_factor").double().flatten()[:1]
    inverse = torch.where(factor == 0, 0.0, 1 / factor)
    for entry in ("running_mean", "running_var"):
        name = f"{norm}.{entry}"
        read.state[name] = (read.state[name].double() * inverse).float()


def _keys(place: str) -> tuple[str, str]:
    """Our convolution and norm of "conv1", "2a_branch1" or "4b22_branch2c"."""
    if place == "conv1":
        return "conv1", "bn1"
    stage, block, number, branch, convolution = _parts(place)
    position = int(number) if number else ord(block) - ord("a")
    prefix = f"layer{stage - 1}.{position}"
    if branch == "1":
        return f"{prefix}.downsample.0", f"{prefix}.downsample.1"
    place_number = ord(convolution or "a") - ord("a") + 1
    return f"{prefix}.conv{place_number}", f"{prefix}.bn{place_number}"


def _parts(place: str) -> tuple[int, str, str, str, str]:
    """Stage, block letter, block number (50 layers: none), branch, and place in the branch."""
    found = BRANCH.fullmatch(place)
    assert found is not None, place
    stage, block, number, branch, convolution = found.groups()
    return int(stage), block, number, branch, convolution


def _tensor(array: np.ndarray) -> Tensor:
    return torch.tensor(np.asarray(array, dtype=np.float32))


def _notes(architecture: ResNetConfig, mean: Path | None) -> Iterator[str]:
    yield f"Blocks in the stages: {', '.join(map(str, architecture.stage_depths))}."
    yield "The first convolution was turned from blue, green, red to red, green, blue."
    if mean is None:
        yield f"No {MEAN_FILE} lies beside the model: its mean value is used for every pixel."
    else:
        yield f"The mean image is {mean}."


def _preprocessing(mean: Path | None) -> Preprocessing:
    return Preprocessing(
        image_size=IMAGE_SIZE,
        resize=RESIZE,
        interpolation="bilinear",
        scale=1.0,
        mean=MEAN_VALUES[::-1] if mean is None else _mean_image(mean),
        std=(1.0, 1.0, 1.0),
    )


def _mean_image(path: Path) -> tuple[float, ...]:
    """A mean image as red, green, blue: its 3x224x224 middle, or its one pixel."""
    image = read_blob(path)
    if image.ndim == 4 and len(image) == 1:
        image = image[0]
    height, width = image.shape[-2:] if image.ndim == 3 else (0, 0)
    if len(image) != 3 or (min(height, width) < IMAGE_SIZE and (height, width) != (1, 1)):
        raise UserError(
            f"{path}: a mean image of 3 channels and at least {IMAGE_SIZE}x{IMAGE_SIZE} pixels, or "
            f"of one pixel, is needed, got the shape {list(image.shape)}; give the one the model "
            "was trained with."
        )
    if height > 1:
        top, left = (height - IMAGE_SIZE) // 2, (width - IMAGE_SIZE) // 2
        image = image[:, top : top + IMAGE_SIZE, left : left + IMAGE_SIZE]
    if not np.isfinite(image).all():
        raise UserError(f"{path}: finite numbers are needed in a mean image; get the original.")
    return tuple(map(float, image[::-1].ravel()))
