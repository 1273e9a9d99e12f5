import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from resnetkit.evaluation import attacks
from resnetkit.evaluation.attacks import AttackConfig, Originals, fgsm, measure_attacks, pgd
from resnetkit.types import Batch, UserError

pytestmark = pytest.mark.usefixtures("one_thread")

SHAPE = (2, 3, 3)
CONFIG = AttackConfig(epsilons=(0.5, 2, 8), steps=5, restarts=2)


def draw_images(count, low=100, high=156):
    pixels = np.random.default_rng(0).integers(low, high, (count, *SHAPE))
    return torch.from_numpy(pixels.astype(np.uint8))


def batches_of(images, labels, size=16):
    numbers = torch.arange(len(images))
    for chunk in numbers.split(size):
        yield Batch(images=images[chunk], labels=labels[chunk], indices=chunk)


class Linear:
    """Two classes, told apart by the side of a plane: FGSM is then the strongest attack."""

    def __init__(self, scale=1.0):
        self.weights = torch.from_numpy(np.random.default_rng(1).normal(size=SHAPE)).float()
        self.scale = scale

    def score(self, images):
        return ((images - 128) * self.weights).flatten(1).sum(dim=1)

    def __call__(self, images):
        score = self.scale * self.score(images)
        return torch.stack([-score, score], dim=1) / 2

    def withstands(self, images, labels, epsilon):
        ahead = self.score(images.float()) * (2 * labels - 1)
        return ahead > epsilon * self.weights.abs().sum()


class SmallNet(nn.Module):
    """Convolution, BatchNorm and ReLU, with a normalisation in front."""

    def __init__(self, seed=0):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.conv = nn.Conv2d(SHAPE[0], 8, 3, padding=1)
            self.norm = nn.BatchNorm2d(8)
            self.head = nn.Linear(8, 4)

    def forward(self, images):
        maps = torch.relu(self.norm(self.conv((images / 255 - 0.5) / 0.25)))
        return self.head(maps.mean((2, 3)))


@pytest.fixture
def network():
    return SmallNet().eval()


def own_labels(logits_of, images):
    with torch.no_grad():
        return logits_of(images.float()).argmax(dim=1)


@pytest.mark.parametrize("scale", [1.0, 1e-9, 1e4])  # the last saturates any cross-entropy
def test_of_a_plane_both_attacks_find_what_can_be_found(scale):
    images, plane = draw_images(100), Linear(scale)
    labels = own_labels(plane, images)
    labels[::10] = 1 - labels[::10]  # wrong from the start
    judged = measure_attacks(plane, batches_of(images, labels), "single-label", CONFIG)
    assert judged.clean.right == 90
    for attack in ("fgsm", "pgd"):
        for point in judged.curve(attack).points:
            expected = plane.withstands(images, labels, point.epsilon).sum()
            assert point.right == expected, (attack, point.epsilon)
    assert 0 < judged.curve("pgd").points[0].right < 90
    assert judged.curve("noise").points[-1].right > judged.curve("fgsm").points[-1].right
    assert judged.unbounded.right == 0
    assert judged.warnings == ()


def test_attacked_images_stay_in_the_box_and_in_range(network):
    images = torch.cat([draw_images(20, 0, 6), draw_images(20, 250, 256)]).float()
    labels = own_labels(network, images)
    originals = Originals(images=images, labels=labels, numbers=np.arange(40))
    for epsilon in (0.5, 3.0):
        noisy = attacks.random_noise(originals, epsilon, seed=0)
        stepped = fgsm(network, originals, epsilon)
        searched = pgd(network, originals, epsilon, CONFIG, restart=0)
        for attacked in (noisy, stepped, searched):
            assert attacked.shape == images.shape
            assert not attacked.requires_grad
            assert float((attacked - images).abs().max()) <= epsilon
            assert 0 <= float(attacked.min()) <= float(attacked.max()) <= 255
            assert not torch.equal(attacked, images)


def test_from_the_image_itself_the_search_is_captums(network, monkeypatch):
    from captum.robust import PGD

    images = draw_images(12).float()
    originals = Originals(images=images, labels=own_labels(network, images), numbers=np.arange(12))
    monkeypatch.setattr(attacks, "_uniform", lambda originals, *_: 0 * originals.images)
    ours = pgd(network, originals, 4.0, CONFIG, restart=0)
    theirs = PGD(network, attacks.log_odds, 0.0, 255.0)
    theirs.fgsm.zero_thresh = 0.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = theirs.perturb(images, 4.0, 2.5 * 4 / 5, 5, originals.labels)
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-3)


def test_more_steps_and_larger_boxes_find_no_less(network):
    images = draw_images(64)
    labels = own_labels(network, images)
    config = replace(CONFIG, epsilons=(2, 8, 64))
    judged = measure_attacks(network, batches_of(images, labels), "single-label", config)
    counts = [point.right for point in judged.curve("pgd").points]
    assert counts == sorted(counts, reverse=True)
    assert counts[-1] < 64
    stepped = [point.right for point in judged.curve("fgsm").points]
    assert all(searched <= step for searched, step in zip(counts, stepped, strict=True))
    assert judged.warnings == ()


