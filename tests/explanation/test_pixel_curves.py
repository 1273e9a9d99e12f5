import numpy as np
import pytest
import torch

from resnetkit.explanation.examples import Examples
from resnetkit.explanation.pixel_curves import BASELINES, CurveConfig, measure_curves
from resnetkit.types import UserError


def half(images):
    """Class 0 by the mean of the left half, 1 by that of the right: probabilities [n,2]."""
    left, right = images[..., :2].mean((1, 2, 3)), images[..., 2:].mean((1, 2, 3))
    return torch.stack([left, right], dim=1)


def bright(count=3, side=4):
    return Examples(
        images=torch.ones(count, 1, side, side),
        targets=torch.tensor([0, 1, 0])[:count],
        numbers=np.arange(count),
    )


def left_first(count=3, side=4):
    return np.tile(np.arange(side)[::-1].astype(np.float32), (count, side, 1))


ZEROS = CurveConfig(steps=4, deletion="zero", insertion="zero")


def test_curves_by_hand():
    curves = measure_curves(half, bright(), left_first(), ZEROS)
    np.testing.assert_allclose(curves.shares, [0, 0.25, 0.5, 0.75, 1])
    np.testing.assert_allclose(curves.deletion[0], [1, 0.5, 0, 0, 0], atol=1e-6)
    np.testing.assert_allclose(curves.insertion[0], [0, 0.5, 1, 1, 1], atol=1e-6)
    np.testing.assert_allclose(curves.deletion[1], [1, 1, 1, 0.5, 0], atol=1e-6)
    np.testing.assert_allclose(curves.deletion_areas, [0.25, 0.75, 0.25], atol=1e-6)
    np.testing.assert_allclose(curves.insertion_areas, [0.75, 0.25, 0.75], atol=1e-6)
    np.testing.assert_allclose(curves.differences, [0.5, -0.5, 0.5], atol=1e-6)
    gain = curves.gain_over(measure_curves(half, bright(), -left_first(), ZEROS))
    assert gain.mean == pytest.approx((1 - 1 + 1) / 3)


def test_the_batch_changes_nothing():
    generator = np.random.default_rng(0)
    maps = generator.normal(size=(3, 4, 4)).astype(np.float32)
    whole = measure_curves(half, bright(), maps, CurveConfig(steps=7))
    parts = measure_curves(half, bright(), maps, CurveConfig(steps=7, batch_size=3))
    np.testing.assert_allclose(whole.deletion, parts.deletion, atol=1e-6)
    np.testing.assert_allclose(whole.insertion, parts.insertion, atol=1e-6)


def test_more_steps_than_pixels_are_as_many_as_pixels():
    curves = measure_curves(half, bright(), left_first(), CurveConfig(steps=100))
    assert curves.deletion.shape == (3, 17)
    np.testing.assert_allclose(curves.shares, np.arange(17) / 16)


def test_a_picture_has_the_same_curve_alone():
    flat = np.zeros((3, 4, 4), np.float32)  # all ties
    together = measure_curves(half, bright(), flat, ZEROS)
    alone = measure_curves(half, bright().take(np.array([2])), flat[:1], ZEROS)
    np.testing.assert_allclose(together.deletion[2], alone.deletion[0], atol=1e-6)


def test_baselines_take_away_what_they_say():
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(2, 3, 32, 32, generator=generator) + 1
    assert BASELINES["zero"](images).abs().max() == 0
    mean = BASELINES["mean"](images)
    assert mean.shape == images.shape
    assert torch.allclose(mean[1, 2], images[1, 2].mean().expand(32, 32))
    blurred = BASELINES["blur"](images)
    assert blurred.std() < 0.4 * images.std()
    assert blurred.mean() == pytest.approx(float(images.mean()), abs=0.02)
    assert BASELINES["blur"](torch.ones(1, 1, 3, 3)).allclose(torch.ones(1, 1, 3, 3))


def test_the_blur_is_rises_gaussian_of_eleven_pixels_at_224():
    image = torch.zeros(1, 1, 224, 224)
    image[0, 0, 112, 112] = 1
    blurred = BASELINES["blur"](image)[0, 0]
    rows, columns = torch.nonzero(blurred, as_tuple=True)
    assert (int(rows.min()), int(rows.max())) == (107, 117)
    offsets = torch.arange(-5.0, 6)
    line = torch.exp(-0.5 * (offsets / 5) ** 2)
    expected = torch.outer(line, line)
    found = blurred[107:118, 107:118]
    assert torch.allclose(found, expected / expected.sum(), atol=1e-6)
    assert (int(columns.min()), int(columns.max())) == (107, 117)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": 1}, "steps must be 2 or more, got 1"),
        ({"batch_size": 0}, "batch_size must be 1 or more, got 0"),
        ({"pictures": 0}, "pictures must be 1 or more, got 0"),
        ({"deletion": "black"}, "a baseline is one of blur, mean, zero; got 'black'"),
    ],
)
def test_settings_without_sense_are_refused(settings, message):
    with pytest.raises(UserError, match=message):
        CurveConfig(**settings)
