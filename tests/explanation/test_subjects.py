"""An image and its class in words."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from resnetkit.data.contract import InputContract
from resnetkit.explanation.subjects import (
    describe_subject,
    display,
    find_classes,
    predicted_classes,
)
from resnetkit.types import UserError

SINGLE = InputContract(
    class_names=("ant", "bee", "cow"), resize=8, crop=(8, 8), mean=(0.5,) * 3, std=(0.2,) * 3
)
MULTI = replace(SINGLE, task="multi-label")


def test_the_predicted_class_or_classes():
    shares = np.array([0.2, 0.7, 0.6])
    assert predicted_classes(shares, SINGLE) == [1]
    assert predicted_classes(shares, MULTI) == [1, 2]
    assert predicted_classes(shares / 2, MULTI) == [1]
    assert predicted_classes(np.array([0.5, 0.5, 0.0]), SINGLE) == [0]


def test_a_subject_in_words():
    shares = np.array([0.2, 0.7, 0.1])
    one = describe_subject(Path("/x/pictures/7.png"), shares, 2, SINGLE)
    assert (one.label, one.target, one.target_number) == ("bee", "cow", 2)
    assert (one.probability, one.target_probability) == (0.7, 0.1)
    assert one.says == "predicted bee 70.0%"
    assert one.folder_class is None
    known = describe_subject(Path("/x/cow/7.png"), shares, 2, SINGLE)
    assert known.folder_class == "cow"
    assert known.says == "predicted bee 70.0%, by its folder cow"
    both = describe_subject(Path("7.png"), np.array([0.9, 0.8, 0.1]), 0, MULTI)
    assert both.says == "predicted ant 90.0%, bee 80.0%"
    none = describe_subject(Path("7.png"), shares / 2, 1, MULTI)
    assert none.says == "predicted no class"
    assert none.label == "bee"


def test_classes_by_name():
    assert find_classes(["cow", "ant", "cow"], SINGLE) == [2, 0]
    assert find_classes([], SINGLE) == []
    with pytest.raises(
        UserError, match=r"classes \(ant, bee, cow\), got 'cows'; did you mean 'cow'"
    ):
        find_classes(["ant", "cows"], SINGLE)
    many = replace(SINGLE, class_names=tuple(f"class {number}" for number in range(1200)))
    with pytest.raises(UserError, match=r"class 9, … 1,200 in all\), got 'zzz'\."):
        find_classes(["zzz"], many)


def test_any_path_can_be_shown():
    assert display(Path(os.fsdecode(b"a\xff.png"))) == "a\ufffd.png"
