from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torchvision.transforms.v2.functional as reference
from hypothesis import given, settings
from hypothesis import strategies as st

from resnetkit.data import augment
from resnetkit.data.augment import (
    AugmentConfig,
    augment_images,
    cut_hole,
    flip_half,
    jitter_color,
    mix_batch,
    pad_and_crop,
    prepare_batch,
    random_resized_crop,
    shrink,
)
from resnetkit.data.contract import InputContract, normalise
from resnetkit.data.draws import Draws
from resnetkit.types import Batch, UserError

CPU = torch.device("cpu")
ORDERS = [torch.contiguous_format, torch.channels_last]
EVERYTHING = AugmentConfig(
    pad_crop=2,
    horizontal_flip=True,
    resized_crop_scale=(0.3, 1.0),
    color_jitter=0.4,
    policy="trivialaugment",
    cutout=3,
)


def draws_for(count: int, first: int = 0, epoch: int = 2) -> Draws:
    return Draws(5, epoch, torch.arange(first, first + count), CPU)


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


def pixels(*shape: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, shape, generator=generator).to(torch.uint8)


def contract_for(channels: int, side: int = 12) -> InputContract:
    return InputContract(
        class_names=("a", "b", "c"),
        color_mode="RGB" if channels == 3 else "L",
        resize=side,
        crop=(side, side),
        mean=(0.4,) * channels,
        std=(0.2,) * channels,
    )


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("shape", [(40, 3, 8, 8), (40, 1, 7, 9)])
def test_pad_and_crop_takes_the_drawn_window_of_each_padded_image(shape, order):
    images = noise(*shape).contiguous(memory_format=order)
    height, width = shape[2:]
    result = pad_and_crop(images, draws_for(40), 2)
    offsets = draws_for(40).integers("pad_crop", 2, 5)
    for row in range(40):
        padded = np.pad(images[row].numpy(), ((0, 0), (2, 2), (2, 2)))
        top, left = offsets[row].tolist()
        expected = padded[:, top : top + height, left : left + width]
        np.testing.assert_array_equal(result[row].numpy(), expected)
    assert len({tuple(pair) for pair in offsets.tolist()}) > 15  # of 25
    assert offsets.min() == 0
    assert offsets.max() == 4


@pytest.mark.parametrize("order", ORDERS)
def test_flip_mirrors_half_of_the_images(order):
    images = noise(400, 3, 4, 5).contiguous(memory_format=order)
    result = flip_half(images, draws_for(400))
    assert result.is_contiguous(memory_format=order)
    mirrored = 0
    for row in range(400):
        if torch.equal(result[row], images[row]):
            continue
        np.testing.assert_array_equal(result[row].numpy(), images[row].numpy()[:, :, ::-1])
        mirrored += 1
    assert 160 < mirrored < 240


def test_alternate_flips_turn_every_image_over_from_epoch_to_epoch():
    images = noise(400, 3, 4, 5)
    first, second, third = (
        flip_half(images, draws_for(400, epoch=epoch), alternate=True) for epoch in (0, 1, 2)
    )
    torch.testing.assert_close(first.flip(3), second, rtol=0, atol=0)
    torch.testing.assert_close(first, third, rtol=0, atol=0)
    as_they_are = sum(torch.equal(a, b) for a, b in zip(first, images, strict=True))
    assert 160 < as_they_are < 240
    with pytest.raises(UserError, match=r"augment.alternate_flips needs augment.horizontal_flip"):
        AugmentConfig(alternate_flips=True)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("side", [1, 4, 5])
