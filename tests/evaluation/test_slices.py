"""Slices: figures by hand, verdicts that hold together, and what several classes change."""

import json

import numpy as np
import pytest
from scipy.stats import fisher_exact as scipys
from sklearn.metrics import average_precision_score

from resnetkit.evaluation.intervals import difference_interval, wilson_interval
from resnetkit.evaluation.slices import describe_slices, slice_metrics
from resnetkit.types import UserError

NAMES = ("cat", "dog", "owl")


def logits_of(said, classes=3):
    return np.eye(classes, dtype=np.float32)[np.asarray(said)]


def by_value(slices):
    return {one.value: one for one in slices}


def one_weak_camera(images=300):
    """Camera C is wrong in half of its images, the others in a tenth."""
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 3, images)
    camera = np.array(list("ABC"))[generator.integers(0, 3, images)]
    wrong = generator.random(images) < np.where(camera == "C", 0.5, 0.1)
    return logits_of((labels + wrong) % 3), labels, camera


def test_figures_by_hand():
    labels = np.array([0, 0, 0, 1, 1, 0, 1, 1, 1])
    said = np.array([0, 0, 1, 1, 0, 0, 1, 1, 2])
    camera = list("AAAAA") + list("BBBB")
    slices = by_value(slice_metrics(logits_of(said), labels, NAMES, "single-label", {"c": camera}))
    first, second = slices["A"], slices["B"]
    assert (first.column, first.kind, first.images, first.rest_images) == ("c", "value", 5, 4)
    assert (first.score, first.rest_score) == (3 / 5, 3 / 4)
    assert first.interval == wilson_interval(3, 5)
    assert first.difference == pytest.approx(-0.15) == -second.difference
    assert first.difference_interval == difference_interval((3, 5), (3, 4))
    assert first.p_value == pytest.approx(scipys([[3, 2], [3, 1]]).pvalue)
    # Of A's 3 cats and 2 dogs the rest would get 3 · 1/1 + 2 · 2/3 right.
    assert first.expected == pytest.approx((3 + 4 / 3) / 5)
    assert first.worst_class == "cat"  # one of three lost, against a third of two dogs
    assert {first.verdict, second.verdict} == {"same"}
    assert first.adjusted_p_value == 1.0


def test_the_weak_slice_comes_first_and_is_told():
    logits, labels, camera = one_weak_camera()
    columns = {"camera": camera, "number": range(300), "site": ["x"] * 300}
    slices = slice_metrics(logits, labels, NAMES, "single-label", columns)
    assert (slices[0].value, slices[0].verdict) == ("C", "weaker")
    assert [one.verdict for one in slices].count("weaker") == 1
    assert (slices[-1].value, slices[-1].verdict) == ("x", "unknown")
    differences = [one.difference for one in slices[1:-1]]
    assert differences == sorted(differences)
    text = describe_slices(slices)
    assert text.startswith("of 7 slices, tested together (Holm), 1 weaker than the rest:\n")
    assert "camera = C: " in text
    assert "points (95 % interval" in text
    json.dumps([one.as_dict() for one in slices], allow_nan=False)


def test_adjusted_for_all_slices_of_all_columns():
    logits, labels, camera = one_weak_camera()
    alone = slice_metrics(logits, labels, NAMES, "single-label", {"camera": camera})
    more = {"camera": camera} | {
        f"noise {seed}": np.random.default_rng(seed).integers(0, 5, 300) for seed in range(20)
    }
    among = slice_metrics(logits, labels, NAMES, "single-label", more)
    found = next(one for one in among if one.column == "camera" and one.value == "C")
    before = by_value(alone)["C"]
    assert found.p_value == before.p_value
    assert found.adjusted_p_value == pytest.approx(min(1.0, 103 * found.p_value))
    assert before.adjusted_p_value == pytest.approx(3 * found.p_value)


def test_chance_alone_shows_no_weak_slice():
    """Of 25 reports on noise, each of 27 slices, one or so may have a false one: 5 %."""
    false = 0
    for seed in range(25):
        generator = np.random.default_rng(seed)
        labels = generator.integers(0, 3, 200)
        said = np.where(generator.random(200) < 0.8, labels, generator.integers(0, 3, 200))
        columns = {f"c{k}": generator.integers(0, 9, 200) for k in range(3)}
        slices = slice_metrics(logits_of(said), labels, NAMES, "single-label", columns)
        false += any(one.verdict in ("weaker", "stronger") for one in slices)
    assert false <= 4


