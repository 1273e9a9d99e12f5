import copy
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import Normal, kl_divergence

from resnetkit.data.contract import InputContract, normalise
from resnetkit.explanation.inside import effective_rank, look_inside
from resnetkit.explanation.layer_records import symmetric_divergence
from resnetkit.models.blocks import BlockConfig
from resnetkit.models.heads import HeadConfig
from resnetkit.models.lenet import LeNetConfig
from resnetkit.models.resnet import ResNetConfig
from resnetkit.models.zoo import build_model
from resnetkit.types import Batch, UserError

pytestmark = pytest.mark.usefixtures("one_thread")

CONTRACT = InputContract(
    class_names=tuple("abcde"),
    resize=16,
    crop=(16, 16),
    mean=(0.4, 0.5, 0.6),
    std=(0.2, 0.25, 0.3),
)


def tiny(stem="cifar", **block):
    return ResNetConfig(
        stage_depths=(1, 2),
        stage_widths=(16, 32),
        stem_width=16,
        stem=stem,
        num_classes=5,
        block=BlockConfig(**block),
    )


NETWORKS = {
    "basic": tiny(),
    "bottleneck": tiny(kind="bottleneck", shortcut="D", stem="deep"),
    "preact-basic": tiny(kind="preact-basic"),
    "preact-bottleneck": tiny(kind="preact-bottleneck"),
    "squeeze": tiny(squeeze_excitation=True, shortcut="A", stem="imagenet"),
    "plain": tiny(shortcut="none"),
    "group": tiny(norm="group", activation="silu"),
    "wide": replace(tiny(kind="preact-basic", block_dropout=0.3), dropout=0.2),
    "mlp": replace(tiny(), head=HeadConfig(kind="mlp", hidden=8)),
    "cosine": replace(tiny(), head=HeadConfig(kind="cosine")),
    "lenet": LeNetConfig(in_channels=3, num_classes=5),
}


def build(name="basic", seed=0):
    """The network with running statistics unlike those of a fresh one."""
    model = build_model(NETWORKS[name], seed=seed).eval()
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1, generator=generator)
    return model


def batches_of(count=20, size=8, task="single-label"):
    generator = np.random.default_rng(0)
    images = torch.from_numpy(generator.integers(0, 256, (count, 3, 16, 16)).astype(np.uint8))
    labels = torch.arange(count) % 5
    if task == "multi-label":
        labels = torch.from_numpy(generator.integers(0, 2, (count, 5)).astype(np.float32))
    for numbers in torch.arange(count).split(size):
        yield Batch(images=images[numbers], labels=labels[numbers], indices=numbers)


def whole(**options):
    (batch,) = batches_of(size=10_000, **options)
    return normalise(batch.images, CONTRACT), batch.labels


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_is_left_to_the_bit_as_it_was(name):
    model = build(name)
    model.train()
    first = next(iter(model.modules()))
    frozen = [module for module in model.modules() if module is not first][::2]
    for module in frozen:
        module.training = False
    weights = list(model.parameters())
    weights[0].requires_grad_(False)
    weights[-1].grad = torch.ones_like(weights[-1])
    modes = [module.training for module in model.modules()]
    before = {key: value.clone() for key, value in model.state_dict().items()}
    random_state = torch.get_rng_state()
    with torch.inference_mode():
        report = look_inside(model, list(batches_of()), CONTRACT)
    assert [part.name for part in report.parts] == list(model.parts())
    assert all(np.isfinite([p.activation, p.gradient, p.weights]).all() for p in report.parts)
    assert all(part.gradient > 0 for part in report.parts)
    after = model.state_dict()
    assert all(torch.equal(after[key], value) for key, value in before.items())
    assert [module.training for module in model.modules()] == modes
    assert [one.requires_grad for one in weights] == [False] + [True] * (len(weights) - 1)
    assert all(one.grad is None for one in weights[:-1])
    assert torch.equal(weights[-1].grad, torch.ones_like(weights[-1]))
    assert not any(one._forward_hooks or one._forward_pre_hooks for one in model.modules())
    assert torch.equal(torch.get_rng_state(), random_state)


