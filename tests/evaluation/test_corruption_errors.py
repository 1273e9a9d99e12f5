"""From predicted classes to errors, flips and shares of a baseline."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resnetkit.evaluation.corruption_errors import (
    ALEXNET,
    Baseline,
    normalise_errors,
    summarise_corruptions,
)
from resnetkit.evaluation.corruptions.catalogue import CORRUPTIONS
from resnetkit.evaluation.corruptions.settings import CorruptionConfig
from resnetkit.evaluation.intervals import mean_interval
from resnetkit.types import UserError

TWO = CorruptionConfig(names=("snow", "fog"), seed=3)
NAMES = ("cat", "dog", "eel", "fox")
LABELS = np.array([0, 0, 1, 1])  # no eel, no fox


def answers_of(clean: list[int], snow: list[list[int]], fog: list[list[int]]) -> np.ndarray:
    """Columns: clean, then severities 1 to 5 of both; snow and fog are given image by image."""
    return np.concatenate([np.array(clean)[:, None], np.array(snow), np.array(fog)], axis=1)


ANSWERS = answers_of(
    [0, 1, 1, 1],
    [[0, 0, 3, 3, 3], [1, 1, 1, 1, 1], [1, 1, 1, 1, 1], [1, 1, 1, 1, 2]],
    [[0, 0, 0, 0, 0], [0, 0, 0, 0, 0], [1, 1, 1, 1, 0], [1, 1, 1, 1, 0]],
)
RESULT = summarise_corruptions(ANSWERS, LABELS, NAMES, TWO, (32, 40))


def test_errors_by_corruption_and_severity():
    assert (RESULT.images, RESULT.seed, RESULT.parameter_set) == (4, 3, "cifar")
    assert RESULT.clean_error == 0.25
    snow, fog = RESULT.corruptions
    assert snow.errors == (0.25, 0.25, 0.5, 0.5, 0.75)
    assert fog.errors == (0, 0, 0, 0, 0.5)
    assert snow.error == pytest.approx(0.45)
    assert RESULT.mean_error == pytest.approx((0.45 + 0.1) / 2)
    assert RESULT.relative_error == pytest.approx(0.275 - 0.25)
    assert RESULT.worst is snow
    assert (snow.hardest_class, snow.hardest_class_error) == ("cat", pytest.approx(0.8))
    assert (fog.hardest_class, fog.hardest_class_error) == ("dog", pytest.approx(0.2))


def test_flips_are_of_images_that_were_right():
    dog, cat = RESULT.classes  # the cats' error falls under corruption: one was wrong when clean
    assert (dog.name, dog.images, dog.clean_error) == ("dog", 2, 0)
    assert dog.corrupted_error == pytest.approx(3 / 20)
    assert dog.flips == pytest.approx(3 / 20)
    assert (dog.towards, dog.towards_share) == ("cat", pytest.approx(2 / 3))
    assert (cat.name, cat.clean_error) == ("cat", 0.5)
    assert cat.corrupted_error == pytest.approx(8 / 20)
    assert cat.flips == pytest.approx(3 / 10)  # of the one that was right
    assert (cat.towards, cat.towards_share) == ("fox", 1.0)


def test_a_class_that_was_never_right_or_never_turns_has_no_flips():
    answers = np.repeat([[0], [0], [0], [0]], 11, axis=1)
    found = {
        one.name: one
        for one in summarise_corruptions(answers, LABELS, NAMES, TWO, (32, 32)).classes
    }
    assert (found["cat"].flips, found["cat"].towards, found["cat"].towards_share) == (0, None, None)
    assert (found["dog"].flips, found["dog"].towards) == (None, None)


def test_the_interval_holds_its_estimate_and_is_over_images():
    for result in (RESULT, *RESULT.corruptions):
        low, high = result.interval
        estimate = result.mean_error if result is RESULT else result.error
        assert 0 <= low <= estimate <= high <= 1
    shares = np.repeat([0.0, 1.0], 500)
    low, high = mean_interval(shares)
    assert high - low == pytest.approx(2 * 1.96 * math.sqrt(0.25 / 1000), rel=0.01)
    assert mean_interval(np.zeros(100))[1] > 0.005  # it does not close
    assert mean_interval(np.zeros(1))[1] > 0.5


@given(st.lists(st.floats(0, 1), min_size=1, max_size=60))
@settings(max_examples=50, deadline=None)
def test_an_interval_is_within_0_and_1_and_holds_the_mean(values):
    low, high = mean_interval(np.array(values))
    assert 0 <= low <= np.mean(values) <= high <= 1


def test_the_result_is_plain_and_can_be_said():
    stored = json.loads(json.dumps(RESULT.as_dict()))
    assert stored["worst"] == "snow"
    assert stored["corruptions"][1]["errors"] == [0, 0, 0, 0, 0.5]
    said = RESULT.describe()
    assert said.startswith("mean corruption error 27.50 % (95 % interval ")
    assert said.endswith("against 25.00 % clean, on 4 images; snow hurts most (45.00 %)")
    assert "on 4 images drawn from 1,000; snow" in replace(RESULT, drawn_from=1000).describe()


def test_normalised_by_a_baseline():
    baseline = Baseline(name="old", clean_error=0.2, errors={"snow": 0.9, "fog": 0.4, "frost": 1})
    normalised = normalise_errors(RESULT, baseline)
    assert normalised.errors == {"snow": pytest.approx(0.5), "fog": pytest.approx(0.25)}
    assert normalised.mean == pytest.approx(0.375)
    assert normalised.relative == {
        "snow": pytest.approx(0.2 / 0.7),
        "fog": pytest.approx(-0.15 / 0.2),
    }
    assert normalised.relative_mean == pytest.approx((0.2 / 0.7 - 0.75) / 2)
    flat = Baseline(name="flat", clean_error=0.4, errors={"snow": 0.9, "fog": 0.4})
    assert normalise_errors(RESULT, flat).relative is None


def test_a_baseline_that_lacks_a_corruption_is_refused():
    for errors in ({"snow": 0.9}, {"snow": 0.9, "fog": 0.0}):
        with pytest.raises(UserError, match=r"needed an error above 0 .* got none for fog; leave"):
            normalise_errors(RESULT, Baseline(name="old", clean_error=0.1, errors=errors))


def test_alexnet_by_itself_is_one_and_covers_all():
    assert ALEXNET.errors.keys() == CORRUPTIONS.keys()
    assert all(ALEXNET.clean_error < error < 1 for error in ALEXNET.errors.values())
