"""`resnetkit finetune`: what is typed, one message per mistake with nothing written, and JSON."""

import json
import os
import pickle
import signal
import sys
from collections import namedtuple

import numpy as np
import pytest
import torch
from PIL import Image

from resnetkit.cli import main
from resnetkit.cli_finetuning import typed_settings, write_out
from resnetkit.config import apply_settings, from_yaml
from resnetkit.decisions import finetuning_defaults
from resnetkit.experiment import CONFIG_FILE, Experiment
from resnetkit.export.package import load_package
from resnetkit.pipeline import predict
from resnetkit.pipeline_evaluation import evaluate
from resnetkit.runtime import verify_folder
from resnetkit.training import trainer

pytestmark = pytest.mark.usefixtures("one_thread")

Outcome = namedtuple("Outcome", "code out err")
SHORT_RUN = [
    *("--data.batch-size", "16", "--training.epochs", "1", "--finetuning.views", "1"),
    *("--execution.compile", "no", "--execution.precision", "float32"),
    *("--execution.memory-order", "channels_last"),
]
FEW = ["--data", "digits", "--shots", "5"]


@pytest.fixture(autouse=True)
def quick(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("RESNETKIT_CACHE", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.setattr("resnetkit.finetuning.probe.GRID", (1.0,))


@pytest.fixture
def run(capsys, digits_package):
    """Runs `finetune` in this process: exit code, stdout, stderr (its line breaks as spaces).

    It starts from the digits, unless other weights are given.
    """

    def run_command(*arguments):
        code, typed = 0, [str(argument) for argument in arguments]
        weights = [] if "--weights" in typed else ["--weights", str(digits_package)]
        try:
            main(["finetune", *weights, *typed])
        except SystemExit as stopped:
            code = stopped.code
        captured = capsys.readouterr()
        return Outcome(code, captured.out, " ".join(captured.err.split()))

    return run_command


def snapshot(folder):
    return {path: (path.stat().st_size, path.stat().st_mtime_ns) for path in folder.rglob("*")}


@pytest.fixture
def refused(run, tmp_path):
    """Runs a command that must be refused: code 2, one message with these words, no new file."""

    def run_refused(arguments, *words):
        before = snapshot(tmp_path)
        code, out, err = run(*arguments)
        assert code == 2, err
        assert out == ""
        assert "Traceback" not in err
        # What the settings themselves refuse, tyro tells.
        assert err.count("resnetkit: ") + err.count("Error parsing") == 1, err
        for word in words:
            assert str(word) in err, f"{word!r} is not in: {err}"
        assert snapshot(tmp_path) == before
        return err

    return run_refused


# --- what is typed ---


@pytest.mark.parametrize(
    ("typed", "full"),
    [
        ("--data", "--data.source"),
        ("--data=x", "--data.source=x"),
        ("--replay-per-class", "--finetuning.replay_per_class"),
        ("--replay_per_class=3", "--finetuning.replay_per_class=3"),
        ("--time-budget-minutes", "--training.time_budget_minutes"),
        ("--data.shots", "--data.shots"),
        ("--database", "--database"),
        ("digits", "digits"),
        ("--", "--"),
    ],
)
def test_short_names_stand_for_settings(typed, full):
    assert write_out(typed) == full


def test_what_was_typed_counts_even_where_it_is_the_default():
    experiment = finetuning_defaults()
    typed = ["--augment.no-horizontal-flip", "--training.epochs=30.0", "--data.image-size", "None"]
    assert typed_settings([*typed, "--out", "x", "--no-resume"], experiment) == {
        "augment.horizontal_flip": False,
        "training.epochs": 30.0,
        "data.image_size": None,
    }
    flipped = apply_settings(experiment, {"augment.horizontal_flip": True}, "a test")
    assert typed_settings(["--augment.horizontal-flip"], flipped) == {
        "augment.horizontal_flip": True
    }


# --- what comes out ---


def test_a_run_in_words(run, tmp_path, pictures):
    photo = ["--data", pictures, "--out", tmp_path / "run", "--augment.no-horizontal-flip"]
    code, out, err = run(*photo, *SHORT_RUN, "--strategy", "lp-ft")
    assert code == 0, err
    assert f"Package {tmp_path / 'run' / 'package'}" in " ".join(out.split())
    assert "2 steps in" in out
    assert "never mirrored" not in err
    for words in (
        "Weights trained on digits, at 8 pixels",
        "Head new: the one for 10 classes",
        "Plan lp-ft",
        "part parameters trained what",
        "Probe solved in",
    ):
        assert words in err
    saved = from_yaml(Experiment, (tmp_path / "run" / CONFIG_FILE).read_text(), "the run")
    assert saved.augment.horizontal_flip is False
    package = load_package(tmp_path / "run" / "package")
    assert package.contract.class_names == ("blue", "green", "red")
    assert package.contract.color_mode == "L", (
        "coloured pictures are shown as the weights know them"
    )
    assert len(predict(tmp_path / "run" / "package", [pictures])) == 36
    assert evaluate(tmp_path / "run" / "package", str(pictures)).metrics.images == 3


def test_grey_images_are_shown_in_colour_to_weights_that_know_it(run, trained, tmp_path):
    arguments = [*FEW, "--training.epochs", "1", "--strategy", "full", "--json"]
    weights = ["--weights", trained.package, "--out", tmp_path / "run"]
    code, out, err = run(*arguments, *weights)
    assert code == 0, err
    told = json.loads(out)
    assert told["changes"] is None
    assert told["finished_because"] == "all steps done"
    contract = load_package(tmp_path / "run" / "package").contract
    assert (contract.color_mode, contract.crop) == ("RGB", (12, 12))


@pytest.mark.parametrize("size", [8, 300])
def test_one_image_of_a_class_is_enough(size, run, draw_pictures, tmp_path):
    source = draw_pictures(tmp_path / "one", count=1, size=size)
    before = snapshot(source)
    code, out, err = run("--data", source, "--out", tmp_path / "run")
    assert code == 0, err
    assert "0 steps in" in out
    assert "the head is solved for" in out
    assert "3 images of 3 classes: linear-probe, too few" in err
    assert "no class has a second image to choose it by" in err
    assert snapshot(source) == before
    verify_folder(tmp_path / "run" / "package")


@pytest.mark.filterwarnings("ignore::resnetkit.data.seen.SeenWarning")
def test_classes_are_added_and_the_old_ones_compared(run, tmp_path):
    source, generator = tmp_path / "new", np.random.default_rng(0)
    for name, brightness in (("cross", 220), ("blank", 20)):
        (source / name).mkdir(parents=True)
        for number in range(10):
            pixels = generator.normal(brightness, 15, (8, 8)).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(source / name / f"{number}.png")
    asked = ["--data", source, "--classes", "add", "--replay", "digits", "--replay-per-class", "4"]
    code, out, err = run(*asked, *SHORT_RUN, "--out", tmp_path / "run")
    assert code == 0, err
    assert "Head kept for 10 classes, 2 added (blank, cross)" in err
    assert "Replay 40 old images are replayed (4 to 4 of each class)" in err
    assert "old classes, top-1 on the same 359 images" in out
    for name in ("Class", "Taken for new", *"0123456789", "all"):
        assert name in out

    code, out, err = run(*asked, *SHORT_RUN, "--out", tmp_path / "again", "--json")
    assert code == 0, err
    changes = json.loads(out)["changes"]
    assert [row["name"] for row in changes["per_class"]] == list("0123456789")
    written = json.loads((tmp_path / "again" / "class_changes.json").read_text())
    assert written == {"split": "test", **changes}
    names = load_package(tmp_path / "again" / "package").contract.class_names
    assert names == (*"0123456789", "blank", "cross")


@pytest.mark.filterwarnings("ignore::resnetkit.data.seen.SeenWarning")
def test_a_package_goes_on_learning_its_own_classes(run, tmp_path):
    code, out, err = run(*FEW, *SHORT_RUN, "--classes", "same", "--out", tmp_path / "run")
    assert code == 0, err
    assert "Head kept: it goes on learning its 10 classes" in err
    assert "Give the old images with --replay" in out
    assert not (tmp_path / "run" / "class_changes.json").exists()


# --- mistakes ---


def test_weights_that_are_none_are_refused(refused, digits_package, tmp_path):
    start = [*FEW, "--out", tmp_path / "run", "--weights"]
    refused([*start, tmp_path / "none"], tmp_path / "none", "there is no such file or folder")
    run_folder = digits_package.parent
    refused([*start, run_folder], "is a run folder", f"give {digits_package}")
    (tmp_path / "cut.safetensors").write_bytes(b"\x08\x00\x00\x00\x00\x00\x00\x00{}")
    refused([*start, tmp_path / "cut.safetensors"], "cut.safetensors")
    (tmp_path / "notes.txt").write_text("not weights")
    refused([*start, tmp_path / "notes.txt"], "notes.txt")
    refused([*start, "timm"], "timm")


class Malicious:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_a_pickle_that_would_run_something_is_refused(refused, tmp_path):
    torch.save({"fc.weight": Malicious(tmp_path / "ran")}, tmp_path / "weights.pth")
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(Malicious(tmp_path / "ran")))
    start = [*FEW, "--out", tmp_path / "run", "--weights"]
    refused([*start, tmp_path / "weights.pth"], "posix.mkdir", "was not done")
    refused([*start, tmp_path / "plain.pth"], "plain.pth")


def test_images_that_cannot_be_learnt_from_are_refused(refused, draw_pictures, tmp_path):
    source = draw_pictures(tmp_path / "pictures", count=4)
    start = ["--out", tmp_path / "run", "--data"]
    refused([*start, tmp_path / "none"], "none")
    refused(["--out", tmp_path / "run"], "finetune: needs --data SOURCE")
    refused([*start, source, "--shots", "9"], "data.shots 9 needs that many", "Set data.shots to")
    refused([*start, source, "--data.color-mode", "RGB"], "RGB does not fit the weights")
    for name in ("green", "red"):
        for path in (source / name).iterdir():
            path.unlink()
    refused([*start, source], "pictures", "class")
    for name in ("green", "red"):
        (source / name).rmdir()
    refused([*start, source], "there is only one class (blue); needed are two")


def test_results_have_a_place_of_their_own(refused, run, draw_pictures, digits_package, tmp_path):
    source = draw_pictures(tmp_path / "pictures", count=2)
    (tmp_path / "file").write_text("x")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    out = ["--data", source, "--out"]
    refused([*out, source / "run"], "lies in the source", "only read")
    refused([*out, tmp_path / "file"], "this is a file; give a folder")
    refused([*out, tmp_path / "full"], "is not empty and holds no run")
    refused([*out, digits_package / "run"], "lies in the source", digits_package)
    again = ["--data", "digits", "--classes", "same", "--replay", source]
    refused([*again, "--out", source / "run"], "lies in the source")
    refused([*out, digits_package.parent], "holds a run already")
    refused([*out, digits_package.parent, "--resume"], "from random weights", "`resnetkit train`")


def test_a_finetuned_run_is_not_trained_on(run, refused, capsys, tmp_path):
    settings = ["--strategy", "linear-probe", "--finetuning.views", "1"]
    assert run(*FEW, *settings, "--out", tmp_path / "run").code == 0
    before = snapshot(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        main(["train", "digits", "--data", "digits", "--out", str(tmp_path / "run"), "--resume"])
    assert stopped.value.code == 2
    assert "continue it with `resnetkit finetune`" in " ".join(capsys.readouterr().err.split())

    again = [*FEW, "--out", tmp_path / "run"]
    refused(again, "holds a run already", "--resume")
    refused(
        [*again, "--resume", "--strategy", "full"],
        "finetuning.strategy: the run has 'linear-probe', now asked 'full'",
    )
    refused([*again[:2], "--shots", "4", *again[4:], "--resume"], "data.shots: the run has 5")
    assert snapshot(tmp_path) == before
    assert run(*again, *settings, "--resume").code == 0
    assert run(*again, "--resume").code == 0, "the rest is the run's"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ["--strategy", "linear-probe", "--training.epochs", "3"],
            ["training.epochs 3.0 has no effect", "set finetuning.probe sgd"],
        ),
        (["--strategy", "linear-probe", "--optimizer.name", "adamw"], ["optimizer.name adamw has"]),
        (
            ["--strategy", "full", "--finetuning.views", "3"],
            ["views 3 has no effect with strategy"],
        ),
        (["--strategy", "full", "--finetuning.cache", "yes"], ["cache yes has no effect with str"]),
        (
            ["--strategy", "gradual", "--finetuning.cache", "yes", "--augment.mixup-alpha", "0.2"],
            ["phase from-stage3 cannot work on stored features", "mixes the images"],
        ),
        (
            [
                *("--strategy", "gradual", "--finetuning.cache", "yes"),
                *("--augment.policy", "augmix", "--training.jensen-shannon", "12"),
            ],
            [
                "phase from-stage3 cannot work on stored features",
                "compares three views of an image",
            ],
        ),
        (
            [
                *("--strategy", "linear-probe", "--augment.policy", "augmix"),
                *("--training.jensen-shannon", "12"),
            ],
            ["has no effect, because strategy linear-probe solves for the head by L-BFGS"],
        ),
        (
            ["--strategy", "lp-ft", "--finetuning.cache", "no", "--finetuning.views", "2"],
            ["finetuning.views has no effect with finetuning.cache no"],
        ),
        (["--finetuning.head", "cosine", "--finetuning.probe", "lbfgs"], ["fits a linear head"]),
        (["--classes", "add", "--finetuning.dropout", "0.5"], ["dropout has no effect with fin"]),
        (["--replay", "digits"], ["replay has no effect with finetuning.classes fresh"]),
        (["--replay-per-class", "3"], ["replay_per_class has no effect without finetuning.replay"]),
        (["--model.name", "resnet50"], ["the network is that of the weights"]),
        (
            [
                "--strategy",
                "surgical",
                "--optimizer.name",
                "muon",
                "--finetuning.batch-norm",
                "frozen",
            ],
            ["muon rescales kernels", "choose optimizer.name sgd"],
        ),
        (["--data.batch-size", "7", "--training.micro-batches", "2"], ["must divide data.batch_s"]),
        (
            ["--training.early-stopping-patience", "2", "--training.keep", "last"],
            ["contradict each other"],
        ),
        (["--strategy", "adapters", "--finetuning.adapter-rank", "4000"], ["adapter_rank"]),
        (["--time_budget_minutes", "0"], ["time_budget_minutes must be above 0"]),
        (
            ["--time_budget_minutes", "0.000001", "--strategy", "linear-probe"],
            ["even the head alone", "give at least that"],
        ),
    ],
)
def test_settings_that_contradict_each_other_or_have_no_effect(arguments, words, refused, tmp_path):
    refused([*FEW, "--out", tmp_path / "run", *arguments], *words)


