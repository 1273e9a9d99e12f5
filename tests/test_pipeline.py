"""The whole line on tiny pictures: train, judge, predict; what is kept, what is never read."""

import hashlib
import io
import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

from resnetkit import pipeline
from resnetkit.build import build_loader
from resnetkit.cli import main
from resnetkit.config import from_dict
from resnetkit.data import soundness
from resnetkit.data.dataset import load_evaluation_split, load_training_data
from resnetkit.data.manifest_table import read_manifest_table
from resnetkit.data.manifest_writer import write_manifest_table
from resnetkit.data.opening import DescribedSource
from resnetkit.data.past import DealtSource, Past
from resnetkit.data.sources import load_source
from resnetkit.data.split_plan import SplitPlan
from resnetkit.data.splits import cut_source
from resnetkit.data.splitting import split_source
from resnetkit.experiment import Experiment, load_run
from resnetkit.export.package import load_package
from resnetkit.jsonl import load_records
from resnetkit.pipeline_evaluation import evaluate
from resnetkit.serving.predictor import load
from resnetkit.types import CheckFailed, UserError

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    # "all" is judged here to compare figures; the warning has its own tests.
    pytest.mark.filterwarnings("ignore::resnetkit.data.seen.SeenWarning"),
]


def cut(source, config):
    fractions = (config.validation_fraction, config.test_fraction)
    return cut_source(source, *fractions, config.split_seed)


def weights_hash(run):
    return hashlib.sha256((run / "package" / "model.safetensors").read_bytes()).hexdigest()


def quiet(what, done, total):
    """Progress that nobody watches."""


def spoil(folder, names):
    for name in names:
        (folder / name).write_bytes(b"not an image")


# --- what a run leaves ---


def test_a_run_folder_holds_what_the_contract_promises(trained):
    run = trained.package.parent
    assert trained.report == run / "report.html"
    kept = {"config.yaml", "metrics.jsonl", "checkpoints", "package", "report.html", "tensorboard"}
    assert {path.name for path in run.iterdir()} == kept
    assert 1 <= len(list((run / "checkpoints").glob("step-*"))) <= 2
    assert not list(run.rglob("*.tmp*"))
    events = list((run / "tensorboard").glob("events*"))
    assert events
    assert all(path.stat().st_size > 200 for path in events)


def test_metrics_file_has_a_line_per_logged_step_and_per_validation(trained):
    records = load_records(trained.package.parent / "metrics.jsonl")
    steps = [record for record in records if record["kind"] == "train"]
    validations = [record for record in records if record["kind"] == "validation"]
    assert len(steps) + len(validations) == len(records)
    assert [record["step"] for record in steps] == list(range(2, trained.steps + 1, 2))
    assert [record["epoch"] for record in validations] == list(range(5))
    assert steps[0].keys() == {
        "kind",
        "epoch",
        "step",
        "loss",
        "learning_rate",
        "images_per_second",
    }
    assert validations[0].keys() >= {"epoch", "step", "train_loss", "loss", "top1", "improved"}
    assert all(record["images_per_second"] > 0 for record in steps)
    assert steps[-1]["loss"] < steps[0]["loss"]


def test_the_report_is_one_file_that_needs_nothing_else(trained):
    text = trained.report.read_text(encoding="utf-8")
    for name in ("blue", "green", "red", "digits-resnet8"):
        assert name in text
    links = re.findall(r"""(?:src|href)\s*=\s*["']?([^"'\s>]+)""", text)
    assert not [link for link in links if not link.startswith(("data:", "#"))]
    assert "@import" not in text
    assert "url(http" not in text


def test_the_network_learned_and_the_package_says_how_well(trained, pictures):
    result = evaluate(trained.package, str(pictures), split="all")
    assert result.metrics.images == 36
    assert result.metrics.top1 >= 0.9
    package = load_package(trained.package)
    assert trained.validation is not None
    assert package.metrics["validation"] == trained.validation.headline()
    assert package.provenance["data"]["images"] == {"train": 30, "validation": 3, "test": 3}
    assert package.provenance["steps"] == trained.steps == 15


