"""What a fine-tuning plan is, and what one of its phases does to a network.

A plan is data: phases in order, and for each part of the network (`network.parts()`) what trains
there, in which BatchNorm mode and at which rate. It is printed before the first step and saved with
the run, so that a resumed run trains exactly what the interrupted one did.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, Protocol, TypeVar

from torch import nn

from resnetkit.finetuning.adapters import AdaptedConvolution
from resnetkit.finetuning.settings import Strategy

Trains = Literal["nothing", "everything", "norms", "adapters"]
BatchNormMode = Literal["frozen", "train"]  # of the running statistics
Solver = Literal["gradient", "lbfgs"]
BATCH_NORM = (nn.BatchNorm1d, nn.BatchNorm2d)
NORM_LAYERS = (*BATCH_NORM, nn.GroupNorm)


class PartedNetwork(Protocol):
    """What a plan needs of a network: all networks of `models` have it."""

    def parts(self) -> dict[str, tuple[nn.Module, ...]]:
        """All modules by part, in forward order; each parameter lies in exactly one part."""
        ...


@dataclass(frozen=True, kw_only=True)
class Part:
    """How one part of the network is treated; `rate_factor` multiplies the learning rate."""

    name: str
    trains: Trains
    batch_norm: BatchNormMode
    rate_factor: float

    def __post_init__(self) -> None:
        assert self.rate_factor > 0
        assert self.trains != "nothing" or self.batch_norm == "frozen"


@dataclass(frozen=True, kw_only=True)
class Phase:
    """A stretch of training with one treatment of all parts; `epochs` is 0 for the solver lbfgs."""

    name: str
    epochs: float
    solver: Solver
    parts: tuple[Part, ...]  # all of the network's, in forward order

    def __post_init__(self) -> None:
        assert (self.epochs > 0) == (self.solver == "gradient")
        assert any(part.trains != "nothing" for part in self.parts)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The phases of a strategy, in order."""

    strategy: Strategy
    phases: tuple[Phase, ...]

    def __post_init__(self) -> None:
        names = {tuple(part.name for part in phase.parts) for phase in self.phases}
        assert len(names) == 1, "phases speak of different parts"

    @property
    def epochs(self) -> float:
        """Length in passes over the training images."""
        return sum(phase.epochs for phase in self.phases)


def apply_phase(network: PartedNetwork, phase: Phase) -> None:
    """Let exactly what `phase` trains require gradients; all other parameters do not."""
    for part, modules in _treated(network, phase):
        for parameter in part_parameters(modules):
            parameter.requires_grad_(False)
        for parameter in trained_parameters(part, modules):
            parameter.requires_grad_(True)


def set_training_modes(network: PartedNetwork, phase: Phase) -> None:
    """Set train and eval mode for a step of `phase`: called in place of `network.train()`.

    Parts that do not train are in eval mode: BatchNorm neither moves nor uses a batch's statistics,
    and nothing is dropped. So is BatchNorm in parts that train with frozen statistics.
    """
    for part, modules in _treated(network, phase):
        for module in modules:
            module.train(part.trains != "nothing")
        if part.batch_norm == "frozen":
            for norm in layers_of(modules, BATCH_NORM):
                norm.eval()


def rate_factors(network: PartedNetwork, phase: Phase) -> Callable[[str], float]:
    """The factor of the learning rate by a parameter's name."""
    assert isinstance(network, nn.Module)
    by_parameter = {
        id(parameter): part.rate_factor
        for part, modules in _treated(network, phase)
        for parameter in part_parameters(modules)
    }
    by_name = {name: by_parameter[id(value)] for name, value in network.named_parameters()}
    return by_name.__getitem__


def lowest_trained_part(phase: Phase) -> str:
    """The first part in forward order in which anything trains: all below it is fixed."""
    return next(part.name for part in phase.parts if part.trains != "nothing")


def trained_in(phase: Phase) -> set[str]:
    """Names of the parts in which anything trains."""
    return {part.name for part in phase.parts if part.trains != "nothing"}


def part_parameters(modules: Iterable[nn.Module]) -> list[nn.Parameter]:
    """The parameters of a part."""
    return [parameter for module in modules for parameter in module.parameters()]


def trained_parameters(part: Part, modules: tuple[nn.Module, ...]) -> list[nn.Parameter]:
    """Those parameters of a part that `part` trains; may be none, see `settling.settle_plan`."""
    if part.trains == "nothing":
        return []
    if part.trains == "everything":
        return part_parameters(modules)
    if part.trains == "norms":
        return part_parameters(layers_of(modules, NORM_LAYERS))
    adapted = layers_of(modules, AdaptedConvolution)
    return [parameter for layer in adapted for parameter in layer.adapter_parameters()]


Layer = TypeVar("Layer", bound=nn.Module)


def layers_of(
    modules: Iterable[nn.Module], kind: type[Layer] | tuple[type[Layer], ...]
) -> list[Layer]:
    """The layers of this kind in a part."""
    return [layer for module in modules for layer in module.modules() if isinstance(layer, kind)]


def _treated(network: PartedNetwork, phase: Phase) -> Iterator[tuple[Part, tuple[nn.Module, ...]]]:
    """Each part's treatment with its modules."""
    parts = network.parts()
    assert [part.name for part in phase.parts] == list(parts), "the plan is of another network"
    return zip(phase.parts, parts.values(), strict=True)