def test_batches_do_not_matter_and_starts_belong_to_the_image(network):
    images = draw_images(24)
    labels = own_labels(network, images)
    judged = [
        measure_attacks(network, batches_of(images, labels, size), "single-label", CONFIG)
        for size in (24, 5)
    ]
    assert judged[0] == judged[1]
    whole = Originals(images=images.float(), labels=labels, numbers=np.arange(24))
    part = whole.only(torch.arange(24) % 3 == 1)
    every = attacks._uniform(whole, 0, "start 0")
    assert torch.equal(attacks._uniform(part, 0, "start 0"), every[1::3])
    for other in (attacks._uniform(whole, 1, "start 0"), attacks._uniform(whole, 0, "start 1")):
        assert not torch.equal(other, every)
    assert float(every.abs().max()) <= 1
    assert float(every.std()) == pytest.approx(3**-0.5, rel=0.1)


def test_numbers_are_those_of_the_whole(network, monkeypatch):
    images = draw_images(6)
    seen = []
    uniform = attacks._uniform
    monkeypatch.setattr(
        attacks, "_uniform", lambda one, *rest: seen.append(one.numbers) or uniform(one, *rest)
    )
    rows = np.array([7, 9, 20, 31, 40, 58])
    labels = own_labels(network, images)
    measure_attacks(network, batches_of(images, labels), "single-label", CONFIG, rows)
    np.testing.assert_array_equal(seen[0], rows)


def test_a_step_goes_where_the_cross_entropy_rises(network):
    images = draw_images(30).float()
    labels = own_labels(network, images)
    given = images.clone().requires_grad_()
    loss = F.cross_entropy(network(given), labels, reduction="sum")
    (gradient,) = torch.autograd.grad(loss, given)
    originals = Originals(images=images, labels=labels, numbers=np.arange(30))
    steps = (fgsm(network, originals, 2.0) - images) / 2
    assert float((steps == gradient.sign()).float().mean()) > 0.999


def test_hidden_gradients_are_noticed():
    def bright(images):
        side = torch.sign(images.mean((1, 2, 3)) - 128)
        return torch.stack([-side, side], dim=1)

    dark = np.random.default_rng(0).integers(56, 106, (20, 3, 12, 12)).astype(np.uint8)
    images = torch.from_numpy(np.concatenate([dark, dark + 94]))
    labels = torch.arange(40) // 20
    judged = measure_attacks(bright, batches_of(images, labels), "single-label", CONFIG)
    assert judged.curve("pgd").points[-1].accuracy == 1
    flat, grey = judged.warnings
    assert flat.startswith("at 40 of 40 recognised images the loss has no gradient at all")
    assert grey.startswith("where every image may be turned into the same grey (ε 128), PGD still")


@pytest.mark.parametrize("frozen", [True, False])
def test_the_network_is_left_as_it_was(network, frozen):
    network.requires_grad_(not frozen)
    network.head.weight.grad = torch.ones_like(network.head.weight)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    images = draw_images(8)
    labels = own_labels(network, images)
    random_state = torch.get_rng_state()
    with torch.inference_mode():
        given = list(batches_of(images + 0, labels + 0))
        measure_attacks(network, given, "single-label", CONFIG)
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert torch.equal(network.head.weight.grad, torch.ones_like(network.head.weight))
    assert network.conv.weight.grad is None
    assert not network.training
    assert all(weight.requires_grad is not frozen for weight in network.parameters())
    assert torch.equal(torch.get_rng_state(), random_state)
    assert torch.equal(given[0].images, images)


def test_soft_labels_count_as_their_largest(network):
    images = draw_images(10)
    labels = own_labels(network, images)
    soft = 0.1 + 0.6 * F.one_hot(labels, 4).float()
    hard = measure_attacks(network, batches_of(images, labels), "single-label", CONFIG)
    assert measure_attacks(network, batches_of(images, soft), "single-label", CONFIG) == hard


def test_nothing_recognised_is_nothing_to_attack(network):
    images = draw_images(6)
    wrong = (own_labels(network, images) + 1) % 4
    judged = measure_attacks(network, batches_of(images, wrong), "single-label", CONFIG)
    assert judged.clean.right == judged.curve("pgd").points[0].right == judged.unbounded.right == 0
    assert judged.warnings == ()


def test_what_cannot_be_attacked_is_refused(network):
    images, labels = draw_images(3), torch.zeros(3, dtype=torch.int64)
    given = list(batches_of(images, labels))
    with pytest.raises(UserError, match=r"needed images of one class each.*got a multi-label"):
        measure_attacks(network, given, "multi-label", CONFIG)
    with pytest.raises(UserError, match="needed at least one image, got none"):
        measure_attacks(network, [], "single-label", CONFIG)
    with pytest.raises(UserError, match="needed two classes or more to confuse, got one"):
        measure_attacks(lambda x: x.flatten(1)[:, :1], given, "single-label", CONFIG)
    with pytest.raises(UserError, match="needed finite logits"):
        measure_attacks(lambda x: x.flatten(1) / 0, given, "single-label", CONFIG)


def test_settings_are_checked():
    assert AttackConfig(epsilons=(8, 2, 2.0)).epsilons == (2.0, 8.0)
    for wrong in ((), (0,), (-1.0,), (256,), (float("nan"),)):
        with pytest.raises(UserError, match=r"attacks\.epsilons: needed .* above 0 and up to 255"):
            AttackConfig(epsilons=wrong)
    with pytest.raises(UserError, match=r"attacks\.steps must be 1 or more, got 0"):
        AttackConfig(steps=0)
