"""The gate as a whole: every planted defect found and named, nothing else, nothing touched."""

import csv
import json

import numpy as np
import pytest
from planted import (
    Planter,
    encode,
    picture,
    plant_clean,
    plant_copies,
    plant_files,
    plant_images,
    plant_layout,
    tree_digest,
)

from resnetkit.data.checks.check import check_source
from resnetkit.data.checks.findings import Finding
from resnetkit.data.checks.image_kinds import UNREADABLE_KINDS
from resnetkit.data.checks.kinds import KINDS
from resnetkit.data.manifest_table import read_manifest_table
from resnetkit.types import UserError


def silent(what, done, total):
    pass


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """Everything at once: (what was planted, its digest before, the report)."""
    planter = Planter(tmp_path_factory.mktemp("gate") / "it's planted, all of it")
    plant_clean(planter, "train/")
    plant_images(planter, "train/special")
    plant_layout(planter)
    plant_files(planter, "train/flower")
    plant_copies(planter, "train/flower", "train/china", "val/china")
    before = tree_digest(planter.root)
    report = check_source(str(planter.root), planter.root.parent / "out", progress=silent)
    return planter, before, report


def test_every_defect_is_found_and_named_and_nothing_else(planted):
    planter, _, report = planted
    found = {
        kind: {name for finding in findings for name in finding.names}
        for kind, findings in report.findings.items()
    }
    assert found == dict(planter.expected)
    assert len(found) >= 40


def test_not_a_byte_of_the_source_is_changed(planted):
    planter, before, _ = planted
    assert tree_digest(planter.root) == before


def test_verdict(planted):
    _, _, report = planted
    assert not report.passed
    assert set(report.unsafe) == {
        kind for kind in report.findings if KINDS[kind].severity == "unsafe"
    }
    order = [KINDS[kind].severity for kind in report.findings]
    assert order == sorted(order, key=("unsafe", "warning", "note").index)


def test_the_manifest_excludes_what_should_not_be_trained_on(planted):
    planter, _, report = planted
    table = read_manifest_table(report.paths["manifest"])
    assert table.checked
    assert table.findings is not None
    excluded = {table.paths[row] for row in np.flatnonzero(table.exclude)}
    unreadable = {name for kind in UNREADABLE_KINDS for name in planter.expected.get(kind, ())}
    copies = {"train/flower/copy2.jpg", "train/flower/pixels2.bmp"}
    relabelled = {"train/flower/both.jpg", "train/china/both.jpg"}
    assert excluded == unreadable | copies | relabelled | {"train/china/leak.jpg"}
    kinds = dict(zip(table.paths, table.findings, strict=True))
    assert set(kinds["train/special/spotted.png"]) == {"palette", "alpha"}
    assert "shared-between-splits" in kinds["val/china/leak.jpg"]
    assert kinds["train/china/0.jpg"] == ()
    assert len(table) == sum(report.images.values())


def test_the_quarantine_list(planted):
    _, _, report = planted
    with report.paths["quarantine"].open(encoding="utf-8", newline="") as file:
        rows = {row["path"]: row for row in csv.DictReader(file)}
    assert len(rows) == report.excluded
    assert rows["train/special/zero.jpg"]["reasons"] == "zero-byte"
    assert rows["train/flower/both.jpg"]["label"] == "flower"


def test_the_page_needs_nothing_else_and_shows_everything(planted):
    _, _, report = planted
    page = report.paths["report"].read_text(encoding="utf-8")
    assert page.count("<script") == 1  # ours, which the policy knows by its hash
    assert "http" not in page.replace("http-equiv", "").replace("https://git-lfs", "")
    assert page.count("<section id=") == len(report.findings)
    for kind in report.findings:
        assert f'id="{kind}"' in page
    assert "&lt;!DOCTYPE html&gt;" in page  # what the file holds, as text
    assert "two\\nlines.jpg" in page


def test_the_summary(planted):
    planter, _, report = planted
    summary = json.loads(report.paths["summary"].read_text(encoding="utf-8"))
    assert summary["passed"] is False
    truncated = summary["findings"]["truncated"]
    assert (truncated["severity"], truncated["count"]) == ("unsafe", 7)
    assert set(truncated["names"]) == planter.expected["truncated"]
    assert len(truncated["details"]) == 7
    assert truncated["detail"] == truncated["details"][0] != ""
    assert summary["images"] == dict(report.images)
    assert (
        summary["classes"]["china"]["train"]
        == report.counts["train"][report.class_names.index("china")]
    )


def test_a_clean_folder_of_photographs_has_no_findings(tmp_path):
    planter = Planter(tmp_path / "clean")
    plant_clean(planter)
    report = check_source(str(planter.root), tmp_path / "out", progress=silent)
    assert dict(report.findings) == {}
    assert report.passed
    assert report.excluded == 0
    assert "This source is clean" in report.paths["report"].read_text(encoding="utf-8")


