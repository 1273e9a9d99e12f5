"""Intervals: closed forms by their sources and by trial, bootstraps by drawing the images."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from resnetkit.evaluation.intervals import (
    basic_interval,
    difference_interval,
    f1_interval,
    paired_difference_interval,
    percent_text,
    percentile_interval,
    points_text,
    resample_answers,
    resample_images,
    wilson_interval,
)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2000), st.integers(1, 2000), st.sampled_from([0.5, 0.9, 0.95, 0.99]))
def test_wilson_interval_equals_scipy(correct, total, confidence):
    correct = min(correct, total)
    expected = binomtest(correct, total).proportion_ci(confidence, method="wilson")
    low, high = wilson_interval(correct, total, confidence)
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert 0 <= low <= correct / total <= high <= 1


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 50), st.integers(0, 50), st.integers(0, 50))
def test_the_interval_of_f1_holds_it(hits, missed, false):
    support, predicted = hits + missed, hits + false
    found = f1_interval(hits, support, predicted)
    if not support + predicted:
        assert found is None
        return
    low, high = found
    f1 = 2 * hits / (support + predicted)
    assert 0 <= low <= f1 + 1e-12
    assert f1 <= high + 1e-12 <= 1 + 1e-12
    assert high - low > 0  # even where all answers are right


def test_the_interval_of_f1_is_wilsons_carried_over():
    low, high = wilson_interval(6, 10)  # 6 of the 10 images that are of the class or said to be
    assert f1_interval(6, 8, 8) == pytest.approx((2 * low / (1 + low), 2 * high / (1 + high)))


@pytest.mark.parametrize(
    ("cells", "aim"),
    [((0.08, 0.03, 0.04), 0.93), ((0.02, 0.001, 0.001), 0.88), ((0.4, 0.1, 0.2), 0.93)],
)
def test_the_interval_of_f1_holds_the_truth_where_a_bootstrap_does_not(cells, aim):
    """Of 100 images: 8, 2 and 40 hits; of one or two no interval can hold just 95 %."""
    generator = np.random.default_rng(0)
    hit, missed, false = cells
    truth = 2 * hit / (2 * hit + missed + false)
    held = bootstrap = trials = 0
    for counts in generator.multinomial(100, [*cells, 1 - sum(cells)], size=1000):
        hits, missed, false = counts[:3].tolist()
        found = f1_interval(hits, hits + missed, hits + false)
        if found is None:
            continue
        trials += 1
        held += found[0] <= truth <= found[1]
        drawn = generator.multinomial(100, counts / 100, size=200)
        values = 2 * drawn[:, 0] / np.maximum(2 * drawn[:, 0] + drawn[:, 1] + drawn[:, 2], 1)
        low, high = np.quantile(values, (0.025, 0.975))
        bootstrap += low <= truth <= high
    assert held / trials >= aim
    assert held >= bootstrap


# Newcombe 1998, "Interval estimation for the difference …", table II, method 10.
PUBLISHED = [
    ((56, 70), (48, 80), (0.0524, 0.3339)),
    ((9, 10), (3, 10), (0.1705, 0.8090)),
    ((6, 7), (2, 7), (0.0582, 0.8062)),
    ((5, 56), (0, 29), (-0.0381, 0.1926)),
    ((0, 10), (0, 20), (-0.1611, 0.2775)),
    ((0, 10), (0, 10), (-0.2775, 0.2775)),
    ((10, 10), (0, 20), (0.6791, 1.0)),
    ((10, 10), (0, 10), (0.6075, 1.0)),
]


@pytest.mark.parametrize(("first", "second", "expected"), PUBLISHED)
def test_the_interval_of_a_difference_is_the_published_one(first, second, expected):
    assert difference_interval(first, second) == pytest.approx(expected, abs=5e-5)
    low, high = difference_interval(second, first)
    assert (-high, -low) == pytest.approx(difference_interval(first, second))


def test_the_paired_interval_by_hand_and_at_the_edges():
    # 1600 asked twice, 86 + 570 approve first, 150 change to no and 86 to yes: 64 fewer.
    net, enlarged = -64, 1602
    half = 1.959964 * (150 + 86 + 1 - net**2 / enlarged) ** 0.5 / enlarged
    expected = (net / enlarged - half, net / enlarged + half)
    assert paired_difference_interval(150, 86, 1600) == pytest.approx(expected, rel=1e-6)
    low, high = paired_difference_interval(0, 0, 10)
    assert low == -high < 0
    assert paired_difference_interval(3, 0, 3)[0] == -1.0


def test_the_paired_interval_holds_the_truth():
    generator = np.random.default_rng(1)
    for total in (15, 200):
        held = 0
        for lost, gained, _ in generator.multinomial(total, [0.1, 0.04, 0.86], size=1000).tolist():
            low, high = paired_difference_interval(lost, gained, total)
            held += low <= -0.06 <= high
        assert held >= 930


def judged(seed, images=300, classes=6, networks=2):
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, classes - 1, images)  # the last class has no images
    said = np.where(
        generator.random((networks, images)) < 0.7,
        labels,
        generator.integers(0, classes, (networks, images)),
    )
    return labels, said


def test_resampled_answers_are_counts_of_resampled_images():
    labels, said = judged(0)
    hits, answers = resample_answers(labels, said, 6, 4000)
    assert hits.shape == answers.shape == (2, 4000, 6)
    assert (answers.sum(axis=2) == len(labels)).all()
    supports = np.bincount(labels, minlength=6)
    assert (hits <= np.minimum(supports, answers)).all()
    generator = np.random.default_rng(3)
    groups = [np.flatnonzero(labels == k) for k in range(5)]
    drawn_hits, drawn_answers = [], []
    for _ in range(4000):
        rows = np.concatenate([generator.choice(group, len(group)) for group in groups])
        kept = said[:, rows]
        drawn_answers.append([np.bincount(one, minlength=6) for one in kept])
        right = [np.bincount(one[one == labels[rows]], minlength=6) for one in kept]
        drawn_hits.append(right)
    for ours, theirs in ((hits, drawn_hits), (answers, drawn_answers)):
        theirs = np.moveaxis(np.array(theirs), 0, 1)
        np.testing.assert_allclose(ours.mean(axis=1), theirs.mean(axis=1), atol=0.5)
        np.testing.assert_allclose(ours.std(axis=1), theirs.std(axis=1), atol=0.3)
        gap = [(one[1] - one[0]).std(axis=0) for one in (ours, theirs)]  # they go in pairs
        np.testing.assert_allclose(gap[0], gap[1], atol=0.3)


def test_networks_that_answer_alike_are_resampled_alike():
    labels, said = judged(1, networks=1)
    hits, answers = resample_answers(labels, np.repeat(said, 2, axis=0), 6, 50)
    np.testing.assert_array_equal(hits[0], hits[1])
    np.testing.assert_array_equal(answers[0], answers[1])
    again, _ = resample_answers(labels, said, 6, 50)
    np.testing.assert_array_equal(hits[0], again[0])


def test_no_resample_is_none():
    labels, said = judged(2)
    hits, _ = resample_answers(labels, said, 6, 0)
    assert hits.shape == (2, 0, 6)
    assert list(resample_images(5, 0)) == []


def test_resampled_images_are_always_the_same_and_differ_by_seed():
    first, again = list(resample_images(20, 3)), list(resample_images(20, 3))
    np.testing.assert_array_equal(first, again)
    assert all(weights.sum() == 20 for weights in first)
    assert not np.array_equal(first, list(resample_images(20, 3, seed=1)))


def test_bootstrap_intervals():
    values = np.linspace(0, 1, 1001)
    assert percentile_interval(values, 0.5) == pytest.approx((0.025, 0.975))
    assert percentile_interval(values, 0.99) == pytest.approx((0.025, 0.99))
    assert basic_interval(values, 0.4) == pytest.approx((0.0, 0.775))
    assert basic_interval(values - 0.8, -0.5, (-1.0, 1.0)) == pytest.approx((-1.0, -0.225))
    assert basic_interval(values, 0.1) == pytest.approx((0.0, 0.175))
    gaps = np.concatenate([values, [np.nan] * 500])
    assert percentile_interval(gaps, 0.5) == percentile_interval(values, 0.5)
    for nothing in (np.empty(0), np.full(9, np.nan), np.full(9, 0.25)):
        assert percentile_interval(nothing, 0.25) is None
        assert basic_interval(nothing, 0.25) is None


def test_texts():
    assert percent_text(None, None) == "undefined"
    assert percent_text(0.5, None) == "50.00 %"
    assert percent_text(0.5, (0.4, 0.61234)) == "50.00 % (95 % interval 40.00 to 61.23)"
    assert points_text(None, None) == "undefined"
    assert points_text(0.012, None) == "+1.20 points"
    assert points_text(-0.01, (-0.02, 0.0)) == "-1.00 points (95 % interval -2.00 to +0.00)"
