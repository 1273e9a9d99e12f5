"""What a comparison says in words and tables, and its gate."""

import numpy as np
import pytest

from resnetkit.evaluation.compared import table_rows
from resnetkit.evaluation.comparison import compare
from resnetkit.types import UserError

NAMES = ("cat", "dog", "owl")


def logits_of(said, classes=3):
    return np.eye(classes, dtype=np.float32)[np.asarray(said)]


def lost_cats(cats, images=100):
    """100 images of each class; A is right, B takes the first `cats` cats for dogs."""
    labels = np.repeat(np.arange(3), images)
    said = labels.copy()
    said[:cats] = 1
    return compare(logits_of(labels), logits_of(said), labels, NAMES, "single-label")


def test_words():
    text = lost_cats(12).describe().splitlines()
    assert text[0] == "B against A on the same 300 images"
    assert text[1].startswith("top-1: A 100.00 %, B 96.00 %, -4.00 points (95 % interval -6.")
    assert text[2].startswith("macro F1: A 100.00 %, B 9")
    assert text[3] == "12 images lost, 0 gained, p 0.00049"
    assert text[4] == "of 3 classes 1 lost (cat -12.0)"
    quiet = lost_cats(1).describe().splitlines()
    assert quiet[3] == "1 images lost, 0 gained, p 1: no difference is shown"
    assert quiet[4] == "of 3 classes none is shown to have changed"


def test_words_for_several_classes():
    generator = np.random.default_rng(0)
    labels = (generator.random((60, 3)) < 0.5).astype(np.float32)
    logits = generator.normal(size=(2, 60, 3)).astype(np.float32)
    text = compare(*logits, labels, NAMES, "multi-label").describe()
    assert "\nmAP: A " in text
    assert " images with fewer right answers lost, " in text
    assert " with more gained, p " in text


def test_the_table_begins_with_the_largest_loss():
    heads, first, *_ = table_rows(lost_cats(12))
    assert heads == (
        *("Class", "Images", "Recall A", "Recall B", "Difference", "Lost", "Gained"),
        *("p (all classes)", "Verdict"),
    )
    assert first == ("cat", "100", "100.0 %", "88.0 %", "-12.0", "12", "0", "0.0015", "lost")
    labels = np.array([0, 1])
    rows = table_rows(compare(logits_of(labels), logits_of(labels), labels, NAMES, "single-label"))
    assert rows[-1] == ("owl", "0", "–", "–", "–", "0", "0", "–", "unknown")
    assert {len(row) for row in rows} == {9}


def test_the_score_goes_by_the_point_estimate():
    found = lost_cats(3)  # a point lost, p 0.25
    assert found.score.interval[1] > 0  # no proof of a loss
    assert found.worse_than(margin=0.01, class_margin=0.5).passed  # exactly the margin
    gate = found.worse_than(margin=0.0099, class_margin=0.5)
    assert not gate.passed
    (reason,) = gate.reasons
    assert reason.startswith("top-1 -1.00 points (95 % interval -2.29 to +0.30), -0.99 allowed; ")
    assert not found.worse_than(margin=0.0, class_margin=0.5).passed


def test_a_class_fails_where_its_loss_is_more_than_chance():
    few, many = lost_cats(6), lost_cats(12)  # p 0.03 and 0.0005, adjusted for 3 classes
    gate = few.worse_than(margin=0.1, class_margin=0.05)
    assert gate.passed
    assert gate.undecided == ("cat",)
    assert not few.worse_than(margin=0.1, class_margin=0.05, chance=1.0).passed
    gate = many.worse_than(margin=0.1, class_margin=0.05)
    assert gate.reasons == ("class cat -12.0 points of 100 images, -5.0 allowed",)
    assert many.worse_than(margin=0.1, class_margin=0.12).passed
    back = lost_cats(0)
    assert back.worse_than().passed


def test_a_class_in_equal_networks_rarely_fails():
    """40 classes of 50 images: some fall by 5 points in every trial, hardly one for real."""
    names = [str(k) for k in range(40)]
    below = failed = 0
    for seed in range(20):
        generator = np.random.default_rng(seed)
        labels = np.repeat(np.arange(40), 50)
        said = [np.where(generator.random(2000) < 0.8, labels, (labels + 1) % 40) for _ in range(2)]
        pair = [logits_of(one, 40) for one in said]
        found = compare(*pair, labels, names, "single-label", 2)
        gate = found.worse_than(margin=0.5, class_margin=0.05)
        below += bool(gate.undecided or gate.reasons)
        failed += not gate.passed
    assert below == 20
    assert failed <= 2


def test_several_classes_go_by_average_precision():
    generator = np.random.default_rng(0)
    labels = (generator.random((300, 3)) < 0.4).astype(np.float32)
    a = (generator.normal(size=(300, 3)) + 3 * labels).astype(np.float32)
    b = a.copy()
    b[:, 2] = generator.normal(size=300)
    found = compare(a, b, labels, NAMES, "multi-label")
    gate = found.worse_than(margin=0.5, class_margin=0.1)
    assert len(gate.reasons) == 1
    assert gate.reasons[0].startswith("class owl -")
    assert not found.worse_than(margin=0.05, class_margin=1.0).passed
    nothing = compare(a, b, np.zeros_like(labels), NAMES, "multi-label", 10)
    gate = nothing.worse_than()
    assert not gate.passed
    assert gate.reasons == ("mAP cannot be judged: no image shows any class",)
    assert gate.untested == NAMES


@pytest.mark.parametrize("margin", [-0.1, 1.5, float("nan")])
def test_margins_are_fractions(margin):
    found = lost_cats(1)
    with pytest.raises(UserError, match=r"needed a margin between 0 and 1 \(0.01 is one point\)"):
        found.worse_than(margin)
    with pytest.raises(UserError, match="needed a class margin"):
        found.worse_than(0.0, margin)
    with pytest.raises(UserError, match="needed a chance"):
        found.worse_than(0.0, 0.0, margin)
