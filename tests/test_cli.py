"""The command line: exit codes, one clear message per mistake with nothing written, and --json."""

import errno
import json
import os
import shutil
import subprocess
import sys
from collections import namedtuple

import pytest
from safetensors import SafetensorError

from resnetkit import __main__ as start
from resnetkit import cli, pipeline
from resnetkit.cli import main
from resnetkit.models import zoo
from resnetkit.models.zoo import MODELS
from resnetkit.narration import printable
from resnetkit.recipes import RECIPES

pytestmark = pytest.mark.usefixtures("one_thread")

Outcome = namedtuple("Outcome", "code out err")
TINY = ["--data.image-size", "12", "--data.batch-size", "8", "--training.epochs", "1"]
COMMANDS = [
    "train",
    "finetune",
    "evaluate",
    "compare",
    "calibrate",
    "predict",
    "explain",
    "data",
    "import-weights",
    "models",
    "recipes",
]


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
        before = snapshot(tmp_path)
        code, out, err = run(*arguments)
        assert code == 2, err
        assert out == ""
        assert "Traceback" not in err
        assert err.count("resnetkit: ") == 1, err
        for word in words:
            assert str(word) in err, f"{word!r} is not in: {err}"
        assert snapshot(tmp_path) == before
        return err

    return run_refused


@pytest.fixture
def data(pictures, tmp_path):
    """A folder of pictures to be spoiled."""
    return shutil.copytree(pictures, tmp_path / "data")


@pytest.fixture
def package(trained, tmp_path):
    """A package to be spoiled."""
    return shutil.copytree(trained.package, tmp_path / "package")


def snapshot(folder):
    return {path: (path.stat().st_size, path.stat().st_mtime_ns) for path in folder.rglob("*")}


def train(source, tmp_path, *more):
    return ["train", "digits", "--data", source, "--out", tmp_path / "run", *TINY, *more]


# --- names ---


def test_no_arguments_show_the_usage_and_fail(run):
    code, out, _ = run()
    assert code == 2
    assert all(f"resnetkit {command}" in out for command in COMMANDS)


def test_an_unknown_command_recipe_or_network_gets_the_nearest_name(refused, tmp_path):
    refused(["trian"], "unknown command 'trian'; did you mean 'train'? Known: train, finetune")
    refused(["zzz"], "unknown command 'zzz'. Known: train")
    refused(["train", "digit", "--out", tmp_path / "run"], "did you mean 'digits'? Known: digits")
    refused(["train"], "needs a recipe first, one of digits, folder")
    refused(["train", "--out", tmp_path / "run"], "needs a recipe first")
    refused(["recipes", "foldr"], "unknown recipe 'foldr'; did you mean 'folder'?")
    refused(["models", "resnet19"], "got 'resnet19'", "did you mean 'resnet18'?")
    message = "did you mean 'digits-resnet8'?"
    refused(train("digits", tmp_path, "--model.name", "digits-resnet9"), message)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ["--training.epoch", "3"],
            ["Unrecognized options: --training.epoch", "--training.epochs"],
        ),
        (["--training.epochs", "many"], ["--training.epochs", "many", "FLOAT"]),
        (["--training.keep", "first"], ["--training.keep", "first", "best", "last"]),
        (["--training.epochs", "-1"], ["training.epochs must be above 0, got -1"]),
        (["--data.workers", "-1"], ["data.workers must be 0 or more, got -1"]),
        (["--optimizer.betas", "0.9", "0.99"], ["betas has no effect with sgd", "leave it out"]),
        (["--augment.early-size", "8"], ["only act together: give both"]),
    ],
)
@pytest.mark.parametrize("as_json", [False, True])
def test_a_wrong_setting_is_named_on_stderr_alone(run, tmp_path, arguments, words, as_json):
    code, out, err = run(*train("digits", tmp_path), *arguments, *["--json"] * as_json)
    assert (code, out) == (2, "")
    assert "Traceback" not in err
    for word in words:
        assert word in err
    assert not list(tmp_path.iterdir())


def test_what_a_command_needs_is_asked_for(run, refused, tmp_path):
    refused(["train", "folder", "--out", tmp_path / "run"], "needs --data SOURCE")
    refused(["predict", tmp_path], "predict: needs images after the package")
    for arguments, missing in [
        (["train", "digits", "--data", "digits"], "--out PATH"),
        (["evaluate"], "--data STR"),
        (["predict"], "PATH"),
    ]:
        code, out, err = run(*arguments)
        assert (code, out) == (2, "")
        assert missing in err


# --- bad data, each with nothing written ---


