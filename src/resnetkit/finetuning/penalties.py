"""What is added to the loss to keep what the weights knew: L2-SP and BSS.

Papers: Li 2018 arXiv:1802.01483 (L2-SP: stay near the starting point), Chen 2019 "Catastrophic
Forgetting Meets Negative Transfer: Batch Spectral Shrinkage for Safe Transfer Learning" (BSS:
directions in which a batch's features hardly vary transfer badly and are suppressed).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from resnetkit.finetuning.plan import PartedNetwork, Phase, part_parameters, trained_in
from resnetkit.finetuning.settings import FinetuneConfig
from resnetkit.finetuning.strategies import HEAD

SMALLEST_VALUES = 1  # k of Chen 2019, who found that more change little


def build_penalty(
    network: PartedNetwork,
    config: FinetuneConfig,
    start_weights: Mapping[str, Tensor],
    phase: Phase,
) -> Penalty | None:
    """What is added to the loss in `phase`; None without any. Call it after `apply_phase`.

    `start_weights` is the network's state before the first step of the first phase.
    """
    if trained_in(phase) == {HEAD}:  # nothing to hold, and features that cannot follow
        return None
    held = {name: start_weights[name] for name in held_parameters(network, config, phase)}
    return Penalty(network, config, held) if held or config.bss else None


def held_parameters(network: PartedNetwork, config: FinetuneConfig, phase: Phase) -> frozenset[str]:
    """Names of the parameters that L2-SP holds: those that train, the new head's apart.

    It takes the place of weight decay, which would pull them to zero: `build_optimizer` is given
    these names as `undecayed`.
    """
    if not config.l2_sp:
        return frozenset()
    assert isinstance(network, nn.Module)
    trained = trained_in(phase) - {HEAD}
    known = {id(v) for name in trained for v in part_parameters(network.parts()[name])}
    return frozenset(
        name
        for name, value in network.named_parameters()
        if value.requires_grad and id(value) in known
    )


class Penalty:
    """Called after a forward pass: the scalar that is added to the mean loss of that batch.

    With BSS it watches the features that enter the head until `close`.
    """

    def __init__(
        self, network: PartedNetwork, config: FinetuneConfig, held: Mapping[str, Tensor]
    ) -> None:
        assert isinstance(network, nn.Module)
        self._config = config
        self._held = [
            (value, held[name].detach().clone().to(value))
            for name, value in network.named_parameters()
            if name in held
        ]
        self._features: list[Tensor] = []
        self._watch = _watch_features(network, self._features) if config.bss else None

    def __call__(self) -> Tensor:
        """A scalar in float32, with gradients."""
        terms = []
        if self._held:
            terms.append(self._config.l2_sp / 2 * squared_distance(self._held))
        if self._watch is not None:
            assert self._features, "the penalty comes after a forward pass in training"
            values = smallest_values(self._features.pop(), SMALLEST_VALUES)
            terms.append(self._config.bss * values.square().sum())
        return torch.stack(terms).sum()

    def close(self) -> None:
        """Stop watching; the phase is over."""
        if self._watch is not None:
            self._watch.remove()


def squared_distance(pairs: list[tuple[nn.Parameter, Tensor]]) -> Tensor:
    """Squared distance of all weights together from where they started."""
    return torch.stack([(now.float() - start).square().sum() for now, start in pairs]).sum()


def smallest_values(features: Tensor, count: int) -> Tensor:
    """The `count` smallest singular values of features [N,D], float32."""
    return torch.linalg.svdvals(features.float())[-count:]


def _watch_features(network: PartedNetwork, seen: list[Tensor]) -> Any:
    # A function, not a method: copies of the network, made to validate, then share it as it is.
    def remember(_: nn.Module, inputs: tuple[Any, ...]) -> None:
        if inputs[0].requires_grad:
            seen[:] = [inputs[0]]

    return network.parts()[HEAD][0].register_forward_pre_hook(remember)
