"""What has no effect, or contradicts itself, is refused before anything is read."""

from __future__ import annotations

from pathlib import Path

import pytest

from resnetkit.evaluation.attacks import AttackConfig
from resnetkit.evaluation_options import EvaluationOptions
from resnetkit.types import UserError


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"boxes": Path("b")}, "ask for it with trust"),
        ({"slices": ("camera",), "without": ("slices",)}, "do one or the other"),
        ({"feature_map": "tsne", "without": ("feature-map",)}, "do one or the other"),
        ({"near_duplicates": True, "without": ("gate",)}, "do one or the other"),
        ({"without": ("map",)}, "needed parts of maps, label-errors"),
        ({"feature_map": "som"}, "needed one of pca, tsne, umap"),
        ({"slices": ()}, "got none"),
        ({"trust": 1}, "two images or more"),
    ],
)
def test_what_has_no_effect_is_refused(settings, words):
    with pytest.raises(UserError, match=words):
        EvaluationOptions(**settings)


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"attacks": AttackConfig()}, "attacks"),
        ({"other_seeds": (Path("x"),)}, "other-seeds"),
        ({"without": ("maps",)}, "without"),
        ({"strangers": "digits"}, "strangers"),
    ],
)
def test_a_part_of_the_report_needs_a_report(settings, name):
    with pytest.raises(UserError, match=f"^{name} is about the report.*--out DIR"):
        EvaluationOptions(**settings).refuse_without_report()
    EvaluationOptions(test_time="flip", device="cpu").refuse_without_report()


def test_parts_are_there_unless_left_out():
    options = EvaluationOptions(without=("maps",))
    assert not options.includes("maps")
    assert options.includes("slices")
