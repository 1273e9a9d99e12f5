import numpy as np
import pytest
from scipy import stats

from resnetkit.explanation.map_similarity import (
    is_flat,
    rank_correlation,
    stretch,
    structural_similarity,
)


def maps(seed, count=4, size=(16, 20), levels=None):
    generator = np.random.default_rng(seed)
    if levels is not None:
        return generator.integers(0, levels, (count, *size)).astype(np.float32)
    return generator.normal(size=(count, *size)).astype(np.float32)


@pytest.mark.parametrize("levels", [None, 3])
def test_rank_correlation_is_scipys(levels):
    one = maps(0, levels=levels)
    other = one + maps(1, levels=levels)
    expected = [
        stats.spearmanr(a.ravel(), b.ravel()).statistic for a, b in zip(one, other, strict=True)
    ]
    np.testing.assert_allclose(rank_correlation(one, other), expected, atol=1e-12)


def test_maps_without_contrast():
    flat, one = np.full((4, 16, 20), 0.3, np.float32), maps(0)
    assert rank_correlation(flat, flat * 2).tolist() == [1, 1, 1, 1]
    assert rank_correlation(flat, one).tolist() == [0, 0, 0, 0]
    assert is_flat(flat).all()
    assert not is_flat(one).any()
    assert np.isfinite(structural_similarity(flat, one)).all()
    np.testing.assert_allclose(structural_similarity(flat, flat), 1)


def test_only_the_order_counts_in_ranks_and_only_the_shape_in_structure():
    one = maps(0)
    np.testing.assert_allclose(rank_correlation(one, np.exp(one)), 1)
    np.testing.assert_allclose(rank_correlation(one, -one), -1)
    np.testing.assert_allclose(structural_similarity(one, 3 * one + 7), 1, atol=1e-5)
    assert (structural_similarity(one, maps(9)) < 0.3).all()


def reference_ssim(one, other):
    """Wang 2004, equation 13, window by window."""
    offsets = np.arange(11) - 5
    line = np.exp(-0.5 * (offsets / 1.5) ** 2)
    weights = np.outer(line, line) / line.sum() ** 2
    values = []
    for top in range(one.shape[0] - 10):
        for left in range(one.shape[1] - 10):
            a, b = (m[top : top + 11, left : left + 11].astype(float) for m in (one, other))
            mean_a, mean_b = (weights * a).sum(), (weights * b).sum()
            var_a, var_b = (weights * (a - mean_a) ** 2).sum(), (weights * (b - mean_b) ** 2).sum()
            both = (weights * (a - mean_a) * (b - mean_b)).sum()
            light = (2 * mean_a * mean_b + 0.01**2) / (mean_a**2 + mean_b**2 + 0.01**2)
            values.append(light * (2 * both + 0.03**2) / (var_a + var_b + 0.03**2))
    return np.mean(values)


def test_structural_similarity_is_wangs():
    one = maps(0, count=2)
    other = one + 0.5 * maps(1, count=2)
    expected = [reference_ssim(a, b) for a, b in zip(stretch(one), stretch(other), strict=True)]
    np.testing.assert_allclose(structural_similarity(one, other), expected, atol=1e-6)


def test_maps_smaller_than_the_window_are_compared_too():
    one = maps(0, size=(8, 5))
    np.testing.assert_allclose(structural_similarity(one, one), 1)
    assert (structural_similarity(one, maps(1, size=(8, 5))) < 0.9).all()


def test_structural_similarity_is_that_of_torchmetrics():
    metrics = pytest.importorskip("torchmetrics.functional.image", reason="not installed")
    import torch

    one = maps(0, size=(40, 40))
    other = one + 0.3 * maps(1, size=(40, 40))
    ours = structural_similarity(one, other)
    first, second = (torch.from_numpy(stretch(values))[:, None] for values in (one, other))
    _, theirs = metrics.structural_similarity_index_measure(
        first, second, data_range=1.0, return_full_image=True
    )
    # They pad before and cut off after; inside, the two are the same.
    assert theirs.shape[-2:] == (40, 40)
    np.testing.assert_allclose(ours, theirs[:, 0, 5:-5, 5:-5].mean((1, 2)), atol=1e-4)
