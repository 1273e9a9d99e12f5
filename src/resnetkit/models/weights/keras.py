"""ResNet50, 101 and 152 of keras.applications, version 1 and 2, whole models or weights.

Source: keras/src/applications/resnet.py. Version 1 is He 2015 with a bias in every convolution and
strides in the first 1x1. Version 2 is pre-activation (He 2016) whose stages stride in their last
block, whose stem has a bias and no norm, and whose pooling pads with zeros. A bias is folded into
the norm that reads its channels: in version 2 those of the stream's later norms, up to the next
projection, since norms (and subsampling) are the stream's only readers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from resnetkit.models.resnet import ResNetConfig
from resnetkit.models.weights.complete import Translated
from resnetkit.models.weights.folding import (
    complete_layers,
    fold_into_norms,
    reverse_input_channels,
)
from resnetkit.models.weights.foreign import ForeignWeights, Preprocessing
from resnetkit.models.weights.infer import infer_architecture
from resnetkit.models.weights.keras_config import EPSILON, KerasConfig, read_config
from resnetkit.models.weights.keras_hdf5 import KerasFile, read_keras_file
from resnetkit.models.weights.keras_names import (
    convolution_key,
    norm_after,
    norm_key,
    stride_of,
)
from resnetkit.models.weights.keras_order import names_by_order
from resnetkit.models.weights.strict_loading import shorten
from resnetkit.types import UserError

NORM_VARIABLES = ("gamma", "beta", "moving_mean", "moving_variance")
OUR_ENTRIES = {
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}
CAFFE_MEAN = (123.68, 116.779, 103.939)  # red, green, blue; imagenet_utils.preprocess_input
Layers = dict[str, dict[str, np.ndarray]]  # name -> variable -> values


@dataclass(frozen=True, kw_only=True, eq=False)
class Renamed:
    """Entries under our keys; `biases` are of convolutions that have none with us."""

    state: dict[str, Tensor]
    biases: dict[str, Tensor]  # by the convolution's key
    source_names: dict[str, str]
    left_over: tuple[str, ...]


def read_keras(
    path: Path, *, model: str | None = None, allow_headless: bool = False
) -> ForeignWeights:
    """An `.h5`, `.weights.h5` or `.keras` file of such a network, for images in red, green, blue.

    `model` is a name of the zoo to insist on. `allow_headless`: see `complete`. The pre-processing
    is the version's own: version 1 "caffe" (less a mean), version 2 "tf" (-1 to 1).
    Raises UserError for files of other networks and damaged ones, without h5py, and for strides in
    the file's config that the network here does not have.
    """
    origin = str(path)
    file = read_keras_file(path)
    config = read_config(file.config)
    layers = _named_layers(file, origin)
    preactivation = _is_version_2(layers, origin)
    head = _head_name(layers, origin)
    renamed = _rename(layers, preactivation, head)
    architecture = _architecture(renamed.state, preactivation, origin)
    _check_convolutions(config, architecture, origin)
    offsets = (_stream_offsets if preactivation else _direct_offsets)(renamed.biases, architecture)
    epsilons = {
        norm: config.epsilons.get(name, EPSILON)
        for name in layers
        if (norm := norm_key(name, preactivation))
    }
    state = fold_into_norms(renamed.state, offsets, epsilons, origin)
    color = architecture.in_channels == 3
    if color and not preactivation:
        state = reverse_input_channels(state)
    return complete_layers(
        Translated(
            state=state,
            layout="keras",
            source_names=renamed.source_names,
            left_over=renamed.left_over,
            notes=_notes(preactivation, config, config.activations.get(head or "")),
        ),
        architecture,
        origin=origin,
        model=model,
        preprocessing=_preprocessing(preactivation, config)
        if architecture.in_channels == 3
        else None,
        allow_headless=allow_headless,
    )


def _named_layers(file: KerasFile, origin: str) -> Layers:
    """Layers by name; variables by name too, where the file only numbers them."""
    first = {
        path: values.shape for (path, variable), values in file.arrays.items() if variable == "0"
    }
    names = file.names or names_by_order(first)
    layers: Layers = {}
    paths: dict[str, str] = {}
    for (path, variable), values in file.arrays.items():
        name = names.get(path, path.rpartition("/")[2])
        if paths.setdefault(name, path) != path:
            raise UserError(
                f"{origin}: one network is needed, got the layer {name} twice, at {paths[name]} "
                f"and {path}; save the one to be used alone."
            )
        known = NORM_VARIABLES if name.endswith("bn") else ("kernel", "bias")
        if variable.isdecimal() and int(variable) < len(known):
            variable = known[int(variable)]
        layers.setdefault(name, {})[variable] = values
    return layers


def _is_version_2(layers: Layers, origin: str) -> bool:
    if "conv1_conv" in layers and "conv2_block1_1_conv" in layers:
        return "conv2_block1_preact_bn" in layers
    if "res2a_branch2a" in layers:
        raise UserError(
            f"{origin}: the layer names of keras.applications since 2019 (conv1_conv, "
            "conv2_block1_1_conv, …) are needed, got those of before (res2a_branch2a, …), whose "
            "pooling differed between versions; load and save the weights with a newer Keras."
        )
    raise UserError(
        f"{origin}: a ResNet50, 101 or 152 of keras.applications (layers conv1_conv, "
        f"conv2_block1_1_conv, …, predictions) is needed, got the layers "
        f"{shorten(sorted(layers)) or 'none'}. Other networks in Keras' formats cannot be imported."
    )


def _head_name(layers: Layers, origin: str) -> str | None:
    """The one dense layer, whatever it is called; None without one."""
    dense = [name for name, entries in layers.items() if _dimensions(entries.get("kernel")) == 2]
    if len(dense) > 1:
        raise UserError(
            f"{origin}: one dense layer, the classifier, is needed, got {shorten(sorted(dense))}; "
            "the networks here have no others. Save the model without them (include_top=False)."
        )
    return dense[0] if dense else None


def _dimensions(values: np.ndarray | None) -> int:
    return 0 if values is None else values.ndim


def _rename(layers: Layers, preactivation: bool, head: str | None) -> Renamed:
    state, biases, source_names, left_over = {}, {}, {}, []
    for name, entries in layers.items():
        norm, convolution = norm_key(name, preactivation), convolution_key(name)
        for variable, values in entries.items():
            source = f"{name}/{variable}"
            tensor = torch.from_numpy(np.ascontiguousarray(values))
            if name == head and variable in ("kernel", "bias"):
                key = {"kernel": "fc.weight", "bias": "fc.bias"}[variable]
                state[key] = tensor.T if variable == "kernel" else tensor
            elif norm and variable in OUR_ENTRIES:
                key = f"{norm}.{OUR_ENTRIES[variable]}"
                state[key] = tensor
            elif convolution and variable == "kernel" and tensor.dim() == 4:
                key = f"{convolution}.weight"
                state[key] = tensor.permute(3, 2, 0, 1)
            elif convolution and variable == "bias":
                key = f"{convolution}.bias"
                biases[convolution] = tensor
            else:
                left_over.append(source)
                continue
            source_names[key] = source
    if preactivation and "conv1" in biases:  # zeros are pooled with what this one adds
        state["conv1.bias"] = biases.pop("conv1")
    return Renamed(
        state=state, biases=biases, source_names=source_names, left_over=tuple(left_over)
    )


def _architecture(state: Mapping[str, Tensor], preactivation: bool, origin: str) -> ResNetConfig:
    inferred = infer_architecture(state, origin)
    block = replace(
        inferred.block,
        stride_in_first_convolution=not preactivation,
        stride_in_last_block=preactivation,
    )
    stem_pool = "zero-padded" if preactivation else "padded"
    return replace(inferred, block=block, stem_pool=stem_pool)


def _check_convolutions(config: KerasConfig, architecture: ResNetConfig, origin: str) -> None:
    """A file may state strides; they must be those of the network it becomes."""
    for name, stated in config.convolutions.items():
        if convolution_key(name) is None:
            continue
        needed = {"strides": stride_of(name, architecture), "dilation_rate": 1, "groups": 1}
        wrong = [setting for setting in needed if stated[setting] != needed[setting]]
        if wrong:
            raise UserError(
                f"{origin}: the layer {name} must have {wrong[0]} {needed[wrong[0]]}, as "
                f"keras.applications gives it, got {stated[wrong[0]]}. The network here would "
                "compute something else; this variant cannot be imported."
            )


def _direct_offsets(biases: Mapping[str, Tensor], _: ResNetConfig) -> dict[str, Tensor]:
    """Version 1: each bias goes into the norm of its own convolution."""
    return {norm_after(convolution): bias for convolution, bias in biases.items()}


def _stream_offsets(biases: Mapping[str, Tensor], architecture: ResNetConfig) -> dict[str, Tensor]:
    """Version 2: what the blocks so far have added to the stream, for each norm that reads it."""
    inner = re.compile(r"(.*\.)conv([12])")  # keras.applications has no biases there
    found = {name: inner.fullmatch(name) for name in biases}
    offsets = {f"{at[1]}bn{int(at[2]) + 1}": biases[name] for name, at in found.items() if at}
    stream: Tensor | None = None  # the stem keeps its own bias
    for stage, depth in enumerate(architecture.stage_depths, start=1):
        for block in range(depth):
            prefix = f"layer{stage}.{block}"
            if stream is not None:
                offsets[f"{prefix}.bn1"] = stream
            if block == 0:  # a projection starts the stream anew
                stream = _sum(None, biases.get(f"{prefix}.downsample.0"))
            stream = _sum(stream, biases.get(f"{prefix}.conv3"))
    return offsets if stream is None else {**offsets, "final_norm": stream}


def _sum(stream: Tensor | None, bias: Tensor | None) -> Tensor | None:
    if stream is None or bias is None or stream.shape != bias.shape:
        return stream if bias is None else bias.double()
    return stream + bias.double()


def _preprocessing(preactivation: bool, config: KerasConfig) -> Preprocessing:
    return Preprocessing(
        image_size=config.image_size,
        resize=round(config.image_size * 256 / 224),
        interpolation="bilinear",
        scale=1 / 127.5 if preactivation else 1.0,
        mean=(1.0, 1.0, 1.0) if preactivation else CAFFE_MEAN,
        std=(1.0, 1.0, 1.0),
    )


def _notes(preactivation: bool, config: KerasConfig, activation: str | None) -> tuple[str, ...]:
    module = "resnet_v2" if preactivation else "resnet"
    notes = [f"Pixels are taken to be prepared by keras.applications.{module}.preprocess_input."]
    if not preactivation:
        notes.append("The first convolution was turned from blue, green, red to red, green, blue.")
    if not config.convolutions:
        notes.append(f"The file has no config: images of {config.image_size} pixels are taken.")
    if config.others:
        notes.append(f"These layers were not read: {shorten(config.others)}.")
    if activation == "sigmoid":
        notes.append("The head ends in a sigmoid: its classes do not exclude each other.")
    return tuple(notes)
