"""Whole runs on generated pictures: several classes an image, soft labels, and rare classes."""

import csv
import io
import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from safetensors.numpy import load_file

from resnetkit import pipeline
from resnetkit.cli import main
from resnetkit.data.source_types import Source, Split
from resnetkit.data.sources import SOURCES
from resnetkit.export.package import load_package
from resnetkit.jsonl import load_records
from resnetkit.narration import describe_balance
from resnetkit.pipeline_evaluation import evaluate
from resnetkit.serving.predictor import Failure, load
from resnetkit.training import trainer
from resnetkit.types import UserError

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    # "all" is judged here to compare figures; the warning has its own tests.
    pytest.mark.filterwarnings("ignore::resnetkit.data.seen.SeenWarning"),
]

NAMES = ("blue", "green", "red")
# What a multi-label run needs beside its data: nothing.
SETTINGS = {"data.image_size": 12, "training.epochs": 8, "optimizer.learning_rate": 0.05}


def draw_tagged(count, seed, shares=(0.5, 0.4, 0.3)):
    """Grey pictures with a blue, a green and a red corner, each there or not: images, labels."""
    generator = np.random.default_rng(seed)
    labels = (generator.random((count, 3)) < shares).astype(np.float32)
    images = generator.normal(110, 20, (count, 3, 12, 12))
    for channel, (top, left) in enumerate(((0, 0), (0, 6), (6, 3))):
        images[:, 2 - channel, top : top + 6, left : left + 6] += (
            110 * labels[:, channel, None, None]
        )
    return np.clip(images, 0, 255).astype(np.uint8), labels


def to_png(image):
    buffer = io.BytesIO()
    Image.fromarray(image.transpose(1, 2, 0)).save(buffer, format="PNG")
    return buffer.getvalue()


def build_split(name, count, seed, *, encoded=False):
    images, labels = draw_tagged(count, seed)
    names = [f"{name}/{index:03}.png" for index in range(count)]
    if encoded:
        return Split(labels=labels, names=names, encoded=[to_png(image) for image in images])
    return Split(labels=labels, names=names, images=images)


def tagged(splits, *, encoded=False):
    """A source of several classes an image, as `SOURCES` has them."""
    counts = {"train": 96, "test": 60}
    return Source(
        location="tagged",
        class_names=NAMES,
        splits={
            name: build_split(name, counts[name], seed, encoded=encoded)
            for seed, name in enumerate(counts)
            if name in splits
        },
        present=("train", "test"),
        task="multi-label",
    )


@pytest.fixture(scope="module", autouse=True)
def sources():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SOURCES, "tagged", tagged)
        patch.setitem(SOURCES, "tagged-files", lambda splits: tagged(splits, encoded=True))
        yield


@pytest.fixture(scope="module")
def run(tiny, tmp_path_factory):
    """A finished multi-label run with what it said."""
    console = Console(file=io.StringIO(), width=200)
    out = tmp_path_factory.mktemp("tagged") / "run"
    result = pipeline.train(tiny("tagged", SETTINGS), out, console=console)
    return result, console.file.getvalue()


def weights(result):
    return load_file(result.package / "model.safetensors")


# --- several classes an image ---


def test_it_learns_and_says_mean_average_precision_everywhere(run, tmp_path):
    result, said = run
    assert "binary-cross-entropy for several classes an image" in said
    assert "mAP" in said
    out = result.package.parent
    assert "loss: binary-cross-entropy" in (out / "config.yaml").read_text(encoding="utf-8")
    validations = [r for r in load_records(out / "metrics.jsonl") if r["kind"] == "validation"]
    assert len(validations) == 8
    best = max(record["mean_average_precision"] for record in validations)
    assert result.validation is not None
    assert result.validation.score == pytest.approx(best)
    judged = evaluate(result.package, "tagged", split="test", out=tmp_path / "judged")
    assert judged.metrics.score > 0.95
    figures = json.loads((tmp_path / "judged/metrics.json").read_text(encoding="utf-8"))
    assert figures["mean_average_precision"] == judged.metrics.score
    assert [row["name"] for row in figures["per_class"]] == list(NAMES)
    for report in (result.report, judged.report):
        text = report.read_text(encoding="utf-8")
        assert "mean average precision" in text
        assert "Confusion" not in text


