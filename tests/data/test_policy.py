from __future__ import annotations

import math
from collections import Counter

import pytest
import torch
import torchvision.transforms.v2.functional as reference
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import RandAugment, TrivialAugmentWide

from resnetkit.data import policy
from resnetkit.data.draws import Draws
from resnetkit.data.policy import (
    OPERATIONS,
    RANDAUGMENT_RANGES,
    SIGNED,
    TRIVIALAUGMENT_RANGES,
    rand_augment,
    trivial_augment,
)

CPU = torch.device("cpu")
SHAPES = [(5, 3, 16, 16), (5, 3, 15, 22), (5, 1, 17, 12)]
SIGNED_STRENGTHS = [-0.99, -0.45, -0.062, 0.0, 0.13, 0.5, 0.77]
STRENGTHS = {
    "rotate": [-135.0, -60.0, -17.0, 0.0, 4.5, 30.0, 133.0],
    "posterize": [0.0, 0.5, 1.5, 2.4, 4.0, 6.0],
    "solarize": [0.0, 0.2, 0.5, 29 / 30, 1.0],
    "autocontrast": [0.0],
    "equalize": [0.0],
} | dict.fromkeys(SIGNED - {"rotate"}, SIGNED_STRENGTHS)


def random_images(shape: tuple[int, ...]) -> Tensor:
    """Noise, and pictures that are dark, flat, two-valued and of few pixels' contrast."""
    images = torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(0))
    images[1] = images[1] // 4 + 30
    images[2] = 17
    images[3] = (images[3] > 200) * 255
    images[4] = 103 + images[4] % 3
    return images.to(torch.uint8)


def apply(name: str, images: Tensor, strength: float) -> Tensor:
    strengths = torch.full((len(images), 1, 1, 1), strength)
    return OPERATIONS[name](images.float(), strengths).clamp(0, 255).to(torch.uint8)


def affine(images: Tensor, **change: object) -> Tensor:
    settings = {"angle": 0.0, "translate": [0, 0], "scale": 1.0, "shear": [0.0, 0.0]} | change
    return reference.affine(images, **settings, interpolation=InterpolationMode.NEAREST)


def degrees(tangent: float) -> float:
    return math.degrees(math.atan(tangent))


TORCHVISION = {
    "shear_x": lambda i, s: affine(i, shear=[degrees(s), 0.0], center=[0, 0]),
    "shear_y": lambda i, s: affine(i, shear=[0.0, degrees(s)], center=[0, 0]),
    "translate_x": lambda i, s: affine(i, translate=[int(s * i.shape[3]), 0]),
    "translate_y": lambda i, s: affine(i, translate=[0, int(s * i.shape[2])]),
    "rotate": lambda i, s: reference.rotate(i, s),
    "brightness": lambda i, s: reference.adjust_brightness(i, 1 + s),
    "color": lambda i, s: reference.adjust_saturation(i, 1 + s),
    "contrast": lambda i, s: reference.adjust_contrast(i, 1 + s),
    "sharpness": lambda i, s: reference.adjust_sharpness(i, 1 + s),
    "posterize": lambda i, s: reference.posterize(i, round(8 - s)),
    "solarize": lambda i, s: reference.solarize(i, 255 * (1 - s)),
    "autocontrast": lambda i, s: reference.autocontrast(i),
    "equalize": lambda i, s: reference.equalize(i),
}
BLENDS = {"brightness", "color", "contrast", "sharpness"}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", OPERATIONS)
def test_operation_equals_torchvisions(name, shape):
    images = random_images(shape)
    for strength in STRENGTHS[name]:
        ours, theirs = apply(name, images, strength), TORCHVISION[name](images, strength)
        difference = (ours.int() - theirs.int()).abs()
        if name in BLENDS:  # torchvision rounds fewer times
            assert difference.max() <= 1
            assert (difference > 0).float().mean() < 0.06
        else:
            assert difference.max() == 0, strength


@pytest.mark.parametrize("name", sorted(OPERATIONS.keys() - {"autocontrast", "equalize"}))
def test_strength_zero_changes_nothing(name):
    images = random_images((5, 3, 16, 16))
    difference = (apply(name, images, 0.0).int() - images.int()).abs()
    if name == "solarize":  # inverts what is at least 255
        difference[images == 255] = 0
    assert difference.max() == 0


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("channels", [1, 3])
def test_strength_is_each_images_own(name, channels):
    images = random_images((5, channels, 9, 11))
    strengths = torch.tensor(STRENGTHS[name])[torch.arange(5) % len(STRENGTHS[name])]
    together = OPERATIONS[name](images.float(), strengths.view(-1, 1, 1, 1))
    assert together.shape == images.shape
    for row in range(5):
        alone = OPERATIONS[name](images[row : row + 1].float(), strengths[row].view(1, 1, 1, 1))
        torch.testing.assert_close(together[row : row + 1], alone, rtol=0, atol=0)


def test_directions_are_the_ones_the_docstrings_name():
    image = torch.zeros(1, 1, 9, 9)
    image[0, 0, 4, 6] = 255  # right of the centre
    strength = torch.full((1, 1, 1, 1), 2 / 9)
    assert policy.translate_x(image, strength)[0, 0, 4, 8] == 255
    assert policy.translate_y(image, strength)[0, 0, 6, 6] == 255
    turned = policy.rotate(image, torch.full((1, 1, 1, 1), 90.0))
    assert turned[0, 0, 2, 4] == 255  # counter-clockwise: from the right to the top


