"""The cheap part that training runs: names and counts, no decoding."""

from planted import encode, picture

from resnetkit.data.checks import quick
from resnetkit.data.checks.quick import quick_check
from resnetkit.data.sources import load_source


def test_folder_findings_without_decoding(tmp_path, monkeypatch):
    for label, count in (("a", 120), ("b", 5)):
        (tmp_path / label).mkdir()
        for number in range(count):
            (tmp_path / label / f"{number}.jpg").write_bytes(b"no image, and nobody looks")
    (tmp_path / "a" / "left.heic").touch()
    findings = quick_check(load_source(str(tmp_path), ("train",)))
    assert [finding.kind for finding in findings] == [
        "tiny-class",
        "class-imbalance",
        "unread-format",
    ]


def test_a_clean_source_says_nothing(tmp_path):
    for label in "ab":
        (tmp_path / label).mkdir()
        for number in range(12):
            data = encode(picture(number, (8, 8)), "PNG")
            (tmp_path / label / f"{number}.png").write_bytes(data)
    assert quick_check(load_source(str(tmp_path), ("train",))) == []
    assert quick_check(load_source("digits", ("train",))) == []


def test_splits_not_read_are_not_compared(tmp_path):
    for name in ("train/a", "train/b", "test/a"):
        (tmp_path / name).mkdir(parents=True)
        for number in range(12):
            (tmp_path / name / f"{number}.png").write_bytes(b"x")
    kinds = [f.kind for f in quick_check(load_source(str(tmp_path), ("train",)))]
    assert kinds == []
    kinds = [f.kind for f in quick_check(load_source(str(tmp_path), ("train", "test")))]
    assert kinds == ["class-missing-in-split"]
    assert quick.__doc__
