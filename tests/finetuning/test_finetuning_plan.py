from __future__ import annotations

import pytest
import torch
from finetuning_nets import NETWORKS, build_network, copy_state, draw_batch, train
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import nn

from resnetkit.finetuning.adapters import AdaptedConvolution, insert_adapters
from resnetkit.finetuning.plan import (
    BATCH_NORM,
    Phase,
    apply_phase,
    layers_of,
    part_parameters,
    rate_factors,
    set_training_modes,
    trained_parameters,
)
from resnetkit.finetuning.settings import FinetuneConfig
from resnetkit.finetuning.settling import adapter_rank, settle_plan
from resnetkit.finetuning.strategies import STRATEGIES, build_plan
from resnetkit.models.layers import StochasticDepth
from resnetkit.optim.optimizers import OptimizerConfig

MEANINGLESS = {("bn-only", "lenet")}
PAIRS = [(s, n) for s in STRATEGIES for n in NETWORKS if (s, n) not in MEANINGLESS]


def prepare(strategy: str, kind: str, **other: object):
    config = FinetuneConfig(strategy=strategy, **other)
    network = build_network(kind)
    plan = settle_plan(network, build_plan(list(network.parts()), config, 10.0), config)
    if strategy == "adapters":
        insert_adapters(network, adapter_rank(config), seed=3)
    return network, plan


def phase_of(strategy: str, kind: str = "basic", **other: object) -> tuple[nn.Module, Phase]:
    network, plan = prepare(strategy, kind, **other)
    return network, plan.phases[-1]


def split_names(network, phase: Phase) -> tuple[set[str], set[str], set[str]]:
    """Names of trained parameters, of moving statistics, and of all else in the state."""
    names = {id(value): name for name, value in network.state_dict(keep_vars=True).items()}
    trained, statistics = set(), set()
    for part, modules in zip(phase.parts, network.parts().values(), strict=True):
        trained |= {names[id(value)] for value in trained_parameters(part, modules)}
        if part.batch_norm == "train":
            layers = layers_of(modules, BATCH_NORM)
            statistics |= {names[id(value)] for layer in layers for value in layer.buffers()}
    return trained, statistics, set(names.values()) - trained - statistics


@settings(deadline=None, max_examples=25)
@given(
    pair=st.sampled_from(PAIRS),
    statistics=st.sampled_from(["auto", "frozen", "train"]),
    optimizer=st.sampled_from(["sgd", "adamw"]),
)
@example(pair=("bn-only", "basic"), statistics="auto", optimizer="sgd")
@example(pair=("adapters", "grouped"), statistics="train", optimizer="sgd")
@example(pair=("surgical", "preact"), statistics="train", optimizer="adamw")
@example(pair=("gradual", "bottleneck"), statistics="train", optimizer="sgd")
@example(pair=("lp-ft", "group-norm"), statistics="auto", optimizer="sgd")
def test_frozen_means_frozen(pair, statistics, optimizer):
    strategy, kind = pair
    unchanged = strategy == "linear-probe" or kind in ("lenet", "group-norm")
    network, plan = prepare(strategy, kind, batch_norm="auto" if unchanged else statistics)
    for phase in plan.phases:
        before = copy_state(network)
        train(network, phase, OptimizerConfig(name=optimizer, learning_rate=0.05))
        after = network.state_dict()
        trained, moving, frozen = split_names(network, phase)
        assert not [name for name in frozen if not torch.equal(before[name], after[name])]
        assert not [name for name in trained if torch.equal(before[name], after[name])]
        assert not [name for name in moving if torch.equal(before[name], after[name])]
        assert trained


def test_nothing_else_would_do():
    """Without the modes, BatchNorm of frozen parts moves: what peers' users report."""
    network, phase = phase_of("linear-probe")
    apply_phase(network, phase)
    before = copy_state(network)
    network.train()
    network(draw_batch(0)[0])
    assert not torch.equal(before["bn1.running_mean"], network.state_dict()["bn1.running_mean"])


@pytest.mark.parametrize(("strategy", "kind"), PAIRS)
def test_requires_grad_is_exactly_what_trains(strategy, kind):
    network, plan = prepare(strategy, kind)
    for phase in plan.phases:
        for parameter in network.parameters():
            parameter.requires_grad_(not parameter.requires_grad)  # whatever was before
        apply_phase(network, phase)
        trained, _, _ = split_names(network, phase)
        assert {n for n, p in network.named_parameters() if p.requires_grad} == trained


def test_what_the_strategies_train():
    network, phase = phase_of("bn-only", "preact")
    apply_phase(network, phase)
    trained = {name for name, value in network.named_parameters() if value.requires_grad}
    assert all("bn" in name or "final_norm" in name or "fc" in name for name in trained)
    assert {"layer1.0.bn1.weight", "final_norm.bias", "fc.bias"} <= trained
    assert phase.parts[0].trains == "nothing"  # no norm in a pre-activation stem

    network, phase = phase_of("adapters")
    apply_phase(network, phase)
    trained = {name for name, value in network.named_parameters() if value.requires_grad}
    assert all(".down." in name or ".up." in name or "fc" in name for name in trained)
    adapted = [layer for layer in network.modules() if isinstance(layer, AdaptedConvolution)]
    assert len(trained) == 2 * len(adapted) + 2


@pytest.mark.parametrize("statistics", ["frozen", "train"])
def test_modes_survive_what_others_set(statistics):
    network, phase = phase_of("surgical", batch_norm=statistics)
    for _ in range(2):
        network.train()
        set_training_modes(network, phase)
        for part, modules in zip(phase.parts, network.parts().values(), strict=True):
            trains = part.trains != "nothing"
            norms = layers_of(modules, BATCH_NORM)
            assert all(norm.training == (trains and statistics == "train") for norm in norms)
            drops = layers_of(modules, (nn.Dropout, StochasticDepth))
            assert all(layer.training == trains for layer in drops)
    network.eval()
    set_training_modes(network, phase)
    assert network.parts()["head"][0].training


def test_frozen_statistics_are_used_and_scales_still_train():
    network, phase = phase_of("full", batch_norm="frozen")
    before = copy_state(network)
    train(network, phase)
    after = network.state_dict()
    assert torch.equal(before["layer1.0.bn1.running_var"], after["layer1.0.bn1.running_var"])
    assert not torch.equal(before["layer1.0.bn1.weight"], after["layer1.0.bn1.weight"])


def test_rates_are_by_part():
    network, phase = phase_of("layer-decay", rate_decay=0.5, backbone_rate=0.2)
    factor = rate_factors(network, phase)
    assert [factor(n) for n in ("fc.weight", "layer3.0.conv1.weight", "layer2.0.bn1.bias")] == [
        1.0,
        0.2,
        0.1,
    ]
    assert factor("conv1.weight") == factor("bn1.weight") == 0.2 * 0.5**3


def test_a_plan_of_another_network_is_refused():
    _, phase = phase_of("full")
    with pytest.raises(AssertionError, match="of another network"):
        apply_phase(build_network("lenet"), phase)


def test_parts_cover_the_network():
    for kind in NETWORKS:
        network = build_network(kind)
        found = [id(p) for modules in network.parts().values() for p in part_parameters(modules)]
        assert sorted(found) == sorted(id(p) for p in network.parameters())
