from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from resnetkit.optim.optimizers import (
    OptimizerConfig,
    build_optimizer,
    match_memory_order,
    parameter_groups,
)
from resnetkit.types import UserError


def build_net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3),
        nn.BatchNorm2d(4),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, 2),
    )


def step(net: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    images = torch.randn(6, 3, 6, 6, generator=torch.Generator().manual_seed(1))
    net(images).square().mean().backward()
    optimizer.step()
    optimizer.zero_grad()


def test_everything_decays_by_default():
    (group,) = parameter_groups(build_net(), OptimizerConfig(weight_decay=0.1))
    assert len(group["params"]) == 6
    assert group["weight_decay"] == 0.1


def test_norms_and_biases_may_go_without_decay():
    net = build_net()
    config = OptimizerConfig(weight_decay=0.1, decay_norm_and_bias=False)
    decayed, free = parameter_groups(net, config)
    assert [id(p) for p in decayed["params"]] == [id(net[0].weight), id(net[4].weight)]
    free_of_decay = [net[0].bias, net[1].weight, net[1].bias, net[4].bias]
    assert [id(p) for p in free["params"]] == [id(p) for p in free_of_decay]
    assert (decayed["weight_decay"], free["weight_decay"]) == (0.1, 0.0)


@pytest.mark.parametrize("decay_norm_and_bias", [True, False])
def test_frozen_parameters_are_left_out(decay_norm_and_bias):
    net = build_net()
    net[0].requires_grad_(False)
    config = OptimizerConfig(decay_norm_and_bias=decay_norm_and_bias)
    groups = parameter_groups(net, config)
    assert sum(len(group["params"]) for group in groups) == 4


@pytest.mark.parametrize("nesterov", [False, True])
def test_sgd_is_the_textbooks(nesterov):
    net = build_net()
    ours, theirs = copy.deepcopy(net), copy.deepcopy(net)
    config = OptimizerConfig(learning_rate=0.3, weight_decay=0.01, nesterov=nesterov)
    optimizer = build_optimizer(ours, config)
    velocity = [torch.zeros_like(p) for p in theirs.parameters()]
    images = torch.randn(6, 3, 6, 6, generator=torch.Generator().manual_seed(1))
    for _ in range(3):
        step(ours, optimizer)
        theirs.zero_grad()
        theirs(images).square().mean().backward()
        with torch.no_grad():
            for parameter, v in zip(theirs.parameters(), velocity, strict=True):
                gradient = parameter.grad + 0.01 * parameter
                v.mul_(0.9).add_(gradient)
                parameter -= 0.3 * (gradient + 0.9 * v if nesterov else v)
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_adamw_takes_its_settings():
    optimizer = build_optimizer(
        build_net(), OptimizerConfig(name="adamw", learning_rate=0.01, betas=(0.8, 0.9))
    )
    assert isinstance(optimizer, torch.optim.AdamW)
    assert optimizer.defaults["lr"] == 0.01
    assert optimizer.defaults["betas"] == (0.8, 0.9)
    default = build_optimizer(build_net(), OptimizerConfig(name="adamw"))
    assert default.defaults["betas"] == (0.9, 0.999)


def test_sgd_defaults():
    optimizer = build_optimizer(build_net(), OptimizerConfig())
    assert optimizer.defaults["momentum"] == 0.9
    assert not optimizer.defaults["nesterov"]
    plain = build_optimizer(build_net(), OptimizerConfig(momentum=0.0))
    assert plain.defaults["momentum"] == 0


@pytest.mark.parametrize("name", ["sgd", "adamw"])  # muon's steps do not go by address
def test_state_follows_the_memory_order_of_its_parameters(name):
    """Fused kernels pair parameter and state by address: other orders give other numbers."""

    def two_steps(change_order):
        net = build_net()
        net[1] = nn.ReLU()  # a bias before BatchNorm has rounding errors for gradients
        optimizer = build_optimizer(net, OptimizerConfig(name=name, learning_rate=0.1))
        step(net, optimizer)
        if change_order:
            net.to(memory_format=torch.channels_last)
            match_memory_order(optimizer)
            assert optimizer.state[net[0].weight]  # it had some
            for parameter, entries in optimizer.state.items():
                tensors = [v for v in entries.values() if v.shape == parameter.shape]
                assert tensors
                assert all(value.stride() == parameter.stride() for value in tensors)
        step(net, optimizer)
        return net

    with_change, without = two_steps(True), two_steps(False)
    for one, other in zip(with_change.parameters(), without.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_matching_the_memory_order_of_fresh_or_stateless_optimizers_does_nothing():
    net = build_net()
    optimizer = build_optimizer(net, OptimizerConfig(momentum=0.0))
    match_memory_order(optimizer)
    step(net, optimizer)
    match_memory_order(optimizer)
    assert all(not entries or None in entries.values() for entries in optimizer.state.values())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"learning_rate": 0.0}, "optimizer.learning_rate must be above 0, got 0.0"),
        ({"weight_decay": -1.0}, "optimizer.weight_decay must be 0 or more, got -1.0"),
        ({"betas": (0.9, 0.99)}, "optimizer.betas has no effect with sgd: leave it out"),
        ({"name": "adamw", "momentum": 0.9}, "optimizer.momentum has no effect with adamw"),
        ({"name": "adamw", "nesterov": False}, "optimizer.nesterov has no effect with adamw"),
        ({"momentum": 1.0}, r"optimizer.momentum must be in \[0, 1\), got 1.0"),
        ({"name": "adamw", "betas": (0.9, 1.0)}, r"optimizer.betas must be in \[0, 1\)"),
        ({"momentum": 0.0, "nesterov": True}, "optimizer.nesterov needs momentum"),
    ],
)
def test_settings_out_of_range_or_without_effect_are_refused(settings, message):
    with pytest.raises(UserError, match=message):
        OptimizerConfig(**settings)