def test_the_package_keeps_the_task_and_refuses_data_of_the_other(run, pictures):
    result, _ = run
    package = load_package(result.package)
    assert package.contract.task == "multi-label"
    headline = package.metrics["validation"]
    assert headline["mean_average_precision"] == result.validation.score
    config = json.loads((result.package / "config.json").read_text(encoding="utf-8"))
    assert config["problem_type"] == "multi_label_classification"
    card = (result.package / "README.md").read_text(encoding="utf-8")
    assert f"{headline['mean_average_precision']:.2%}" in card
    assert "prediction.labels" in card
    with pytest.raises(UserError, match=r"several classes an image .* the data has one class an"):
        evaluate(result.package, str(pictures), split="all")


def test_a_package_of_one_class_an_image_refuses_tagged_data(trained):
    with pytest.raises(UserError, match=r"one class an image .* the data has several classes an"):
        evaluate(trained.package, "tagged", split="test")


def test_predictions_name_every_class_above_one_half(run, tmp_path):
    result, _ = run
    images, labels = draw_tagged(40, seed=9)
    folder = tmp_path / "new"
    folder.mkdir()
    for number, image in enumerate(images):
        (folder / f"{number:02}.png").write_bytes(to_png(image))
    (folder / "broken.png").write_bytes(b"no image")
    outcomes = load(result.package).predict_paths([folder])
    failure = outcomes[-1]
    assert isinstance(failure, Failure)
    right = 0
    for outcome, truth in zip(outcomes[:-1], labels, strict=True):
        assert [share for _, share in outcome.top] == sorted(
            (share for _, share in outcome.top), reverse=True
        )
        assert {name for name, _ in outcome.top} == set(NAMES)
        assert outcome.labels == tuple(name for name, share in outcome.top if share > 0.5)
        right += set(outcome.labels) == {NAMES[k] for k in np.flatnonzero(truth)}
    assert right >= 34
    assert any(len(outcome.labels) > 1 for outcome in outcomes[:-1])
    assert () in [outcome.labels for outcome in outcomes[:-1]]