def test_an_evaluation_writes_its_figures_and_report(trained, pictures, tmp_path):
    result = evaluate(trained.package, str(pictures), out=tmp_path / "test")
    figures = json.loads((tmp_path / "test" / "metrics.json").read_text())
    assert figures["split"] == "test"
    assert figures["top1"] == result.metrics.top1
    assert figures["images"] == 3
    assert result.report == tmp_path / "test" / "report.html"
    assert "confusion" in result.report.read_text(encoding="utf-8").lower()


# --- the same figures wherever an image enters (Must show 5) ---


@pytest.fixture(scope="module")
def photographs(draw_pictures, tmp_path_factory):
    return draw_pictures(tmp_path_factory.mktemp("photos"), count=24, size=160, ending="jpg")


@pytest.fixture(scope="module")
def photograph_package(photographs, tiny, tmp_path_factory):
    changes = {"augment.pad_crop": 0, "augment.resized_crop_scale": (0.5, 1.0), "data.workers": 0}
    experiment = tiny(photographs, {**changes, "training.epochs": 2})
    result = pipeline.train(experiment, tmp_path_factory.mktemp("photo-run") / "run")
    saved = from_dict(Experiment, load_package(result.package).provenance["experiment"], "")
    assert saved.data.storage == "files"
    return result.package