def test_missing_or_empty_sources(refused, tmp_path):
    refused(train(tmp_path / "none", tmp_path), "There is no file or folder", "none", "Needed is")
    refused(train("digit", tmp_path), "Did you mean 'digits'?")
    (tmp_path / "empty").mkdir()
    refused(train(tmp_path / "empty", tmp_path), "empty: there are no images in this folder")
    (tmp_path / "text" / "cat").mkdir(parents=True)
    (tmp_path / "text" / "cat" / "readme.txt").write_text("no picture")
    refused(train(tmp_path / "text", tmp_path), "no images in its 1 class folder(s)", "1 x .txt")


def test_an_empty_or_hidden_class_folder(refused, data, tmp_path):
    (data / "yellow").mkdir()
    message = "the class folder 'yellow' is empty", "add images to it or remove it"
    refused(train(data, tmp_path), data, *message)
    (data / "yellow").rmdir()
    (data / ".ipynb_checkpoints").mkdir()
    refused(train(data, tmp_path), "hidden folder '.ipynb_checkpoints'", "remove it")


def test_one_class_only(refused, data, tmp_path):
    shutil.rmtree(data / "red")
    shutil.rmtree(data / "green")
    refused(train(data, tmp_path), "only one class (blue)", "needed are two or more")


def test_a_class_that_training_lacks(refused, pictures, tmp_path):
    shutil.copytree(pictures, tmp_path / "split" / "train")
    shutil.copytree(pictures, tmp_path / "split" / "val")
    shutil.rmtree(tmp_path / "split" / "train" / "green")
    words = "val split has 1 class(es) that training lacks: 'green'", "Add training images"
    refused(train(tmp_path / "split", tmp_path), *words)


def test_unreadable_images_are_named_with_the_way_out(refused, run, data, tmp_path):
    files = sorted(data.rglob("*.png"))[:4]  # in training, whatever is held out: see below
    files[0].write_bytes(b"")
    files[1].write_bytes(files[1].read_bytes()[:-60])
    files[2].write_text("<html>404 Not Found</html>")
    arguments = train(data, tmp_path, "--data.test-fraction", "0")
    names = [f"{path.parent.name}/{path.name}" for path in files[:3]]
    refused(arguments, "3 unreadable image(s)", *names, "--data.skip_unreadable")
    code, out, err = run(*arguments, "--data.skip-unreadable", "--json")
    assert code == 0, err
    assert json.loads(out)["steps"] > 0
    assert "Skipped 3 unreadable image(s)" in err
    assert all(name in err for name in names)


# --- bad places for a run ---


def test_an_output_folder_that_holds_something_else(refused, trained, pictures, tmp_path):
    arguments = train(pictures, tmp_path)
    shutil.copytree(trained.package.parent, tmp_path / "run")
    refused(arguments, "run: this folder holds a run already", "--resume", "another folder")
    shutil.rmtree(tmp_path / "run")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").write_text("mine")
    refused(arguments, "this folder is not empty and holds no run; give another")
    refused([*arguments, "--resume"], "this folder is not empty and holds no run; give another")
    shutil.rmtree(tmp_path / "run")
    (tmp_path / "run").write_text("a file")
    refused(arguments, "run: this is a file; give a folder")


def test_an_output_folder_that_cannot_be_written(refused, pictures, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    inside = [*train(pictures, tmp_path)[:4], "--out", tmp_path / "file" / "run"]
    refused(inside, f"{tmp_path / 'file'} is a file; give a folder in another place")
    # The administrator may write everywhere; so it is the answer that is changed, not the folder.
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    refused(train(pictures, tmp_path), f"no permission to write in {tmp_path}", "another folder")


def test_a_leftover_hidden_file_does_not_bar_the_way(run, pictures, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".config.yaml.tmp-123").write_text("half a f")
    code, _, err = run(*train(pictures, tmp_path), "--resume")
    assert code == 0, err


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (["--training.seed", "3"], "training.seed: the run has 0, now asked 3"),
        (["--training.ema-decay", "None"], "training.ema_decay: the run has 0.99, now asked None"),
        (["--data.image-size", "16"], "data.image_size: the run has 12, now asked 16"),
        (["--model.name", "lenet"], "model.name: the run has 'digits-resnet8'"),
    ],
)
def test_resuming_with_other_settings(refused, run, pictures, tmp_path, change, word):
    arguments = train(pictures, tmp_path)
    assert run(*arguments).code == 0
    refused([*arguments, "--resume", *change], "cannot resume with other settings", word, "--out")


def test_resuming_with_other_data(refused, run, data, tmp_path):
    arguments = train(data, tmp_path, "--data.test-fraction", "0")
    assert run(*arguments).code == 0
    (data / "red" / "00.png").unlink()
    words = "this checkpoint was made with other data", "Resume with the same settings and data"
    err = refused([*arguments, "--resume"], *words)
    assert str(tmp_path / "run" / "checkpoints") in err