def test_an_exception_leaves_it_as_it_was_too():
    def broken():
        yield next(batches_of())
        raise RuntimeError("no more")

    model = build().train()
    model.requires_grad_(False)
    with pytest.raises(RuntimeError, match="no more"):
        look_inside(model, broken(), CONTRACT)
    assert all(module.training for module in model.modules())
    assert not any(weight.requires_grad for weight in model.parameters())
    assert not any(one._forward_hooks or one._forward_pre_hooks for one in model.modules())


@pytest.mark.parametrize("name", ["basic", "preact-bottleneck", "lenet"])
def test_signal_and_gradients_are_those_of_the_network(name):
    model = build(name)
    report = look_inside(model, batches_of(), CONTRACT)
    images, labels = whole()
    names = [*model.parts(), None]
    for facts, following in zip(report.parts, names[1:], strict=True):
        if following is None:
            continue
        entering = model.forward_until(following, images).detach().requires_grad_()
        loss = F.cross_entropy(model.forward_from(following, entering), labels, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, entering)
        size = float(entering.detach().square().mean().sqrt())
        assert facts.activation == pytest.approx(size, rel=1e-4)
        norms = gradient.flatten(1).norm(dim=1)
        assert facts.gradient == pytest.approx(float(norms.mean()), rel=1e-3)
    twin = copy.deepcopy(model)
    loss = F.cross_entropy(twin(images), labels)
    loss.backward()
    assert report.loss == pytest.approx(loss.item(), rel=1e-5)
    for facts, modules in zip(report.parts, twin.parts().values(), strict=True):
        kernels = [w for m in modules for w in m.parameters() if w.ndim > 1]
        squares = sum(float(w.detach().square().sum()) for w in kernels)
        assert facts.weights == pytest.approx(squares**0.5, rel=1e-5)
        squares = sum(float(w.grad.square().sum()) for w in kernels)
        assert facts.weight_gradient == pytest.approx(squares**0.5, rel=1e-3)


def test_batches_do_not_matter():
    model = build("squeeze")
    reports = [look_inside(model, batches_of(40, size), CONTRACT) for size in (40, 7)]
    ours, theirs = (report.as_dict() for report in reports)
    for kind in ("parts", "units", "norms"):
        for one, other in zip(ours[kind], theirs[kind], strict=True):
            assert one.pop("name") == other.pop("name")
            assert one == pytest.approx(other, rel=1e-3, abs=1e-5), kind


def test_several_labels_an_image():
    model, contract = build(), replace(CONTRACT, task="multi-label")
    report = look_inside(model, batches_of(task="multi-label"), contract)
    images, labels = whole(task="multi-label")
    expected = F.binary_cross_entropy_with_logits(model(images), labels) * 5
    assert report.loss == pytest.approx(expected.item(), rel=1e-5)


def test_units_that_never_answer_are_counted():
    model = build()
    alive = {one.name: one for one in look_inside(model, batches_of(), CONTRACT).units}
    names = ("layer1.0", "layer2.0", "layer2.1")
    calls = [f"{name}.activation #{number}" for name in names for number in (1, 2)]
    assert list(alive) == ["stem_activation", *calls]
    with torch.no_grad():
        block = model.layer1[0]
        block.bn1.weight[3:6], block.bn1.bias[3:6] = 0, -1
    units = {one.name: one for one in look_inside(model, batches_of(), CONTRACT).units}
    first = units["layer1.0.activation #1"]
    assert (first.dead, first.units) == (alive[first.name].dead + 3, 16)
    assert units["stem_activation"] == alive["stem_activation"]
    images, _ = whole()
    with torch.no_grad():
        share = float((model.bn1(model.conv1(images)) > 0).float().mean())
    assert units["stem_activation"].active_share == pytest.approx(share, abs=1e-6)


