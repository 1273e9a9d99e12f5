"""The layer names of keras.applications' ResNets, and what they are called here."""

from __future__ import annotations

import re

from resnetkit.models.resnet import ResNetConfig

LAYER = re.compile(r"conv(\d+)_block(\d+)_(preact|\d)_(conv|bn)")


def convolution_key(name: str) -> str | None:
    """Our key of a convolution, None for any other layer."""
    if name == "conv1_conv":
        return "conv1"
    found = LAYER.fullmatch(name)
    if found is None or found[4] != "conv":
        return None
    block = f"layer{int(found[1]) - 1}.{int(found[2]) - 1}"
    return f"{block}.downsample.0" if found[3] == "0" else f"{block}.conv{found[3]}"


def norm_key(name: str, preactivation: bool) -> str | None:
    """Our key of a norm, None for any other layer."""
    if name in ("conv1_bn", "post_bn"):
        return {"conv1_bn": "bn1", "post_bn": "final_norm"}[name]
    found = LAYER.fullmatch(name)
    if found is None or found[4] != "bn":
        return None
    block = f"layer{int(found[1]) - 1}.{int(found[2]) - 1}"
    if found[3] == "0":
        return f"{block}.downsample.1"
    if found[3] == "preact":
        return f"{block}.bn1"
    return f"{block}.bn{int(found[3]) + preactivation}"


def stride_of(name: str, architecture: ResNetConfig) -> int:
    """The stride that keras.applications gives a convolution."""
    found = LAYER.fullmatch(name)
    if found is None:
        return 2  # conv1_conv
    stage, block, place = int(found[1]) - 1, int(found[2]), found[3]
    if architecture.block.stride_in_last_block:
        depths = architecture.stage_depths
        strides = stage < len(depths) and block == depths[stage - 1] and place == "2"
    else:
        strides = stage > 1 and block == 1 and place in ("0", "1")
    return 2 if strides else 1


def norm_after(convolution: str) -> str:
    """The key of the norm that follows a convolution of version 1, by its key."""
    if convolution.endswith("downsample.0"):
        return convolution.removesuffix("0") + "1"
    block, _, place = convolution.rpartition("conv")
    return f"{block}bn{place}"