# --- bad packages ---


def test_things_that_are_no_package(refused, trained, pictures, tmp_path):
    for command in (["evaluate"], ["predict"]):
        more = ["--data", pictures] if command == ["evaluate"] else [pictures]
        (tmp_path / "model.pt").write_bytes(b"\x80\x04.")
        words = "model.pt is a pickle, which can run any program when read", "RUN/package"
        refused([*command, tmp_path / "model.pt", *more], *words)
        run_folder = trained.package.parent
        words = "is a run folder", f"give {trained.package}"
        refused([*command, run_folder, *more], *words)
        refused([*command, tmp_path / "none", *more], "none: there is no such folder")
        refused([*command, pictures, *more], "config.json and manifest.json are missing")


@pytest.mark.parametrize("part", ["model.safetensors", "config.json", "preprocessor_config.json"])
def test_a_corrupt_package_names_the_damaged_part(refused, package, pictures, part):
    content = bytearray((package / part).read_bytes())
    content[-5] ^= 1
    (package / part).write_bytes(content)
    refused(["predict", package, pictures], package, f"{part} needs", "Fetch it again")
    (package / part).unlink()
    refused(["evaluate", package, "--data", pictures], f"{part} is missing")


def test_data_of_other_classes(refused, trained, data, tmp_path):
    (data / "red").rename(data / "rose")
    arguments = ["evaluate", trained.package, "--data", data, "--out", tmp_path / "judged"]
    refused(arguments, data, "red", "rose")
    refused(["evaluate", trained.package, "--data", "digits"], "digits", "blue")


def test_a_split_or_device_that_is_not_there(refused, run, trained, pictures, tmp_path):
    shutil.copytree(pictures, tmp_path / "split" / "train")
    shutil.copytree(pictures, tmp_path / "split" / "val")
    arguments = ["evaluate", trained.package, "--data", tmp_path / "split"]
    refused(arguments, "there is no test split; the source has train, val", "--split")
    refused(["predict", trained.package, pictures, "--device", "tpu"], "got 'tpu'", "cpu")
    (tmp_path / "file").write_text("")
    words = "file: this is a file; give a folder"
    refused(["evaluate", trained.package, "--data", pictures, "--out", tmp_path / "file"], words)


def test_predict_refuses_bad_requests(refused, trained, pictures, tmp_path):
    start = ["predict", trained.package]
    refused([*start, tmp_path / "none.png"], "none.png: there is no such file or folder")
    refused([*start, pictures, "--out", tmp_path / "x.txt"], "ending in .csv, .jsonl, .parquet")
    refused([*start, pictures, "--batch-size", "0"], "batch_size must be 1 or more, got 0")


# --- what the system refuses ---


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/run/metrics.jsonl"),
            ["/run/metrics.jsonl: No space left", "Free some space", "--resume"],
        ),
        (
            SafetensorError("I/O error: No space left on device (os error 28)"),
            ["No space left", "Free some space", "--resume"],
        ),
        (
            PermissionError(errno.EACCES, os.strerror(errno.EACCES), "/data/cat"),
            ["/data/cat: Permission denied", "Check the path, its permissions"],
        ),
        (OSError("tunnel collapsed"), ["tunnel collapsed"]),
    ],
)
def test_an_error_of_the_system_is_one_message(refused, monkeypatch, tmp_path, error, words):
    def fail(*arguments, **settings):
        raise error

    monkeypatch.setattr(pipeline, "load_training_data", fail)
    refused(train("digits", tmp_path), *words)


def test_divergence_exits_with_1(run, pictures, tmp_path):
    code, out, err = run(*train(pictures, tmp_path, "--optimizer.learning-rate", "1e30"))
    assert (code, out) == (1, "")
    assert "not finite" in err
    assert "optimizer.learning_rate" in err


def test_an_interrupt_while_reading_exits_with_130(run, monkeypatch, tmp_path):
    def interrupt(*arguments, **settings):
        raise KeyboardInterrupt

    monkeypatch.setattr(pipeline, "load_training_data", interrupt)
    assert run(*train("digits", tmp_path)).code == 130
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("words", "ending"),
    [
        (["train", "digits"], "Continue with the same command and --resume"),
        (["data", "check", "x"], "The same command goes on where it stopped"),
        (["data", "split", "x"], "stopped"),
    ],
)
def test_what_is_said_of_a_stopped_command(run, monkeypatch, words, ending):
    def interrupt(arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "run", interrupt)
    code, out, err = run(*words)
    assert (code, out) == (130, "")
    assert err.strip().endswith(ending)


@pytest.mark.parametrize("words", [["--help", "--json"], ["--json"]])
def test_usage_is_json_where_asked(run, words):
    _, out, _ = run(*words)
    assert json.loads(out)["help"].startswith("resnetkit:")