def test_hidden_relus_are_counted_and_other_activations_are_not():
    for network, expected in (
        ("squeeze", {"layer1.0.se", "layer2.1.se"}),
        ("mlp", {"fc.activation"}),
    ):
        units = look_inside(build(network), batches_of(), CONTRACT).units
        assert expected < {one.name for one in units}
    report = look_inside(build("group"), batches_of(), CONTRACT)
    assert report.units == report.norms == ()
    lenet = build("lenet")
    with torch.no_grad():
        lenet.conv1.weight[2], lenet.conv1.bias[2] = 0, -1
    first = look_inside(lenet, batches_of(), CONTRACT).units[0]
    assert (first.name, first.dead, first.units) == ("activation #1", 1, 10)


def test_drift_is_what_batchnorm_receives_against_what_it_expects():
    model = build()
    images, _ = whole()
    with torch.no_grad():
        maps = model.conv1(images).transpose(0, 1).flatten(1).double()
        model.bn1.running_mean.copy_(maps.mean(1))
        model.bn1.running_var.copy_(maps.var(1, correction=0))
    fitting = look_inside(model, batches_of(), CONTRACT).norms[0]
    assert (fitting.name, fitting.channels) == ("bn1", 16)
    assert fitting.worst_drift < 1e-6
    with torch.no_grad():
        model.bn1.running_mean[7] += maps[7].std(correction=0).float()
        model.bn1.running_var[2] *= 9
    drifted = look_inside(model, batches_of(), CONTRACT).norms[0]
    nine = (9 + 1 / 9 - 2) / 4
    assert drifted.worst_drift == pytest.approx(nine, rel=1e-3)
    assert drifted.worst_channel == 2
    assert drifted.drift == pytest.approx((0.5 + nine) / 16, rel=1e-3)


@settings(max_examples=30, deadline=None)
@given(*[st.floats(-5, 5)] * 2, *[st.floats(0.1, 9)] * 2)
def test_the_distance_is_the_mean_of_both_divergences(mean, other_mean, variance, other_variance):
    one, other = Normal(mean, variance**0.5), Normal(other_mean, other_variance**0.5)
    expected = (kl_divergence(one, other) + kl_divergence(other, one)) / 2
    ours = symmetric_divergence(
        (torch.tensor([mean]), torch.tensor([variance])),
        (torch.tensor([other_mean]), torch.tensor([other_variance])),
    )
    torch.testing.assert_close(ours, expected.reshape(1), rtol=1e-3, atol=1e-4)


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 12), st.integers(1, 8), st.integers(0, 99), st.floats(1e-3, 1e3))
def test_effective_rank_lies_between_one_and_the_rank(images, width, seed, scale):
    features = np.random.default_rng(seed).normal(3, 1, (images, width)).astype(np.float32)
    rank = effective_rank(features)
    assert 1 - 1e-9 <= rank <= min(images - 1, width) + 1e-6
    assert effective_rank(features * np.float32(scale)) == pytest.approx(rank, rel=1e-3)


def test_effective_rank_counts_equal_directions():
    for count in (1, 3, 5):
        axes = np.eye(8)[:count]
        assert effective_rank(np.concatenate([axes, -axes]) + 7) == pytest.approx(count)
    assert effective_rank(np.full((6, 4), 0.1, np.float32)) == 0
    assert effective_rank(np.zeros((6, 4), np.float32)) == 0
    assert np.isnan(effective_rank(np.array([[1.0, np.inf], [0, 1]])))


def test_there_must_be_images():
    with pytest.raises(UserError, match="Inside the network: needed at least one image, got none"):
        look_inside(build(), [], CONTRACT)


def test_a_diverged_network_is_told_and_written_as_json():
    model = build()
    with torch.no_grad():
        model.layer2[0].conv1.weight[0, 0, 0, 0] = torch.inf
    report = look_inside(model, batches_of(), CONTRACT)
    assert any("stage2: not all values are finite" in text for text in report.unusual)
    assert (
        json.loads(json.dumps(report.as_dict(), allow_nan=False))["parts"][2]["activation"] is None
    )