def test_a_name_that_is_misspelt_is_named(run, tmp_path):
    for arguments in (["--strategy", "lpft"], ["--weight", "x"], ["--training.epoch", "3"]):
        code, out, err = run(*FEW, "--out", tmp_path / "run", *arguments)
        assert (code, out) == (2, "")
        assert arguments[0].split(".")[-1].strip("-") in err
    assert not list(tmp_path.iterdir())


# --- stopped ---


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT to raise")
@pytest.mark.parametrize("as_json", [False, True])
def test_ctrl_c_leaves_a_run_to_resume(as_json, run, tmp_path, monkeypatch):
    step = trainer.train_step

    def step_and_press(*arguments):
        report = step(*arguments)
        signal.raise_signal(signal.SIGINT)
        return report

    arguments = [*FEW, *SHORT_RUN, "--strategy", "lp-ft", "--out", tmp_path / "run"]
    arguments += ["--json"] * as_json
    with monkeypatch.context() as patch:
        patch.setattr(trainer, "train_step", step_and_press)
        code, out, err = run(*arguments)
    assert (code, out) == (130, "")
    assert "phase full stopped at step 1 of" in err
    assert "Continue with the same command and --resume" in err
    code, out, err = run(*arguments, "--resume")
    assert code == 0, err
    assert "Resuming phase full at step 1" in err


def test_a_budget_of_seconds_is_enough_for_the_head(run, tmp_path):
    code, _, err = run(*FEW, "--out", tmp_path / "run", "--time_budget_minutes", "0.05")
    assert code == 0, err
    verify_folder(tmp_path / "run" / "package")
