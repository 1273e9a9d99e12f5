from __future__ import annotations

import copy

import pytest
import torch
from finetuning_nets import build_network, copy_state, draw_batch, train
from torch import Tensor

from resnetkit.finetuning.penalties import (
    Penalty,
    build_penalty,
    held_parameters,
    smallest_values,
)
from resnetkit.finetuning.plan import Phase, apply_phase, set_training_modes
from resnetkit.finetuning.settings import FinetuneConfig
from resnetkit.finetuning.strategies import build_plan
from resnetkit.models.resnet import ResNet
from resnetkit.optim.optimizers import OptimizerConfig, build_optimizer

NO_DECAY = OptimizerConfig(learning_rate=0.02, weight_decay=0.0)


def prepare(**settings: object) -> tuple[ResNet, FinetuneConfig, dict[str, Tensor], Phase]:
    config = FinetuneConfig(**{"strategy": "full", **settings})
    network = build_network("basic")
    phase = build_plan(list(network.parts()), config, 10.0).phases[-1]
    apply_phase(network, phase)
    return network, config, copy_state(network), phase


def built(network, config, start, phase) -> Penalty:
    penalty = build_penalty(network, config, start, phase)
    assert penalty is not None
    return penalty


def test_l2_sp_is_the_formula():
    network, config, start, phase = prepare(l2_sp=0.1)
    penalty = built(network, config, start, phase)
    assert float(penalty().detach()) == 0.0
    train(network, phase, NO_DECAY)
    expected = sum(
        0.05 * (value - start[name]).square().sum()
        for name, value in network.named_parameters()
        if not name.startswith("fc.")
    )
    torch.testing.assert_close(penalty(), expected)


def test_l2_sp_keeps_weights_nearer_to_their_start():
    distances = []
    for strength in (0.0, 1.0):
        network, config, start, phase = prepare(l2_sp=strength, backbone_rate=1.0)
        penalty = build_penalty(network, config, start, phase)
        train(network, phase, NO_DECAY, penalty, steps=8)
        state = network.state_dict()
        distances.append(sum(float((state[k] - start[k]).norm()) for k in start if "conv" in k))
    assert distances[1] < 0.9 * distances[0]


def test_l2_sp_refers_to_the_very_start_and_to_what_trains():
    network, config, start, _ = prepare(strategy="gradual", l2_sp=0.1)
    _, top, both, _ = build_plan(list(network.parts()), config, 10.0).phases
    apply_phase(network, top)
    assert {name.split(".")[0] for name in held_parameters(network, config, top)} == {"layer3"}
    train(network, top, NO_DECAY)
    apply_phase(network, both)
    assert float(built(network, config, start, both)().detach()) > 0
    held = {name.split(".")[0] for name in held_parameters(network, config, both)}
    assert held == {"layer2", "layer3"}


def test_l2_sp_takes_the_place_of_weight_decay():
    network, config, _, phase = prepare(l2_sp=0.1)
    held = held_parameters(network, config, phase)
    decaying = OptimizerConfig(learning_rate=0.1, weight_decay=0.01)
    groups = build_optimizer(network, decaying, undecayed=held).param_groups
    head = {id(value) for value in network.fc.parameters()}
    for group in groups:
        in_head = {id(value) in head for value in group["params"]}
        assert in_head == {group["weight_decay"] == 0.01}
    config = FinetuneConfig(strategy="full")
    assert held_parameters(network, config, phase) == frozenset()


def test_bss_is_the_smallest_singular_value_of_the_pooled_features():
    network, config, start, phase = prepare(bss=0.1)
    penalty = built(network, config, start, phase)
    set_training_modes(network, phase)
    network.eval()
    images, _ = draw_batch(0)
    network(images)
    features = network.forward_until("head", images)
    expected = 0.1 * torch.linalg.svdvals(features)[-1] ** 2
    value = penalty()
    torch.testing.assert_close(value, expected)
    value.backward()
    gradient = network.conv1.weight.grad
    assert gradient is not None
    assert float(gradient.abs().sum()) > 0


def test_smallest_values_are_torchs():
    features = torch.randn(5, 9, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(smallest_values(features, 2), torch.linalg.svdvals(features)[-2:])
    torch.testing.assert_close(smallest_values(features[:1], 1), features[:1].norm()[None])


def test_steps_on_bss_lower_the_smallest_value():
    network, config, start, phase = prepare(bss=0.1)
    penalty = built(network, config, start, phase)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    images, _ = draw_batch(0)
    values = []
    for _ in range(6):
        network(images)
        value = penalty()
        value.backward()
        optimizer.step()
        optimizer.zero_grad()
        values.append(float(value.detach()))
    assert values == sorted(values, reverse=True)
    assert values[-1] < 0.9 * values[0]


def test_bss_watches_training_passes_only_until_it_is_closed():
    network, config, start, phase = prepare(bss=0.1)
    penalty = built(network, config, start, phase)
    judge = copy.deepcopy(network)  # as validation does
    images, _ = draw_batch(0)
    network(images)
    with torch.no_grad():
        judge(2 * images)
        network(2 * images)
    expected = 0.1 * smallest_values(network.forward_until("head", images), 1)[0] ** 2
    torch.testing.assert_close(penalty(), expected)
    with pytest.raises(AssertionError, match="after a forward pass"):
        penalty()
    penalty.close()
    network(images)
    with pytest.raises(AssertionError, match="after a forward pass"):
        penalty()


def test_both_add_up():
    network, config, start, phase = prepare(l2_sp=0.1, bss=0.1)
    alone = [
        built(network, FinetuneConfig(strategy="full", **{name: 0.1}), start, phase)
        for name in ("l2_sp", "bss")
    ]
    both = built(network, config, start, phase)
    train(network, phase, NO_DECAY, both)
    network.eval()
    network(draw_batch(0)[0])
    torch.testing.assert_close(both(), alone[0]() + alone[1]())


def test_there_is_none_without_a_strength_or_a_backbone_that_trains():
    network, config, start, phase = prepare()
    assert build_penalty(network, config, start, phase) is None
    config = FinetuneConfig(strategy="lp-ft", l2_sp=0.1, bss=0.1)
    probe, _ = build_plan(list(network.parts()), config, 10.0).phases
    apply_phase(network, probe)
    assert build_penalty(network, config, start, probe) is None
    assert held_parameters(network, config, probe) == frozenset()


def test_a_compiled_network_is_watched_too():
    network, config, start, phase = prepare(bss=0.1)
    penalty = built(network, config, start, phase)
    images, _ = draw_batch(0)
    torch.compile(network, backend="eager")(images)
    expected = 0.1 * smallest_values(network.forward_until("head", images), 1)[0] ** 2
    torch.testing.assert_close(penalty(), expected)
