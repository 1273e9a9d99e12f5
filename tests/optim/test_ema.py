from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from resnetkit.optim.ema import WeightAverage


def build_net() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))


def change(net: nn.Module, number: int) -> None:
    generator = torch.Generator().manual_seed(number)
    with torch.no_grad():
        for value in net.state_dict().values():
            if value.is_floating_point():
                value.copy_(torch.randn(value.shape, generator=generator))
            else:
                value.fill_(number)


@pytest.mark.parametrize("decay", [0.0, 0.2, 0.9, 0.999])
@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last])
def test_average_follows_the_formula_and_copies_counters(decay, order):
    net = build_net().to(memory_format=order)
    change(net, 0)
    average = WeightAverage(net, decay)
    expected = {k: v.double().numpy().copy() for k, v in net.state_dict().items()}
    for number in range(1, 8):
        change(net, number)
        average.update(net)
        present = min(decay, (1 + number) / (10 + number))
        for key, value in net.state_dict().items():
            new = value.double().numpy()
            if value.is_floating_point():
                new = present * expected[key] + (1 - present) * new
            expected[key] = new.copy()
    assert average.updates == 7
    assert average.weights.keys() == expected.keys()
    for key, value in average.weights.items():
        np.testing.assert_allclose(value.double().numpy(), expected[key], rtol=1e-5, atol=1e-6)
    assert average.weights["1.num_batches_tracked"].item() == 7
    assert average.weights["1.num_batches_tracked"].dtype == torch.int64


def test_the_average_is_its_own_memory():
    net = build_net()
    average = WeightAverage(net, 0.9)
    before = average.weights["0.weight"].clone()
    change(net, 1)
    assert torch.equal(average.weights["0.weight"], before)
    average.update(net)
    after = net[0].weight.detach().clone()
    average.weights["0.weight"].zero_()
    assert torch.equal(net[0].weight, after)
    assert not average.weights["0.weight"].requires_grad


def test_random_initial_weights_are_forgotten_within_a_few_updates():
    net = build_net()
    with torch.no_grad():
        net[0].weight.fill_(100.0)
    average = WeightAverage(net, 0.999)
    with torch.no_grad():
        net[0].weight.fill_(1.0)
    for _ in range(20):
        average.update(net)
    assert float(average.weights["0.weight"].max()) < 1.01