def test_names_cannot_command_the_terminal():
    assert printable("cat/\x1b[31mred\n.jpg → ö") == r"cat/\x1b[31mred\n.jpg → ö"


def test_ctrl_c_during_imports_exits_with_130(monkeypatch, capsys):
    def interrupt():
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "main", interrupt)
    with pytest.raises(SystemExit) as stopped:
        start.main()
    assert stopped.value.code == 130
    assert "Traceback" not in capsys.readouterr().err


# --- what success looks like ---


@pytest.mark.parametrize("as_json", [False, True])
def test_the_whole_line(run, pictures, tmp_path, as_json):
    flag = ["--json"] * as_json
    code, trained_out, err = run(*train(pictures, tmp_path), *flag)
    assert code == 0, err
    assert "30 images to train" in err
    package = tmp_path / "run" / "package"
    evaluated = run("evaluate", package, "--data", pictures, *flag)
    one = pictures / "red" / "00.png"
    predicted = run("predict", package, one, *flag)
    assert (evaluated.code, predicted.code) == (0, 0)
    if as_json:
        outcome = json.loads(trained_out)
        assert outcome["package"] == str(package)
        assert outcome["steps"] == 3
        assert json.loads(evaluated.out)["images"] == 3
        (row,) = json.loads(predicted.out)["predictions"]
        assert row["image"] == str(one)
        assert sum(entry["probability"] for entry in row["top"]) == pytest.approx(1)
        return
    assert str(package) in trained_out
    assert "report.html" in trained_out
    assert "95 % interval" in evaluated.out
    assert "precision" in evaluated.out
    assert "probability" in predicted.out


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_predictions_go_to_a_file(run, trained, pictures, tmp_path, ending):
    out = tmp_path / "new folder" / f"predictions.{ending}"
    code, printed, _ = run("predict", trained.package, pictures, "--out", out)
    assert code == 0
    assert "36 predictions in" in printed
    assert out.stat().st_size > 0


def test_an_unreadable_picture_is_reported_and_exits_with_1(run, trained, data):
    (data / "red" / "03.png").write_bytes(b"")
    code, out, err = run("predict", trained.package, data, "--json")
    assert code == 1
    rows = json.loads(out)["predictions"]
    assert len(rows) == 36
    (failed,) = [row for row in rows if "error" in row]
    assert failed["image"].endswith("03.png")
    assert "1 image(s) could not be read" in err
    code, out, _ = run("predict", trained.package, data / "red")
    assert code == 1
    assert "unreadable" in out


def test_models_and_recipes_list_everything(run, monkeypatch):
    few = {name: MODELS[name] for name in ("lenet", "resnet18", "cifar-resnet20")}
    monkeypatch.setattr(zoo, "MODELS", few)  # the deepest take seconds to count
    rows = json.loads(run("models", "--json").out)["models"]
    assert [row["name"] for row in rows] == list(few)
    (row,) = json.loads(run("models", "resnet18", "--json").out)["models"]
    assert row["parameters"] == 11_689_512
    assert set(json.loads(run("recipes", "--json").out)["recipes"]) == set(RECIPES)
    digits = json.loads(run("recipes", "digits", "--json").out)
    assert digits["recipe"] == "digits"
    table = run("models", "resnet18").out
    assert "11,689,512" in table
    listed = run("recipes").out
    assert all(name in listed for name in RECIPES)
    assert "learning_rate: 0.1" in run("recipes", "digits").out


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_each_command(run, command):
    for flag in ("--help", "-h"):
        code, out, err = run(command, flag)
        assert (code, err) == (0, "")
        assert f"resnetkit {command}" in out
    assert all(f"resnetkit {name}" in run("--help").out for name in COMMANDS)
    assert set(cli.COMMANDS) == set(COMMANDS)


def test_every_setting_of_training_has_help(run):
    out = " ".join(run("train", "digits", "--help").out.split())
    for words in (
        "Continue the run in --out, bit for bit.",
        "Weights, order and augmentation follow from it. (default: 0)",
        "Images per optimizer step. (default: 64)",
        "Peak learning rate. (default: 0.1)",
        "Number format of convolutions; bfloat16 is autocast",
        "Share of all steps spent warming up",
        "Leave unreadable images out and list them, instead of stopping.",
        "Pad this many pixels on every side",
    ):
        assert words in out, words


def test_the_module_runs_as_a_program_and_help_needs_no_torch():
    code = (
        "import sys, runpy; sys.argv = ['resnetkit', '--help']\n"
        "try: runpy.run_module('resnetkit', run_name='__main__')\n"
        "finally: assert 'matplotlib' not in sys.modules and 'sklearn' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "resnetkit train RECIPE" in done.stdout
