"""Wrong labels, found by networks that did not learn them: trained quickly, or in a package."""

from __future__ import annotations

import numpy as np
import pytest
from rich.console import Console

from resnetkit import out_of_fold
from resnetkit.label_judges import LabelCheck, group_equal, rate_judge
from resnetkit.pipeline_data import check
from resnetkit.types import UserError

pytestmark = pytest.mark.usefixtures("one_thread")

WRONG = {"red/blue-1.png", "green/red-1.png"}


@pytest.fixture
def mislabelled(draw_pictures, tmp_path):
    """60 pictures of three colours; a blue one lies among the red, a red one among the green."""
    folder = draw_pictures(tmp_path / "pictures", count=20)
    (folder / "blue" / "01.png").rename(folder / "red" / "blue-1.png")
    (folder / "red" / "01.png").rename(folder / "green" / "red-1.png")
    return folder


def found(report):
    return {finding.names[0]: finding for finding in report.findings["likely-wrong-label"]}


def test_a_package_speaks_against_wrong_labels(mislabelled, trained, tmp_path):
    labels = LabelCheck(package=trained.package)
    report = check(str(mislabelled), tmp_path / "out", labels=labels)
    assert set(found(report)) == WRONG
    assert "labelled red" in found(report)["red/blue-1.png"].detail
    assert "more like blue" in found(report)["red/blue-1.png"].detail
    assert report.passed, "a likely error is for a person to decide"


def test_quick_trainings_speak_against_wrong_labels(mislabelled, monkeypatch, capsys):
    monkeypatch.setattr(out_of_fold, "MOST_EPOCHS", 6.0)
    console = Console(width=300)
    report = check(str(mislabelled), labels=LabelCheck(minutes=5.0), console=console)
    assert set(found(report)) >= WRONG
    assert len(found(report)) <= 6
    assert (
        "5 trainings of digits-resnet8 at 12 pixels on about 48 images" in capsys.readouterr().out
    )


def test_unreadable_images_are_not_judged(mislabelled, trained):
    (mislabelled / "red" / "05.png").write_bytes(b"no picture")
    report = check(str(mislabelled), labels=LabelCheck(package=trained.package))
    assert set(found(report)) == WRONG


def test_a_package_for_other_classes_is_refused(trained):
    with pytest.raises(UserError, match="classes of digits are not the model's"):
        check("digits", labels=LabelCheck(package=trained.package))


def test_too_few_images_are_not_judged(draw_pictures, tmp_path, capsys):
    folder = draw_pictures(tmp_path / "pictures", count=4)
    report = check(str(folder), labels=LabelCheck(), console=Console(width=200))
    assert "likely-wrong-label" not in report.findings
    [finding] = report.findings["labels-not-judged"]
    assert finding.detail == "12 readable images are too few to learn from"
    assert "not judged: 12 readable images are too few" in capsys.readouterr().out


def test_images_with_equal_pixels_are_left_out_together():
    hashes = np.array([[1, 2], [3, 4], [1, 2], [5, 6]], np.uint8)
    groups = group_equal(hashes)
    assert groups[0] == groups[2]
    assert len(set(groups.tolist())) == 3


@pytest.mark.parametrize("minutes", [0.0, -1.0, float("inf")])
def test_senseless_times_are_refused(minutes):
    with pytest.raises(UserError, match="--minutes must be above 0"):
        LabelCheck(minutes=minutes)


def test_a_judge_must_be_better_than_halfway_between_chance_and_faultless():
    labels = np.array([0] * 8 + [1] * 2)
    always = np.tile([0.9, 0.1], (10, 1))
    assert rate_judge(labels, always) == (0.8, 0.5, 0.75)
    accuracy, balanced, needed = rate_judge(np.arange(4), np.eye(10)[[0, 1, 2, 0]])
    assert (accuracy, balanced, needed) == (0.75, 0.75, 0.625)  # of 10 classes 4 have images


def test_labels_that_nobody_can_learn_are_not_judged(draw_pictures, trained, tmp_path, capsys):
    folder = draw_pictures(tmp_path / "pictures", count=20)
    for number in range(20):  # every picture moves on by one class
        (folder / "red" / f"{number:02d}.png").rename(folder / f"r{number}.png")
        (folder / "blue" / f"{number:02d}.png").rename(folder / "red" / f"{number:02d}.png")
        (folder / "green" / f"{number:02d}.png").rename(folder / "blue" / f"{number:02d}.png")
        (folder / f"r{number}.png").rename(folder / "green" / f"{number:02d}.png")
    labels = LabelCheck(package=trained.package)
    report = check(str(folder), tmp_path / "out", labels=labels, console=Console(width=200))
    assert "likely-wrong-label" not in report.findings
    [finding] = report.findings["labels-not-judged"]
    assert finding.detail.startswith("accuracy of the package 0.0%, mean of classes 0.0%, needed")
    assert report.passed
    assert "not judged: accuracy of the package 0.0%" in capsys.readouterr().out


def test_a_package_that_has_seen_the_images_is_named(pictures, trained, capsys):
    labels = LabelCheck(package=trained.package)
    report = check(str(pictures), labels=labels, console=Console(width=500))
    assert "it has seen these images" in report.findings["seen-by-package"][0].detail
    said = capsys.readouterr().out
    assert "it has seen these images" in said
    assert "accuracy of the package" in said


def test_a_package_for_other_images_has_not_seen_them(mislabelled, trained):
    report = check(str(mislabelled), labels=LabelCheck(package=trained.package))
    assert "seen-by-package" not in report.findings


def test_a_package_that_is_not_there_is_refused_before_the_scan(mislabelled, tmp_path):
    with pytest.raises(UserError, match="nowhere"):
        check(str(mislabelled), tmp_path / "out", labels=LabelCheck(package=tmp_path / "nowhere"))
    assert not (tmp_path / ".out.parts").exists()
