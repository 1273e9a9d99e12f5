"""Two packages on the same images: equal, worse, of other classes, of other cuts."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from resnetkit import pipeline, pipeline_comparison
from resnetkit.data.opening import DescribedSource
from resnetkit.export.package import load_package
from resnetkit.judging import answer, open_subject
from resnetkit.package_split import load_unseen
from resnetkit.pairing import BothAnswers, pair_images
from resnetkit.pipeline_comparison import ComparisonOptions, compare
from resnetkit.types import UserError

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
    asked = DescribedSource(location=str(source))
    return load_unseen(package, load_package(package), asked, "test", nobody).names


def nobody(what, done, total):
    """Progress that nobody watches."""


@pytest.mark.parametrize("split", ["all", "train"])
def test_images_of_a_training_pass_no_gate(trained, pictures, tmp_path, split):
    with pytest.raises(UserError, match=rf"images of {split} are among those .* trained on"):
        compare(
            trained.package,
            trained.package,
            str(pictures),
            options=ComparisonOptions(split=split),
            out=tmp_path / "out",
        )
    assert not (tmp_path / "out").exists()


def test_a_source_that_neither_has_seen_is_compared_whole(trained, mirrored):
    result = compare(
        trained.package, trained.package, str(mirrored), options=ComparisonOptions(split="all")
    )
    assert result.comparison.images == 36
    assert result.notes == ()


@pytest.fixture
def mirrored(pictures, tmp_path):
    """The pictures of training, mirrored and under other names."""
    for number, path in enumerate(sorted(pictures.rglob("*.png"))):
        target = tmp_path / "data" / path.parent.name / f"new{number:02d}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        with Image.open(path) as image:
            image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(target)
    return tmp_path / "data"


def test_images_are_told_by_their_row_in_the_split_of_a_and_by_name(
    trained, mirrored, tmp_path, monkeypatch
):
    """Half of the images are paired, and B says something else of them all."""
    package = load_package(trained.package)
    asked = DescribedSource(location=str(mirrored))
    subject = open_subject(trained.package, package, asked, "all", nobody)
    kept = np.arange(1, 36, 2)
    a = answer(subject, nobody)
    b = answer(replace(subject, images=subject.images.subset(kept)), nobody)
    b = replace(b, logits=np.roll(a.logits[kept], 1, axis=1))
    both = BothAnswers(a=a, b=b, pairs=pair_images(a.subject, b.subject))
    monkeypatch.setattr(pipeline_comparison, "judge_both", lambda *_: both)
    options = ComparisonOptions(split="all")
    result = compare(
        trained.package, trained.package, str(mirrored), options=options, out=tmp_path / "out"
    )
    found = json.loads((tmp_path / "out" / "comparison.json").read_text(encoding="utf-8"))
    rows = [found[f"{kind}_images"] for kind in ("lost", "gained", "changed")]
    assert sorted(np.concatenate(rows).astype(int).tolist()) == kept.tolist()
    for kind in ("lost", "gained", "changed"):
        names = [subject.images.names[row] for row in found[f"{kind}_images"]]
        assert found[f"{kind}_names"] == names
    assert result.left_out == 18
    text = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    assert "18 images left out: only one of the packages holds them in its all split" in text
    score = result.comparison.score
    for name, value in (("A", score.a), ("B", score.b)):
        assert f"**{name}: {100 * value:.2f}" in text
    assert "top-1, 18 images" in text


def test_what_was_warned_of_is_on_the_page(trained, mirrored, tmp_path):
    shutil.rmtree(mirrored / "red")
    asked = DescribedSource(location=str(mirrored), some_classes=True)
    options = ComparisonOptions(split="all")
    with pytest.warns(UserWarning, match="no images of 1 of the package's 3 classes"):
        result = compare(
            trained.package, trained.package, asked, options=options, out=tmp_path / "out"
        )
    (note,) = result.notes
    assert "it has no images of 1 of the package's 3 classes: 'red'" in note
    assert "no images of 1 of the package" in (tmp_path / "out" / "report.md").read_text()


@pytest.mark.parametrize("value", [-0.01, 1.5, float("nan")])
def test_margins_are_shares(value):
    with pytest.raises(UserError, match="needed 0 to 100 points"):
        ComparisonOptions(margin=value)
    with pytest.raises(UserError, match="class-margin: needed"):
        ComparisonOptions(class_margin=value)
