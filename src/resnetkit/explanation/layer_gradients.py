"""Feature maps somewhere in a network, and how a class's logit changes with them.

At the end of a stage no hook is needed: the network runs up to there without gradients, and from
there on with them. A layer inside a stage is cut out by a hook, in the same way.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from resnetkit.config import suggest
from resnetkit.models.zoo import Network
from resnetkit.types import UserError


@dataclass(frozen=True, kw_only=True, eq=False)
class LayerGradients:
    """Feature maps [N,C,h,w] of `stage`, and the gradient [N,C,h,w] of each image's logit there."""

    stage: str
    features: Tensor
    gradients: Tensor


def layer_gradients(
    network: Network, images: Tensor, targets: Tensor, stage: str | None
) -> LayerGradients:
    """Look at `stage`, which is one of `network.parts()` or the name of any layer inside.

    A part is looked at where its last feature maps are: behind the final norm and activation, in
    front of the pooling. None is the last part whose feature maps have more than one pixel.
    Images float32 [N,C,H,W], targets int64 [N]. Raises UserError where there is no such layer, or
    none with feature maps.
    """
    if stage is None or stage in network.parts():
        return _at_part(network, images, targets, stage)
    return _at_layer(network, images, targets, stage)


def _at_part(
    network: Network, images: Tensor, targets: Tensor, stage: str | None
) -> LayerGradients:
    parts = network.parts()
    steps = [(name, module) for name, modules in parts.items() for module in modules]
    asked = [stage] if stage is not None else [name for name in parts if name != "head"]
    end = max(number for number, (name, _) in enumerate(steps) if name in asked)
    x, features, cut, found = images, None, 0, ""
    shapes: list[list[int]] = []
    with torch.no_grad():
        for number, (name, module) in enumerate(steps[: end + 1]):
            x = module(x)
            shapes += [list(x.shape[1:])] if name in asked else []
            if name in asked and _is_map(x):
                features, cut, found = x, number, name
    if features is None:
        maps = [shape for shape in shapes if len(shape) == 3]
        raise _without_maps(network, asked[-1], (maps or shapes)[-1])
    features = features.detach().requires_grad_()
    x = features.clone()  # what follows may work in place
    for _, module in steps[cut + 1 :]:
        x = module(x)
    gradients = _gradients(x, targets, features)
    return LayerGradients(stage=found, features=features.detach(), gradients=gradients)


def _at_layer(network: Network, images: Tensor, targets: Tensor, name: str) -> LayerGradients:
    layer = find_layer(network, name)
    outputs: list[Tensor] = []

    def cut_here(_module: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
        outputs.append(output.detach().requires_grad_())
        torch.set_grad_enabled(True)  # until the end of `no_grad` below
        return outputs[-1].clone()  # what follows may work in place

    handle = layer.register_forward_hook(cut_here)
    try:
        with torch.no_grad():
            logits = network(images)
    finally:
        handle.remove()
    if not outputs:
        raise UserError(
            f"stage: needed a layer that images go through, got {name!r}, which the network has "
            f"but never runs by itself; choose {_choices(network)}."
        )
    features = outputs[-1]  # of an activation that a block uses twice, the last time
    if not _is_map(features):
        raise _without_maps(network, name, list(features.shape[1:]))
    gradients = _gradients(logits, targets, features)
    return LayerGradients(stage=name, features=features.detach(), gradients=gradients)


def find_layer(network: Network, name: str) -> nn.Module:
    """The layer of this name; UserError that says what there is, and the nearest name."""
    layers = dict(network.named_modules())
    if name and name in layers:
        return layers[name]
    names = [*network.parts(), *filter(None, layers)]
    raise UserError(f"stage: needed {_choices(network)}, got {name!r}{suggest(name, names) or '.'}")


def _is_map(x: Tensor) -> bool:
    return x.ndim == 4 and x.shape[2] * x.shape[3] > 1


def _gradients(logits: Tensor, targets: Tensor, features: Tensor) -> Tensor:
    """Images do not influence each other in evaluation mode, so one gradient of the sum will do."""
    scores = logits.gather(1, targets[:, None])
    return torch.autograd.grad(scores.sum(), features)[0]


def _without_maps(network: Network, name: str, came: list[int]) -> UserError:
    return UserError(
        f"stage: needed feature maps of more than one pixel, but {name!r} gives "
        f"{came} per image; choose {_choices(network)}, or larger images."
    )


def _choices(network: Network) -> str:
    parts = [part for part in network.parts() if part != "head"]
    convolutions = [n for n, layer in network.named_modules() if isinstance(layer, nn.Conv2d)]
    return f"one of {', '.join(parts)}, or a layer inside such as {convolutions[-1]}"