@pytest.mark.parametrize(
    ("ranges", "theirs"),
    [
        (RANDAUGMENT_RANGES, RandAugment._AUGMENTATION_SPACE),
        (TRIVIALAUGMENT_RANGES, TrivialAugmentWide._AUGMENTATION_SPACE),
    ],
)
def test_operations_and_ranges_are_torchvisions(ranges, theirs):
    assert {name.replace("_", "") for name in ranges} == {name.lower() for name in theirs}
    for name, largest in ranges.items():
        key = next(key for key in theirs if key.lower() == name.replace("_", ""))
        magnitudes, signed = theirs[key]
        assert signed == (name in SIGNED)
        values = magnitudes(31, 32, 32)
        if values is None:
            assert largest == 0
        elif name == "posterize":
            assert [8 - round(largest * i / 30) for i in range(31)] == values.tolist()
        elif name == "solarize":
            assert [float(v) for v in values] == pytest.approx([1 - i / 30 for i in range(31)])
        else:
            side = 32 if name.startswith("translate") else 1
            assert [float(v) for v in values] == pytest.approx(
                [largest * side * i / 30 for i in range(31)], abs=1e-5
            )


def drawn(monkeypatch, policy_function, count=14_000, size=32):
    """Which operations, at which strengths, a policy applies to many images."""
    seen = Counter()
    strengths: dict[str, Tensor] = {}

    def record(name):
        def operation(pixels, strength):
            seen[name] += len(pixels)
            strengths[name] = strength.flatten()
            return pixels

        return operation

    monkeypatch.setattr(policy, "OPERATIONS", {name: record(name) for name in OPERATIONS})
    images = torch.zeros(count, 1, size, size, dtype=torch.uint8)
    policy_function(images, Draws(0, 0, torch.arange(count), CPU))
    return seen, strengths


def test_trivial_augment_draws_operations_and_strengths_equally_often(monkeypatch):
    seen, strengths = drawn(monkeypatch, lambda i, d: trivial_augment(i, d, 1, 0), size=2)
    assert set(seen) == set(OPERATIONS)
    assert all(870 < count < 1130 for count in seen.values())  # 1000 expected, 4 deviations
    assert 870 < 14_000 - sum(seen.values()) < 1130  # identity
    levels = (strengths["rotate"].abs() / 135 * 30).round().long()
    torch.testing.assert_close(levels * 135 / 30, strengths["rotate"].abs(), rtol=1e-5, atol=1e-5)
    counts = levels.bincount(minlength=31)
    assert len(counts) == 31
    assert counts.min() > 10
    assert 0.44 < (strengths["rotate"] > 0).float().mean() < 0.56


def test_trivial_augment_shifts_by_up_to_32_pixels_or_a_whole_smaller_side(monkeypatch):
    for size in (8, 64):
        _, strengths = drawn(monkeypatch, lambda i, d: trivial_augment(i, d, 1, 0), 2000, size)
        for name in ("translate_x", "translate_y"):
            assert strengths[name].abs().max() * size == pytest.approx(min(32, size))


def test_rand_augment_draws_operations_equally_often_at_its_strength(monkeypatch):
    seen, strengths = drawn(monkeypatch, lambda i, d: rand_augment(i, d, 2, 9), size=2)
    assert all(1820 < count < 2180 for count in seen.values())  # 2000 expected
    for name in ("shear_x", "brightness", "rotate"):
        expected = RANDAUGMENT_RANGES[name] * 9 / 30
        assert strengths[name].abs().min() == pytest.approx(expected)
        assert strengths[name].abs().max() == pytest.approx(expected)
        assert 0.44 < (strengths[name] > 0).float().mean() < 0.56
    assert strengths["solarize"].min() == pytest.approx(9 / 30)


def test_rand_augment_draws_its_operations_independently(monkeypatch):
    order: list[str] = []
    for name in OPERATIONS:
        monkeypatch.setitem(OPERATIONS, name, lambda p, s, name=name: order.append(name) or p)
    pairs = set()
    for index in range(40):
        order.clear()
        image = torch.zeros(1, 1, 2, 2, dtype=torch.uint8)
        rand_augment(image, Draws(0, 0, torch.tensor([index]), CPU), 2, 9)
        pairs.add(tuple(order))
    assert len([pair for pair in pairs if len(pair) == 2 and pair[0] != pair[1]]) > 20


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", ["randaugment", "trivialaugment"])
def test_a_policy_treats_every_image_alone_and_leaves_its_input(name, channels):
    images = torch.randint(0, 256, (60, channels, 12, 12), dtype=torch.uint8)
    before, indices = images.clone(), torch.arange(100, 160)
    apply_policy = policy.POLICIES[name]
    together = apply_policy(images, Draws(3, 1, indices, CPU), 2, 15)
    assert torch.equal(images, before)
    assert together.dtype == torch.uint8
    assert together.shape == images.shape
    for row in range(0, 60, 7):
        draws = Draws(3, 1, indices[row : row + 1], CPU)
        assert torch.equal(apply_policy(images[row : row + 1], draws, 2, 15)[0], together[row])
    flat = apply_policy(
        images.contiguous(memory_format=torch.channels_last), Draws(3, 1, indices, CPU), 2, 15
    )
    assert torch.equal(flat, together)
