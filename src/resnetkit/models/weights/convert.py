"""From a state dict of another library to `ForeignWeights`; read this file first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from resnetkit.models.resnet import ResNetConfig
from resnetkit.models.weights.channel_order import reorder_channels
from resnetkit.models.weights.complete import Translated, complete
from resnetkit.models.weights.foreign import ForeignWeights
from resnetkit.models.weights.infer import (
    fitting_names,
    infer_architecture,
    visible_facts,
    without_training,
)
from resnetkit.models.weights.layouts import detect_layout, translate
from resnetkit.models.weights.preprocessing import from_cifar_repository
from resnetkit.models.weights.source_facts import read_facts
from resnetkit.models.weights.unwrap import unwrap
from resnetkit.models.zoo import MODELS, find_entry
from resnetkit.types import UserError


def convert_state(
    raw: Mapping[str, Any],
    *,
    model: str | None,
    origin: str,
    layout: str | None = None,
    config: Mapping[str, Any] | None = None,
    allow_headless: bool = False,
) -> ForeignWeights:
    """A checkpoint or state dict of torchvision, timm, transformers or the CIFAR repositories.

    `model` is a name of our zoo, None reads the architecture off the entries. `layout` is a key of
    `LAYOUTS`, None detects it. `config` is the source's config.json. `allow_headless`: see
    `complete`. Pre-processing is known of the CIFAR repositories only; who reads other sources adds
    it with `dataclasses.replace`, from `preprocessing.py`.
    Raises UserError for whatever does not fit, naming it, and the zoo's names that would.
    """
    unwrapped = unwrap(raw, origin)
    layout = layout or detect_layout(unwrapped.tensors, origin)
    translated = translate(unwrapped, layout, origin)
    inferred = infer_architecture(translated.state, origin)
    facts = read_facts(config, inferred, origin)
    if model is None:
        found = _resolve(inferred, layout, origin)
    else:
        found = _named(model, inferred, origin)
    architecture = facts.apply(found)
    notes = (*translated.notes, *_describe(architecture), *facts.notes)
    if model is None and config is None:
        notes += _assumptions(architecture)
    translated = replace(translated, notes=notes)
    preprocessing = None
    if layout == "cifar":
        translated = _as_cifar(translated, architecture)
        preprocessing = from_cifar_repository(architecture.block.shortcut == "A")
    return complete(
        translated,
        architecture,
        origin=origin,
        preprocessing=preprocessing,
        class_names=facts.class_names,
        allow_headless=allow_headless,
    )


def _named(model: str, inferred: ResNetConfig, origin: str) -> ResNetConfig:
    """The zoo's network of this name with the weights' classes and channels, if it looks alike."""
    named = find_entry(model).architecture
    fitting = fitting_names(inferred)
    if isinstance(named, ResNetConfig) and model in fitting:
        return _with_ends(named, inferred)
    differences = "another kind of network"
    if isinstance(named, ResNetConfig):
        wanted, found = asdict(visible_facts(named)), asdict(visible_facts(inferred))
        differences = "; ".join(
            f"{fact} {found[fact]} for {value}"
            for fact, value in wanted.items()
            if found[fact] != value
        )
    remedy = (
        f"The weights fit {' or '.join(fitting)}; give that name, or none"
        if fitting
        else "No network of the zoo fits; leave the name out to take the network from the weights"
    )
    raise UserError(
        f"{origin}: weights of {model!r} are needed, as the given name says, got {differences}. "
        f"{remedy}."
    )


def _with_ends(named: ResNetConfig, inferred: ResNetConfig) -> ResNetConfig:
    return replace(named, num_classes=inferred.num_classes, in_channels=inferred.in_channels)


def _resolve(inferred: ResNetConfig, layout: str, origin: str) -> ResNetConfig:
    """The inferred network, or the only one of the zoo that looks like it and is not the same.

    Raises UserError where its entries cannot tell between several networks.
    """
    fitting = fitting_names(inferred)
    if inferred.block.shortcut == "A" and layout != "cifar":  # there, it never means a plain one
        example = f", such as {' or '.join(fitting)}" if fitting else ""
        raise UserError(
            f"{origin}: shortcuts without parameters (option A) and no shortcuts at all have the "
            "same entries, so the network's name is needed, got none; give one with "
            f"--model{example}."
        )
    if _same_names(inferred) or not fitting:
        return inferred
    if len(fitting) > 1:
        raise UserError(
            f"{origin}: the entries fit several networks, so the name of one is needed, got none; "
            f"give one of {', '.join(fitting)} with --model."
        )
    only = MODELS[fitting[0]].architecture
    assert isinstance(only, ResNetConfig)
    return _with_ends(only, inferred)


def _same_names(architecture: ResNetConfig) -> list[str]:
    """The zoo's names of this very network, head, channels and training settings aside."""
    bare = without_training(architecture)
    return [
        name
        for name in fitting_names(architecture)
        if isinstance(known := MODELS[name].architecture, ResNetConfig)
        and without_training(known) == bare
    ]


def _describe(architecture: ResNetConfig) -> tuple[str, ...]:
    names = _same_names(architecture)
    return (f"The network is {' or '.join(names)}." if names else "The zoo has no such network.",)


def _assumptions(architecture: ResNetConfig) -> tuple[str, ...]:
    """What nothing in the weights says, nor a file or name beside them."""
    taken = []
    if architecture.block.kind == "bottleneck":
        taken.append("Bottlenecks are taken to stride in their 3x3 convolution, as torchvision's.")
    if architecture.stem in ("cifar", "strided"):
        stride = "no stride" if architecture.stem == "cifar" else "a stride of 2"
        taken.append(f"The stem's one 3x3 convolution is taken to have {stride} and no pooling.")
    return tuple(taken)


def _as_cifar(translated: Translated, architecture: ResNetConfig) -> Translated:
    option_a = architecture.block.shortcut == "A"
    author = "akamaster/pytorch_resnet_cifar10" if option_a else "kuangliu/pytorch-cifar"
    notes = [f"The pre-processing is taken to be that of {author}."]
    state = translated.state
    if option_a:
        state = reorder_channels(state, architecture)
        notes.append("Channels were reordered: there, zeros are padded around the old ones.")
    return replace(translated, state=state, notes=(*translated.notes, *notes))
