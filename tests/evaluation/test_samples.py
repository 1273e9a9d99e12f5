import numpy as np
from scipy.special import softmax as scipy_softmax

from resnetkit.evaluation.samples import (
    choose_multilabel_samples,
    choose_samples,
    softmax,
)


def test_the_surest_mistakes_come_first_then_right_ones_round_the_classes():
    labels = np.array([0, 0, 1, 1, 2, 2, 0, 1])
    sureness = np.array([3.0, 1.0, 5.0, 2.0, 2.0, 4.0, 6.0, 1.0])
    logits = np.zeros((8, 3), np.float32)
    said = labels.copy()
    said[[6, 7]] = 2  # the last two are wrong
    logits[np.arange(8), said] = sureness
    assert choose_samples(logits, labels, wrong=1, right=4) == [6, 1, 3, 4, 0]
    assert choose_samples(logits, labels, wrong=5, right=0) == [6, 7]
    assert sorted(choose_samples(logits, labels)) == list(range(8))


def test_of_several_classes_the_surest_mistakes_come_first_then_the_most_doubtful_right_ones():
    labels = np.array([[1, 0], [1, 1], [0, 0], [0, 1], [1, 0], [0, 0]], np.float32)
    logits = np.array([[3, -1], [2, -4], [-1, -1], [5, 2], [1, -9], [-9, 1]], np.float32)
    # wrong: 3 (says class 0 at 5), 1 (misses class 1 at -4), 5 (says class 1 at 1)
    assert choose_multilabel_samples(logits, labels) == [3, 1, 5, 0, 4, 2]
    assert choose_multilabel_samples(logits, labels, wrong=1, right=1) == [3, 0]


def test_softmax_equals_scipy_and_never_overflows():
    logits = np.array([[1000.0, 0.0, -1000.0], [1.0, 2.0, 3.0]], np.float32)
    np.testing.assert_allclose(softmax(logits), scipy_softmax(logits.astype(float), axis=1))