RATES = {"0": 0.1, "1": 0.1, "4": 1.0}  # by child of `build_net`


def rate_of(name: str) -> float:
    return RATES[name.split(".")[0]]


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_rates_by_name_make_groups_the_fastest_first(name):
    net = build_net()
    config = OptimizerConfig(name=name, weight_decay=0.1, decay_norm_and_bias=False)
    groups = build_optimizer(net, config, rate_of).param_groups
    found = [
        (group["rate_factor"], group["weight_decay"], [id(p) for p in group["params"]])
        for group in groups
    ]
    assert found == [
        (1.0, 0.1, [id(net[4].weight)]),
        (0.1, 0.1, [id(net[0].weight)]),
        (1.0, 0.0, [id(net[4].bias)]),
        (0.1, 0.0, [id(p) for p in (net[0].bias, net[1].weight, net[1].bias)]),
    ]
    (first, second) = build_optimizer(net, OptimizerConfig(name=name), rate_of).param_groups
    assert (first["rate_factor"], len(first["params"])) == (1.0, 2)
    assert (second["rate_factor"], len(second["params"])) == (0.1, 4)


def test_rates_leave_frozen_parameters_out():
    net = build_net()
    net[0].requires_grad_(False)
    groups = build_optimizer(net, OptimizerConfig(), rate_of).param_groups
    held = {id(p) for group in groups for p in group["params"]}
    assert held == {id(p) for p in net.parameters() if p.requires_grad}


def test_rates_multiply_muons_own_factor():
    net = build_net()
    net[0] = nn.Conv2d(3, 4, 3, bias=False)
    config = OptimizerConfig(name="muon", learning_rate=0.2, kernel_rate=0.1)
    groups = build_optimizer(net, config, rate_of).param_groups
    (kernels,) = (group for group in groups if group.get("orthogonal"))
    assert [id(p) for p in kernels["params"]] == [id(net[0].weight)]
    assert kernels["rate_factor"] == pytest.approx(0.1 / 0.2 * 0.1)
    assert [group["rate_factor"] for group in groups[:-1]] == [1.0, 0.1]


def test_muon_steps_while_its_kernels_are_frozen():
    net = build_net()
    net[0] = nn.Conv2d(3, 4, 3, bias=False).requires_grad_(False)
    groups = build_optimizer(net, OptimizerConfig(name="muon"), rate_of).param_groups
    assert not any(group.get("orthogonal") for group in groups)


def test_without_rates_no_group_has_a_factor():
    for name in ("sgd", "adamw"):
        groups = build_optimizer(build_net(), OptimizerConfig(name=name)).param_groups
        assert all("rate_factor" not in group for group in groups)


def test_one_rate_for_all_changes_no_bit():
    plain, rated = build_net(), build_net()
    config = OptimizerConfig(learning_rate=0.1, weight_decay=0.01)
    for net, rates in ((plain, None), (rated, lambda name: 1.0)):
        optimizer = build_optimizer(net, config, rates)
        step(net, optimizer)
        step(net, optimizer)
    assert all(torch.equal(v, rated.state_dict()[k]) for k, v in plain.state_dict().items())


def test_a_rate_of_zero_is_our_mistake():
    with pytest.raises(AssertionError, match="frozen, not slowed"):
        build_optimizer(build_net(), OptimizerConfig(), lambda name: 0.0)


def test_named_parameters_go_without_decay():
    net = build_net()
    groups = build_optimizer(net, OptimizerConfig(weight_decay=0.1), undecayed={"0.weight"})
    decayed, free = groups.param_groups
    assert [id(p) for p in free["params"]] == [id(net[0].weight)]
    assert (decayed["weight_decay"], free["weight_decay"]) == (0.1, 0.0)
    assert len(decayed["params"]) == 5
