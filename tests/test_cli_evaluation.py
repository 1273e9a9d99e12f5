"""`evaluate`, `compare`, `calibrate` typed: what they print, their exit codes, every bad input."""

from __future__ import annotations

import json
import shutil
from collections import namedtuple
from dataclasses import replace

import pytest
from PIL import Image
from safetensors.torch import save_file

from resnetkit.cli import main
from resnetkit.models.families import imagenet_resnet
from resnetkit.models.zoo import build_model

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("ignore::resnetkit.data.seen.SeenWarning"),
]

Outcome = namedtuple("Outcome", "code out err")
NARROW = replace(imagenet_resnet(18), stage_widths=(4, 8, 12, 16), stem_width=4, num_classes=3)
QUICK = ("--without", "maps", "inside", "feature-map", "slices", "speed")


@pytest.fixture
def run(capsys):
    """Runs one command in this process: exit code, stdout, stderr (its line breaks as spaces)."""

    def run_command(*arguments):
        code = 0
        try:
            main([str(argument) for argument in arguments])
        except SystemExit as stopped:
            code = stopped.code
        captured = capsys.readouterr()
        return Outcome(code, captured.out, " ".join(captured.err.split()))

    return run_command


@pytest.fixture
def refused(run, tmp_path):
    """Runs a command that must be refused: code 2, one message with these words, no new file."""

    def run_refused(arguments, *words):
        before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
        code, out, err = run(*arguments)
        assert (code, out) == (2, ""), err
        assert "Traceback" not in err
        for word in words:
            assert str(word) in err
        assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before

    return run_refused


@pytest.fixture
def data(pictures, tmp_path):
    """The pictures of training under other names, so that they may be judged as they are."""
    for number, path in enumerate(sorted(pictures.rglob("*.png"))):
        target = tmp_path / "data" / path.parent.name / f"new{number}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        with Image.open(path) as image:
            image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(target)
    return tmp_path / "data"


# --- what is printed ---


def test_evaluate_says_accuracy_calibration_and_where_the_report_is(run, learnt_digits, tmp_path):
    out = tmp_path / "judged"
    code, text, err = run("evaluate", learnt_digits, "--data", "digits", "--out", out, *QUICK)
    assert code == 0, err
    assert "95 % interval" in text
    assert "Calibration: probabilities are off by" in text
    assert f"Report   {out}/report.html" in text
    assert (out / "metrics.json").is_file()


def test_evaluate_prints_one_json_object(run, learnt_digits):
    code, text, err = run(
        "evaluate", learnt_digits, "--data", "digits", "--tta", "multi-scale", "--json"
    )
    assert code == 0
    found = json.loads(text)
    assert found["images"] > 300
    assert found["calibration"]["ece"] >= 0
    assert found["test_time"]["images"] == found["images"]
    assert found["report"] is None
    assert "with multi-scale: top-1" in err


def test_compare_passes_or_fails_with_its_exit_code(run, learnt_digits, digits_package, tmp_path):
    same = run("compare", learnt_digits, learnt_digits, "--data", "digits")
    assert same.code == 0
    assert "B is not worse than A" in same.out
    worse = run(
        "compare", learnt_digits, digits_package, "--data", "digits", "--out", tmp_path / "out"
    )
    assert worse.code == 1
    assert "resnetkit: B is worse than A: top-1" in worse.err
    assert (tmp_path / "out" / "report.html").is_file()
    as_json = run("compare", learnt_digits, digits_package, "--data", "digits", "--json")
    assert as_json.code == 1
    found = json.loads(as_json.out)
    assert found["worse"] == found["gate"]["reasons"]
    limits = ("--margin", "100", "--class-margin", "100")
    assert run("compare", learnt_digits, digits_package, "--data", "digits", *limits).code == 0


@pytest.mark.parametrize("command", ["evaluate", "compare", "calibrate"])
def test_help_says_what_each_option_is(run, command):
    code, text, _ = run(command, "--help")
    assert code == 0
    assert "--data" in text
    assert "see `resnetkit --help`" in " ".join(text.replace("│", " ").split())