def test_a_slice_of_hard_classes_is_not_harder_than_expected():
    """Every dog is wrong, wherever; site y shows mostly dogs."""
    labels = np.array([0] * 90 + [1] * 10 + [0] * 10 + [1] * 90)
    site = ["x"] * 100 + ["y"] * 100
    slices = by_value(
        slice_metrics(logits_of(np.zeros(200, int)), labels, NAMES, "single-label", {"site": site})
    )
    assert slices["y"].verdict == "weaker"
    assert slices["y"].score == slices["y"].expected == pytest.approx(0.1)
    assert slices["y"].worst_class is None


def test_a_class_the_rest_has_not_leaves_the_expectation_open():
    labels, site = np.array([0, 2, 0, 1]), ["x", "x", "y", "y"]
    slices = by_value(
        slice_metrics(logits_of(labels), labels, NAMES, "single-label", {"site": site})
    )
    assert slices["x"].expected is None
    assert slices["x"].worst_class is None


def several(seed, images=300, classes=4):
    generator = np.random.default_rng(seed)
    labels = (generator.random((images, classes)) < 0.3).astype(np.float32)
    night = generator.random(images) < 0.4
    clear = np.where(night, 0.2, 2.5)[:, None]
    logits = (generator.normal(size=labels.shape) + clear * labels).astype(np.float32)
    return logits, labels, np.where(night, "night", "day")


def test_several_classes_an_image():
    logits, labels, light = several(0)
    names = ("a", "b", "c", "d")
    slices = slice_metrics(logits, labels, names, "multi-label", {"light": light})
    assert [one.value for one in slices] == ["night", "day"]
    for one in slices:
        rows = light == one.value
        values = average_precision_score(labels[rows], logits[rows], average=None)
        assert one.score == pytest.approx(values.mean())
        assert one.interval[0] < one.score < one.interval[1]
        rest = average_precision_score(labels[~rows], logits[~rows], average=None)
        assert one.difference == pytest.approx((values - rest).mean())
        assert one.difference_interval[0] < one.difference < one.difference_interval[1]
        assert one.expected is None
        if one.value == "night":
            assert one.worst_class == names[(rest - values).argmax()]
    assert [one.verdict for one in slices] == ["weaker", "stronger"]
    again = slice_metrics(logits, labels, names, "multi-label", {"light": light})
    assert again == slices
    json.dumps([one.as_dict() for one in slices], allow_nan=False)


def test_several_classes_by_chance_alone():
    found = 0
    for seed in range(20):
        generator = np.random.default_rng(seed)
        logits, labels, _ = several(seed, 150)
        columns = {"c": generator.integers(0, 3, 150)}
        slices = slice_metrics(logits, labels, "abcd", "multi-label", columns, resamples=50)
        found += any(one.verdict in ("weaker", "stronger") for one in slices)
    assert found <= 4


def test_few_images_and_empty_classes_are_not_tested():
    logits, labels, _ = several(1, 60)
    labels[:5] = 0
    columns = {"place": ["here"] * 5 + ["there"] * 55, "all": ["one"] * 60}
    slices = slice_metrics(logits, labels, "abcd", "multi-label", columns, resamples=20)
    here, one = by_value(slices)["here"], by_value(slices)["one"]
    assert (here.score, here.interval, here.difference, here.p_value) == (None,) * 4
    assert (one.rest_images, one.rest_score, one.difference) == (0, None, None)
    assert {row.verdict for row in slices} == {"unknown"}
    assert describe_slices(slices) == "no slice has anything to be compared with"


def test_soft_labels_count_as_their_largest():
    logits, labels, camera = one_weak_camera(60)
    soft = 0.8 * np.eye(3, dtype=np.float32)[labels] + 0.1
    both = [
        slice_metrics(logits, one, NAMES, "single-label", {"camera": camera})
        for one in (labels, soft)
    ]
    assert both[0] == both[1]


def test_nothing_weak_is_said_and_bad_input_refused():
    labels = np.array([0, 1, 0, 1])
    slices = slice_metrics(logits_of(labels), labels, NAMES, "single-label", {"c": [1, 1, 2, 2]})
    assert describe_slices(slices).endswith("none is shown to be weaker than the rest")
    assert slice_metrics(logits_of(labels), labels, NAMES, "single-label", {}) == ()
    with pytest.raises(UserError, match="needed at least one image"):
        slice_metrics(np.zeros((0, 3)), np.zeros(0, int), NAMES, "single-label", {"c": []})
    with pytest.raises(AssertionError):
        slice_metrics(logits_of(labels), labels, NAMES, "single-label", {"c": [1, 1]})
