"""What torchvision, timm and transformers say their networks were fed, as `Preprocessing`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, get_args

from resnetkit.models.weights.foreign import Interpolation, Preprocessing
from resnetkit.types import UserError

# Pillow's codes, which transformers writes.
RESAMPLE_NAMES: dict[int, Interpolation] = {0: "nearest", 2: "bilinear", 3: "bicubic"}
# kuangliu/pytorch-cifar, main.py
CIFAR_STATISTICS = ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))
# ConvNextImageProcessor squeezes images of this size and above to a square instead of cropping.
SQUEEZED_FROM = 384
IMAGENET_MEAN = (0.485, 0.456, 0.406)  # timm's fallback, and in akamaster's trainer.py
IMAGENET_STD = (0.229, 0.224, 0.225)


def torchvision_weights(name: str) -> Any:
    """The weights that torchvision has under "resnet50" or "resnet50.IMAGENET1K_V1"; no download.

    Without a version, those that it calls the default. UserError for an unknown name.
    """
    from torchvision.models import get_model_weights

    model, _, version = name.partition(".")
    try:
        versions = get_model_weights(model)
    except ValueError:
        raise UserError(
            f"torchvision:{name}: the name of a network that torchvision has is needed, such as "
            f"resnet50 or wide_resnet50_2, got {model!r}; correct it."
        ) from None
    known = [weights.name for weights in versions]
    version = version or "DEFAULT"
    if version not in versions.__members__:
        raise UserError(
            f"torchvision:{name}: one of the versions {', '.join(known)} is needed, got "
            f"{version!r}; correct it or leave it out."
        )
    return versions[version]


def from_torchvision(weights: Any) -> Preprocessing:
    """Of a member of a torchvision `WeightsEnum`: its evaluation transform.

    Class names are `weights.meta["categories"]`.
    """
    transform = weights.transforms()
    return Preprocessing(
        image_size=transform.crop_size[0],
        resize=transform.resize_size[0],
        interpolation=_interpolation(transform.interpolation.value, "torchvision"),
        scale=1 / 255,
        mean=_triple(transform.mean, "torchvision: mean"),
        std=_triple(transform.std, "torchvision: std"),
    )


def from_cifar_repository(option_a: bool) -> Preprocessing:
    """Of akamaster/pytorch_resnet_cifar10 (which has option A) or kuangliu/pytorch-cifar."""
    mean, std = (IMAGENET_MEAN, IMAGENET_STD) if option_a else CIFAR_STATISTICS
    return Preprocessing(
        image_size=32, resize=32, interpolation="bilinear", scale=1 / 255, mean=mean, std=std
    )


def from_timm(pretrained_cfg: Mapping[str, Any], origin: str) -> Preprocessing:
    """Of timm's `pretrained_cfg`: as `timm.data.create_transform` makes of it for evaluation.

    Raises UserError for images that are not square, or squeezed or bordered instead of cropped.
    """
    channels, height, width = pretrained_cfg.get("input_size", (3, 224, 224))
    crop_mode = pretrained_cfg.get("crop_mode") or "center"
    if channels != 3 or height != width or crop_mode != "center":
        raise UserError(
            f"{origin}: square crops from the middle of colour images are needed, got input_size "
            f"{[channels, height, width]} and crop_mode {crop_mode!r}; use other weights."
        )
    return Preprocessing(
        image_size=height,
        resize=math.floor(height / pretrained_cfg.get("crop_pct", 0.875)),
        interpolation=_interpolation(pretrained_cfg.get("interpolation", "bicubic"), origin),
        scale=1 / 255,
        mean=_triple(pretrained_cfg.get("mean", IMAGENET_MEAN), f"{origin}: mean"),
        std=_triple(pretrained_cfg.get("std", IMAGENET_STD), f"{origin}: std"),
    )


def from_huggingface(config: Mapping[str, Any], origin: str) -> Preprocessing:
    """Of a preprocessor_config.json that crops: ConvNext's (ResNet's own) or a BiT-like processor.

    Raises UserError for one that squeezes, leaves the size open or resamples in another way.
    """
    kind = str(config.get("image_processor_type") or config.get("feature_extractor_type") or "")
    size, resize = _convnext_sizes(config) if "ConvNext" in kind else _cropped_sizes(config)
    code = config.get("resample")
    if not size or not resize or code not in RESAMPLE_NAMES or not config.get("do_resize", True):
        raise UserError(
            f"{origin}: a preprocessor_config.json that resizes the shorter side (nearest, "
            "bilinear or bicubic) and crops a square from the middle is needed, got "
            f"{kind or 'no type'} with size {config.get('size')}, crop_size "
            f"{config.get('crop_size')}, do_resize {config.get('do_resize', True)} and resample "
            f"{code}; write such a file, or leave it out and say what the images go through."
        )
    normalised = config.get("do_normalize", True)
    mean, std = (0.0,) * 3, (1.0,) * 3
    if normalised:  # processors of different kinds have different defaults: none is guessed
        mean, std = config.get("image_mean", ()), config.get("image_std", ())
    rescaled = config.get("do_rescale", True)
    return Preprocessing(
        image_size=size,
        resize=resize,
        interpolation=RESAMPLE_NAMES[code],
        scale=config.get("rescale_factor", 1 / 255) if rescaled else 1.0,
        mean=_triple(mean, f"{origin}: image_mean"),
        std=_triple(std, f"{origin}: image_std"),
    )


def _convnext_sizes(config: Mapping[str, Any]) -> tuple[int | None, int | None]:
    """What ConvNextImageProcessor crops to and resizes to; None where it squeezes."""
    size = config.get("size")
    edge = size.get("shortest_edge") if isinstance(size, Mapping) else size
    if not edge or edge >= SQUEEZED_FROM:
        return None, None
    return edge, int(edge / config.get("crop_pct", 224 / 256))


def _cropped_sizes(config: Mapping[str, Any]) -> tuple[int | None, int | None]:
    """What processors with `do_center_crop` crop to and resize to; None where they do not crop."""
    size, crop = config.get("size", {}), config.get("crop_size")
    edge = size.get("shortest_edge") if isinstance(size, Mapping) else size
    height, width = (
        (crop.get("height"), crop.get("width")) if isinstance(crop, Mapping) else (crop, crop)
    )
    if not config.get("do_center_crop") or height != width:
        return None, None
    return height, edge


def _interpolation(name: str, origin: str) -> Interpolation:
    for known in get_args(Interpolation):
        if name == known:
            return known
    raise UserError(
        f"{origin}: interpolation by {', '.join(get_args(Interpolation))} is needed, got {name!r}; "
        "images cannot be resized here as these weights need it."
    )


def _triple(values: Sequence[float], name: str) -> tuple[float, ...]:
    if len(values) != 3:
        raise UserError(
            f"{name}: one value for each of red, green and blue is needed, got {list(values)}; "
            "use weights for colour images."
        )
    return tuple(map(float, values))