def test_cutout_clears_a_square_around_the_drawn_centre(side, order):
    images = noise(60, 3, 9, 11).contiguous(memory_format=order)
    result = cut_hole(images, draws_for(60), side)
    assert result.is_contiguous(memory_format=order)
    centres = draws_for(60).uniform("cutout", 2)
    whole = 0
    for row in range(60):
        y, x = int(centres[row, 0] * 9), int(centres[row, 1] * 11)
        expected = images[row].numpy().copy()
        top, left = y - side // 2, x - side // 2
        expected[:, max(0, top) : top + side, max(0, left) : left + side] = 0
        np.testing.assert_array_equal(result[row].numpy(), expected)
        whole += int((expected[0] == 0).sum() == side * side)
    assert whole > 10


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("strength", [0.2, 1.0])
def test_color_jitter_equals_torchvisions_adjustments(channels, strength):
    images = pixels(20, channels, 10, 10)
    result = jitter_color(images, draws_for(20), strength)
    factors = 1 + strength * (2 * draws_for(20).uniform("color_jitter", 3) - 1)
    assert result.dtype == torch.uint8
    for row in range(20):
        brightness, contrast, saturation = factors[row].tolist()
        image = images[row].float() / 255
        image = reference.adjust_brightness(image, brightness)
        image = reference.adjust_contrast(image, contrast)
        if channels == 3:
            image = reference.adjust_saturation(image, saturation)
        torch.testing.assert_close(result[row].float(), image * 255, rtol=0, atol=0.6)
    assert factors.min() >= 1 - strength
    assert factors.max() <= 1 + strength


@given(
    height=st.integers(4, 40),
    width=st.integers(4, 40),
    low=st.floats(0.05, 1.0),
    high=st.floats(0.05, 1.0),
)
@settings(deadline=None, max_examples=50)
def test_resized_crops_lie_inside_and_keep_area_and_aspect_ratio(height, width, low, high):
    low, high = min(low, high), max(low, high)
    # The colours are the coordinates, so the result says where each pixel came from.
    y = torch.arange(height).view(1, 1, -1, 1).expand(1, 1, height, width)
    x = torch.arange(width).view(1, 1, 1, -1).expand(1, 1, height, width)
    images = torch.cat([y, x], dim=1).float().expand(16, 2, height, width)
    matrices = []
    original = augment.F.affine_grid

    def record(theta, size, align_corners):
        matrices.append(theta)
        return original(theta, size, align_corners=align_corners)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(augment.F, "affine_grid", record)
        result = random_resized_crop(images, draws_for(16), (low, high))
    assert result.shape == images.shape
    share_x, share_y = matrices[0][:, 0, 0], matrices[0][:, 1, 1]
    centre_x, centre_y = matrices[0][:, 0, 2], matrices[0][:, 1, 2]
    assert (share_x + centre_x.abs()).max() <= 1 + 1e-5
    assert (share_y + centre_y.abs()).max() <= 1 + 1e-5
    area = share_x * share_y
    aspect = width / height
    largest = min(1.0, 4 / 3 / aspect, aspect / (3 / 4))  # of the allowed ratios, that fits inside
    assert area.min() >= min(low, largest) - 1e-4
    assert area.max() <= min(high, largest) + 1e-4
    ratio = share_x * width / (share_y * height)
    assert ((ratio >= 3 / 4 - 1e-3) & (ratio <= 4 / 3 + 1e-3)).all()
    for row in (0, 7):
        middle = float(result[row, 0].mean())
        expected = (float(centre_y[row]) + 1) / 2 * height - 0.5
        assert middle == pytest.approx(expected, abs=0.51)


def test_resized_crop_at_scale_one_of_a_square_is_the_image():
    images = noise(8, 3, 16, 16)
    result = random_resized_crop(images, draws_for(8), (1.0, 1.0))
    torch.testing.assert_close(result, images, rtol=0, atol=1e-4)


def test_resized_crop_samples_bilinearly_between_pixel_centres():
    ramp = torch.arange(32.0).view(1, 1, 1, 32).expand(4, 1, 32, 32)
    result = random_resized_crop(ramp, draws_for(4), (0.2, 0.2))
    steps = result[:, :, :, 2:-1] - result[:, :, :, 1:-2]
    assert (steps >= 0).all()
    torch.testing.assert_close(steps, steps[..., :1].expand_as(steps), rtol=0, atol=1e-3)
    assert 0.35 < float(steps.mean()) < 0.55  # sqrt(0.2) = 0.447 pixels a step