def test_the_command_line_writes_labels_and_probabilities(run, tmp_path, capsys):
    result, _ = run
    images, _ = draw_tagged(3, seed=9)
    paths = [tmp_path / f"{number}.png" for number in range(3)]
    for path, image in zip(paths, images, strict=True):
        path.write_bytes(to_png(image))
    given = ["predict", str(result.package), *map(str, paths)]
    main([*given, "--out", str(tmp_path / "out.csv")])
    with (tmp_path / "out.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    heads = ["image", "error", "labels", *(f"probability_{name}" for name in NAMES)]
    assert list(rows[0]) == heads
    capsys.readouterr()
    main([*given, "--json"])
    records = json.loads(capsys.readouterr().out)["predictions"]
    for row, record in zip(rows, records, strict=True):
        assert json.loads(row["labels"]) == record["labels"]
        for name in NAMES:
            assert float(row[f"probability_{name}"]) == record["probabilities"][name]
    main(given)
    table = capsys.readouterr().out
    assert all(label in table for label in records[0]["labels"])
    main(["evaluate", str(result.package), "--data", "tagged"])
    table = capsys.readouterr().out
    assert "AP" in table
    assert "test: 60 images, mAP " in table


class Killed(BaseException):
    """Stands for kill -9: nothing may catch it."""


@pytest.mark.parametrize("source", ["tagged", "tagged-files"])
def test_a_killed_run_continues_to_the_same_bits(tiny, tmp_path, monkeypatch, source):
    changes = SETTINGS | {
        "data.source": source,
        "data.sampling": "balanced",
        "data.storage": "auto" if source == "tagged" else "files",
        "data.workers": None if source == "tagged" else 0,
        "augment.pad_crop": 1,
        "augment.mixup_alpha": 0.3,
        "training.epochs": 2,
        "training.checkpoint_seconds": 0.0,
        "training.label_smoothing": 0.05,
        "training.loss": "focal",
    }
    whole = pipeline.train(tiny(source, changes), tmp_path / "whole")
    step, steps = trainer.train_step, []

    def killed(*arguments):
        if len(steps) == 13:
            raise Killed
        steps.append(None)
        return step(*arguments)

    monkeypatch.setattr(trainer, "train_step", killed)
    with pytest.raises(Killed):
        pipeline.train(tiny(source, changes), tmp_path / "killed")
    monkeypatch.undo()
    resumed = pipeline.train(tiny(source, changes), tmp_path / "killed", resume=True)
    assert resumed.validation == whole.validation
    for name, value in weights(whole).items():
        np.testing.assert_array_equal(weights(resumed)[name], value, err_msg=name)


def test_a_loss_for_one_class_an_image_is_refused(tiny, tmp_path):
    experiment = tiny("tagged", {"training.loss": "cross-entropy"})
    with pytest.raises(UserError, match="these images may show several"):
        pipeline.train(experiment, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_class_no_picture_shows_is_told_and_the_rest_learnt(tiny, tmp_path, monkeypatch):
    def without_red(splits):
        source = tagged(splits)
        for split in source.splits.values():
            split.labels[:, 2] = 0
        return source

    monkeypatch.setitem(SOURCES, "tagged", without_red)
    experiment = tiny("tagged", SETTINGS | {"training.epochs": 1})
    with pytest.warns(UserWarning, match="no training image shows red; the network will never"):
        result = pipeline.train(experiment, tmp_path / "run")
    assert result.validation is not None
    assert result.validation.per_class[2].average_precision is None


# --- soft labels ---


def draw_soft(splits, *, hard=False):
    images, _ = draw_tagged(60, seed=3, shares=(0, 0, 0))
    numbers = np.arange(60) % 3
    images[np.arange(60), 2 - numbers] = np.minimum(images[np.arange(60), 2 - numbers] + 90, 255)
    soft = np.full((60, 3), 0.1, np.float32)
    soft[np.arange(60), numbers] = 0.8
    names = [f"{index}.png" for index in range(60)]
    labels = numbers if hard else soft
    train = Split(labels=labels.astype(np.int64) if hard else soft, names=names, images=images)
    return Source(location="soft", class_names=NAMES, splits={"train": train}, present=("train",))


def test_soft_labels_train_as_they_are_and_are_judged_by_the_largest(tiny, tmp_path, monkeypatch):
    monkeypatch.setitem(SOURCES, "soft", draw_soft)
    result = pipeline.train(tiny("soft", {"training.epochs": 10}), tmp_path / "soft")
    assert load_package(result.package).contract.task == "single-label"
    judged = evaluate(result.package, "soft", split="all")
    assert judged.metrics.top1 > 0.95
    # Targets of 0.8 teach a network to be as sure as that, and no surer.
    predictor = load(result.package)
    images = draw_soft(()).splits["train"].images
    shares = [one.probability for one in predictor.predict(list(images.transpose(0, 2, 3, 1)))]
    assert 0.6 < np.median(shares) < 0.92
    monkeypatch.setitem(SOURCES, "soft", lambda splits: draw_soft(splits, hard=True))
    sharp = pipeline.train(tiny("soft", {"training.epochs": 10}), tmp_path / "hard")
    harder = load(sharp.package).predict(list(images.transpose(0, 2, 3, 1)))
    assert np.median([one.probability for one in harder]) > np.median(shares) + 0.05


# --- rare classes ---


def draw_rare(splits):
    """Two hard classes: 300 images of one, 12 of the other; 100 of each to test on."""
    return Source(
        location="rare",
        class_names=("common", "rare"),
        splits={
            name: draw_two(counts, seed)
            for seed, (name, counts) in enumerate({"train": (300, 12), "test": (100, 100)}.items())
            if name in splits
        },
        present=("train", "test"),
    )


def draw_two(counts, seed):
    generator = np.random.default_rng(seed)
    labels = np.repeat([0, 1], counts)
    images = generator.normal(110, 40, (len(labels), 3, 12, 12))
    images[:, 0] += 7 * (2 * labels - 1)[:, None, None]
    names = [f"{seed}/{index}.png" for index in range(len(labels))]
    return Split(labels=labels, names=names, images=np.clip(images, 0, 255).astype(np.uint8))


CORRECTIONS = {
    "balanced": {"data.sampling": "balanced"},
    "inverse": {"training.class_weights": "inverse"},
    "adjusted": {"training.logit_adjustment": 1.0},
}


@pytest.fixture(scope="module")
def rare_recall(tiny, tmp_path_factory):
    """Balanced accuracy on the rare source under changes of the settings."""

    def judge(name, changes):
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(SOURCES, "rare", draw_rare)
            base = {
                "data.batch_size": 16,
                "data.validation_fraction": 0.0,
                "training.epochs": 5,
                "training.keep": "last",
                "training.ema_decay": None,
            }
            out = tmp_path_factory.mktemp("rare") / name
            result = pipeline.train(tiny("rare", base | changes), out)
            return evaluate(result.package, "rare").metrics.macro.recall

    return judge


def test_each_correction_lifts_balanced_accuracy(rare_recall):
    plain = rare_recall("plain", {})
    assert plain < 0.75
    lifted = {name: rare_recall(name, changes) for name, changes in CORRECTIONS.items()}
    assert min(lifted.values()) > plain + 0.1, (plain, lifted)


def test_what_each_correction_did_is_said(tiny, monkeypatch):
    from resnetkit.build import settle_choices
    from resnetkit.data.dataset import load_training_data

    monkeypatch.setitem(SOURCES, "rare", draw_rare)

    def describe(changes):
        experiment = tiny("rare", {"data.validation_fraction": 0.0} | changes)
        data = load_training_data(experiment.data, 12, lambda *_: None)
        return describe_balance(settle_choices(experiment, data), data)

    assert describe({}) == []
    (line,) = describe(CORRECTIONS["balanced"])
    assert line == "balanced sampling, images per epoch: common 300 → 156, rare 12 → 156"
    (line,) = describe({"data.sampling": "square-root"})
    assert line == "square-root sampling, images per epoch: common 300 → 260, rare 12 → 52"
    (line,) = describe(CORRECTIONS["inverse"])
    assert line == "class weights inverse, images count as: common 300 → 156, rare 12 → 156"
    (line,) = describe({"training.logit_adjustment": 0.5})
    assert line == "logit adjustment 0.5, as if images were: common 300 → 260, rare 12 → 52"


def test_many_classes_are_shortened(tiny):
    from resnetkit.narration import _changes

    before = np.arange(1, 11).astype(float) * 10
    said = _changes([f"c{k}" for k in range(10)], before, before[::-1] / 8)
    assert said == (
        "c9 100 → 1.2, c8 90 → 2.5, c7 80 → 3.8, … 4 more, c2 30 → 10, c1 20 → 11, c0 10 → 12"
    )


def test_two_corrections_at_once_are_refused(tiny):
    for changes in (CORRECTIONS["inverse"], CORRECTIONS["adjusted"]):
        with pytest.raises(UserError, match="correct the same imbalance twice"):
            tiny("rare", CORRECTIONS["balanced"] | changes)
    experiment = tiny("rare", CORRECTIONS["balanced"])
    assert replace(experiment).data.sampling == "balanced"
