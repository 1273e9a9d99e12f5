"""Measuring robustness: batches and a predict in, errors out."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from resnetkit.evaluation.corruptions.catalogue import CORRUPTIONS, corrupt
from resnetkit.evaluation.corruptions.settings import CorruptionConfig
from resnetkit.evaluation.robustness import corrupt_in_turn, measure_corruptions
from resnetkit.types import Batch, UserError

NAMES = ("dark", "medium", "bright")
TWO = CorruptionConfig(names=("brightness", "gaussian_noise"))


def images_of(count: int, side: int = 12) -> tuple[torch.Tensor, torch.Tensor]:
    """Flat images whose brightness tells the class: uint8 [N,3,H,W], labels [N]."""
    labels = torch.arange(count) % 3
    return (30 + 90 * labels).to(torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, side, side), labels


def batches_of(images: torch.Tensor, labels: torch.Tensor, size: int) -> list[Batch]:
    indices = torch.arange(len(images))
    parts = zip(images.split(size), labels.split(size), indices.split(size), strict=True)
    return [Batch(images=i, labels=y, indices=n) for i, y, n in parts]


def by_brightness(batch: Batch) -> torch.Tensor:
    mean = batch.images.float().mean(dim=(1, 2, 3))
    return -(mean[:, None] - torch.tensor([30.0, 120.0, 210.0])).abs()


def test_errors_are_those_of_the_corrupted_pictures():
    images, labels = images_of(30)
    result = measure_corruptions(by_brightness, batches_of(images, labels, 8), NAMES, config=TWO)
    assert (result.images, result.clean_error) == (30, 0.0)
    brighter, noisy = result.corruptions
    expected = []
    for severity in range(1, 6):
        changed = corrupt(images.numpy(), "brightness", severity, seed=0, indices=np.arange(30))
        batch = Batch(images=torch.from_numpy(changed), labels=labels, indices=torch.arange(30))
        wrong = by_brightness(batch).argmax(dim=1) != labels
        expected.append(float(wrong.double().mean()))
    assert list(brighter.errors) == expected
    assert expected[-1] > 0.5  # 255 * 0.3 is nearly the distance between the classes
    assert noisy.error == 0  # the mean of many pixels does not mind
    assert result.mean_error == pytest.approx((brighter.error + noisy.error) / 2)
    assert result.worst is brighter


def test_neither_the_cut_of_batches_nor_their_order_matters():
    images, labels = images_of(20)

    def by_texture(batch: Batch) -> torch.Tensor:
        deviation = batch.images.float().std(dim=(1, 2, 3)) - 10
        return torch.stack([-deviation, deviation, deviation * 0.5], dim=1)

    noisy = CorruptionConfig(names=("gaussian_noise", "impulse_noise", "snow"))
    whole = batches_of(images, labels, 20)
    one = measure_corruptions(by_texture, whole, NAMES, config=noisy)
    assert 0 < one.mean_error < 1
    for size in (1, 7):
        parts = batches_of(images, labels, size)
        assert measure_corruptions(by_texture, parts, NAMES, config=noisy) == one
        backwards = measure_corruptions(by_texture, parts[::-1], NAMES, config=noisy)
        for ours, theirs in zip(backwards.corruptions, one.corruptions, strict=True):
            assert ours.errors == theirs.errors
    other = CorruptionConfig(names=noisy.names, seed=1)
    assert measure_corruptions(by_texture, whole, NAMES, config=other).seed == 1


def test_all_fifteen_go_through_and_progress_counts_every_picture():
    images, labels = images_of(4)
    heard = []
    result = measure_corruptions(
        by_brightness, batches_of(images, labels, 3), NAMES, progress=heard.append
    )
    assert [one.name for one in result.corruptions] == list(CORRUPTIONS)
    assert heard == sorted(heard)
    assert heard[-1] == CorruptionConfig().pictures_for(4) == 304
    assert result.parameter_set == "cifar"
    assert result.frost == "made textures"


def test_pictures_come_clean_first_and_in_the_contracts_bytes():
    images, labels = images_of(3)
    batch = batches_of(images.contiguous(memory_format=torch.channels_last), labels, 3)[0]
    shown = list(corrupt_in_turn(batch, TWO.corruptions(), seed=0))
    assert len(shown) == 11
    assert np.array_equal(shown[0], images.numpy())
    assert all(one.dtype == np.uint8 and one.flags.c_contiguous for one in shown)


def test_soft_labels_count_as_their_largest_class():
    images, labels = images_of(6)
    soft = torch.nn.functional.one_hot(labels, 3).float() * 0.8 + 0.1
    hard = measure_corruptions(by_brightness, batches_of(images, labels, 6), NAMES, config=TWO)
    assert (
        measure_corruptions(by_brightness, batches_of(images, soft, 6), NAMES, config=TWO) == hard
    )


def test_what_cannot_be_measured_is_refused():
    images, labels = images_of(4)
    with pytest.raises(UserError, match="needed at least one image, got none; choose another"):
        measure_corruptions(by_brightness, [], NAMES, config=TWO)
    several = batches_of(images, torch.ones(4, 3), 4)
    with pytest.raises(UserError, match=r"may show several \(multi-label\); measure a network of"):
        measure_corruptions(by_brightness, several, NAMES, "multi-label", TWO)

    def diverged(batch: Batch) -> torch.Tensor:
        return torch.full((len(batch.images), 3), float("nan"))

    with pytest.raises(UserError, match="needed finite logits"):
        measure_corruptions(diverged, batches_of(images, labels, 4), NAMES, config=TWO)
