from __future__ import annotations

import re

import pytest
import torch
import torchvision
from torch import Tensor, nn

from resnetkit.models.weights.strict_loading import describe_problems
from resnetkit.models.zoo import MODELS, build_model

QUICK = ["resnet18", "resnet50", "resnext50-32x4d"]
SLOW = ["resnet34", "resnet101", "resnet152", "wide-resnet50-2"]
SLOW += ["wide-resnet101-2", "resnext101-32x8d"]
NAMES = [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)]


def torchvision_network(name: str) -> nn.Module:
    return torchvision.models.get_model(name.replace("wide-", "wide_").replace("-", "_"))


def randomise(network: nn.Module) -> nn.Module:
    """Statistics as after training, so that every entry of the state dict bears on the logits."""
    generator = torch.Generator().manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1, generator=generator)
            module.running_var.uniform_(0.5, 1.5, generator=generator)
            nn.init.uniform_(module.weight, 0.2, 0.8, generator=generator)
            nn.init.uniform_(module.bias, -0.2, 0.2, generator=generator)
    return network.eval()


@pytest.mark.parametrize("name", NAMES)
@torch.inference_mode()
def test_logits_equal_torchvisions_both_ways(name):
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    theirs = randomise(torchvision_network(name))
    ours = build_model(MODELS[name].architecture, seed=2).eval()
    assert not torch.allclose(ours(images), theirs(images), rtol=1e-5, atol=1e-5)
    ours.load_state_dict(theirs.state_dict())
    torch.testing.assert_close(ours(images), theirs(images), rtol=1e-5, atol=1e-5)

    changed = randomise(build_model(MODELS[name].architecture, seed=3))
    theirs.load_state_dict(changed.state_dict(), strict=True)
    torch.testing.assert_close(theirs(images), changed(images), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", [*QUICK, *SLOW])
def test_state_dicts_have_torchvisions_keys_and_shapes_in_its_order(name):
    with torch.device("meta"):
        ours, theirs = build_model(MODELS[name].architecture), torchvision_network(name)
    assert shapes(ours) == shapes(theirs)


def shapes(network: nn.Module) -> list[tuple[str, torch.Size]]:
    return [(name, tensor.shape) for name, tensor in network.state_dict().items()]


def test_training_mode_and_gradients_equal_torchvisions():
    theirs = randomise(torchvision_network("resnet18")).train()
    ours = build_model(MODELS["resnet18"].architecture).train()
    ours.load_state_dict(theirs.state_dict())
    images = torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    for network in (ours, theirs):
        network(images).square().mean().backward()
    gradients = [
        dict(network.named_parameters())["conv1.weight"].grad for network in (ours, theirs)
    ]
    torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-5)


def resnet20_state() -> dict[str, Tensor]:
    return build_model(MODELS["cifar-resnet20"].architecture).state_dict()


def test_older_checkpoints_without_batch_counters_fit():
    state = {k: v for k, v in resnet20_state().items() if not k.endswith("num_batches_tracked")}
    assert describe_problems(resnet20_state(), state) == ""


def test_mismatches_are_named():
    state = resnet20_state()
    del state["bn1.weight"]
    state["extra"] = torch.zeros(1)
    state["fc.weight"] = torch.zeros(100, 64)
    assert describe_problems(resnet20_state(), state) == (
        "1 missing: bn1.weight; 1 unexpected: extra; "
        "1 of another shape: fc.weight [100, 64] for [10, 64]"
    )


def test_long_lists_are_cut():
    problems = describe_problems(resnet20_state(), {})
    assert re.search(r"missing: bn1.bias, .* and \d\d more", problems)
