"""Heads: what each computes, and that exchanging or extending one touches nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from pydantic import TypeAdapter
from torch.nn import functional as F

from resnetkit.models.counting import count_multiply_adds
from resnetkit.models.heads import (
    HEADS,
    MLP,
    CosineClassifier,
    HeadConfig,
    extend_head,
    replace_head,
)
from resnetkit.models.lenet import LeNetConfig
from resnetkit.models.resnet import ResNetConfig
from resnetkit.models.zoo import Network, build_model
from resnetkit.types import UserError

RESNET = ResNetConfig(
    stage_depths=(1, 1), stage_widths=(8, 16), stem="cifar", stem_width=8, num_classes=5
)
LENET = LeNetConfig(in_channels=3, num_classes=5)
CONFIGS = {
    "linear": HeadConfig(),
    "cosine": HeadConfig(kind="cosine"),
    "mlp": HeadConfig(kind="mlp"),
    "narrow mlp": HeadConfig(kind="mlp", hidden=6),
}
each_head = pytest.mark.parametrize("head", CONFIGS.values(), ids=CONFIGS)
each_network = pytest.mark.parametrize("architecture", [RESNET, LENET], ids=["resnet", "lenet"])


def images(dtype: torch.dtype = torch.float32) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(4, 3, 16, 16, generator=generator, dtype=dtype)


def state(network: Network) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def changed(before: dict[str, torch.Tensor], network: Network) -> set[str]:
    """Names of entries that are new, gone or different."""
    after = network.state_dict()
    return {
        name
        for name in before.keys() | after.keys()
        if name not in before or name not in after or not torch.equal(before[name], after[name])
    }


def test_every_kind_of_head_is_tried_here():
    assert {head.kind for head in CONFIGS.values()} == set(HEADS)


@each_network
def test_the_default_head_is_the_linear_layer_that_it_always_was(architecture):
    network = build_model(architecture)
    keys = list(network.state_dict())
    assert keys[-2:] in (["fc.weight", "fc.bias"], ["fc2.weight", "fc2.bias"])
    assert isinstance(network.classifier, torch.nn.Linear)


def test_cosine_logits_are_scaled_cosines():
    head = CosineClassifier(num_features=6, num_classes=3)
    features = torch.randn(4, 6)
    for row in range(4):
        for label in range(3):
            cosine = F.cosine_similarity(features[row], head.weight[label], dim=0)
            assert head(features)[row, label].item() == pytest.approx(10 * cosine.item(), abs=1e-5)
    assert head.scale.requires_grad
    assert sum(parameter.numel() for parameter in head.parameters()) == 3 * 6 + 1


def test_cosine_logits_ignore_lengths_and_survive_features_of_zero():
    head = CosineClassifier(num_features=6, num_classes=3)
    features = torch.rand(4, 6, requires_grad=True)
    expected = head(features)
    with torch.no_grad():
        head.weight[1] *= 7
    assert torch.allclose(head(features * 100), expected, atol=1e-5)
    logits = head(features * torch.tensor([[0.0], [1.0], [1.0], [1.0]]))
    assert torch.equal(logits[0], torch.zeros(3))
    logits.sum().backward()
    assert features.grad is not None
    assert features.grad.isfinite().all()


def test_an_mlp_is_two_linear_layers_with_dropout_before_each():
    config = replace(RESNET, head=HeadConfig(kind="mlp", hidden=6), dropout=0.5)
    network = build_model(config).eval()
    head = network.classifier
    assert isinstance(head, MLP)
    features = network.forward_until("head", images())
    hidden = torch.relu(features @ head.hidden.weight.T + head.hidden.bias)
    expected = hidden @ head.output.weight.T + head.output.bias
    assert torch.allclose(network(images()), expected, atol=1e-6)
    dropouts = [module for module in network.modules() if isinstance(module, torch.nn.Dropout)]
    assert [module.p for module in dropouts] == [0.5, 0.5]
    assert head.hidden.weight.shape == (6, 16)


def test_an_mlp_is_as_wide_as_the_features_unless_said():
    network = build_model(replace(RESNET, head=HeadConfig(kind="mlp")))
    assert network.classifier.get_parameter("hidden.weight").shape == (16, 16)


@each_head
@each_network
def test_replacing_touches_the_head_and_the_config_alone(architecture, head):
    network = build_model(architecture)
    network.requires_grad_(False)
    before = state(network)
    replace_head(network, 7, head, dropout=0.25, seed=3)
    assert all(name.startswith(("fc.", "fc2.")) for name in changed(before, network))
    assert network.config == replace(architecture, num_classes=7, head=head, dropout=0.25)
    assert network(images()).shape == (4, 7)
    assert all(parameter.requires_grad for parameter in network.classifier.parameters())
    assert not any(parameter.requires_grad for parameter in network.conv1.parameters())


@each_head
@each_network
def test_a_network_with_a_new_head_is_what_its_config_builds(architecture, head):
    network = build_model(architecture)
    replace_head(network, 7, head, dropout=0.25, seed=3)
    rebuilt = build_model(network.config, seed=9)
    rebuilt.load_state_dict(network.state_dict())
    assert str(rebuilt) == str(network)
    assert torch.equal(rebuilt.eval()(images()), network.eval()(images()))


@each_head
def test_a_new_head_keeps_precision_device_and_mode(head):
    network = build_model(RESNET).to(torch.float64).eval()
    replace_head(network, 7, head, dropout=0.5, seed=3)
    assert network(images(torch.float64)).dtype == torch.float64
    assert not any(module.training for module in network.modules())
    network.train()
    extend_head(network, 8, seed=3)
    assert all(module.training for module in network.modules())
    assert network(images(torch.float64)).shape == (4, 8)
    with torch.device("meta"):
        elsewhere = build_model(RESNET)
    replace_head(elsewhere, 7, head, dropout=0.0, seed=3)
    assert {parameter.device.type for parameter in elsewhere.parameters()} == {"meta"}


@each_head
def test_a_new_head_follows_its_seed_and_leaves_the_global_state_alone(head):
    network = build_model(RESNET)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    drawn = []
    for seed in (1, 1, 2):
        replace_head(network, 5, head, dropout=0.0, seed=seed)
        drawn.append(state(network))
    assert torch.equal(torch.rand(3), expected)
    assert not changed(drawn[0], build_with(drawn[1], network))
    assert changed(drawn[0], build_with(drawn[2], network))


def build_with(weights: dict[str, torch.Tensor], network: Network) -> Network:
    rebuilt = build_model(network.config)
    rebuilt.load_state_dict(weights)
    return rebuilt


@each_head
@each_network
def test_extending_keeps_what_was_learned_bit_for_bit(architecture, head):
    network = build_model(replace(architecture, head=head, dropout=0.25)).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(1.5)
    before, old_logits = state(network), network(images())
    extend_head(network, 8, seed=3)
    after = network.state_dict()
    assert before.keys() == after.keys()
    for name, value in before.items():
        kept = after[name] if after[name].shape == value.shape else after[name][:5]
        assert torch.equal(kept, value), name
    assert network.config == replace(architecture, head=head, dropout=0.25, num_classes=8)
    assert network.dropout.p == 0.25
    assert network(images()).shape == (4, 8)
    assert torch.allclose(network(images())[:, :5], old_logits, atol=1e-5)


@each_head
def test_new_classes_follow_the_seed_and_differ_from_each_other(head):
    rows = []
    for seed in (1, 1, 2):
        network = build_model(replace(RESNET, head=head))
        extend_head(network, 8, seed=seed)
        rows.append(network.eval()(images())[:, 5:])
    assert torch.equal(rows[0], rows[1])
    assert not torch.equal(rows[0], rows[2])
    assert not torch.equal(rows[0][:, 0], rows[0][:, 1])


def test_extending_by_nothing_changes_nothing_and_shrinking_is_our_mistake():
    network = build_model(RESNET)
    before = state(network)
    extend_head(network, 5, seed=3)
    assert not changed(before, network)
    with pytest.raises(AssertionError, match="5 classes cannot become 4"):
        extend_head(network, 4, seed=3)


def test_multiply_adds_of_heads_by_hand():
    counts = {
        name: count_multiply_adds(build_model(replace(RESNET, head=head)), 16)
        for name, head in CONFIGS.items()
    }
    assert counts["cosine"] == counts["linear"]
    assert counts["mlp"] - counts["linear"] == 16 * 16
    assert counts["narrow mlp"] - counts["linear"] == 16 * 6 + 6 * 5 - 16 * 5


@each_head
@each_network
def test_heads_survive_json_and_older_architectures_have_the_linear_one(architecture, head):
    adapter = TypeAdapter(type(architecture))
    with_head = replace(architecture, head=head)
    assert adapter.validate_json(adapter.dump_json(with_head)) == with_head
    older = adapter.dump_python(architecture)
    del older["head"]
    assert adapter.validate_python(older) == architecture


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"kind": "cosin"},
            "head: needs one of linear, cosine, mlp, got 'cosin'; did you mean 'cosine'",
        ),
        ({"hidden": 8}, "head_hidden: needs a head with a hidden layer, got head 'linear'; leave"),
        ({"kind": "cosine", "hidden": 8}, "got head 'cosine'; leave it out or choose head mlp"),
        ({"kind": "mlp", "hidden": 0}, "head_hidden: needs whole numbers of at least 1, got"),
    ],
)
def test_heads_that_make_no_sense_are_refused(settings, message):
    with pytest.raises(UserError, match=message):
        HeadConfig(**settings)
