"""AugMix against Pillow's operations, drawn and mixed image by image as in the paper."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from scipy import stats

from resnetkit.data import augmix
from resnetkit.data.augment_config import AugmentConfig
from resnetkit.data.augmix import MOVING, OPERATIONS, RECOLOURING, augment_and_mix
from resnetkit.data.draws import Draws

CPU = torch.device("cpu")
SHAPES = [(6, 3, 32, 32), (6, 3, 20, 29), (6, 1, 28, 28)]
STRENGTHS = np.array([0.01, 0.049, 0.1, 0.17, 0.26, 0.3])
AUGMIX = AugmentConfig(policy="augmix")


def pictures(shape: tuple[int, ...]) -> torch.Tensor:
    """Smooth shapes with a little noise, one of them dark and one of a single colour."""
    generator = np.random.default_rng(3)
    count, channels, height, width = shape
    y, x = np.mgrid[:height, :width]
    phase = generator.uniform(0, 6, (count, channels, 1, 1))
    images = 127 + 80 * np.sin(x / 4 + phase) + 40 * np.cos(y / 3 - phase)
    images += generator.normal(0, 4, images.shape)
    images[1] /= 5
    images[2] = 90
    return torch.from_numpy(np.clip(images, 0, 255).astype(np.uint8))


def to_pillow(image: np.ndarray) -> Image.Image:
    return Image.fromarray(image[0] if len(image) == 1 else image.transpose(1, 2, 0))


def from_pillow(picture: Image.Image) -> np.ndarray:
    pixels = np.asarray(picture)
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def by_pillow(picture: Image.Image, name: str, strength: float, sign: float) -> Image.Image:
    """An operation of the published code; `strength` is a tenth of its level."""
    width, height = picture.size

    def affine(*entries: float) -> Image.Image:
        bilinear = Image.Resampling.BILINEAR
        return picture.transform(picture.size, Image.Transform.AFFINE, entries, bilinear)

    slant = sign * strength * 0.3
    return {
        "autocontrast": lambda: ImageOps.autocontrast(picture),
        "equalize": lambda: ImageOps.equalize(picture),
        "posterize": lambda: ImageOps.posterize(picture, 4 - int(strength * 4)),
        "solarize": lambda: ImageOps.solarize(picture, 256 - int(strength * 256)),
        "rotate": lambda: picture.rotate(
            sign * int(strength * 30), resample=Image.Resampling.BILINEAR
        ),
        "shear_x": lambda: affine(1, slant, 0, 0, 1, 0),
        "shear_y": lambda: affine(1, 0, 0, slant, 1, 0),
        "translate_x": lambda: affine(1, 0, sign * int(strength * width / 3), 0, 1, 0),
        "translate_y": lambda: affine(1, 0, 0, 0, 1, sign * int(strength * height / 3)),
    }[name]()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_is_pillows(name, shape):
    images = pictures(shape)
    for sign in (1.0, -1.0) if name in MOVING else (1.0,):
        for shift in range(0, len(STRENGTHS), 2):
            strengths = np.roll(STRENGTHS, shift) if name != "rotate" else STRENGTHS * (shift + 1)
            if name in MOVING:
                signs, names = np.full(6, sign), np.array([name] * 6)
                ours = augmix.move(images.float(), names, strengths, signs)
            else:
                ours = augmix.recolour(images.float(), name, strengths)
            assert torch.equal(ours, ours.round())
            for row in range(6):
                picture = to_pillow(images[row].numpy())
                theirs = from_pillow(by_pillow(picture, name, strengths[row], sign))
                apart = np.abs(ours[row].numpy() - theirs)
                assert apart.max() <= (0 if name in ("equalize", "posterize", "solarize") else 1)
                # Where a stretched value is a whole number, Pillow's own rounding decides.
                assert (apart > 0).mean() < (0.1 if name == "autocontrast" else 0.02)


def test_moves_of_different_kinds_go_together():
    images = pictures((6, 3, 16, 20)).float()
    names = np.array([*MOVING, "rotate"])
    signs = np.array([1.0, -1.0, 1.0, -1.0, 1.0, -1.0])
    together = augmix.move(images, names, STRENGTHS * 3, signs)
    for row in range(6):
        one = slice(row, row + 1)
        alone = augmix.move(images[one], names[one], STRENGTHS[one] * 3, signs[one])
        torch.testing.assert_close(alone[0], together[row], rtol=0, atol=0)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    "config",
    [AUGMIX, AugmentConfig(policy="augmix", augmix_width=2, augmix_depth=1, augmix_severity=8)],
)
def test_a_mixture_is_the_papers_algorithm(monkeypatch, config, shape):
    """Algorithm 1 with what was drawn, noted on the way; the chains go through Pillow."""
    images, notes = pictures(shape), []
    shares = augmix._mixing_shares
    monkeypatch.setattr(
        augmix, "_mixing_shares", lambda *given: notes.append(shares(*given)) or notes[0]
    )
    steps = []
    apply_drawn = augmix._apply_drawn

    def note(pixels, acting, draws, severity):
        steps.append((acting, draws))
        apply_drawn(pixels, acting, draws, severity)

    monkeypatch.setattr(augmix, "_apply_drawn", note)
    ours = augment_and_mix(images, Draws(1, 2, torch.arange(6), CPU), config)
    depth = config.augmix_depth or 3
    assert len(steps) == config.augmix_width * depth
    for row in range(6):
        weights = notes[0][row]
        expected = weights[0] * images[row].numpy()
        for chain in range(config.augmix_width):
            picture = to_pillow(images[row].numpy())
            own = [draws[acting == row] for acting, draws in steps[chain * depth :][:depth]]
            for number, level, coin in np.concatenate(own):
                strength = (0.1 + (config.augmix_severity - 0.1) * level) / 10
                name = OPERATIONS[int(9 * number)]
                picture = by_pillow(picture, name, strength, -1.0 if coin > 0.5 else 1.0)
            expected = expected + weights[1 + chain] * from_pillow(picture)
        # Equalising afterwards spreads a level of difference.
        assert np.abs(ours[row].numpy() - expected).mean() < 0.5
        assert np.median(np.abs(ours[row].numpy() - expected)) < 0.02


@pytest.mark.parametrize("alpha", [0.3, 1.0, 4.0])
def test_shares_are_beta_and_dirichlet(alpha):
    numbers = np.random.default_rng(0).random((4000, 4))
    shares = augmix._mixing_shares(numbers, alpha)
    np.testing.assert_allclose(shares.sum(axis=1), 1)
    assert shares.min() >= 0
    whole = 1 - shares[:, 0]
    assert stats.kstest(whole, stats.beta(alpha, alpha).cdf).pvalue > 1e-3
    for chain in range(3):
        part = shares[:, 1 + chain] / whole
        assert stats.kstest(part, stats.beta(alpha, 2 * alpha).cdf).pvalue > 1e-3


def test_operations_lengths_and_strengths_are_drawn_evenly(monkeypatch):
    lengths, chosen, levels, coins = Counter(), Counter(), [], []

    def note(pixels, acting, draws, severity):
        lengths[len(acting)] += 1
        chosen.update((9 * draws[:, 0]).astype(int).tolist())
        levels.extend(draws[:, 1])
        coins.extend(draws[:, 2] > 0.5)

    monkeypatch.setattr(augmix, "_apply_drawn", note)
    images = torch.zeros(3000, 1, 2, 2, dtype=torch.uint8)
    augment_and_mix(images, Draws(0, 0, torch.arange(3000), CPU), AUGMIX)
    # In each of three chains all do a first step, two thirds a second, one third a third.
    counts = sorted(lengths.elements())
    assert counts[6:] == [3000] * 3
    assert all(1900 < count < 2100 for count in counts[3:6])
    assert all(900 < count < 1100 for count in counts[:3])
    assert set(chosen) == set(range(9))
    assert max(chosen.values()) / min(chosen.values()) < 1.15
    assert stats.kstest(levels, "uniform").pvalue > 1e-3
    assert 0.48 < np.mean(coins) < 0.52


def test_none_of_the_test_corruptions_is_among_the_operations():
    assert set(OPERATIONS) == {*RECOLOURING, *MOVING}
    assert len(OPERATIONS) == 9
    assert not set(OPERATIONS) & {"color", "contrast", "brightness", "sharpness"}


def test_mixtures_stay_in_range_and_each_setting_acts():
    images = pictures((6, 3, 32, 32)).repeat(8, 1, 1, 1)

    def mix(view=0, **changes):
        config = AugmentConfig(policy="augmix", **changes)
        return augment_and_mix(images, Draws(0, 1, torch.arange(48), CPU), config, view)

    usual = mix()
    assert usual.dtype == torch.float32
    assert usual.min() >= 0
    assert usual.max() <= 255 + 1e-3
    assert torch.equal(usual, mix())
    others = [mix(view=1), *(mix(**{f"augmix_{k}": 2}) for k in ("width", "depth", "alpha"))]
    assert not any(torch.equal(usual, other) for other in others)

    def change(mixed):
        return float((mixed - images).abs().mean())

    assert change(mix(augmix_severity=1)) < change(usual) < change(mix(augmix_severity=10))