def mixing(**settings: float) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    images, targets = noise(12, 3, 10, 14), torch.eye(12)
    mixed, mixed_targets = mix_batch(images, targets, draws_for(12), AugmentConfig(**settings))
    return images, mixed, targets, mixed_targets


def test_mixup_is_one_convex_combination_of_images_and_targets():
    images, mixed, targets, mixed_targets = mixing(mixup_alpha=1.0)
    torch.testing.assert_close(mixed_targets.sum(dim=1), torch.ones(12))
    for row in range(12):
        partners = [k for k in range(12) if mixed_targets[row, k] > 0]
        expected = sum(mixed_targets[row, k] * images[k] for k in partners)
        torch.testing.assert_close(mixed[row], expected)
        assert row in partners
    shares = mixed_targets.diagonal()
    assert len({round(float(share), 4) for share in shares if share < 0.9999}) == 1
    assert torch.equal(images, noise(12, 3, 10, 14))
    assert torch.equal(targets, torch.eye(12))


@pytest.mark.parametrize("first", range(0, 240, 12))
def test_cutmix_pastes_a_box_and_weighs_targets_by_its_area(first):
    images = noise(12, 3, 10, 14)
    mixed, targets = mix_batch(
        images, torch.eye(12), draws_for(12, first), AugmentConfig(cutmix_alpha=1.0)
    )
    changed = (mixed != images).any(dim=1).any(dim=0)
    rows, columns = changed.any(dim=1).nonzero().flatten(), changed.any(dim=0).nonzero().flatten()
    area = len(rows) * len(columns)
    assert changed.sum() == area  # a box
    for row in range(12):
        partner = next((k for k in range(12) if targets[row, k] > 0 and k != row), row)
        own = 1.0 if partner == row else 1 - area / 140
        assert targets[row, row] == pytest.approx(own, abs=1e-6)
        expected = images[row].clone()
        expected[:, changed] = images[partner][:, changed]
        torch.testing.assert_close(mixed[row], expected, rtol=0, atol=0)


def test_cutmix_boxes_have_the_drawn_share_of_the_area():
    shares, areas = [], []
    for first in range(200):
        draws = draws_for(4, first)
        generator = draws.generator("mix")
        generator.permutation(4)
        shares.append(float(generator.beta(1.0, 1.0)))
        images = torch.arange(4.0).view(4, 1, 1, 1).expand(4, 1, 40, 40)
        mixed, _ = mix_batch(images, torch.eye(4), draws, AugmentConfig(cutmix_alpha=1.0))
        areas.append(float((mixed != images).any(dim=0).float().mean()))
    assert all(area <= 1 - share + 0.06 for area, share in zip(areas, shares, strict=True))
    whole = [a for a, s in zip(areas, shares, strict=True) if abs(a - (1 - s)) < 0.06]
    assert len(whole) > 40  # boxes that the border does not clip


def test_with_both_on_a_batch_gets_mixup_or_cutmix():
    config = AugmentConfig(mixup_alpha=1.0, cutmix_alpha=1.0)
    kinds = []
    for first in range(0, 400, 4):
        images = noise(4, 1, 8, 8)
        mixed, _ = mix_batch(images, torch.eye(4), draws_for(4, first), config)
        kept = (mixed[:, :, :, :, None] == images.view(-1)).any(dim=-1).all()
        kinds.append(bool(kept))  # CutMix makes no new values
    assert 30 < sum(kinds) < 75


