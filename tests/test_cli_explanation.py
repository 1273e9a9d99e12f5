"""`resnetkit explain`: what is typed, one message per mistake with nothing written, and JSON."""

from __future__ import annotations

import json
from collections import namedtuple

import pytest

from resnetkit.cli import main
from resnetkit.cli_explanation import DEFAULT_METHOD, split_methods
from resnetkit.explanation.attribution import METHODS

pytestmark = pytest.mark.usefixtures("one_thread")

Outcome = namedtuple("Outcome", "code out err")


@pytest.fixture
def run(capsys, monkeypatch):
    """Runs `explain` in this process: exit code, stdout, stderr (its line breaks as spaces)."""
    monkeypatch.setenv("COLUMNS", "200")

    def run_command(*arguments):
        code = 0
        try:
            main(["explain", *map(str, arguments)])
        except SystemExit as stopped:
            code = stopped.code
        captured = capsys.readouterr()
        return Outcome(code, captured.out, " ".join(captured.err.split()))

    return run_command


@pytest.fixture
def images(pictures):
    return [pictures / "red" / "00.png", pictures / "blue" / "01.png"]


def test_the_help_names_every_method_and_setting(run):
    code, out, err = run("--help")
    assert (code, err) == (0, "")
    text = " ".join(out.replace("│", " ").split())
    assert all(name in text for name in METHODS)
    assert all(word in text for word in ("--out", "--target", "--stage", "--occlusion-window"))
    assert "Steps from the mean colour to the image (integrated-gradients). (default: 50)" in text


def test_methods_with_commas_and_one_by_one():
    assert split_methods([]) == (DEFAULT_METHOD,)
    assert split_methods(["gradcam, occlusion", "layercam,gradcam,"]) == (
        "gradcam",
        "occlusion",
        "layercam",
    )
    assert DEFAULT_METHOD in METHODS


def test_pictures_maps_and_a_table(run, trained, images, tmp_path):
    methods = ("--method", "gradcam,layercam", "--method", "gradcam++")
    code, out, err = run(trained.package, *images, "--out", tmp_path / "maps", *methods)
    assert code == 0, err
    assert "6 maps in" in out
    assert out.count("00.gradcam++.png") == 1
    assert "at stage" in out
    assert len(list((tmp_path / "maps").glob("*.png"))) == 6
    assert len(list((tmp_path / "maps").glob("*.npy"))) == 6


def test_json_is_alone_on_stdout(run, trained, images, tmp_path):
    options = ("--target", "red", "--target", "blue", "--method", "smoothgrad", "--seed", "3")
    numbers = ("--noise-samples", "2", "--json")
    code, out, err = run(trained.package, *images, "--out", tmp_path / "maps", *options, *numbers)
    assert code == 0, err
    result = json.loads(out)
    assert result["failures"] == 0
    assert result["unreadable"] == []
    assert [one["target"] for one in result["explanations"]] == ["red", "blue", "red", "blue"]
    assert result["explanations"][0]["settings"] == {
        "noise_samples": 2,
        "noise_level": 0.15,
        "seed": 3,
    }
    files = {path.name for path in (tmp_path / "maps").iterdir()}
    assert all(one["overlay"] in files and one["map"] in files for one in result["explanations"])


@pytest.mark.parametrize("as_json", [False, True])
def test_an_unreadable_image_is_told_and_the_others_go_on(run, trained, images, tmp_path, as_json):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"nothing")
    arguments = [trained.package, broken, *images, "--out", tmp_path / "maps"]
    code, out, err = run(*arguments, *["--json"] * as_json)
    assert code == 1
    assert "1 image(s) could not be read" in err
    assert len(list((tmp_path / "maps").glob("*.png"))) == 2
    if as_json:
        assert json.loads(out)["unreadable"][0]["image"] == str(broken)
    else:
        assert "unreadable" in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--method", "grad-cam"], "method: needed one of gradcam, gradcam++, layercam"),
        (["--method", "grad-cam"], "got 'grad-cam'; did you mean 'gradcam"),
        (["--target", "rde"], "(blue, green, red), got 'rde'; did you mean 'red'?"),
        (["--stage", "stage7"], "or a layer inside such as"),
        (["--stage", "stage1", "--method", "occlusion"], "stage: has no effect on occlusion"),
        (["--seed", "1"], "seed: has no effect on gradcam; leave it out, or choose smoothgrad"),
        (["--occlusion-window", "13", "--method", "occlusion"], "make it 12 or smaller"),
        (["--integration-steps", "0"], "integration_steps: needs a whole number of at least 1"),
        (["--device", "tpu"], "Device: needed one that this machine has"),
    ],
)
def test_one_message_for_each_mistake(run, trained, images, tmp_path, arguments, words):
    code, out, err = run(trained.package, *images, "--out", tmp_path / "maps", *arguments)
    assert (code, out) == (2, "")
    assert words in err
    assert "Traceback" not in err
    assert not (tmp_path / "maps").exists()


def test_images_and_a_package_are_needed(run, trained, images, pictures, tmp_path):
    code, _, err = run(trained.package, "--out", tmp_path / "maps")
    assert code == 2
    assert "explain: needs images after the package: files, or folders of them" in err
    code, _, err = run(tmp_path / "nothing", *images, "--out", tmp_path / "maps")
    assert code == 2
    assert "there is no such folder; needed is a model-package folder" in err
    code, _, err = run(trained.package, pictures, "--out", pictures / "maps")
    assert code == 2
    assert "which is only read" in err
    code, _, err = run(trained.package, *images)
    assert code == 2
    assert "--out" in err