# --- bad input, each with nothing written ---


def test_a_source_without_labels_is_refused_and_predict_offered(refused, trained, tmp_path):
    loose = tmp_path / "loose"
    loose.mkdir()
    Image.new("RGB", (12, 12)).save(loose / "a.png")
    arguments = ["evaluate", trained.package, "--data", loose, "--out", tmp_path / "out"]
    refused(arguments, "lie directly in it", f"resnetkit predict PACKAGE {loose}")
    refused(["compare", trained.package, trained.package, "--data", loose], "predict PACKAGE")


def test_labels_that_the_package_does_not_know(refused, trained, data, tmp_path):
    (data / "red").rename(data / "rose")
    arguments = ["evaluate", trained.package, "--data", data, "--split", "all"]
    refused([*arguments, "--out", tmp_path / "out"], "does not know 'rose'", "lacks 'red'")


def test_an_empty_split(refused, trained, data, tmp_path):
    shutil.copytree(data, tmp_path / "parts" / "train")
    (tmp_path / "parts" / "test").mkdir()
    arguments = ["evaluate", trained.package, "--data", tmp_path / "parts"]
    refused([*arguments, "--out", tmp_path / "out"], tmp_path / "parts", "no images")


@pytest.mark.filterwarnings("always:.*it has no images of:UserWarning")
def test_one_class_only(refused, run, trained, data, tmp_path):
    shutil.rmtree(data / "red")
    shutil.rmtree(data / "blue")
    arguments = ["evaluate", trained.package, "--data", data, "--split", "all"]
    refused([*arguments, "--out", tmp_path / "out"], "lacks 'blue', 'red'", "--some-classes")
    code, _, err = run(*arguments, "--some-classes", "--out", tmp_path / "out")
    assert code == 0, err
    assert "note:" in err
    assert "no images of 2 of the package's 3 classes" in err
    figures = json.loads((tmp_path / "out" / "metrics.json").read_text(encoding="utf-8"))
    assert [row["support"] for row in figures["per_class"]] == [0, 12, 0]
    assert figures["auroc"] is None


def test_a_package_without_a_validation_record(refused, run, pictures, tmp_path):
    save_file(build_model(NARROW, seed=1).state_dict(), tmp_path / "weights.safetensors")
    (tmp_path / "names.txt").write_text("blue\ngreen\nred\n", encoding="utf-8")
    weights = ("import-weights", tmp_path / "weights.safetensors")
    run(*weights, "--classes", tmp_path / "names.txt", "--out", tmp_path / "package")
    arguments = ["calibrate", tmp_path / "package", "--data", pictures, "--out", tmp_path / "new"]
    refused(arguments, "no record of its training", "--split test or --split all")


def test_a_layer_that_is_not_there(refused, trained, pictures, tmp_path):
    image = next(pictures.rglob("*.png"))
    arguments = ["explain", trained.package, image, "--out", tmp_path / "maps"]
    refused([*arguments, "--stage", "stage9"], "stage9", "stage1")


def test_an_image_too_small_for_the_occlusion_window(refused, trained, pictures, tmp_path):
    image = next(pictures.rglob("*.png"))
    arguments = ["explain", trained.package, image, "--out", tmp_path / "maps"]
    arguments += ["--method", "occlusion", "--occlusion-window", "40"]
    refused(arguments, "40", "12")


def test_options_without_effect_are_refused(refused, trained, pictures, tmp_path):
    arguments = ["evaluate", trained.package, "--data", pictures]
    refused([*arguments, "--corruptions", "5"], "corruptions is about the report", "--out DIR")
    arguments += ["--out", tmp_path / "out"]
    refused([*arguments, "--boxes", tmp_path], "ask for it with trust")
    refused([*arguments, "--tta", "ten-crop"], "Choose flip")
    pair = ["compare", trained.package, trained.package, "--data", pictures]
    refused([*pair, "--margin=-1"], "needed 0 to 100 points, got -1")
