"""B against A: counts by hand, exact tests, and bootstraps against drawing the images."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn.metrics import average_precision_score

from resnetkit.evaluation.comparison import compare
from resnetkit.evaluation.intervals import paired_difference_interval
from resnetkit.evaluation.metrics import compute_metrics
from resnetkit.evaluation.multilabel import compute_multilabel_metrics
from resnetkit.evaluation.significance import holm
from resnetkit.types import UserError

NAMES = ("cat", "dog", "owl")


def logits_of(said, sureness=1.0, classes=3):
    sureness = np.broadcast_to(sureness, len(said))[:, None]
    return (np.eye(classes)[np.asarray(said)] * sureness).astype(np.float32)


def test_counts_by_hand():
    labels = np.array([0, 0, 0, 1, 1, 2])
    a, b = np.array([0, 0, 1, 1, 1, 0]), np.array([1, 0, 0, 0, 2, 1])
    found = compare(logits_of(a), logits_of(b, [1, 1, 1, 1, 3, 1]), labels, NAMES, "single-label")
    assert (found.both_right, found.lost, found.gained, found.both_wrong) == (1, 3, 1, 1)
    assert found.lost_images == (4, 0, 3)  # B is surest of its mistake on image 4
    assert (found.gained_images, found.changed_images) == ((2,), (5,))
    assert found.p_value == binomtest(1, 4).pvalue
    assert (found.score.name, found.score.a, found.score.b) == ("top1", 4 / 6, 2 / 6)
    assert found.score.difference == pytest.approx(-1 / 3)
    cat, dog, owl = found.per_class
    assert (cat.support, cat.a, cat.b, cat.lost, cat.gained) == (3, 2 / 3, 2 / 3, 1, 1)
    assert (dog.a, dog.b, dog.difference, dog.lost, dog.gained) == (1.0, 0.0, -1.0, 2, 0)
    assert dog.difference_interval == paired_difference_interval(2, 0, 2)
    assert (dog.p_value, dog.adjusted_p_value, dog.verdict) == (0.5, 1.0, "same")
    assert (owl.p_value, owl.answers_p_value) == (1.0, None)


@st.composite
def judged(draw):
    classes, images = draw(st.integers(2, 6)), draw(st.integers(1, 60))
    generator = np.random.default_rng(draw(st.integers(0, 2**31)))
    labels = generator.integers(0, draw(st.integers(1, classes)), images)
    pair = [generator.normal(size=(images, classes)).astype(np.float32) for _ in range(2)]
    for logits in pair:
        logits[np.arange(images), labels] += draw(st.sampled_from([0.0, 2.0, 20.0]))
    return pair, labels, [f"class {k}" for k in range(classes)]


@settings(max_examples=40, deadline=None)
@given(judged())
def test_scores_are_those_of_the_metrics_and_sides_are_symmetric(case):
    (a, b), labels, names = case
    found = compare(a, b, labels, names, "single-label", 50)
    for logits, side in ((a, "a"), (b, "b")):
        metrics = compute_metrics(logits, labels, names, resamples=0)
        assert getattr(found.score, side) == pytest.approx(metrics.top1)
        assert getattr(found.macro_f1, side) == pytest.approx(metrics.macro.f1)
        recalls = [row.recall for row in metrics.per_class]
        assert [getattr(row, side) for row in found.per_class] == pytest.approx(recalls)
    assert found.both_right + found.lost + found.gained + found.both_wrong == len(labels)
    assert sum(row.lost for row in found.per_class) == found.lost == len(found.lost_images)
    back = compare(b, a, labels, names, "single-label", 50)
    assert (back.lost, back.gained, back.p_value) == (found.gained, found.lost, found.p_value)
    assert back.score.difference == -found.score.difference
    assert sorted(back.lost_images) == sorted(found.gained_images)
    adjusted = holm([row.p_value for row in found.per_class])
    assert [row.adjusted_p_value for row in found.per_class] == adjusted
    json.dumps(found.as_dict(), allow_nan=False)


def test_a_network_against_itself():
    labels = np.arange(30) % 3
    logits = logits_of((labels + (np.arange(30) % 7 == 0)) % 3)
    found = compare(logits, logits, labels, NAMES, "single-label")
    assert (found.lost, found.gained, found.p_value) == (0, 0, 1.0)
    assert found.score.difference == found.macro_f1.difference == 0
    assert found.macro_f1.interval is None  # no resample can differ
    assert found.score.interval == paired_difference_interval(0, 0, 30)
    low, high = found.score.interval
    assert low < 0 < high
    assert found.lost_images == found.gained_images == found.changed_images == ()
    assert {row.verdict for row in found.per_class} == {"same"}
    low, high = found.per_class[0].difference_interval
    assert low < 0 < high  # though ten images are few


def noisy_pair(seed, images, shares=(0.8, 0.7)):
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 3, images)
    ease = generator.random(images)  # hard images are hard for both
    mixed = 0.7 * ease[None] + 0.3 * generator.random((2, images))
    said = [
        np.where(mixed[k] < np.quantile(mixed, shares[k]), labels, (labels + 1) % 3)
        for k in range(2)
    ]
    return said, labels


def test_one_image_lost_of_twenty_may_be_chance():
    labels = np.arange(20) % 3
    b = labels.copy()
    b[0] = (b[0] + 1) % 3
    found = compare(logits_of(labels), logits_of(b), labels, NAMES, "single-label")
    assert found.score.interval == paired_difference_interval(1, 0, 20)
    assert found.score.interval[1] > 0
    assert "within chance" in found.worse_than().reasons[0]


def macro_f1_by_hand(labels, said):
    shares = [
        2 * ((labels == k) & (said == k)).sum() / ((labels == k).sum() + (said == k).sum())
        for k in range(3)
    ]
    return np.mean(shares)


def test_the_intervals_are_a_paired_bootstrap_within_classes():
    said, labels = noisy_pair(0, 300)
    found = compare(*map(logits_of, said), labels, NAMES, "single-label", 3000)
    generator = np.random.default_rng(1)
    groups = [np.flatnonzero(labels == k) for k in range(3)]
    drawn = []
    for _ in range(1000):
        rows = np.concatenate([generator.choice(group, len(group)) for group in groups])
        hits = [(one[rows] == labels[rows]).mean() for one in said]
        f1 = [macro_f1_by_hand(labels[rows], one[rows]) for one in said]
        drawn.append((hits[1] - hits[0], f1[1] - f1[0]))
    bounds = np.quantile(drawn, (0.025, 0.975), axis=0)
    assert found.score.interval == pytest.approx(tuple(bounds[:, 0]), abs=0.012)
    assert found.macro_f1.interval == pytest.approx(tuple(bounds[:, 1]), abs=0.01)


def test_the_interval_of_the_difference_holds_the_truth():
    said, labels = noisy_pair(0, 100_000)
    truth = np.mean(said[1] == labels) - np.mean(said[0] == labels)
    generator = np.random.default_rng(2)
    held = 0
    for _ in range(100):
        rows = generator.integers(100_000, size=150)
        pair = [logits_of(one[rows]) for one in said]
        low, high = compare(*pair, labels[rows], NAMES, "single-label", 200).score.interval
        held += low <= truth <= high
    assert held >= 88


def several(seed=0, images=200, classes=4):
    generator = np.random.default_rng(seed)
    labels = (generator.random((images, classes)) < 0.3).astype(np.float32)
    a = (generator.normal(size=labels.shape) + 2 * labels).astype(np.float32)
    b = a + generator.normal(size=a.shape).astype(np.float32) / 3
    b[:, 1] = generator.normal(size=images)  # B knows nothing of the second class
    return a, b, labels


def test_several_classes_an_image():
    a, b, labels = several()
    names = ("w", "x", "y", "z")
    found = compare(a, b, labels, names, "multi-label")
    for logits, side in ((a, "a"), (b, "b")):
        metrics = compute_multilabel_metrics(logits, labels, names, resamples=0)
        assert getattr(found.score, side) == pytest.approx(metrics.mean_average_precision)
        assert getattr(found.macro_f1, side) == pytest.approx(metrics.macro.f1)
        precisions = [row.average_precision for row in metrics.per_class]
        assert [getattr(row, side) for row in found.per_class] == pytest.approx(precisions)
    right = np.stack([(a > 0) == (labels > 0.5), (b > 0) == (labels > 0.5)])
    assert found.lost == (right[0] & ~right[1]).sum()
    assert found.both_right + found.lost + found.gained + found.both_wrong == labels.size
    lost = found.per_class[1]
    assert (lost.lost, lost.gained) == (
        (right[0] & ~right[1])[:, 1].sum(),
        (~right[0] & right[1])[:, 1].sum(),
    )
    assert lost.answers_p_value == pytest.approx(
        binomtest(lost.lost, lost.lost + lost.gained).pvalue
    )
    assert lost.verdict == "lost"
    assert lost.difference_interval[1] < 0
    net = right[1].sum(axis=1).astype(int) - right[0].sum(axis=1)
    assert sorted(found.lost_images) == np.flatnonzero(net < 0).tolist()
    assert sorted(found.gained_images) == np.flatnonzero(net > 0).tolist()
    changed = (net == 0) & (right[0] != right[1]).any(axis=1)
    assert sorted(found.changed_images) == np.flatnonzero(changed).tolist()
    worse, better = len(found.lost_images), len(found.gained_images)
    assert found.p_value == pytest.approx(binomtest(worse, worse + better).pvalue)
    json.dumps(found.as_dict(), allow_nan=False)


def test_the_interval_of_mean_average_precision_is_a_paired_bootstrap():
    a, b, labels = several(1, 80)
    found = compare(a, b, labels, "wxyz", "multi-label", 100)
    generator = np.random.default_rng(0)
    drawn = []
    for _ in range(100):
        rows = generator.integers(80, size=80)
        scores = [average_precision_score(labels[rows], one[rows]) for one in (a, b)]
        drawn.append(scores[1] - scores[0])
    low, high = 2 * found.score.difference - np.quantile(drawn, (0.975, 0.025))
    assert found.score.interval == pytest.approx((low, high))


def test_a_ranking_that_collapsed_below_one_half_is_lost_though_no_answer_changed():
    """No logit is ever above 0, so that the answers are the same."""
    a, _, labels = several(2)
    a = a - 20
    b = np.full_like(a, -20) + np.random.default_rng(0).normal(size=a.shape).astype(np.float32)
    found = compare(a, b, labels, "wxyz", "multi-label")
    assert (found.lost, found.gained, found.p_value) == (0, 0, 1.0)
    assert {row.verdict for row in found.per_class} == {"lost"}
    assert not found.worse_than(0.05, 0.05).passed


def test_classes_without_enough_images_are_unknown():
    a, b, labels = several(3, 60)
    labels[:, 0] = 0
    labels[9:, 2] = 0
    found = compare(a, b, labels, "wxyz", "multi-label", 20)
    absent, few = found.per_class[0], found.per_class[2]
    assert (absent.a, absent.b, absent.difference, absent.p_value) == (None,) * 4
    assert few.difference is not None
    assert (few.p_value, few.difference_interval) == (None, None)
    assert absent.verdict == few.verdict == "unknown"
    nothing = compare(a, b, np.zeros_like(labels), "wxyz", "multi-label", 20)
    assert (nothing.score.a, nothing.score.difference, nothing.score.interval) == (None,) * 3
    one = compare(logits_of([0]), logits_of([1]), np.array([0]), NAMES, "single-label")
    assert one.per_class[1].verdict == "unknown"
    assert (one.lost, one.score.difference) == (1, -1.0)


def test_soft_labels_count_as_their_largest():
    said, labels = noisy_pair(3, 60)
    soft = 0.8 * np.eye(3, dtype=np.float32)[labels] + 0.1
    pair = [logits_of(one) for one in said]
    both = [compare(*pair, one, NAMES, "single-label") for one in (labels, soft)]
    assert both[0] == both[1]


def test_what_cannot_be_judged_is_refused():
    logits, labels = logits_of([0, 1]), np.array([0, 1])
    with pytest.raises(UserError, match="needed finite logits"):
        compare(logits, np.full_like(logits, np.nan), labels, NAMES, "single-label")
    with pytest.raises(UserError, match="needed at least one image"):
        compare(logits[:0], logits[:0], labels[:0], NAMES, "single-label")
    with pytest.raises(AssertionError):
        compare(logits, logits[:1], labels, NAMES, "single-label")
