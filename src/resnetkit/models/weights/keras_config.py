"""What a model's config, where the file has one, says beside the weights; nothing of it is run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

IMAGE_SIZE = 224  # of keras.applications, where nothing is said
EPSILON = 1.001e-5  # of every norm in keras.applications' ResNets
# Layers that a ResNet consists of, or that change nothing when it is used.
KNOWN = (
    *("InputLayer", "ZeroPadding2D", "Conv2D", "BatchNormalization", "Activation", "ReLU", "Add"),
    *("MaxPooling2D", "GlobalAveragePooling2D", "Flatten", "Dense", "Dropout"),
    *("Functional", "Model", "Sequential"),
)


@dataclass(frozen=True, kw_only=True)
class KerasConfig:
    """Settings by layer's name; empty where the file has weights only."""

    image_size: int = IMAGE_SIZE
    epsilons: Mapping[str, float] = field(default_factory=dict)
    convolutions: Mapping[str, dict[str, int]] = field(default_factory=dict)  # stride, dilation, …
    activations: Mapping[str, str] = field(default_factory=dict)  # of dense layers
    others: tuple[str, ...] = ()  # layers that are no part of a ResNet: "name (class)"


def read_config(config: Any) -> KerasConfig:
    """The facts in Keras' JSON; whatever has another form than Keras writes is passed over."""
    layers = list(_layers(config))
    named = {kind: {} for kind in ("BatchNormalization", "Conv2D", "Dense")}
    others, sizes = [], []
    for kind, settings in layers:
        name = str(settings.get("name"))
        if kind in named:
            named[kind][name] = settings
        elif kind == "InputLayer":
            sizes.append(_image_size(settings))
        elif kind not in KNOWN:
            others.append(f"{name} ({kind})")
    norms, dense = named["BatchNormalization"], named["Dense"]
    return KerasConfig(
        image_size=next((size for size in sizes if size), IMAGE_SIZE),
        epsilons={n: float(s["epsilon"]) for n, s in norms.items() if _is_number(s.get("epsilon"))},
        convolutions={name: _convolution(settings) for name, settings in named["Conv2D"].items()},
        activations={name: str(settings.get("activation")) for name, settings in dense.items()},
        others=tuple(others),
    )


def _layers(config: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Class and settings of every layer, those of nested models too."""
    settings = config.get("config") if isinstance(config, dict) else None
    inner = settings.get("layers") if isinstance(settings, dict) else None
    for layer in inner if isinstance(inner, list) else []:
        if isinstance(layer, dict) and isinstance(layer.get("config"), dict):
            yield str(layer.get("class_name")), layer["config"]
            yield from _layers(layer)


def _image_size(settings: Mapping[str, Any]) -> int | None:
    """Side of square colour images; None for any other input."""
    shape = settings.get("batch_shape") or settings.get("batch_input_shape")
    if not isinstance(shape, list) or len(shape) != 4:
        return None
    sizes = shape[1:3] if shape[3] in (1, 3) else shape[2:]
    same = sizes[0] == sizes[1] and isinstance(sizes[0], int) and sizes[0] > 0
    return sizes[0] if same else None


def _convolution(settings: Mapping[str, Any]) -> dict[str, int]:
    return {
        "strides": _single(settings.get("strides", 1)),
        "dilation_rate": _single(settings.get("dilation_rate", 1)),
        "groups": _single(settings.get("groups", 1)),
    }


def _single(value: Any) -> int:
    """One number for both axes; 0, which nothing needs, where they differ."""
    values = set(value) if isinstance(value, list) else {value}
    return values.pop() if len(values) == 1 else 0


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
