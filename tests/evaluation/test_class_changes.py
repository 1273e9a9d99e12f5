"""What each class lost or gained: counts by hand, verdicts by Holm."""

import json

import numpy as np
import pytest

from resnetkit.evaluation.class_changes import (
    compare_classes,
    describe_changes,
    table_rows,
)
from resnetkit.evaluation.intervals import wilson_interval
from resnetkit.types import UserError


def logits_of(said, classes):
    """Logits [N,K] of a network that says `said`."""
    return np.eye(classes, dtype=np.float32)[np.asarray(said)]


def compare(labels, before, after, names=("a", "b"), classes_after=3):
    return compare_classes(
        logits_of(before, len(names)),
        logits_of(after, classes_after),
        np.asarray(labels),
        names,
        "single-label",
    )


def test_counts_of_each_class_and_of_all():
    labels = [0] * 4 + [1] * 3
    changes = compare(labels, [0, 0, 0, 1, 1, 0, 0], [0, 2, 1, 0, 1, 1, 1])
    first, second = changes.per_class
    assert (first.support, first.before, first.after) == (4, 0.75, 0.5)
    assert (first.lost, first.gained, first.to_new) == (2, 1, 1)
    assert first.before_interval == wilson_interval(3, 4)
    assert first.after_interval == wilson_interval(2, 4)
    assert (second.lost, second.gained, second.to_new) == (0, 2, 0)
    assert second.p_value == 0.5
    overall = changes.overall
    assert (overall.support, overall.lost, overall.gained, overall.to_new) == (7, 2, 3, 1)
    assert changes.score_before == pytest.approx(4 / 7) == overall.before
    assert changes.score_after == pytest.approx(5 / 7) == overall.after
    assert {row.verdict for row in (first, second, overall)} == {"same"}
    assert "no change is shown in any of 2 classes, of which the smallest has 3" in str(
        changes.describe()
    )


def test_soft_labels_count_as_their_largest():
    hard = compare([0, 1], [0, 1], [1, 1])
    soft = compare(np.array([[0.9, 0.1], [0.2, 0.8]], np.float32), [0, 1], [1, 1])
    assert hard == soft


def test_verdicts_hold_for_all_classes_together():
    """Of one class 6 lost images are enough (p 0.031); of two classes they are not."""
    one = compare([0] * 6, [0] * 6, [2] * 6, names=("a",))
    assert one.per_class[0].verdict == "lost"
    two = compare([0] * 6 + [1] * 6, [0] * 6 + [1] * 6, [2] * 6 + [1] * 6)
    assert two.per_class[0].p_value == pytest.approx(0.03125)
    assert [row.verdict for row in two.per_class] == ["same", "same"]
    assert two.overall.verdict == "lost"
    # Holm's second step: where the smallest is small enough, the next one is let off a little.
    labels = [0] * 6 + [1] * 9
    both = compare(labels, labels, [2] * 15)
    assert [row.verdict for row in both.per_class] == ["lost", "lost"]
    back = compare(labels, [1] * 6 + [0] * 9, labels)
    assert [row.verdict for row in back.per_class] == ["gained", "gained"]
    assert "of 2 classes 2 gained (a, b)" in back.describe()


def test_a_class_without_images_stays_unknown():
    changes = compare([0, 0], [0, 0], [0, 0])
    row = changes.per_class[1]
    assert (row.verdict, row.before, row.before_interval, row.p_value) == ("unknown",) + (None,) * 3
    assert table_rows(changes)[2][:4] == ("b", "0", "–", "–")


def test_several_classes_an_image():
    labels = np.array([[1, 0], [1, 1], [0, 1], [0, 0]], np.float32)
    before = np.array([[2, -1], [1, -1], [-1, 3], [-2, -3]], np.float32)
    after = np.array([[-1, -1, 5], [1, 2, 5], [2, 3, 5], [-2, -3, 5]], np.float32)
    changes = compare_classes(before, after, labels, ("a", "b"), "multi-label")
    first, second = changes.per_class
    assert (first.support, first.before, first.after, first.lost, first.gained) == (2, 1, 0.5, 1, 0)
    assert (second.before, second.after, second.gained) == (0.5, 1, 1)
    assert first.average_precision_before == 1
    assert first.average_precision_after == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert changes.overall.support == 4
    assert changes.score_before == changes.overall.average_precision_before
    assert table_rows(changes)[0][-3:] == ("AP before", "AP after", "Verdict")


def test_the_table_begins_with_what_was_lost_and_ends_with_all():
    labels = [0] * 12 + [1] * 12
    changes = compare(labels, labels, [0] * 12 + [2] * 12)
    heads, first, second, total = table_rows(changes)
    assert heads == (
        *("Class", "Images", "Before", "After", "Lost", "Gained", "p"),
        *("Taken for new", "Verdict"),
    )
    low, high = wilson_interval(0, 12)
    after = f"0.0 % ({100 * low:.1f}–{100 * high:.1f})"
    assert first[0] == "b"
    assert first[3:] == (after, "12", "0", "0.00049", "12", "lost")
    assert (second[0], second[-1], total[0], total[1]) == ("a", "same", "all", "24")
    assert {len(row) for row in (heads, first, second, total)} == {9}
    assert json.loads(json.dumps(changes.as_dict()))["per_class"][1]["to_new"] == 12


def test_without_old_images_nothing_is_claimed():
    assert "cannot be known" in describe_changes(None)
    changes = compare([0], [0], [0])
    assert describe_changes(changes) == changes.describe()


def test_a_network_that_diverged_is_refused():
    with pytest.raises(UserError, match="needed finite logits"):
        compare_classes(
            np.zeros((1, 2)), np.array([[np.nan, 0.0]]), np.array([0]), ("a", "b"), "single-label"
        )
