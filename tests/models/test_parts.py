"""Parts: every weight is in exactly one, and stopping between two of them changes no bit."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import chain, cycle, product

import pytest
import torch
from torch import nn

from resnetkit.models.blocks import BLOCKS, BlockConfig
from resnetkit.models.heads import HEADS, HeadConfig
from resnetkit.models.layers import ACTIVATIONS, NORMS
from resnetkit.models.lenet import LeNetConfig
from resnetkit.models.resnet import STEMS, ResNetConfig
from resnetkit.models.zoo import Architecture, Network, build_model

TINY = ResNetConfig(
    stage_depths=(1, 2, 1), stage_widths=(8, 8, 16), stem_width=8, in_channels=2, num_classes=5
)


def every_kind_of_network() -> dict[str, Architecture]:
    """All pairs of block kind and stem; the other options take turns."""
    heads, norms, activations = cycle(HEADS), cycle(NORMS), cycle(ACTIVATIONS)
    shortcuts, flags = cycle(["A", "B", "D"]), cycle([True, False, False])
    networks: dict[str, Architecture] = {"lenet": LeNetConfig(in_channels=2, dropout=0.3)}
    for kind, stem in product(BLOCKS, STEMS):
        block = BlockConfig(
            kind=kind,
            shortcut=next(shortcuts),
            norm=next(norms),
            activation=next(activations),
            squeeze_excitation=next(flags),
        )
        networks[f"{kind}, {stem}"] = replace(
            TINY,
            block=block,
            stem=stem,
            head=HeadConfig(kind=next(heads)),
            dropout=0.3,
            stochastic_depth=0.3,
        )
    keras = BlockConfig(kind="preact-bottleneck", stride_in_last_block=True)
    return {
        **networks,
        "plain": replace(TINY, block=BlockConfig(shortcut="none"), stem="cifar"),
        "one stage": replace(TINY, stage_depths=(2,), stage_widths=(8,)),
        "caffe": replace(TINY, block=BlockConfig(kind="bottleneck"), stem_pool="unpadded"),
        "keras": replace(TINY, block=keras, stem_pool="zero-padded"),
        "cosine lenet": LeNetConfig(
            in_channels=2, activation="leaky_relu", head=HeadConfig(kind="cosine")
        ),
    }


NETWORKS = every_kind_of_network()
each_network = pytest.mark.parametrize("architecture", NETWORKS.values(), ids=NETWORKS)


def images() -> torch.Tensor:
    return torch.randn(3, 2, 24, 24, generator=torch.Generator().manual_seed(1))


def tensors_of(modules: tuple[nn.Module, ...]) -> list[int]:
    """Parameters and buffers, by identity."""
    return [
        id(tensor) for module in modules for tensor in chain(module.parameters(), module.buffers())
    ]


def unsettle(network: Network) -> Network:
    """Running statistics and scales that no longer are the neutral ones of a new network."""
    generator = torch.Generator().manual_seed(2)
    for tensor in network.state_dict().values():
        if tensor.is_floating_point():
            tensor.add_(torch.rand(tensor.shape, generator=generator) * 0.1)
    return network


@each_network
def test_every_parameter_and_buffer_is_in_exactly_one_part(architecture):
    network = build_model(architecture)
    parts = network.parts()
    stages = [name for name in parts if name.startswith("stage")]
    assert list(parts) == ["stem", *(f"stage{n + 1}" for n in range(len(stages))), "head"]
    found = Counter(chain.from_iterable(tensors_of(modules) for modules in parts.values()))
    assert set(found) == set(tensors_of((network,)))
    assert set(found.values()) == {1}
    assert all(tensors_of(modules) for modules in parts.values())


@pytest.mark.parametrize("training", [False, True])
@each_network
def test_stopping_before_any_part_and_going_on_changes_no_bit(architecture, training):
    network = unsettle(build_model(architecture)).train(training)
    whole = forward_drawing(network, lambda: network(images()))
    assert whole.shape == (3, network.config.num_classes)
    for part in network.parts():
        entering: list[torch.Tensor] = []

        def in_two_steps(part: str = part, entering: list[torch.Tensor] = entering):
            x = network.forward_until(part, images())
            entering.append(x.clone())
            logits = network.forward_from(part, x)
            entering.append(x)
            return logits

        assert torch.equal(forward_drawing(network, in_two_steps), whole), part
        # It may be a cached file, mapped read-only.
        assert torch.equal(entering[0], entering[1]), f"{part} wrote into what it was given"


def forward_drawing(network: Network, compute) -> torch.Tensor:
    """What `compute` gives, dropout drawing the same and BatchNorm's statistics put back."""
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        result = compute()
    network.load_state_dict(before)
    return result


@each_network
def test_what_enters_the_first_part_and_the_head(architecture):
    network = build_model(architecture).eval()
    assert torch.equal(network.forward_until("stem", images()), images())
    features = network.forward_until("head", images())
    assert features.shape == (3, network.num_features)
    assert torch.equal(network.classifier(features), network(images()))
    maps = network.forward_features(images())
    assert torch.equal(network.forward_head(maps), network(images()))


@each_network
def test_gradients_reach_exactly_the_parts_that_ran(architecture):
    network = build_model(replace(architecture, dropout=0.0)).train()
    names = list(network.parts())
    for position, part in enumerate(names):
        network.zero_grad(set_to_none=True)
        with torch.no_grad():
            x = network.forward_until(part, images())
        network.forward_from(part, x).sum().backward()
        for number, modules in enumerate(network.parts().values()):
            parameters = [parameter for module in modules for parameter in module.parameters()]
            assert all((p.grad is not None) == (number >= position) for p in parameters)


def test_parts_follow_what_is_put_into_the_network():
    network = build_model(TINY)
    network.fc = nn.Linear(network.num_features, 3)
    network.layer2 = nn.Conv2d(8, 8, 1)
    assert network.parts()["head"][-1] is network.fc is network.classifier
    assert network.parts()["stage2"] == (network.layer2,)
    assert network.forward_from("stage2", torch.zeros(1, 8, 4, 4)).shape == (1, 3)


def test_the_norm_after_the_last_preactivation_block_belongs_to_the_last_stage():
    network = build_model(replace(TINY, block=BlockConfig(kind="preact-basic")))
    assert network.final_norm in network.parts()["stage3"]


@pytest.mark.parametrize("architecture", [TINY, LeNetConfig()])
def test_a_part_that_is_not_there_is_our_mistake(architecture):
    network = build_model(architecture)
    for run in (network.forward_until, network.forward_from):
        with pytest.raises(AssertionError, match=r"'layer4' is none of .*: stem, stage1, .*, head"):
            run("layer4", torch.zeros(1, network.config.in_channels, 16, 16))


@pytest.mark.parametrize("name", ["cosine lenet", "preact-basic, imagenet"])
def test_networks_and_their_ends_compile_into_one_graph(name):
    network = build_model(NETWORKS[name]).eval()
    torch.compiler.reset()
    with torch.no_grad():
        whole = torch.compile(network, backend="eager", fullgraph=True)
        ending = torch.compile(network.forward_from, backend="eager", fullgraph=True)
        maps = network.forward_until("stage2", images())
        assert torch.equal(whole(images()), network(images()))
        assert torch.equal(ending("stage2", maps), network(images()))
