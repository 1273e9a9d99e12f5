"""What a source says beside its weights, in the config.json that lies beside them.

Keys and shapes do not tell where a network strides or how it activates; these files do.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from resnetkit.models.resnet import ResNetConfig
from resnetkit.types import UserError

# timm's variants that low-pass before they stride: the entries are those of the plain network.
FILTERED = re.compile(r"\w*resnex?t(aa|blur)\d\w*")


@dataclass(frozen=True, kw_only=True)
class SourceFacts:
    """What is known of a network beside its entries."""

    block: Mapping[str, Any] = field(default_factory=dict)  # settings of BlockConfig
    class_names: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()

    def apply(self, architecture: ResNetConfig) -> ResNetConfig:
        """The architecture with these facts instead of what its entries left open."""
        return replace(architecture, block=replace(architecture.block, **self.block))


def read_facts(
    config: Mapping[str, Any] | None, inferred: ResNetConfig, origin: str
) -> SourceFacts:
    """What `config` (transformers' or timm's config.json; None: there is none) says.

    Raises UserError for a network of another kind, or with parts that ours have not.
    """
    if config is None:
        return SourceFacts()
    if "architecture" in config:
        return _timm_facts(config, inferred, origin)
    if config.get("model_type") == "resnet":
        return _huggingface_facts(config, inferred, origin)
    raise UserError(
        f"{origin}: the config.json of a residual network is needed (model_type 'resnet' of "
        "transformers, or an 'architecture' of timm), got model_type "
        f"{config.get('model_type')!r}; give the weights of a ResNet."
    )


def _timm_facts(config: Mapping[str, Any], inferred: ResNetConfig, origin: str) -> SourceFacts:
    name = str(config["architecture"])
    if FILTERED.match(name):
        raise UserError(
            f"{origin}: a network without low-pass filters before its strides is needed, got "
            f"timm's {name!r}: its entries look like a plain network's, its results would differ. "
            "Use weights of a plain one."
        )
    labels = config.get("label_names") or (config.get("pretrained_cfg") or {}).get("label_names")
    class_names, notes = _class_names(labels, inferred.num_classes)
    return SourceFacts(class_names=class_names, notes=notes)


def _huggingface_facts(
    config: Mapping[str, Any], inferred: ResNetConfig, origin: str
) -> SourceFacts:
    if config.get("downsample_in_first_stage"):
        raise UserError(
            f"{origin}: a first stage that keeps the stem's resolution is needed, got "
            "downsample_in_first_stage in config.json; the networks here have no such stage."
        )
    activation = config.get("hidden_act", "relu")
    if activation != "relu":  # it holds for some layers only: the convolutions in a block keep ReLU
        raise UserError(
            f"{origin}: a network with ReLU throughout is needed, got hidden_act {activation!r} in "
            "config.json, which transformers' ResNet mixes with ReLU; the networks here do not."
        )
    block: dict[str, Any] = {}
    if inferred.block.kind == "bottleneck":
        in_first = bool(config.get("downsample_in_bottleneck", False))
        block["stride_in_first_convolution"] = in_first
    labels = config.get("id2label") or {}
    if not all(str(number).isdecimal() for number in labels):
        raise UserError(
            f"{origin}: id2label in config.json must name each class by its number, got "
            f"{list(labels)[:3]}; correct the file or leave id2label out."
        )
    names = [str(labels[number]) for number in sorted(labels, key=int)]
    class_names, notes = _class_names(names, inferred.num_classes)
    return SourceFacts(block=block, class_names=class_names, notes=notes)


def _class_names(
    names: list[str] | None, num_classes: int
) -> tuple[tuple[str, ...] | None, tuple[str, ...]]:
    """The names, if there is one for each class; else None and a note."""
    if not names:
        return None, ()
    if len(names) != num_classes:
        counts = f"config.json names {len(names)} classes, the head has {num_classes}"
        return None, (f"{counts}: its names were not used.",)
    return tuple(names), ()
