"""Muon: orthogonal updates, the norm it holds, and which parameters get it."""

import pytest
import torch
from torch import nn

from resnetkit.optim.muon import Muon, kernels, orthogonalise
from resnetkit.optim.optimizers import OptimizerConfig, build_optimizer
from resnetkit.types import UserError


def build_net():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, bias=False),
        nn.BatchNorm2d(8),
        nn.Conv2d(8, 4, 1, bias=True),
        nn.Flatten(),
        nn.Linear(4 * 6 * 6, 2),
    )


def learn(net, optimizer, steps=1):
    for step in range(steps):
        images = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(step))
        net(images).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()


@pytest.mark.parametrize("shape", [(16, 27), (27, 16), (64, 64)])
def test_singular_values_come_near_one(shape):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    singular = torch.linalg.svdvals(orthogonalise(matrix))
    before = torch.linalg.svdvals(matrix / matrix.norm())
    assert singular.shape == before.shape
    assert singular.max() < 1.3
    assert singular.max() / singular.min() < before.max() / before.min()
    # The directions stay: only how strongly each is followed changes.
    u, _, v = torch.linalg.svd(matrix, full_matrices=False)
    inner = u.T @ orthogonalise(matrix) @ v.T
    assert torch.allclose(inner, inner.diag().diag(), atol=1e-4)


def test_only_convolutions_before_a_norm_are_orthogonal():
    net = build_net()
    assert [id(kernel) for kernel in kernels(net)] == [id(net[0].weight)]
    optimizer = build_optimizer(net, OptimizerConfig(name="muon"))
    assert isinstance(optimizer, Muon)
    grouped = [p for group in optimizer.param_groups for p in group["params"]]
    assert sorted(map(id, grouped)) == sorted(map(id, net.parameters()))


def test_a_kernel_moves_by_its_rate_and_keeps_its_norm():
    net = build_net()
    optimizer = build_optimizer(net, OptimizerConfig(name="muon"))
    optimizer.param_groups[-1]["lr"] = 0.0
    learn(net, optimizer)
    assert float(net[0].weight.detach().norm()) == pytest.approx(8**0.5, rel=1e-5)
    before = net[0].weight.detach().clone()
    optimizer.param_groups[-1]["lr"] = 0.01
    learn(net, optimizer)
    change = (net[0].weight.detach() - before).norm() / before.norm()
    assert 0.006 < float(change) < 0.013  # singular values are near 1, not at it


def test_the_rest_learns_as_under_nesterov_sgd():
    ours, theirs = build_net(), build_net()
    rest = [p for p in ours.parameters() if p is not ours[0].weight]
    config = OptimizerConfig(name="muon", learning_rate=0.1, weight_decay=1e-2)
    optimizer = build_optimizer(ours, config)
    optimizer.param_groups[-1]["params"] = []
    others = [p for p in theirs.parameters() if p is not theirs[0].weight]
    reference = torch.optim.SGD(others, lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-2)
    learn(ours, optimizer, steps=3)
    learn(theirs, reference, steps=3)
    for one, other in zip(rest, others, strict=True):
        assert torch.allclose(one, other, atol=1e-6)


def test_a_network_without_such_convolutions_is_refused():
    with pytest.raises(UserError, match=r"muon needs convolutions that a norm layer follows"):
        build_optimizer(nn.Linear(2, 2), OptimizerConfig(name="muon"))


@pytest.mark.parametrize("change", [{"betas": (0.9, 0.99)}, {"nesterov": True}])
def test_settings_without_effect_are_refused(change):
    with pytest.raises(UserError, match="has no effect with muon"):
        OptimizerConfig(name="muon", **change)


def test_the_kernel_rate_belongs_to_muon():
    with pytest.raises(UserError, match=r"optimizer\.kernel_rate has no effect with sgd"):
        OptimizerConfig(kernel_rate=0.1)
    with pytest.raises(UserError, match=r"optimizer\.kernel_rate must be above 0, got -1"):
        OptimizerConfig(name="muon", kernel_rate=-1)
