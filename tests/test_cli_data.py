"""`resnetkit data ...` as it is typed: results, JSON, exit codes, and one message per mistake."""

from __future__ import annotations

import json
from collections import namedtuple

import pytest
from PIL import Image

from resnetkit.cli import main

pytestmark = pytest.mark.usefixtures("one_thread")

Outcome = namedtuple("Outcome", "code out err")
TINY = ["--recipe", "digits", "--data.image-size", "12", "--data.batch-size", "8"]


@pytest.fixture
def run(capsys):
    """Runs one command in this process: exit code, stdout, stderr (its line breaks as spaces)."""

    def run_command(*arguments):
        code = 0
        try:
            main(["data", *map(str, arguments)])
        except SystemExit as stopped:
            code = stopped.code
        captured = capsys.readouterr()
        return Outcome(code, captured.out, " ".join(captured.err.split()))

    return run_command


@pytest.fixture
def source(draw_pictures, tmp_path):
    """A folder of pictures that may be spoiled."""
    return draw_pictures(tmp_path / "pictures", ending="jpg")


def state(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_the_data_commands_are_listed(run):
    assert run().code == 2
    shown = run("--help")
    assert shown.code == 0
    for command in ("check", "split", "pack", "preview", "doctor"):
        assert f"resnetkit data {command} SOURCE" in shown.out
        assert run(command, "--help").code == 0


def test_an_unknown_command_gets_the_nearest_name(run):
    code, _, err = run("chekc", "x")
    assert code == 2
    assert "unknown command data 'chekc'; did you mean 'check'? Known: check, split" in err


def test_preview_draws_and_says_what(run, source, tmp_path):
    before = state(source)
    code, out, _ = run("preview", source, "--out", tmp_path / "a.png", "--images", "5", *TINY)
    assert (code, out) == (0, f"5 images of 12x12 pixels in {tmp_path / 'a.png'}\n")
    assert state(source) == before
    with Image.open(tmp_path / "a.png") as sheet:
        assert sheet.width > 500


def test_preview_as_json(run, source, tmp_path):
    mixing = ["--augment.mixup-alpha", "1.0", "--epoch", "2"]
    code, out, _ = run(
        "preview", source, "--out", tmp_path / "a.png", "--json", "--images", "8", *TINY, *mixing
    )
    record = json.loads(out)
    assert (code, record["epoch"], record["size"]) == (0, 2, [12, 12])
    assert len(record["images"]) == 8
    assert any(len(image["targets"]) == 2 for image in record["images"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--optimizer.learning-rate", "0.5"], "optimizer.learning_rate has no effect on this"),
        (["--data.workers", "2"], "data.workers has no effect on this command"),
        (["--training.keep", "last"], "training.keep has no effect"),
        (["--data.source", "digits"], "the images are given twice, as"),
        (["--epoch", "999"], "--epoch must be between 1 and 40"),
        (["--recipe", "digit"], "unknown recipe 'digit'; did you mean 'digits'?"),
        (["--recipe=digit"], "unknown recipe 'digit'; did you mean 'digits'?"),
    ],
)
def test_preview_refuses_what_would_do_nothing(run, source, tmp_path, arguments, message):
    place = tmp_path / "a.png"
    code, out, err = run("preview", source, "--out", place, *TINY, *arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert not place.exists()


def test_doctor_prints_stages_verdict_and_advice(run, source):
    more = ["--data.storage", "files", "--data.workers", "1", "--seconds", "0.05"]
    code, out, _ = run("doctor", source, *TINY, *more)
    assert code == 0
    for part in ("decode", "step", "1 thread", "the whole training", "is the bottleneck"):
        assert part in out


def test_doctor_as_json_and_what_it_refuses(run, source):
    code, out, _ = run("doctor", source, *TINY, "--seconds", "0.05", "--json")
    record = json.loads(out)
    assert code == 0
    assert record["bottleneck"] in {stage["name"] for stage in record["stages"]}
    code, out, err = run("doctor", source, *TINY, "--schedule.warmup", "0.4")
    assert (code, out) == (2, "")
    assert "schedule.warmup has no effect" in err


def test_pack_says_where_and_does_nothing_twice(run, source, tmp_path):
    place = tmp_path / "pack"
    code, out, _ = run("pack", source, "--out", place, "--side", "8")
    assert code == 0
    assert "36 images" in out
    assert "36 decoded now" in out
    code, out, _ = run("pack", source, "--out", place, "--side", "8", "--json")
    assert (code, json.loads(out)["up_to_date"]) == (0, True)


def test_split_writes_a_manifest_and_prints_its_counts(run, source, tmp_path):
    place = tmp_path / "split.parquet"
    code, out, _ = run("split", source, "--out", place)
    assert code == 0
    assert place.is_file()
    assert out.splitlines()[0].split() == ["class", "train", "val", "test"]
    folds = run("split", source, "--out", tmp_path / "f.parquet", "--folds", "3", "--json")
    assert sum(json.loads(folds.out)["images"].values()) == 36


def test_a_split_that_cannot_be_is_refused(run, source, tmp_path):
    code, out, err = run("split", source, "--out", tmp_path / "a.parquet", "--folds", "1")
    assert (code, out) == (2, "")
    assert "folds must be 2 or more, got 1" in err


def test_a_sound_source_passes_the_check(run, source, tmp_path):
    before = state(source)
    code, out, _ = run("check", source, "--out", tmp_path / "check")
    assert code == 0
    assert "36 images" in out
    assert "nothing found makes training unsafe" in out
    assert (tmp_path / "check" / "report.html").is_file()
    assert state(source) == before


def test_what_makes_training_unsafe_fails_the_check_unless_allowed(run, source, tmp_path):
    (source / "red" / "00.jpg").write_bytes(b"")
    code, out, err = run("check", source)
    assert code == 1
    assert "zero-byte" in out
    assert "training is unsafe" in out
    assert "zero-byte" in err
    assert "--allow KIND" in err
    allowed = run("check", source, "--allow", "zero-byte")
    assert allowed.code == 0
    assert "1 finding(s) allowed (zero-byte)" in allowed.out
    assert "nothing found" not in allowed.out


def test_check_as_json_prints_and_still_fails(run, source):
    (source / "red" / "00.jpg").write_bytes(b"")
    code, out, _ = run("check", source, "--json")
    record = json.loads(out)
    assert (code, record["passed"], record["unsafe"]) == (1, False, ["zero-byte"])
    found = record["findings"]["zero-byte"]
    assert (found["severity"], found["count"]) == ("unsafe", 1)
    assert (found["names"], found["detail"]) == (["red/00.jpg"], "0 bytes")


def test_findings_name_images_on_the_terminal(run, source, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    for number in range(5):
        (source / "red" / f"[b]{number}.jpg").write_bytes(b"")
    _, out, _ = run("check", source)
    assert "for instance" in out
    assert "red/[b]0.jpg; red/[b]1.jpg; red/[b]2.jpg; 0 bytes" in out
    assert "[b]3" not in out


def test_a_refused_source_says_why_and_cannot_be_allowed(run, tmp_path):
    (tmp_path / "images.csv").write_text("file,label\n1.png,a\n")
    code, out, err = run("check", tmp_path / "images.csv")
    assert code == 1
    assert err.endswith("because of source-refused. Repair the source")
    assert "path" in out.split("source-refused: ")[1].splitlines()[0]
    code, out, _ = run("check", tmp_path / "images.csv", "--json")
    assert "path" in json.loads(out)["findings"]["source-refused"]["detail"]
    code, out, err = run("check", tmp_path / "images.csv", "--allow", "source-refused")
    assert (code, out) == (2, "")
    assert "'source-refused' cannot be allowed" in err


def test_every_command_refuses_to_write_into_the_source(run, source):
    before = state(source)
    for command, name in (
        ("check", "out"),
        ("split", "a.parquet"),
        ("pack", "out"),
        ("preview", "a.png"),
    ):
        code, out, err = run(command, source, "--out", source / "red" / name)
        assert (code, out) == (2, ""), command
        assert "lies in the source" in err
    assert state(source) == before


def test_a_bad_place_or_package_is_refused_before_the_scan(run, source, tmp_path):
    (tmp_path / "file").write_text("mine")
    code, _, err = run("check", source, "--out", tmp_path / "file")
    assert code == 2
    assert "this is a file" in err
    code, _, err = run("check", source, "--out", tmp_path / "new", "--package", tmp_path / "none")
    assert code == 2
    assert str(tmp_path / "none") in err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "pictures"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--minutes", "3"], "--minutes has no effect but on --labels without --package"),
        (["--labels", "--minutes", "0"], "--minutes must be above 0, got 0"),
        (["--allow", "zero-bite"], "did you mean 'zero-byte'?"),
    ],
)
def test_check_refuses_what_cannot_be_meant(run, source, arguments, message):
    code, out, err = run("check", source, *arguments)
    assert (code, out) == (2, "")
    assert message in err
