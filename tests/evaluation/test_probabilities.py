import numpy as np
import pytest
import torch
from torch.nn import functional as F

from resnetkit.evaluation.probabilities import indicators, log_losses, probabilities, truths

GENERATOR = np.random.default_rng(0)
LOGITS = GENERATOR.normal(0, 5, (50, 6)).astype(np.float32)
NUMBERS = GENERATOR.integers(0, 6, 50)
SEVERAL = (GENERATOR.random((50, 6)) < 0.3).astype(np.float32)


def test_probabilities_and_losses_are_torch_s():
    logits = torch.from_numpy(LOGITS).double()
    np.testing.assert_allclose(probabilities(LOGITS, "single-label"), logits.softmax(1), rtol=1e-12)
    np.testing.assert_allclose(probabilities(LOGITS, "multi-label"), logits.sigmoid(), rtol=1e-12)
    one = F.cross_entropy(logits, torch.from_numpy(NUMBERS), reduction="none")
    np.testing.assert_allclose(log_losses(LOGITS, NUMBERS, "single-label"), one, rtol=1e-10)
    each = F.binary_cross_entropy_with_logits(
        logits, torch.from_numpy(SEVERAL).double(), reduction="none"
    )
    np.testing.assert_allclose(log_losses(LOGITS, SEVERAL, "multi-label"), each.sum(1), rtol=1e-10)


@pytest.mark.parametrize("task", ["single-label", "multi-label"])
def test_enormous_logits_stay_finite(task):
    logits = np.array([[1e30, -1e30, 0.0], [-1e4, 1e4, 1e4]], np.float32)
    labels = np.array([[1, 0, 0], [0, 1, 1]], np.float32)
    shares = probabilities(logits, task)
    assert np.isfinite(shares).all()
    assert ((shares >= 0) & (shares <= 1)).all()
    assert np.isfinite(log_losses(logits, labels, task)).all()


def test_soft_labels_count_as_their_largest_class():
    soft = np.array([[0.2, 0.7, 0.1], [0.5, 0.25, 0.25]], np.float32)
    assert truths(soft, "single-label").tolist() == [1, 0]
    assert truths(soft, "multi-label").tolist() == [[False, True, False], [False, False, False]]
    assert indicators(np.array([2, 0]), 3, "single-label").tolist() == [
        [False, False, True],
        [True, False, False],
    ]
