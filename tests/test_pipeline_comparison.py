"""Two packages on the same images: equal, worse, of other classes, of other cuts."""

from __future__ import annotations

import json

import pytest

from resnetkit import pipeline
from resnetkit.data.opening import DescribedSource
from resnetkit.export.package import load_package
from resnetkit.pipeline_comparison import ComparisonOptions, compare
from resnetkit.types import UserError
from resnetkit.unseen import load_unseen

pytestmark = pytest.mark.usefixtures("one_thread")


def test_a_package_is_not_worse_than_itself(learnt_digits):
    result = compare(learnt_digits, learnt_digits, "digits")
    assert result.gate.passed
    assert result.comparison.images > 300
    assert (result.comparison.lost, result.comparison.gained, result.left_out) == (0, 0, 0)
    assert result.report is None


def test_a_worse_one_is_told_with_reasons_and_pictures(learnt_digits, digits_package, tmp_path):
    result = compare(learnt_digits, digits_package, "digits", out=tmp_path / "out")
    assert not result.gate.passed
    assert any(reason.startswith("top-1") for reason in result.gate.reasons)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "comparison.json",
        "manifest.json",
        "report.html",
        "report.md",
    }
    found = json.loads((tmp_path / "out" / "comparison.json").read_text(encoding="utf-8"))
    assert found["gate"]["passed"] is False
    assert found["score"]["difference"] == result.comparison.score.difference
    assert len(found["per_class"]) == 10
    html = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "Images that B loses" in html
    assert "data:image/png" in html
    assert compare(digits_package, learnt_digits, "digits").gate.passed
    wide = ComparisonOptions(margin=1.0, class_margin=1.0)
    assert compare(learnt_digits, digits_package, "digits", options=wide).gate.passed


def test_packages_of_other_classes_are_refused(learnt_digits, trained, tmp_path):
    words = r"do not tell the same classes apart: only .* knows '0', '1'.*only .* 'blue'"
    with pytest.raises(UserError, match=words):
        compare(learnt_digits, trained.package, "digits", out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_only_images_that_neither_has_seen_are_compared(trained, tiny, pictures, tmp_path):
    other = pipeline.train(tiny(pictures, {"data.split_seed": 5}), tmp_path / "run").package
    tests = [set(names_of_test(package, pictures)) for package in (trained.package, other)]
    shared = tests[0] & tests[1]
    assert tests[0] != tests[1]
    if not shared:
        with pytest.raises(UserError, match="no image is in the test split of both packages"):
            compare(trained.package, other, str(pictures))
        return
    result = compare(trained.package, other, str(pictures))
    assert result.comparison.images == len(shared)
    assert result.left_out == sum(map(len, tests)) - 2 * len(shared)


def names_of_test(package, source):
    images, _ = load_unseen(
        package, load_package(package), DescribedSource(location=str(source)), "test"
    )
    return images.names


@pytest.mark.parametrize("value", [-0.01, 1.5, float("nan")])
def test_margins_are_shares(value):
    with pytest.raises(UserError, match="needed 0 to 100 points"):
        ComparisonOptions(margin=value)
    with pytest.raises(UserError, match="class-margin: needed"):
        ComparisonOptions(class_margin=value)
