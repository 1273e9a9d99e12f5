"""The gate's own words; its rule is tested with the comparison it judges."""

import json

from resnetkit.evaluation.gate import judge_change


def test_words():
    classes = [
        ("cat", 100, -0.12, 0.001),
        ("dog", 20, -0.2, 0.3),
        ("owl", 0, None, None),
        ("fox", 9, 0.1, 0.9),
    ]
    gate = judge_change("top-1", -0.031, (-0.04, -0.02), classes, (0.01, 0.05, 0.05))
    assert gate.describe().splitlines() == [
        "B is worse than A (margin 1 points, in a class 5 points)",
        "top-1 -3.10 points (95 % interval -4.00 to -2.00), -1.00 allowed",
        "class cat -12.0 points of 100 images, -5.0 allowed",
        "below the margin, but within chance: dog; more images of them would tell",
        "too few images to say: owl",
    ]
    assert json.loads(json.dumps(gate.as_dict()))["undecided"] == ["dog"]
    passed = judge_change("top-1", 0.0, (-0.01, 0.01), classes[3:], (0.0, 0.05, 0.05))
    assert passed.describe() == "B is not worse than A (margin 0 points, in a class 5 points)"


def test_a_loss_within_chance_fails_and_says_so():
    gate = judge_change("top-1", -0.0047, (-0.012, 0.003), (), (0.0, 0.05, 0.05))
    assert not gate.passed
    (reason,) = gate.reasons
    assert reason == (
        "top-1 -0.47 points (95 % interval -1.20 to +0.30), 0.00 allowed; this is within chance: "
        "more images would tell, or allow a margin"
    )
    far = judge_change("mAP", -0.03, None, (), (0.01, 0.05, 0.05))
    assert far.reasons == ("mAP -3.00 points, -1.00 allowed",)


def test_long_lists_are_cut():
    classes = [(str(number), 3, None, None) for number in range(8)]
    gate = judge_change("mAP", 0.0, None, classes, (0.0, 0.0, 0.05))
    assert gate.describe().endswith("too few images to say: 0, 1, 2, 3, 4 and 3 more")


def test_rounding_is_not_a_loss():
    classes = [("a", 100, 0.9 - 0.95, 0.0)]
    assert judge_change("top-1", 0.9 - 0.91, None, classes, (0.01, 0.05, 0.05)).passed
