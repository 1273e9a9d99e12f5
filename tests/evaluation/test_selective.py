import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resnetkit.evaluation.intervals import wilson_interval
from resnetkit.evaluation.selective import (
    POINTS,
    Reject,
    choose_threshold,
    coverage_curve,
)
from resnetkit.types import UserError


def draw(images, seed):
    """Answers as sure as they are right, from 0.5 to 1: over t a share of (1 + t) / 2 is right."""
    generator = np.random.default_rng(seed)
    sure = generator.uniform(0.5, 1.0, images)
    return sure, generator.random(images) < sure


# --- the curve ---


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10**6), images=st.integers(1, 60))
def test_the_area_is_the_mean_risk_over_all_coverages(seed, images):
    sure, right = draw(images, seed)
    wrong = ~right[np.argsort(-sure)]
    curve = coverage_curve(sure, right)
    expected = np.mean([wrong[:count].mean() for count in range(1, images + 1)])
    assert curve.aurc == pytest.approx(expected)
    best = np.sort(wrong)
    least = np.mean([best[:count].mean() for count in range(1, images + 1)])
    assert curve.least_aurc == pytest.approx(least)
    assert curve.least_aurc <= curve.aurc + 1e-12


def test_every_point_is_what_its_threshold_gives():
    sure, right = draw(500, 1)
    curve = coverage_curve(sure, right)
    assert len(curve.points) == POINTS
    for point in curve.points:
        answered = sure >= point.threshold
        assert point.coverage == answered.mean()
        assert point.accuracy == right[answered].mean()
        assert point.interval == wilson_interval(int(right[answered].sum()), int(answered.sum()))
    thresholds = [point.threshold for point in curve.points]
    assert thresholds == sorted(thresholds, reverse=True)
    assert curve.points[-1].coverage == 1
    assert curve.points[-1].accuracy == right.mean()
    assert curve.points[0].threshold == sure.max()


@settings(deadline=None, max_examples=30)
@given(
    answers=st.lists(
        st.tuples(st.sampled_from([0.3, 0.5, 0.9, 1.0]), st.booleans()), min_size=1, max_size=40
    ),
    seed=st.integers(0, 1000),
)
def test_equally_sure_answers_go_together_whatever_their_order(answers, seed):
    sure, right = (np.array(column) for column in zip(*answers, strict=True))
    order = np.random.default_rng(seed).permutation(len(sure))
    curve = coverage_curve(sure, right)
    assert coverage_curve(sure[order], right[order]) == curve
    assert len(curve.points) == len(np.unique(sure))


def test_golden_curve():
    curve = coverage_curve(np.array([0.9, 0.8, 0.7, 0.6]), np.array([True, False, True, True]))
    assert curve.aurc == pytest.approx((0 + 1 / 2 + 1 / 3 + 1 / 4) / 4)
    assert curve.least_aurc == pytest.approx(1 / 16)


# --- a wanted precision ---


def test_a_precision_is_kept_as_often_as_promised():
    trials, broken, naive_broken, found = 150, 0, 0, 0
    for seed in range(trials):
        sure, right = draw(2000, seed)
        try:
            threshold = choose_threshold(sure, right, precision=0.9).threshold
        except UserError:
            continue  # it promised nothing
        found += 1
        broken += (1 + max(threshold, 0.5)) / 2 < 0.9
        naive = next(p for p in reversed(coverage_curve(sure, right).points) if p.accuracy >= 0.9)
        naive_broken += (1 + naive.threshold) / 2 < 0.9
    assert found > 0.9 * trials
    assert broken / found <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / found)
    assert naive_broken / found > 0.3  # what the share found on these images would have done


def test_more_images_promise_more_answers():
    few, many = (choose_threshold(*draw(count, 3), precision=0.9) for count in (1000, 20000))
    assert many.coverage > few.coverage
    assert many.threshold == pytest.approx(0.8, abs=0.03)
    assert many.precision is not None
    assert many.precision > 0.9
    sure, _ = draw(20000, 3)
    assert many.coverage == (sure >= many.threshold).mean()
    assert (many.wanted, many.target, many.assurance, many.images) == (
        "precision",
        0.9,
        0.95,
        20000,
    )


