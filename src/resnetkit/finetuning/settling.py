"""What a plan becomes on a particular network, and which settings that network refuses."""

from __future__ import annotations

from dataclasses import replace

from torch import nn

from resnetkit.finetuning.adapters import adapter_fits, refuse_rank
from resnetkit.finetuning.plan import (
    BATCH_NORM,
    NORM_LAYERS,
    Part,
    PartedNetwork,
    Phase,
    Plan,
    layers_of,
    trained_in,
)
from resnetkit.finetuning.settings import FinetuneConfig
from resnetkit.finetuning.strategies import HEAD
from resnetkit.optim.optimizers import OptimizerConfig
from resnetkit.types import UserError

ADAPTER_RANK = 4


def settle_plan(network: PartedNetwork, plan: Plan, config: FinetuneConfig) -> Plan:
    """`plan` as `network` can carry it out: a part without the layers it would train is frozen.

    To be called before adapters are inserted. Raises UserError when that leaves only the head, or
    where a setting would have no effect on this network.
    """
    settled = replace(
        plan, phases=tuple(_settle_phase(network, phase, config) for phase in plan.phases)
    )
    trained = trained_parts(settled)
    if trained == {HEAD} != trained_parts(plan):
        _refuse_strategy(network, config)
    parts = network.parts()
    statistics = any(layers_of(parts[name], BATCH_NORM) for name in trained - {HEAD})
    if config.batch_norm != "auto" and not statistics:
        raise UserError(
            f"finetuning.batch_norm {config.batch_norm} has no effect: the parts that train "
            f"({', '.join(name for name in parts if name in trained)}) hold no BatchNorm; leave "
            "it out"
        )
    return settled


def trained_parts(plan: Plan) -> set[str]:
    """Names of the parts that train in any phase."""
    return set().union(*(trained_in(phase) for phase in plan.phases))


def adapter_rank(config: FinetuneConfig) -> int:
    """Rank of the adapters."""
    return ADAPTER_RANK if config.adapter_rank is None else config.adapter_rank


def refuse_muon(network: PartedNetwork, plan: Plan, optimizer: OptimizerConfig) -> None:
    """UserError when muon has nothing to do in `plan`, or would spoil what frozen parts expect.

    Muon holds every kernel at a norm of its own choice and relies on the norm layer behind it to
    undo the scale, which BatchNorm with frozen statistics does not.
    """
    if optimizer.name != "muon":
        return
    remedy = "choose optimizer.name sgd or adamw"
    parts = network.parts()
    whole = [
        part
        for phase in plan.phases
        for part in phase.parts
        if part.trains == "everything" and part.name != HEAD
    ]
    if not whole:
        raise UserError(
            f"optimizer.name muon is for convolutions, and strategy {plan.strategy} trains none of "
            f"the network's own: {remedy}"
        )
    if any(p.batch_norm == "frozen" and layers_of(parts[p.name], BATCH_NORM) for p in whole):
        raise UserError(
            "optimizer.name muon rescales kernels and needs BatchNorm to undo it, which it does "
            f"not with frozen statistics: set finetuning.batch_norm train, or {remedy}"
        )


def _settle_phase(network: PartedNetwork, phase: Phase, config: FinetuneConfig) -> Phase:
    modules = network.parts()
    kept = (
        part
        if _has_what_trains(part, modules[part.name], config)
        else replace(part, trains="nothing", batch_norm="frozen")
        for part in phase.parts
    )
    return replace(phase, parts=tuple(kept))


def _has_what_trains(part: Part, modules: tuple[nn.Module, ...], config: FinetuneConfig) -> bool:
    if part.trains == "norms":
        return bool(layers_of(modules, NORM_LAYERS))
    if part.trains == "adapters":
        convolutions = layers_of(modules, nn.Conv2d)
        return any(adapter_fits(layer, adapter_rank(config)) for layer in convolutions)
    return True


def _refuse_strategy(network: PartedNetwork, config: FinetuneConfig) -> None:
    if config.strategy == "adapters":
        assert isinstance(network, nn.Module)
        refuse_rank(network, adapter_rank(config))
    raise UserError(
        "finetuning.strategy bn-only trains norm layers, and this network has none: choose "
        "strategy linear-probe (the head alone) or full"
    )
