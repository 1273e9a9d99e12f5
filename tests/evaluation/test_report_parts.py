import numpy as np
import pytest
from whole_report import answer

from resnetkit.evaluation.report_parts import (
    choose_mistakes,
    choose_pair_rows,
    measure_answering,
    measure_reliability,
)
from resnetkit.evaluation.selective import Reject


def reject(threshold):
    return Reject(
        threshold=threshold,
        wanted="precision",
        target=0.9,
        assurance=0.95,
        coverage=0.5,
        precision=0.95,
        images=100,
    )


def test_the_surest_mistakes_and_those_furthest_from_the_truth():
    logits = np.log(
        np.array([[0.9, 0.1, 0.0], [0.8, 0.19, 0.01], [0.5, 0.1, 0.4], [0.34, 0.33, 0.33]]) + 1e-9
    )
    labels = np.array([1, 2, 2, 0])
    surest, furthest = choose_mistakes(logits, labels, most=1)
    assert surest == [0]
    assert furthest == [1]
    surest, furthest = choose_mistakes(logits, labels, most=9)
    assert surest == [0, 1, 2]
    assert furthest == []


def test_rows_of_a_pair_are_confused_so_and_the_surest_first():
    logits, labels = answer(800)
    found = choose_pair_rows(logits, labels, [(3, 5), (5, 3), (0, 0)], most=3)
    for (true, said), rows in found.items():
        assert len(rows) == 3
        assert set(labels[rows]) == {true}
        assert set(logits[rows].argmax(1)) == {said}
    chances = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    sure = chances.max(1)[found[3, 5]]
    assert list(sure) == sorted(sure, reverse=True)


def test_answers_at_a_threshold_are_counted_exactly():
    logits, labels = answer(700)
    chances = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    kept = chances.max(1) >= 0.77
    reached = measure_answering(logits, labels, reject(0.77)).at_threshold
    assert reached.coverage == pytest.approx(kept.mean())
    assert reached.accuracy == pytest.approx((logits.argmax(1) == labels)[kept].mean())
    assert reached.interval[0] < reached.accuracy < reached.interval[1]
    assert measure_answering(logits, labels, reject(1.0)).at_threshold is None
    assert measure_answering(logits, labels).at_threshold is None


def test_without_calibration_there_is_no_after():
    logits, labels = answer(300)
    found = measure_reliability(logits, labels, "single-label", None)
    assert found.after is None
    assert found.bins_after == ()
    assert sum(one.answers for one in found.bins_before) == 300