def test_one_early_mistake_does_not_forbid_everything():
    sure, right = draw(4000, 0)
    right = right | (sure > 0.7)
    right[np.argmax(sure)] = False
    assert choose_threshold(sure, right, precision=0.98).coverage > 0.5


def test_what_cannot_be_promised_says_what_can():
    sure, right = draw(400, 0)
    with pytest.raises(UserError) as caught:
        choose_threshold(sure, right, precision=0.999)
    message = str(caught.value)
    assert message.startswith("A precision of 99.9 % cannot be promised on these 400 images: the ")
    attainable = float(message.split("that can is ")[1].split(" %")[0]) / 100
    assert 0.8 < attainable < 0.999
    found = choose_threshold(sure, right, precision=attainable)
    assert found.coverage >= 0.1
    with pytest.raises(UserError, match="cannot be promised"):
        choose_threshold(sure, right, precision=attainable + 0.002)
    with pytest.raises(UserError, match="none can, as hardly any answer is right"):
        choose_threshold(sure, np.zeros(400, bool), precision=0.5)


def test_where_everything_is_right_nothing_is_rejected():
    sure, _ = draw(1000, 0)
    found = choose_threshold(sure, np.ones(1000, bool), precision=0.99)
    assert (found.threshold, found.coverage, found.precision) == (0.0, 1.0, 1.0)


def test_equally_sure_answers_are_taken_or_left_together():
    sure = np.repeat([0.9, 0.6], [600, 400])
    right = np.repeat([True, False], [600, 400])
    found = choose_threshold(sure, right, precision=0.95)
    assert found.coverage == 0.6
    assert 0.6 < found.threshold <= 0.9
    same = choose_threshold(np.full(600, 0.8), np.arange(600) % 10 > 0, precision=0.8)
    assert (same.threshold, same.coverage) == (0.0, 1.0)


# --- a wanted coverage ---


def test_a_coverage_is_kept_as_often_as_promised_and_not_by_much():
    thresholds = [choose_threshold(*draw(400, seed), coverage=0.8).threshold for seed in range(300)]
    coverages = (1 - np.array(thresholds)) / 0.5
    assert (coverages < 0.8).mean() <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 300)
    assert (coverages < 0.8).mean() > 0.005
    assert coverages.mean() < 0.86


def test_all_images_can_always_be_answered():
    sure, right = draw(30, 0)
    assert choose_threshold(sure, right, coverage=1.0).threshold == 0.0
    assert choose_threshold(sure[:1], right[:1], coverage=0.5).coverage == 1.0


# --- what is refused ---


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({}, "got neither; give one of them"),
        ({"precision": 0.9, "coverage": 0.9}, "got both; give one of them"),
        ({"precision": 1.0}, "must be above 0 and below 1, got 1: no number of images"),
        ({"precision": 0.0}, "precision must be above 0 and below 1, got 0"),
        ({"precision": float("nan")}, "precision must be above 0 and below 1, got nan"),
        ({"coverage": 1.1}, r"coverage must be above 0 and at most 1, got 1\.1"),
        ({"coverage": 0.0}, "coverage must be above 0 and at most 1, got 0"),
    ],
)
def test_a_wish_that_makes_no_sense_is_refused(wanted, message):
    with pytest.raises(UserError, match=message):
        choose_threshold(*draw(50, 0), **wanted)


def test_a_threshold_out_of_range_is_refused():
    good = {
        "threshold": 0.5,
        "wanted": "precision",
        "target": 0.9,
        "assurance": 0.95,
        "coverage": 0.7,
        "precision": None,
        "images": 300,
    }
    assert Reject(**good).precision is None
    for name in ("threshold", "target", "assurance", "coverage", "precision"):
        with pytest.raises(UserError, match=rf"reject\.{name} must lie in 0…1, got 1\.5"):
            Reject(**{**good, name: 1.5})
