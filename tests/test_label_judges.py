"""Wrong labels, found by networks that did not learn them: trained quickly, or in a package."""

from __future__ import annotations

import numpy as np
import pytest
from rich.console import Console

from resnetkit import out_of_fold
from resnetkit.label_judges import LabelCheck, group_equal
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