def test_digits_are_clean_except_for_what_is_true_of_them():
    report = check_source("digits", None, progress=silent)
    assert set(report.findings) <= {"near-duplicate", "shared-between-splits"}
    assert report.paths == {}


@pytest.fixture
def one_bad(tmp_path):
    planter = Planter(tmp_path / "one bad")
    plant_clean(planter, count=12)
    planter.put("china/zero.jpg", b"", "zero-byte")
    return planter.root


def test_allow(one_bad, tmp_path):
    assert check_source(str(one_bad), None, progress=silent).unsafe == ("zero-byte",)
    report = check_source(str(one_bad), tmp_path / "out", allow=["zero-byte"], progress=silent)
    assert report.passed
    assert report.excluded == 1
    assert "Allowed by you: zero-byte" in report.paths["report"].read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("zero-bite", "no kind of finding 'zero-bite'; did you mean 'zero-byte'.*truncated"),
        ("palette", "'palette' is a note, which never fails the check"),
        ("source-refused", "'source-refused' cannot be allowed, since training refuses such a"),
        ("empty-class", "'empty-class' cannot be allowed.*can be allowed are splits-as-classes"),
    ],
)
def test_bad_allow(one_bad, kind, message):
    with pytest.raises(UserError, match=message):
        check_source(str(one_bad), None, allow=[kind], progress=silent)


def test_nothing_is_written_into_the_source(one_bad, tmp_path):
    before = tree_digest(one_bad)
    for out in (one_bad, one_bad / "report", one_bad / "china" / ".." / "x"):
        with pytest.raises(UserError, match=r"lies in the source .* only read"):
            check_source(str(one_bad), out, progress=silent)
    (tmp_path / "link").symlink_to(one_bad)
    with pytest.raises(UserError, match=r"lies in the source .* only read"):
        check_source(str(one_bad), tmp_path / "link" / "out", progress=silent)
    assert tree_digest(one_bad) == before


def test_judges_see_the_scan_and_add_findings(one_bad):
    def judge(scan):
        assert scan.readable.sum() == len(scan) - 1
        names = (scan.names[0],)
        return [Finding(kind="likely-wrong-label", names=names, detail="looks like a flower")]

    report = check_source(str(one_bad), None, judges=[judge], progress=silent)
    assert report.findings["likely-wrong-label"][0].names == ("china/0.jpg",)


def test_progress_reaches_the_end(one_bad, tmp_path):
    seen = {}
    check_source(
        str(one_bad),
        tmp_path / "out",
        progress=lambda what, done, total: seen.update({what: (done, total)}),
    )
    assert seen["checking images"] == (25, 25)
    done, total = seen["drawing thumbnails"]
    assert done == total == 1


def test_a_source_without_any_image_still_gets_its_page(tmp_path):
    (tmp_path / "none" / "a").mkdir(parents=True)
    report = check_source(str(tmp_path / "none"), tmp_path / "out", progress=silent)
    assert "no-images" in report.unsafe
    assert set(report.paths) == {"report", "summary"}
    assert all(path.is_file() for path in report.paths.values())


def test_an_image_that_changes_after_the_scan_does_not_stop_the_page(one_bad, tmp_path):
    def judge(scan):
        (one_bad / "china" / "0.jpg").write_bytes(b"gone")
        return [Finding(kind="likely-wrong-label", names=("china/0.jpg",), detail="x")]

    report = check_source(str(one_bad), tmp_path / "out", judges=[judge], progress=silent)
    assert report.paths["report"].is_file()


def test_tables_are_checked_too(tmp_path):
    for number in range(24):
        (tmp_path / f"{number}.jpg").write_bytes(encode(picture(number), "JPEG"))
    (tmp_path / "3.jpg").write_bytes(b"")
    rows = "".join(f"{number}.jpg,{'ab'[number % 2]}\n" for number in range(24))
    (tmp_path / "images.csv").write_text("path,label\n" + rows)
    report = check_source(str(tmp_path / "images.csv"), tmp_path / "out", progress=silent)
    assert set(report.findings) == {"zero-byte"}
    assert report.findings["zero-byte"][0].names == ("3.jpg",)


@pytest.mark.parametrize("foreign", ["file", "folder"])
def test_a_place_that_cannot_be_written_is_refused_before_anything_is_read(
    one_bad, tmp_path, foreign, monkeypatch
):
    out = tmp_path / "out"
    if foreign == "file":
        out.write_text("mine")
    else:
        out.mkdir()
        (out / "mine.txt").write_text("mine")
    monkeypatch.setattr("resnetkit.data.checks.check.scan_source", None)
    with pytest.raises(UserError, match=r"needed a (folder to write|new folder)"):
        check_source(str(one_bad), out, progress=silent)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one bad", "out"]


def test_every_kind_that_training_refuses_says_so_and_only_those():
    for name, kind in KINDS.items():
        says = kind.treatment.startswith("Training refuses") or "training refuses" in kind.treatment
        assert kind.refused == (kind.severity == "unsafe" and says), name
