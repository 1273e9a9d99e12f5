"""Heads: from the pooled features of an image to one logit per class; how to exchange and extend.

Papers: Gidaris & Komodakis 2018 arXiv:1804.09458 and Chen 2019 arXiv:1904.04232 (cosine), Chen 2020
arXiv:2003.04297 (two layers).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from resnetkit.models import layers
from resnetkit.models.layers import drawing_from
from resnetkit.models.setting_checks import check_choice, check_positive
from resnetkit.types import UserError

HeadKind = Literal["linear", "cosine", "mlp"]


@dataclass(frozen=True, kw_only=True)
class HeadConfig:
    """What maps features to logits; see `CosineClassifier` and `MLP` for the two unusual kinds.

    `hidden` is the width of the mlp's hidden layer; None makes it as wide as the features.
    """

    kind: HeadKind = "linear"
    hidden: int | None = None

    def __post_init__(self) -> None:
        check_choice("head", self.kind, HEADS)
        if self.hidden is None:
            return
        check_positive("head_hidden", self.hidden)
        if self.kind != "mlp":
            raise UserError(
                f"head_hidden: needs a head with a hidden layer, got head {self.kind!r}; leave it "
                "out or choose head mlp."
            )


class HeadedConfig(Protocol):
    """What a head reads of an architecture: the configs of all networks have it."""

    @property
    def head(self) -> HeadConfig:
        """Its kind."""
        ...

    @property
    def num_classes(self) -> int:
        """K, the logits it gives."""
        ...

    @property
    def dropout(self) -> float:
        """Rate before the classifier, and between the layers of an mlp."""
        ...


class HeadedNetwork(Protocol):
    """What exchanging a head needs of a network: all networks have it."""

    config: Any  # a frozen HeadedConfig
    num_features: int  # D, of what enters the head
    dropout: nn.Module

    @property
    def classifier(self) -> nn.Module:
        """The module from features [N,D] to logits [N,K]."""
        ...

    def named_children(self) -> Iterator[tuple[str, nn.Module]]:
        """As nn.Module has it."""
        ...


class CosineClassifier(nn.Module):
    """Logits are the cosine of features and class vector, times a learned scale; no bias.

    Class vectors of different lengths would favour the classes seen most: here only directions
    count, which helps with few images per class (Gidaris & Komodakis 2018, section 3.2; Chen 2019,
    "Baseline++"). The scale starts at 10, as in the former's code.
    """

    def __init__(self, num_features: int, num_classes: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(nn.Linear(num_features, num_classes, bias=False).weight.detach())
        self.scale = nn.Parameter(torch.tensor(10.0))

    def forward(self, features: Tensor) -> Tensor:
        """Features [N,D] -> logits [N,K]."""
        return self.scale * F.linear(F.normalize(features), F.normalize(self.weight))

    def extra_repr(self) -> str:
        """What `print(model)` shows."""
        return f"in_features={self.weight.shape[1]}, out_features={self.weight.shape[0]}"


class MLP(nn.Module):
    """Two linear layers with a ReLU and dropout between: Chen 2020, section 3."""

    def __init__(self, num_features: int, hidden: int, num_classes: int, dropout: float) -> None:
        super().__init__()
        self.hidden = nn.Linear(num_features, hidden)
        self.activation = nn.ReLU(inplace=True)
        self.dropout = layers.dropout(dropout)
        self.output = nn.Linear(hidden, num_classes)

    def forward(self, features: Tensor) -> Tensor:
        """Features [N,D] -> logits [N,K]."""
        return self.output(self.dropout(self.activation(self.hidden(features))))


def linear_head(architecture: HeadedConfig, num_features: int) -> nn.Module:
    """One linear layer: He 2015, table 1."""
    return nn.Linear(num_features, architecture.num_classes)


def cosine_head(architecture: HeadedConfig, num_features: int) -> nn.Module:
    """Scaled cosines."""
    return CosineClassifier(num_features, architecture.num_classes)


def mlp_head(architecture: HeadedConfig, num_features: int) -> nn.Module:
    """A hidden layer before the linear one."""
    hidden = architecture.head.hidden or num_features
    return MLP(num_features, hidden, architecture.num_classes, architecture.dropout)


HEADS: dict[str, Callable[[HeadedConfig, int], nn.Module]] = {
    "linear": linear_head,
    "cosine": cosine_head,
    "mlp": mlp_head,
}


def build_head(architecture: HeadedConfig, num_features: int) -> nn.Module:
    """The module from features [N,D] to logits [N,K]."""
    return HEADS[architecture.head.kind](architecture, num_features)


def replace_head(
    network: HeadedNetwork, num_classes: int, head: HeadConfig, dropout: float, seed: int
) -> None:
    """Give `network` a new head with initial weights drawn from `seed`, in place.

    `network.config` follows. Device, precision and mode are the old head's; it does require
    gradients, whatever the old one did.
    """
    config = replace(network.config, num_classes=num_classes, head=head, dropout=dropout)
    _attach(network, config, _draw_head(config, network.num_features, seed))


def extend_head(network: HeadedNetwork, num_classes: int, seed: int) -> None:
    """Add classes behind those `network` has, in place; `num_classes` counts old and new ones.

    All that the head has learned stays bit for bit: the rows of the old classes, a hidden layer, a
    scale. The rows of the new classes are drawn from `seed`. `network.config` follows.
    """
    old_count = network.config.num_classes
    assert num_classes >= old_count, f"{old_count} classes cannot become {num_classes}"
    config = replace(network.config, num_classes=num_classes)
    fresh = _draw_head(config, network.num_features, seed)
    learned = network.classifier.state_dict()
    with torch.no_grad():
        for name, value in fresh.state_dict().items():
            old = learned[name]
            kept = value if value.shape == old.shape else value[:old_count]
            kept.copy_(old)
    _attach(network, config, fresh)


def _draw_head(config: HeadedConfig, num_features: int, seed: int) -> nn.Module:
    with drawing_from(seed):
        return build_head(config, num_features)


def _attach(network: HeadedNetwork, config: HeadedConfig, classifier: nn.Module) -> None:
    old = network.classifier
    weight = next(old.parameters())
    name = next(name for name, module in network.named_children() if module is old)
    setattr(network, name, classifier.to(weight.device, weight.dtype).train(old.training))
    network.dropout = layers.dropout(config.dropout).train(old.training)
    network.config = config
