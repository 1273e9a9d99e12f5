"""The spread between seeds: by hand, against scipy's t, apart from that between images."""

import json

import numpy as np
import pytest
from scipy.stats import t as student
from sklearn.metrics import average_precision_score

from resnetkit.evaluation.intervals import wilson_interval
from resnetkit.evaluation.seed_spread import measure_seed_spread
from resnetkit.types import UserError


def logits_of(said, seed=0, classes=3):
    """Logits of a network that says `said`; their exact values differ from network to network."""
    noise = np.random.default_rng(seed).uniform(0, 0.1, (len(said), classes))
    return (np.eye(classes)[np.asarray(said)] + noise).astype(np.float32)


def runs_of(count, images=200, right=0.8, seed=0):
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 3, images)
    said = [
        np.where(generator.random(images) < right, labels, (labels + 1) % 3) for _ in range(count)
    ]
    return [logits_of(one, number) for number, one in enumerate(said)], labels


def test_figures_by_hand():
    labels = np.array([0, 1, 2, 0, 1])
    said = [[0, 1, 2, 0, 0], [0, 1, 2, 1, 0], [0, 1, 0, 0, 2]]  # 4, 3 and 3 right
    logits = [logits_of(one, number) for number, one in enumerate(said)]
    spread = measure_seed_spread(logits, labels, "single-label", ["s0", "s1", "s2"])
    assert [(run.name, run.score) for run in spread.runs] == [("s0", 0.8), ("s1", 0.6), ("s2", 0.6)]
    assert spread.runs[0].interval == wilson_interval(4, 5)
    assert (spread.images, spread.lowest, spread.highest) == (5, 0.6, 0.8)
    assert spread.mean == pytest.approx(2 / 3)
    assert spread.standard_deviation == pytest.approx(np.std([0.8, 0.6, 0.6], ddof=1))
    assert spread.disagreement == pytest.approx((1 + 2 + 3) / 15)
    assert (spread.always_right, spread.never_right) == (2, 1)


def test_the_intervals_over_seeds_are_students():
    logits, labels = runs_of(4)
    spread = measure_seed_spread(logits, labels, "single-label")
    scores = [run.score for run in spread.runs]
    expected = student.interval(0.95, 3, np.mean(scores), np.std(scores, ddof=1) / 2)
    assert spread.seed_interval == pytest.approx(expected)
    wide = student.interval(0.95, 3, np.mean(scores), np.std(scores, ddof=1) * np.sqrt(1.25))
    assert spread.next_interval == pytest.approx(wide)


def test_two_seeds_say_little_and_bounds_stay_fractions():
    logits, labels = runs_of(2, images=30)
    spread = measure_seed_spread(logits, labels, "single-label")
    assert 0 <= spread.seed_interval[0] < spread.seed_interval[1] <= 1
    assert spread.next_interval[0] >= 0


def test_more_images_narrow_one_interval_and_more_seeds_the_other():
    def width(interval):
        return interval[1] - interval[0]

    few = measure_seed_spread(*runs_of(3, 200), "single-label")
    seeds = measure_seed_spread(*runs_of(12, 200), "single-label")
    assert width(seeds.seed_interval) < width(few.seed_interval)
    # The same mistakes in every run: other images may bring others, other seeds do not.
    generator = np.random.default_rng(1)
    labels = generator.integers(0, 3, 400)
    said = np.where(generator.random(400) < 0.7, labels, (labels + 1) % 3)
    alike = measure_seed_spread(
        [logits_of(said, number) for number in range(3)], labels, "single-label"
    )
    assert width(alike.seed_interval) == 0
    assert width(alike.image_interval) == pytest.approx(width(alike.runs[0].interval), rel=0.1)
    assert alike.disagreement == 0
    assert alike.always_right + alike.never_right == 400


def test_several_classes_an_image():
    generator = np.random.default_rng(0)
    labels = (generator.random((80, 4)) < 0.4).astype(np.float32)
    logits = [(generator.normal(size=labels.shape) + labels).astype(np.float32) for _ in range(3)]
    spread = measure_seed_spread(logits, labels, "multi-label", resamples=100)
    scores = [average_precision_score(labels, one) for one in logits]
    assert [run.score for run in spread.runs] == pytest.approx(scores)
    assert spread.score_name == "mean_average_precision"
    assert spread.image_interval[0] < spread.mean < spread.image_interval[1]
    shown = [(one > 0) == (labels > 0.5) for one in logits]
    assert spread.always_right == np.all(shown, axis=(0, 2)).sum()
    assert spread.describe().startswith("mAP of 3 runs with different seeds on the same 80 images")
    json.dumps(spread.as_dict(), allow_nan=False)


def test_it_says_which_interval_is_about_what():
    logits, labels = runs_of(3)
    spread = measure_seed_spread(logits, labels, "single-label")
    text = spread.describe()
    low, high = (100 * bound for bound in spread.seed_interval)
    assert f"many trainings on these images {low:.2f} to {high:.2f} % (what the seed does)" in text
    low, high = (100 * bound for bound in spread.image_interval)
    assert f"these 3 networks on other images: {low:.2f} to {high:.2f} %" in text
    assert f"standard deviation {100 * spread.standard_deviation:.2f} points" in text
    json.dumps(spread.as_dict(), allow_nan=False)


def test_soft_labels_count_as_their_largest():
    logits, labels = runs_of(3, 50)
    soft = 0.8 * np.eye(3, dtype=np.float32)[labels] + 0.1
    assert measure_seed_spread(logits, soft, "single-label") == measure_seed_spread(
        logits, labels, "single-label"
    )


def test_what_cannot_be_compared_is_refused():
    logits, labels = runs_of(2, 20)
    with pytest.raises(UserError, match=r"needed at least two runs .* got 1; train the recipe"):
        measure_seed_spread(logits[:1], labels, "single-label")
    with pytest.raises(UserError, match=r"got the same logits from a and b; give every run once"):
        measure_seed_spread([logits[0], logits[0]], labels, "single-label", ["a", "b"])
    with pytest.raises(UserError, match=r"needed 20 images and 3 .* got 19 and 3 from run 2"):
        measure_seed_spread([logits[0], logits[1][1:]], labels, "single-label")
    with pytest.raises(UserError, match="needed finite logits"):
        measure_seed_spread([logits[0], logits[1] * np.nan], labels, "single-label")
    nothing = np.zeros((20, 3), np.float32)
    with pytest.raises(UserError, match="needed images that show a class, got none"):
        measure_seed_spread(logits, nothing, "multi-label")