def test_mixing_off_returns_the_very_batch():
    images, targets = noise(2, 1, 3, 3), torch.eye(2)
    result = mix_batch(images, targets, draws_for(2), AugmentConfig())
    assert result[0] is images
    assert result[1] is targets


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("policy", ["none", "randaugment", "trivialaugment", "augmix"])
def test_an_image_is_augmented_alike_in_any_batch(policy, channels):
    config = AugmentConfig(**{**vars(EVERYTHING), "policy": policy})
    images, contract = pixels(24, channels, 12, 12), contract_for(channels)
    together = augment_images(images, draws_for(24), config, contract, crop=True)
    assert together.shape == images.shape
    assert together.dtype == torch.float32
    for row in (0, 5, 23):
        one = draws_for(1, row)
        alone = augment_images(images[row : row + 1], one, config, contract, crop=True)
        torch.testing.assert_close(alone[0], together[row], rtol=0, atol=0)
    back = Draws(5, 2, torch.arange(23, -1, -1), CPU)
    reversed_batch = augment_images(images.flip(0), back, config, contract, crop=True)
    torch.testing.assert_close(reversed_batch.flip(0), together, rtol=0, atol=0)


@pytest.mark.parametrize("channels", [1, 3])
def test_augmented_values_stay_in_the_normalised_range_and_memory_order_changes_nothing(channels):
    contract = contract_for(channels)
    images = pixels(32, channels, 12, 12)
    result = augment_images(images, draws_for(32), EVERYTHING, contract, crop=True)
    assert result.min() >= (0 - 0.4) / 0.2 - 1e-5
    assert result.max() <= (1 - 0.4) / 0.2 + 1e-5
    last = images.contiguous(memory_format=torch.channels_last)
    again = augment_images(last, draws_for(32), EVERYTHING, contract, crop=True)
    torch.testing.assert_close(again, result, rtol=0, atol=1e-6)
    assert not torch.equal(result, normalise(images, contract))


def test_no_augmentation_is_normalisation():
    contract, images = contract_for(3), pixels(4, 3, 12, 12)
    result = augment_images(images, draws_for(4), AugmentConfig(), contract, crop=True)
    assert torch.equal(result, normalise(images, contract))


def test_crop_false_leaves_the_resized_crop_to_the_workers():
    contract, images = contract_for(3), pixels(4, 3, 12, 12)
    config = AugmentConfig(resized_crop_scale=(0.2, 0.5))
    result = augment_images(images, draws_for(4), config, contract, crop=False)
    assert torch.equal(result, normalise(images, contract))
    cropped = augment_images(images, draws_for(4), config, contract, crop=True)
    assert not torch.equal(cropped, result)


def test_prepare_batch_gives_float_images_and_one_hot_targets():
    batch = Batch(
        images=pixels(4, 3, 12, 12), labels=torch.tensor([0, 2, 1, 2]), indices=torch.arange(4)
    )
    images, targets = prepare_batch(
        batch, draws_for(4), AugmentConfig(pad_crop=1), contract_for(3), crop=True
    )
    assert images.shape == (4, 3, 12, 12)
    assert targets.tolist() == [[1, 0, 0], [0, 0, 1], [0, 1, 0], [0, 0, 1]]
    assert targets.dtype == torch.float32


def test_three_views_are_the_image_and_two_mixtures_in_the_same_crop_and_flip():
    contract, images = contract_for(3), pixels(24, 3, 12, 12)
    rest = {"pad_crop": 2, "horizontal_flip": True, "color_jitter": 0.3, "cutout": 3}
    config = AugmentConfig(policy="augmix", **rest)
    batch = Batch(images=images, labels=torch.arange(24) % 3, indices=torch.arange(24))
    views, targets = prepare_batch(batch, draws_for(24), config, contract, crop=True, views=True)
    assert views.shape == (72, 3, 12, 12)
    assert targets.argmax(1).tolist() == batch.labels.tolist()
    plain, first, second = views.unflatten(0, (24, 3)).unbind(1)
    usual = augment_images(images, draws_for(24), config, contract, crop=True)
    torch.testing.assert_close(first, usual, rtol=0, atol=0)  # the same mixture as without views
    unmixed = augment_images(images, draws_for(24), AugmentConfig(**rest), contract, crop=True)
    torch.testing.assert_close(plain, unmixed, rtol=0, atol=0)
    assert not torch.equal(first, second)
    holes = [(view == 0).all(dim=1) for view in (plain, first, second)]  # of cropping and cutout
    assert (holes[0] & holes[1] & holes[2]).flatten(1).any(1).all()
    alone, _ = prepare_batch(
        Batch(images=images[5:6], labels=batch.labels[5:6], indices=torch.tensor([5])),
        draws_for(1, 5),
        config,
        contract,
        crop=True,
        views=True,
    )
    torch.testing.assert_close(alone, views[15:18], rtol=0, atol=0)


