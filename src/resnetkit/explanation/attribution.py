"""Attribution: where in an image a network sees evidence for a class.

All methods explain a logit, not a probability: a softmax would mix in what speaks against other
classes. A map says where the network looked, not whether it was right to: see trust.py for what
tells a map that depends on the network from a pretty picture.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from resnetkit.config import suggest
from resnetkit.explanation.attribution_settings import AttributionSettings
from resnetkit.explanation.class_activation import grad_cam, grad_cam_plus_plus, layer_cam
from resnetkit.explanation.evidence import Evidence, describe_spread, join_evidence
from resnetkit.explanation.occlusion import occlusion
from resnetkit.explanation.pixel_gradients import (
    guided_backpropagation,
    integrated_gradients,
    refuse_other_activations,
    smooth_gradients,
)
from resnetkit.explanation.undisturbed import undisturbed
from resnetkit.models.zoo import Network
from resnetkit.types import UserError

DEFAULT_SETTINGS = AttributionSettings()


def refuse_none(network: Network) -> None:
    """Of a method that is defined for every network."""


@dataclass(frozen=True, kw_only=True)
class Method:
    """A way to a map: `compute(network, images, targets, settings, stage)`.

    `reads` are the settings it reads besides the batch size, `at_stage` says whether it looks at
    the feature maps of a stage, `shows` what its maps are, as a title. `refuse` raises UserError
    for a network that it is not defined for.
    """

    compute: Callable[..., Evidence]
    summary: str
    shows: str = "where it finds evidence"
    reads: tuple[str, ...] = ()
    at_stage: bool = False
    refuse: Callable[[Network], None] = refuse_none


METHODS: dict[str, Method] = {
    "gradcam": Method(
        compute=grad_cam,
        summary="feature maps, weighed by their mean gradient: Selvaraju 2017",
        at_stage=True,
    ),
    "gradcam++": Method(
        compute=grad_cam_plus_plus,
        summary="the same for several objects: Chattopadhay 2018",
        at_stage=True,
    ),
    "layercam": Method(
        compute=layer_cam,
        summary="feature maps, weighed pixel by pixel; good in early stages: Jiang 2021",
        at_stage=True,
    ),
    "integrated-gradients": Method(
        compute=integrated_gradients,
        summary="gradients on the way from the mean colour; add up to the logit: Sundararajan 2017",
        reads=("integration_steps",),
    ),
    "guided-backprop": Method(
        compute=guided_backpropagation,
        summary="positive gradients at the pixels; shows edges: Springenberg 2015",
        shows="where pixels matter",
        refuse=refuse_other_activations,
    ),
    "smoothgrad": Method(
        compute=smooth_gradients,
        summary="mean gradient of noisy copies: Smilkov 2017",
        shows="where pixels matter",
        reads=("noise_samples", "noise_level", "seed"),
    ),
    "occlusion": Method(
        compute=occlusion,
        summary="how the logit falls when a square is covered: Zeiler 2014",
        reads=("occlusion_window", "occlusion_stride"),
    ),
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Attribution:
    """The maps of N images for one class each, on the device of the images.

    `maps` float32 [N,H,W] are the evidence for the class, 0 and above, at the images' size;
    `signed` [N,H,W] also has the evidence against it (None where signs mean nothing). Values are
    not scaled: see each method's paper. `resolution` (height, width) is what the method really
    resolves. `facts` hold one figure per image by name, None where it is undefined: see
    `describe_spread` and the methods. `settings` are the effective values of those it read.
    """

    method: str
    stage: str | None
    maps: Tensor
    signed: Tensor | None
    resolution: tuple[int, int]
    facts: Mapping[str, tuple[float | None, ...]]
    settings: Mapping[str, int | float]


def attribute(
    model: Network,
    images: Tensor,
    targets: Tensor,
    method: str,
    *,
    stage: str | None = None,
    settings: AttributionSettings = DEFAULT_SETTINGS,
) -> Attribution:
    """Where in images float [N,C,H,W], prepared as the model takes them, classes int64 [N] show.

    `stage` is one of `model.parts()` or a layer's name, the last with feature maps by default. The
    model is left exactly as it was: modes, gradients, hooks. The same input gives the same maps on
    one machine. Raises UserError for an unknown method or stage, for a stage given to a method that
    has none, and for images a method cannot work on.
    """
    chosen = find_method(method)
    assert images.ndim == 4, f"images must be [N,C,H,W], got {list(images.shape)}"
    assert len(images), "no images to explain"
    assert targets.shape == images.shape[:1], (targets.shape, images.shape)
    if stage is not None and not chosen.at_stage:
        raise UserError(
            f"stage: has no effect on {method}, which looks at pixels; leave it out, or choose "
            f"{', '.join(name for name, each in METHODS.items() if each.at_stage)}."
        )
    found = []
    with undisturbed(model):
        for start in range(0, len(images), settings.batch_size):
            part = slice(start, start + settings.batch_size)
            # Copies: what was made in inference mode could not be differentiated.
            prepared = images[part].detach().clone().to(torch.float32)
            labels = targets[part].clone().to(prepared.device, torch.int64)
            found.append(chosen.compute(model, prepared, labels, settings, stage))
    evidence = join_evidence(found)
    read = {name: getattr(settings, name) for name in chosen.reads}
    return Attribution(
        method=method,
        stage=evidence.stage,
        maps=evidence.maps,
        signed=evidence.signed,
        resolution=evidence.resolution,
        facts=_plain({**describe_spread(evidence), **evidence.facts}),
        settings={**read, **evidence.settings},
    )


def find_method(name: str) -> Method:
    """The method of this name; UserError with the nearest one where it is unknown."""
    if name not in METHODS:
        hint = suggest(name, METHODS) or "."
        raise UserError(f"method: needed one of {', '.join(METHODS)}, got {name!r}{hint}")
    return METHODS[name]


def _plain(facts: Mapping[str, Tensor]) -> dict[str, tuple[float | None, ...]]:
    """Figures per image as numbers that JSON can hold."""
    return {
        name: tuple(
            value if finite else None
            for value, finite in zip(values.tolist(), values.isfinite().tolist(), strict=True)
        )
        for name, values in facts.items()
    }