@pytest.mark.parametrize("kind", ["png", "jpg"])
def test_one_image_gives_one_answer_everywhere(kind, request, capsys):
    if kind == "png":
        folder = request.getfixturevalue("pictures")
        package = request.getfixturevalue("trained").package
    else:
        folder = request.getfixturevalue("photographs")
        package = request.getfixturevalue("photograph_package")
    files = sorted(folder.rglob(f"*.{kind}"))
    files = (files * (64 // len(files) + 1))[:64]
    predictor = load(package)
    whole = predictor.predict(files, batch_size=64)
    alone = predictor.predict(files, batch_size=1)
    main(["predict", str(package), *map(str, files), "--json"])
    printed = json.loads(capsys.readouterr().out)["predictions"]
    in_memory = predictor.predict([path.read_bytes() for path in files])
    pillow = predictor.predict([Image.open(io.BytesIO(path.read_bytes())) for path in files])
    for index, reference in enumerate(whole):
        top = dict(reference.top)
        assert [printed[index]["label"]] == [reference.label]
        shown = {entry["label"]: entry["probability"] for entry in printed[index]["top"]}
        for other in (shown, *(dict(rows[index].top) for rows in (alone, in_memory, pillow))):
            assert other == pytest.approx(top, abs=1e-5)
    assert len({prediction.label for prediction in whole}) > 1


@pytest.mark.parametrize("storage", ["memory", "files"])
def test_judging_and_predicting_show_the_network_the_same(
    storage, photographs, photograph_package, change
):
    package = load_package(photograph_package)
    experiment = from_dict(Experiment, package.provenance["experiment"], "")
    experiment = change(experiment, {"data.storage": storage})
    past = Past(contract=package.contract)
    split = load_evaluation_split([DealtSource(config=experiment.data)], "all", past, quiet)
    batches = build_loader(experiment, split, package.contract, shuffle=False)
    judged = pipeline.judge(package.model, split, package.contract, batches)
    probabilities = torch.from_numpy(judged.logits).double().softmax(1).numpy()
    predictions = load(photograph_package).predict([photographs / name for name in split.names])
    names = package.contract.class_names
    for row, prediction in zip(probabilities, predictions, strict=True):
        assert prediction.label == names[int(row.argmax())]
        assert dict(prediction.top) == pytest.approx(dict(zip(names, row, strict=True)), abs=1e-5)


def test_memory_and_files_train_on_the_same_pixels(photographs, tiny):
    splits = {}
    for storage in ("memory", "files"):
        experiment = tiny(photographs, {"data.storage": storage})
        data = load_training_data(experiment.data, 8, quiet)
        batches = build_loader(experiment, data.validation, data.contract, shuffle=False)
        splits[storage] = torch.cat([batch.images for batch in batches.batches(0)])
    assert torch.equal(splits["memory"], splits["files"])


# --- bit for bit (Must show 4) ---


def test_one_seed_gives_the_same_bits_and_another_does_not(trained, pictures, tiny, tmp_path):
    pipeline.train(tiny(pictures), tmp_path / "again")
    assert weights_hash(tmp_path / "again") == weights_hash(trained.package.parent)
    pipeline.train(tiny(pictures, {"training.seed": 1}), tmp_path / "other")
    assert weights_hash(tmp_path / "other") != weights_hash(trained.package.parent)


def test_every_augmentation_runs_and_repeats(pictures, tiny, tmp_path):
    changes = {
        "training.epochs": 1,
        "augment.horizontal_flip": True,
        "augment.resized_crop_scale": (0.5, 1.0),
        "augment.color_jitter": 0.3,
        "augment.policy": "randaugment",
        "augment.cutout": 3,
        "augment.mixup_alpha": 0.2,
        "augment.cutmix_alpha": 1.0,
    }
    for name in ("one", "two"):
        pipeline.train(tiny(pictures, changes), tmp_path / name)
    assert weights_hash(tmp_path / "one") == weights_hash(tmp_path / "two")


def test_resuming_a_finished_run_changes_nothing(pictures, tiny, tmp_path):
    changes = {"training.epochs": 2}
    first = pipeline.train(tiny(pictures, changes), tmp_path / "run")
    before = weights_hash(tmp_path / "run")
    records = (tmp_path / "run" / "metrics.jsonl").read_text()
    again = pipeline.train(tiny(pictures, changes), tmp_path / "run", resume=True)
    assert weights_hash(tmp_path / "run") == before
    assert (tmp_path / "run" / "metrics.jsonl").read_text() == records
    assert again.steps == first.steps


# --- the test split belongs to evaluate ---


def test_training_reads_no_test_image_of_a_folder_with_splits(
    pictures, tiny, draw_pictures, tmp_path
):
    for split in ("train", "test"):
        shutil.copytree(pictures, tmp_path / "data" / split)
    broken = sorted((tmp_path / "data" / "test").rglob("*.png"))
    spoil(tmp_path, broken)
    pipeline.train(tiny(tmp_path / "data", {"training.epochs": 1}), tmp_path / "run")
    with pytest.raises(UserError, match="36 unreadable"):
        evaluate(tmp_path / "run" / "package", str(tmp_path / "data"))


def test_training_reads_no_image_that_it_held_out_for_testing(pictures, tiny, tmp_path):
    shutil.copytree(pictures, tmp_path / "data")
    experiment = tiny(tmp_path / "data", {"training.epochs": 1})
    source = load_source(str(tmp_path / "data"), ("train",))
    held_out = cut(source, experiment.data)["test"].names
    assert len(held_out) == 3
    spoil(tmp_path / "data", held_out)
    result = pipeline.train(experiment, tmp_path / "run")
    with pytest.raises(UserError, match="3 unreadable") as caught:
        evaluate(result.package, str(tmp_path / "data"), split="test")
    assert all(name in str(caught.value) for name in held_out)
    assert evaluate(result.package, str(tmp_path / "data"), split="val").metrics.images


def test_a_changed_source_is_not_cut_again(pictures, trained, tmp_path):
    """One more picture could deal training pictures into the test split: refused, never guessed."""
    shutil.copytree(pictures, tmp_path / "data")
    source = str(tmp_path / "data")
    same = evaluate(trained.package, source, split="test")
    assert same.metrics.images == 3
    first = sorted((tmp_path / "data").rglob("*.png"))[0]
    shutil.copy(first, first.with_name("000-new.png"))
    with pytest.raises(UserError, match="not the pictures this package was trained on, or some"):
        evaluate(trained.package, source, split="test")
    assert evaluate(trained.package, source, split="all").metrics.images == 37


def test_evaluate_cuts_as_training_cut(pictures, trained):
    package = load_package(trained.package)
    config = from_dict(Experiment, package.provenance["experiment"], "").data
    data = load_training_data(config, 12, quiet)
    assert data.digest == package.provenance["data"]["digest"]
    dealt, past = DealtSource(config=config), Past(contract=package.contract)
    names = {
        split: set(load_evaluation_split([dealt], split, past, quiet).names)
        for split in ("train", "val", "test")
    }
    assert names["train"] == set(data.train.names)
    assert data.validation is not None
    assert names["val"] == set(data.validation.names)
    assert not names["test"] & (names["train"] | names["val"])
    assert len(set.union(*names.values())) == 36


# --- settings and what they do ---


def test_early_stopping_ends_the_run(pictures, tiny, tmp_path):
    changes = {
        "training.epochs": 200,
        "training.early_stopping_patience": 2,
        "optimizer.learning_rate": 0.2,
    }
    result = pipeline.train(tiny(pictures, changes), tmp_path / "run")
    assert result.finished_because == "early stopping: 2 validations without a better one"
    assert result.steps < 600
    records = load_records(tmp_path / "run" / "metrics.jsonl")
    improved = [record["improved"] for record in records if record["kind"] == "validation"]
    assert improved[-3:] == [True, False, False]


def test_a_time_budget_shortens_run_and_schedule_and_can_be_resumed(pictures, tiny, tmp_path):
    experiment = tiny(pictures, {"training.epochs": 100_000, "training.time_budget_minutes": 0.02})
    result = pipeline.train(experiment, tmp_path / "run")
    saved = load_run(tmp_path / "run", experiment, resume=True)
    assert saved is not None
    assert saved.training.epochs is not None
    assert 1 <= saved.training.epochs < 100_000
    assert result.steps <= round(saved.training.epochs * 3)
    again = pipeline.train(experiment, tmp_path / "run", resume=True)
    assert again.steps == result.steps


def test_a_time_budget_below_one_epoch_is_refused(pictures, tiny, tmp_path):
    experiment = tiny(pictures, {"training.time_budget_minutes": 1e-6})
    with pytest.raises(UserError, match=r"time_budget_minutes is 1e-06, but one epoch takes"):
        pipeline.train(experiment, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_time_budget_in_steps_can_be_resumed(pictures, tiny, tmp_path):
    changes = {
        "training.epochs": None,
        "training.steps": 100_000,
        "training.time_budget_minutes": 0.01,
    }
    experiment = tiny(pictures, changes)
    pipeline.train(experiment, tmp_path / "run")
    assert load_run(tmp_path / "run", experiment, resume=True) is not None


@pytest.mark.parametrize("storage", ["memory", "files"])
def test_unreadable_images_stop_training_or_are_skipped_and_listed(
    storage, pictures, tiny, tmp_path
):
    shutil.copytree(pictures, tmp_path / "data")
    changes = {"training.epochs": 1, "data.storage": storage}
    changes |= {} if storage == "memory" else {"data.workers": 0}
    experiment = tiny(tmp_path / "data", changes)
    source = load_source(str(tmp_path / "data"), ("train",))
    splits = cut(source, experiment.data)
    broken = [splits["train"].names[0], splits["train"].names[7], splits["val"].names[0]]
    spoil(tmp_path / "data", broken)
    with pytest.raises(UserError, match="3 unreadable") as caught:
        pipeline.train(experiment, tmp_path / "run")
    assert all(name in str(caught.value) for name in broken)
    assert "--data.skip_unreadable" in str(caught.value)
    assert not (tmp_path / "run").exists()

    said = io.StringIO()
    skipping = tiny(tmp_path / "data", {**changes, "data.skip_unreadable": True})
    result = pipeline.train(skipping, tmp_path / "run", console=Console(file=said, width=200))
    provenance = load_package(result.package).provenance
    report = result.report.read_text(encoding="utf-8")
    for name in broken:
        assert name in said.getvalue()
        assert name in report
        assert any(name in line for line in provenance["data"]["skipped"])
    assert provenance["data"]["images"]["train"] == 28


def test_keep_best_and_keep_last(pictures, tiny, tmp_path):
    kept = {}
    for keep in ("best", "last"):
        changes = {"training.keep": keep, "training.epochs": 6, "optimizer.learning_rate": 0.3}
        result = pipeline.train(tiny(pictures, changes), tmp_path / keep)
        package = load_package(result.package)
        kept[keep] = package.provenance["kept_step"]
        records = load_records(tmp_path / keep / "metrics.jsonl")
        validations = {r["step"]: r for r in records if r["kind"] == "validation"}
        judged = validations[kept[keep]]
        assert package.metrics["validation"]["top1"] == pytest.approx(judged["top1"])
        assert package.metrics["validation"]["loss"] == pytest.approx(judged["loss"], rel=1e-4)
        improved = [step for step, record in validations.items() if record["improved"]]
        assert kept[keep] == (improved[-1] if keep == "best" else result.steps)


def test_without_validation_images_the_last_weights_are_kept(pictures, tiny, tmp_path):
    changes = {"data.validation_fraction": 0.0, "training.epochs": 2, "training.keep": "last"}
    result = pipeline.train(tiny(pictures, changes), tmp_path / "run")
    assert result.validation is None
    records = load_records(tmp_path / "run" / "metrics.jsonl")
    assert {record["kind"] for record in records} == {"train"}
    package = load_package(result.package)
    assert package.metrics == {}
    assert package.provenance["data"]["images"] == {"train": 33, "test": 3}
    assert evaluate(result.package, str(pictures)).metrics.images == 3


def test_the_best_weights_cannot_be_kept_without_validation_images(pictures, tiny, tmp_path):
    with pytest.raises(UserError, match="needs validation images"):
        pipeline.train(tiny(pictures, {"data.validation_fraction": 0.0}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_grey_folder_trains_a_grey_network(draw_pictures, tiny, tmp_path):
    folder = draw_pictures(tmp_path / "grey", mode="L")
    result = pipeline.train(tiny(folder, {"training.epochs": 1}), tmp_path / "run")
    contract = load_package(result.package).contract
    assert (contract.color_mode, contract.channels) == ("L", 1)
    color = np.full((12, 12, 3), (40, 60, 210), np.uint8)
    assert load(result.package).predict(color)[0].label in contract.class_names


def test_a_network_that_diverges_stops_with_its_last_checkpoint(pictures, tiny, tmp_path):
    changes = {"optimizer.learning_rate": 1e30, "training.checkpoint_seconds": 0.0}
    with pytest.raises(CheckFailed, match=r"not finite.*learning_rate"):
        pipeline.train(tiny(pictures, changes), tmp_path / "run")
    assert not (tmp_path / "run" / "package").exists()


def test_workers_are_decided_and_saved_where_files_are_decoded(photographs, tiny, tmp_path):
    experiment = tiny(photographs, {"training.steps": 1, "training.epochs": None})
    pipeline.train(experiment, tmp_path / "run")
    saved = load_run(tmp_path / "run", experiment, resume=True)
    assert saved is not None
    text = (tmp_path / "run" / "config.yaml").read_text()
    assert re.search(r"workers: [1-8]\n", text)


# --- manifests ---


def split_by_manifest(source, out, **plan):
    return split_source(str(source), out, SplitPlan(**plan), progress=quiet).manifest


def under(manifest, tiny, source, changes=None):
    return tiny(source, {"data.manifest": str(manifest), "training.epochs": 1, **(changes or {})})


@pytest.fixture(scope="module")
def described(pictures, tiny, tmp_path_factory):
    """A run on `pictures` under a manifest that excludes one and corrects another."""
    folder = tmp_path_factory.mktemp("described")
    manifest = split_by_manifest(pictures, folder / "m.parquet", ratios=(0.5, 0.25, 0.25))
    table = read_manifest_table(manifest)
    exclude, labels = table.exclude.copy(), table.labels.copy()
    first, second = np.flatnonzero(table.splits == 0)[:2]
    exclude[first], labels[second] = True, (labels[second] + 1) % 3
    write_manifest_table(manifest, replace(table, exclude=exclude, labels=labels))
    return pipeline.train(under(manifest, tiny, pictures), folder / "run"), manifest


def test_a_manifest_decides_what_is_trained_on_and_judged(described, pictures, tiny):
    result, manifest = described
    recorded = load_package(result.package).provenance["data"]
    table = read_manifest_table(manifest)
    kept = np.bincount(table.splits[~table.exclude])
    counts = {"train": kept[0], "validation": kept[1], "test": kept[2]}
    assert recorded["images"] == counts
    assert sum(kept) == 35
    assert recorded["manifest"] == hashlib.sha256(manifest.read_bytes()).hexdigest()
    for split, number in (("test", 2), ("val", 1), ("train", 0)):
        judged = evaluate(result.package, str(pictures), split=split)
        assert judged.metrics.images == kept[number]
    assert evaluate(result.package, str(pictures), split="all").metrics.images == 36
    data = load_training_data(under(manifest, tiny, pictures).data, 12, quiet)
    first, second = (table.paths[int(row)] for row in np.flatnonzero(table.splits == 0)[:2])
    assert first not in data.train.names
    place = list(data.train.names).index(second)
    own = ["blue", "green", "red"].index(second.split("/")[0])
    assert data.train.labels[place] == (own + 1) % 3


def test_evaluation_refuses_a_manifest_that_is_gone_or_deals_otherwise(
    described, pictures, tmp_path
):
    result, manifest = described
    moved, source = tmp_path / "moved.parquet", str(pictures)
    table = read_manifest_table(manifest)
    shutil.move(manifest, moved)
    try:
        with pytest.raises(UserError, match="with this manifest, which is not there any more"):
            evaluate(result.package, source)
        given = DescribedSource(location=source, manifest=str(moved))
        assert evaluate(result.package, given).metrics.images == 9
        write_manifest_table(manifest, replace(table, notes={"edited": 1}))
        with pytest.raises(UserError, match="which has changed since"):
            evaluate(result.package, source)
        other = split_by_manifest(pictures, tmp_path / "o.parquet", seed=5)
        given = DescribedSource(location=source, manifest=str(other))
        with pytest.raises(UserError, match="not the pictures this package was trained on"):
            evaluate(result.package, given)
        labels = np.where(table.splits == 2, (table.labels + 1) % 3, table.labels)
        corrected = tmp_path / "c.parquet"  # other labels for testing: what is judged stays unseen
        write_manifest_table(corrected, replace(table, labels=labels))
        given = DescribedSource(location=source, manifest=str(corrected))
        assert evaluate(result.package, given).metrics.images == 9
    finally:
        shutil.copy(moved, manifest)


def test_another_source_is_judged_as_it_stands(described, pictures, tmp_path):
    result, _ = described
    shutil.copytree(pictures, tmp_path / "data" / "test")
    for path in (tmp_path / "data").rglob("*.png"):  # others than it was trained on
        Image.open(path).transpose(Image.Transpose.FLIP_TOP_BOTTOM).save(path)
    assert evaluate(result.package, str(tmp_path / "data")).metrics.images == 36


def test_resume_goes_by_the_manifest_s_content(described, pictures, tiny, tmp_path):
    result, manifest = described
    run, moved = tmp_path / "run", tmp_path / "moved.parquet"
    shutil.copytree(result.package.parent, run)
    shutil.copy(manifest, moved)
    assert pipeline.train(under(moved, tiny, pictures), run, resume=True).steps == result.steps
    table = read_manifest_table(manifest)
    write_manifest_table(moved, replace(table, findings=[("near-duplicate",)] * 36))
    with pytest.raises(UserError, match="data"):
        pipeline.train(under(moved, tiny, pictures), run, resume=True)
    with pytest.raises(UserError, match=r"data\.fold"):
        pipeline.train(under(manifest, tiny, pictures, {"data.fold": 1}), run, resume=True)


def test_soft_labels_and_folds_train(pictures, tiny, tmp_path):
    manifest = split_by_manifest(pictures, tmp_path / "m.parquet", folds=3, ratios=(1, 0, 0))
    table = read_manifest_table(manifest)
    soft = np.full((36, 3), 0.05, np.float32)
    soft[np.arange(36), table.labels] = 0.9
    write_manifest_table(tmp_path / "soft.parquet", replace(table, soft_labels=soft))
    experiment = under(tmp_path / "soft.parquet", tiny, pictures, {"data.fold": 2})
    data = load_training_data(experiment.data, 12, quiet)
    assert data.train.labels.dtype == np.float32
    assert len(data.validation) == 12
    result = pipeline.train(experiment, tmp_path / "run")
    assert result.validation is not None
    assert evaluate(result.package, str(pictures), split="val").metrics.images == 12
    with pytest.raises(UserError, match=r"data\.fold 0 needs a manifest with a column fold"):
        load_training_data(tiny(pictures, {"data.fold": 0}).data, 12, quiet)


def test_a_changed_file_stops_training_and_evaluation(pictures, tiny, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(pictures, data)
    manifest = split_by_manifest(data, tmp_path / "m.parquet")
    result = pipeline.train(under(manifest, tiny, data), tmp_path / "run")
    table = read_manifest_table(manifest)
    tested = table.paths[int(np.flatnonzero(table.splits == 2)[0])]
    Image.fromarray(np.zeros((12, 12, 3), np.uint8)).save(data / tested)
    with pytest.raises(UserError, match=rf"1 image\(s\) have changed .*{tested}"):
        evaluate(result.package, str(data))
    trained_on = table.paths[int(np.flatnonzero(table.splits == 0)[0])]
    Image.fromarray(np.zeros((12, 12, 3), np.uint8)).save(data / trained_on)
    with pytest.raises(UserError, match=rf"1 image\(s\) have changed .*{trained_on}"):
        pipeline.train(under(manifest, tiny, data), tmp_path / "again")


def test_a_damaged_image_beyond_the_sample_is_named_when_its_turn_comes(
    pictures, tiny, tmp_path, monkeypatch
):
    monkeypatch.setattr(soundness, "WHOLE_CHECK", 4)
    data = tmp_path / "data"
    shutil.copytree(pictures, data)
    files = {"data.storage": "files", "data.validation_fraction": 0.0, "data.test_fraction": 0.0}
    changes = {**files, "training.epochs": 1, "training.keep": "last", "data.workers": 1}
    spoil(data, ["green/05.png"])
    said = io.StringIO()
    with pytest.raises(UserError) as caught:
        pipeline.train(tiny(data, changes), tmp_path / "run", console=Console(file=said))
    assert str(caught.value).startswith("Cannot read image 'green/05.png': it is not a whole image")
    assert "Traceback" not in str(caught.value)
    assert "all but 32 images" in said.getvalue()
    skipping = tiny(data, {**changes, "data.skip_unreadable": True, "data.workers": 0})
    result = pipeline.train(skipping, tmp_path / "skipped")
    assert load_package(result.package).provenance["data"]["images"]["train"] == 35