def test_shrink_averages():
    images = noise(2, 3, 8, 8)
    assert shrink(images, 4).shape == (2, 3, 4, 4)
    flat = torch.full((1, 1, 8, 8), 2.5)
    torch.testing.assert_close(shrink(flat, 3), torch.full((1, 1, 3, 3), 2.5))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"pad_crop": -1}, "augment.pad_crop must be 0 or more, got -1"),
        ({"cutout": -2}, "augment.cutout must be 0 or more, got -2"),
        ({"mixup_alpha": -0.1}, "augment.mixup_alpha must be 0 or more"),
        ({"cutmix_alpha": -1.0}, "augment.cutmix_alpha must be 0 or more"),
        ({"color_jitter": 1.5}, "augment.color_jitter must be at most 1, got 1.5"),
        ({"randaugment_magnitude": 31}, "between 0 and 30, got 31"),
        ({"randaugment_operations": 0}, "augment.randaugment_operations must be 1 or more"),
        ({"augmix_severity": 0}, "augment.augmix_severity must be between 1 and 10, got 0"),
        ({"augmix_severity": 11}, "augment.augmix_severity must be between 1 and 10, got 11"),
        ({"augmix_width": 0}, "augment.augmix_width must be 1 or more, got 0"),
        ({"augmix_depth": 0}, "augment.augmix_depth must be 1 or more, got 0"),
        ({"augmix_alpha": 0.0}, "augment.augmix_alpha must be above 0, got 0.0"),
        (
            {"augmix_width": 4},
            "augment.augmix_width has no effect with augment.policy none: leave it out, or set "
            "augment.policy to augmix",
        ),
        (
            {"policy": "augmix", "randaugment_operations": 1},
            "randaugment_operations has no effect with augment.policy augmix",
        ),
        ({"early_size": 16}, "give both"),
        ({"early_share": 0.5}, "give both"),
        ({"early_size": 0, "early_share": 0.5}, "augment.early_size must be 1 or more"),
        ({"early_size": 8, "early_share": 1.5}, "augment.early_share must be in"),
        ({"resized_crop_scale": (0.0, 1.0)}, "needs 0 < smallest <= largest <= 1, got 0.0 1.0"),
        ({"resized_crop_scale": (0.9, 0.5)}, "needs 0 < smallest <= largest <= 1"),
        ({"resized_crop_scale": (0.5, math.inf)}, "needs 0 < smallest <= largest <= 1"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(UserError, match=message):
        AugmentConfig(**settings)


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize(("channels", "width"), [(3, 32), (3, 5), (1, 32), (1, 7)])
@pytest.mark.parametrize("kind", [torch.uint8, torch.float32])
def test_flips_are_those_of_where_in_every_memory_order(kind, channels, width, channels_last):
    images = (255 * noise(32, channels, 7, width)).to(kind)
    if channels_last:
        images = images.contiguous(memory_format=torch.channels_last)
    before, draws = images.clone(), draws_for(32)
    flipped = draws.uniform("flip", 1)[:, 0] < 0.5
    assert 5 < int(flipped.sum()) < 27
    expected = torch.where(flipped.view(-1, 1, 1, 1), images.flip(3), images)
    assert torch.equal(flip_half(images, draws), expected)
    assert torch.equal(images, before)
