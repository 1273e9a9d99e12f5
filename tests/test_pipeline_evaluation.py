"""A report on a tiny package: every part of it there, atomically, and refused what must be."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from resnetkit import evaluation_inputs, pipeline, pipeline_evaluation
from resnetkit.data.manifest_table import read_manifest_table
from resnetkit.data.opening import DescribedSource
from resnetkit.data.seen import SeenWarning
from resnetkit.data.sources import load_source
from resnetkit.evaluation.attacks import AttackConfig
from resnetkit.evaluation.calibration import Calibration
from resnetkit.evaluation.calibration_error import measure_calibration
from resnetkit.evaluation.confidence import Confidence, FittedOn
from resnetkit.evaluation.corruptions.settings import CorruptionConfig
from resnetkit.evaluation.evaluate import evaluate as run_evaluation
from resnetkit.evaluation_options import EvaluationOptions
from resnetkit.export.package import load_package
from resnetkit.gate_knowledge import know_gate, load_learnt
from resnetkit.judging import answer, open_subject, predict_of
from resnetkit.measuring import attack, look_several_times, measure_robustness
from resnetkit.pipeline_comparison import compare
from resnetkit.pipeline_evaluation import evaluate
from resnetkit.pipeline_trust import MapRequest
from resnetkit.training.observers import ReadingBar
from resnetkit.types import UserError

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("ignore::resnetkit.data.seen.SeenWarning"),
]
FILES = {"label_errors.csv", "manifest.json", "metrics.json", "report.html", "report.md"}


TEST_IMAGES = len(load_source("digits", ("test",)).splits["test"])


def silent(what, done, total):
    """Progress that nobody watches."""


@pytest.fixture(scope="module")
def report(learnt_digits, tmp_path_factory):
    """The folder of a report with all that is cheap, and with all that a tiny network can bear."""
    out = tmp_path_factory.mktemp("report") / "out"
    evaluate(
        learnt_digits,
        "digits",
        out=out,
        options=EvaluationOptions(
            test_time="multi-scale",
            corruptions=CorruptionConfig(names=("contrast", "jpeg_compression"), images=20),
            attacks=AttackConfig(images=12, epsilons=(4.0,), steps=2, restarts=1),
            strangers=str(draw_strangers(tmp_path_factory.mktemp("strangers") / "s")),
        ),
    )
    return out


def draw_strangers(folder: Path) -> Path:
    from PIL import Image

    generator = np.random.default_rng(1)
    for name in ("noise", "more"):
        (folder / name).mkdir(parents=True)
        for number in range(15):
            pixels = generator.integers(0, 255, (9, 9, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def figures(report):
    return json.loads((report / "metrics.json").read_text(encoding="utf-8"))


def test_a_report_is_whole_and_every_part_is_in_its_figures(report, figures):
    assert {path.name for path in report.iterdir()} == FILES
    assert not list(report.parent.glob(".*"))
    parts = ("reliability", "answering", "mistakes", "slices", "suspects", "gate", "strangers")
    more = ("robustness", "attacks", "inside", "feature_map", "test_time", "speed")
    for name in (*parts, *more):
        assert figures[name], name
    assert figures["images"] == TEST_IMAGES
    html = (report / "report.html").read_text(encoding="utf-8")
    for title in (
        "Calibration",
        "When not to answer",
        "Worst errors",
        "Slices",
        "Likely label errors",
        "What the data gate knows",
        "Inside the network",
        "Several looks",
        "Speed and size",
    ):
        assert title in html, title
    assert "gradcam" in html


def test_its_figures_are_those_of_the_package_itself(figures, learnt_digits):
    plain = evaluate(learnt_digits, "digits")
    assert plain.report is None
    assert figures["top1"] == plain.metrics.score
    assert figures["reliability"]["before"]["brier"] == pytest.approx(plain.calibration.brier) or (
        figures["reliability"]["after"]["brier"] == pytest.approx(plain.calibration.brier)
    )
    assert figures["made"]["package"] == str(learnt_digits)
    assert figures["speed"]["package_bytes"] > 10_000
    assert {one["column"] for one in figures["slices"]} == {"brightness", "contrast", "sharpness"}


def test_every_likely_label_error_is_listed(report, figures):
    with (report / "label_errors.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == figures["suspects"]["found"]
    margins = [float(row["margin"]) for row in rows]
    assert margins == sorted(margins, reverse=True)


def test_an_interrupted_evaluation_leaves_what_was_there(learnt_digits, tmp_path, monkeypatch):
    out = tmp_path / "out"
    without = ("maps", "inside", "feature-map", "speed", "slices", "label-errors")
    options = EvaluationOptions(without=without)
    evaluate(learnt_digits, "digits", out=out, options=options)
    before = {path.name: path.read_bytes() for path in out.iterdir()}

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(pipeline_evaluation, "write_reports", stop)
    with pytest.raises(KeyboardInterrupt):
        evaluate(learnt_digits, "digits", out=out, options=options)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    assert not list(tmp_path.glob(".*"))


def test_parts_that_are_left_out_are_not_there(learnt_digits, tmp_path):
    options = EvaluationOptions(
        without=("maps", "label-errors", "slices", "gate", "inside", "feature-map", "speed")
    )
    evaluate(learnt_digits, "digits", out=tmp_path / "out", options=options)
    found = json.loads((tmp_path / "out" / "metrics.json").read_text(encoding="utf-8"))
    assert not {"slices", "gate", "inside", "feature_map", "speed", "suspects"} & set(found)
    assert not (tmp_path / "out" / "label_errors.csv").exists()


def test_a_place_with_other_files_is_refused_before_anything_is_read(
    learnt_digits, tmp_path, monkeypatch
):
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
    monkeypatch.setattr(pipeline_evaluation, "load_package", None)
    with pytest.raises(UserError, match=r"found notes\.txt in it"):
        evaluate(learnt_digits, "digits", out=tmp_path)
    with pytest.raises(UserError, match="sealed"):
        evaluate(learnt_digits, "digits", out=learnt_digits / "report")


# --- one pass ---


@pytest.fixture(scope="module")
def subject(learnt_digits):
    package = load_package(learnt_digits)
    asked = DescribedSource(location="digits")
    return open_subject(learnt_digits, package, asked, "test", silent)


def test_one_pass_gives_logits_features_and_statistics(subject):
    rows = np.array([3, 100, TEST_IMAGES - 1])
    answers = answer(subject, silent, rows, statistics=True)
    logits, _, _ = run_evaluation(predict_of(subject), subject.batches().batches(0))
    np.testing.assert_array_equal(answers.logits, logits)
    head = subject.network.parts()["head"]
    assert answers.features.shape == (3, head[-1].weight.shape[1])
    assert {len(values) for values in answers.statistics.values()} == {TEST_IMAGES}
    chosen = answer(replace(subject, images=subject.images.subset(rows)), silent, np.arange(3))
    np.testing.assert_allclose(chosen.features, answers.features, atol=1e-5)


def test_scales_are_read_from_the_source_and_flip_from_the_same_images(subject):
    for kind in ("flip", "multi-scale"):
        logits = look_several_times(subject, kind, silent)
        assert logits.shape == (TEST_IMAGES, 10)
        right = (logits.argmax(1) == subject.images.labels).mean()
        assert right > 0.3  # of digits that are mirrored, or of up to 23 pixels rather than 8


def test_everything_is_judged_by_the_answers_that_predict_gives(subject):
    """Vector scaling that never says 3: what takes more passes must not say it either."""
    bias = tuple(-100.0 if number == 3 else 0.0 for number in range(10))
    scaled = Calibration(temperature=2.0, scale=(0.5,) * 10, bias=bias)
    fitted = measure_calibration(np.eye(10, dtype="f4"), np.arange(10), "single-label")
    source = FittedOn(
        source="digits", split="val", images=10, measured="held-out", before=fitted, after=fitted
    )
    package = replace(subject.package, confidence=Confidence(calibration=scaled, fitted_on=source))
    few = replace(subject, package=package, images=subject.images.subset(np.arange(60)))
    answers = answer(few, silent)
    assert (answers.deciding.argmax(1) != 3).all()
    assert (answers.logits.argmax(1) == 3).any()
    logits, _, _ = run_evaluation(predict_of(few), few.batches().batches(0))
    np.testing.assert_allclose(logits, answers.deciding, rtol=1e-5, atol=1e-4)
    assert (look_several_times(few, "flip", silent).argmax(1) != 3).all()
    wrong = 1 - answers.metrics.score
    corruptions = CorruptionConfig(names=("contrast",))
    assert measure_robustness(few, corruptions, silent)[0].clean_error == pytest.approx(wrong)
    attacks = AttackConfig(images=60, epsilons=(4.0,), steps=1, restarts=1)
    assert attack(few, attacks).clean.accuracy == pytest.approx(answers.metrics.score)


# --- what the data gate and a manifest know ---


@pytest.fixture
def own_manifest(trained, pictures, tmp_path):
    """A manifest over `pictures` with a camera for each, and findings about two test images."""
    package = load_package(trained.package)
    rows = ["path,label,split,camera,findings"]
    source = load_source(str(pictures), ("train",)).splits["train"]
    from resnetkit.data.splits import cut_source

    config = package.provenance["experiment"]["data"]
    cut = cut_source(
        load_source(str(pictures), ("train",)),
        config["validation_fraction"],
        config["test_fraction"],
        config["split_seed"],
    )
    assert len(source) == sum(map(len, cut.values()))
    for split, images in cut.items():
        for number, name in enumerate(images.names):
            found = "shared-between-splits" if split == "test" and number < 1 else ""
            rows.append(f"{name},{name.split('/')[-2]},{split},{number % 2},{found}")
    (tmp_path / "m.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    assert read_manifest_table(tmp_path / "m.csv").findings is not None
    return tmp_path / "m.csv"


def test_columns_and_findings_of_a_manifest_are_in_the_report(
    trained, pictures, own_manifest, tmp_path
):
    asked = DescribedSource(location=str(pictures), manifest=str(own_manifest))
    options = EvaluationOptions(slices=("camera",), without=("inside", "maps", "speed"))
    evaluate(trained.package, asked, split="all", out=tmp_path / "out", options=options)
    found = json.loads((tmp_path / "out" / "metrics.json").read_text(encoding="utf-8"))
    assert {one["column"] for one in found["slices"]} == {"camera"}
    assert sum(one["images"] for one in found["slices"]) == 36
    assert found["gate"]["findings"] == {"Pictures that are in two splits": 1}
    assert found["gate"]["shared"]["the training images"] == 30
    assert found["gate"]["without_shared"]["images"] == 2  # of 3 test images, one is shared


def test_columns_that_nothing_has_or_that_tell_nothing_apart_are_refused(
    trained, pictures, tmp_path
):
    for column, message in (
        ("camera", r"no column 'camera'.*--manifest"),
        ("side", "slices: side is 12 of all 3 images, so there is nothing to compare"),
    ):
        options = EvaluationOptions(slices=(column,))
        with pytest.raises(UserError, match=message):
            evaluate(trained.package, str(pictures), out=tmp_path / "out", options=options)
    assert not list(tmp_path.iterdir())


def test_nearly_equal_pictures_are_found_on_request(tiny, draw_pictures, tmp_path):
    from PIL import Image

    data = draw_pictures(tmp_path / "data", count=8, size=48)
    generator = np.random.default_rng(3)
    for path in sorted(data.rglob("*.png")):  # something to recognise in each
        blocks = generator.integers(0, 255, (6, 6, 3)).astype(np.uint8)
        Image.fromarray(blocks).resize((48, 48), Image.Resampling.BICUBIC).save(path)
    for split, keep in (("train", range(6)), ("test", range(6, 8))):
        for folder in sorted(path for path in data.iterdir() if path.name not in ("train", "test")):
            (data / split / folder.name).mkdir(parents=True)
            for number in keep:
                (folder / f"{number:02d}.png").rename(
                    data / split / folder.name / f"{number:02d}.png"
                )
    for folder in [path for path in data.iterdir() if path.name not in ("train", "test")]:
        folder.rmdir()
    package = pipeline.train(tiny(data, {"training.epochs": 1}), tmp_path / "run").package
    with Image.open(data / "train" / "red" / "00.png") as copied:
        copied.save(data / "test" / "red" / "copy.jpg", quality=90)
    quick = EvaluationOptions(without=("inside", "maps", "speed", "slices", "feature-map"))
    counts = []
    for near in (False, True):
        out = tmp_path / f"out{near}"
        options = replace(quick, near_duplicates=near)
        evaluate(package, str(data), out=out, options=options)
        figures = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
        found = figures["gate"]
        counts.append(max(found["shared"].values()))
        assert (found["without_shared"] or {}).get("images") == (6 if near else None)
        told = f"Compared with the images learnt from in {data}."
        assert (found["compared"] == told) == near
    assert counts == [0, 1]


def test_near_duplicates_are_sought_among_all_that_was_learnt_from(
    trained, pictures, draw_pictures, tmp_path
):
    earlier = draw_pictures(tmp_path / "earlier")
    package = load_package(trained.package)
    data = {**package.provenance["experiment"]["data"]}
    places = [{"config": {**data, "source": str(one)}} for one in (earlier, tmp_path / "gone")]
    past = {**package.provenance, "earlier_data": places}
    package = replace(package, provenance=past)
    asked = DescribedSource(location=str(pictures))
    judged = open_subject(trained.package, package, asked, "test", silent)
    learnt = load_learnt(judged, silent)
    assert learnt.sources == (str(pictures), str(earlier))
    assert len(learnt.images) == 2 * 33
    (missing,) = learnt.missing
    assert str(tmp_path / "gone") in missing
    known = know_gate(answer(judged, silent), silent, learnt)
    assert f"learnt from in {pictures}, {earlier}. Not compared: " in known.compared


# --- other seeds ---


def test_other_seeds_are_judged_on_the_same_images(learnt_digits, tiny, tmp_path):
    few = {"data.shots": 9, "training.epochs": 1, "data.image_size": None, "training.seed": 1}
    other = pipeline.train(tiny("digits", few), tmp_path / "run").package
    without = ("maps", "inside", "feature-map", "speed", "slices", "label-errors", "gate")
    options = EvaluationOptions(other_seeds=(other,), without=without)
    evaluate(learnt_digits, "digits", out=tmp_path / "out", options=options)
    spread = json.loads((tmp_path / "out" / "metrics.json").read_text(encoding="utf-8"))["spread"]
    assert [run["name"] for run in spread["runs"]] == [str(learnt_digits), str(other)]
    assert spread["standard_deviation"] > 0


def test_other_seeds_of_other_classes_are_refused(learnt_digits, trained, tmp_path):
    options = EvaluationOptions(other_seeds=(trained.package,))
    with pytest.raises(UserError, match=r"do not tell the same classes apart: only .* knows"):
        evaluate(learnt_digits, "digits", out=tmp_path / "out", options=options)
    assert not (tmp_path / "out").exists()


# --- refused before the network runs ---


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strangers": "/nowhere"}, "There is no file or folder '/nowhere'"),
        ({"other_seeds": (Path("/nowhere"),)}, "/nowhere"),
    ],
)
def test_what_is_not_there_is_said_before_the_first_pass(
    learnt_digits, tmp_path, monkeypatch, options, message
):
    monkeypatch.setattr(pipeline_evaluation, "answer", None)
    asked = EvaluationOptions(**options)
    with pytest.raises(UserError, match=message):
        evaluate(learnt_digits, "digits", out=tmp_path / "out", options=asked)


def test_too_few_boxes_are_said_before_the_first_pass(trained, pictures, tmp_path, monkeypatch):
    (tmp_path / "boxes" / "red").mkdir(parents=True)
    (tmp_path / "boxes" / "red" / "00.xml").write_text(
        "<annotation><size><width>12</width><height>12</height></size><object><name>red</name>"
        "<bndbox><xmin>2</xmin><ymin>3</ymin><xmax>7</xmax><ymax>9</ymax></bndbox></object>"
        "</annotation>"
    )
    monkeypatch.setattr(pipeline_evaluation, "answer", None)
    options = EvaluationOptions(trust=4, boxes=tmp_path / "boxes")
    with pytest.raises(UserError, match=r"the all split has 1 picture\(s\)"):
        evaluate(trained.package, str(pictures), split="all", out=tmp_path / "o", options=options)


def test_strangers_are_drawn_up_to_a_limit(subject, tmp_path, monkeypatch):
    place = str(draw_strangers(tmp_path / "strangers"))
    assert len(evaluation_inputs.draw_strangers(subject, place)) == 30
    monkeypatch.setattr(evaluation_inputs, "MOST_STRANGERS", 8)
    assert len(evaluation_inputs.draw_strangers(subject, place)) == 8


def test_training_images_that_are_gone_are_said_before_the_first_pass(
    trained, pictures, tmp_path, monkeypatch
):
    package = load_package(trained.package)
    data = {**package.provenance["experiment"]["data"], "source": "/nowhere"}
    experiment = {**package.provenance["experiment"], "data": data}
    moved = replace(package, provenance={**package.provenance, "experiment": experiment})
    monkeypatch.setattr(pipeline_evaluation, "load_package", lambda _: moved)
    monkeypatch.setattr(pipeline_evaluation, "answer", None)
    options = EvaluationOptions(near_duplicates=True)
    with pytest.raises(UserError, match="'/nowhere'"):
        evaluate(trained.package, str(pictures), split="all", out=tmp_path / "o", options=options)


def test_nothing_draws_two_bars_at_once(learnt_digits, tmp_path, monkeypatch):
    """Before rich 14.1 a second live display on one console is an error."""
    open_bars = []
    start, stop = ReadingBar.__enter__, ReadingBar.__exit__

    def enter(bar):
        assert not open_bars
        open_bars.append(bar)
        return start(bar)

    def leave(bar, *error):
        open_bars.remove(bar)
        stop(bar, *error)

    monkeypatch.setattr(ReadingBar, "__enter__", enter)
    monkeypatch.setattr(ReadingBar, "__exit__", leave)
    # Two packages that say the same are refused, and another would take a training.
    monkeypatch.setattr(pipeline_evaluation, "judge_other_seeds", lambda *_: None)
    without = ("maps", "inside", "feature-map", "speed", "slices", "label-errors", "gate")
    options = EvaluationOptions(other_seeds=(learnt_digits,), without=without)
    evaluate(learnt_digits, "digits", out=tmp_path / "out", options=options)
    compare(learnt_digits, learnt_digits, "digits")


# --- images that were seen ---


def test_all_images_are_judged_with_what_was_seen_in_the_report(trained, pictures, tmp_path):
    with pytest.warns(SeenWarning, match="trained or validated on"):
        evaluate(trained.package, str(pictures), split="all", out=tmp_path / "out")
    figures = json.loads((tmp_path / "out" / "metrics.json").read_text(encoding="utf-8"))
    gate = figures["gate"]
    assert gate["shared"] == {"the training images": 30, "the validation images": 3}
    assert gate["without_shared"]["images"] == 3
    assert any("33 of the 36 images of all are among those" in note for note in figures["notes"])
    assert "No slices by side: the same of all images." in figures["notes"]
    text = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    assert "**Accuracy: " in text
    assert "all split" not in text


# --- which maps to believe ---


def test_trust_in_the_maps_is_checked_on_request(trained, pictures, tmp_path, monkeypatch):
    two = ("gradcam", "guided-backprop")  # all seven would take a minute
    monkeypatch.setattr(evaluation_inputs, "MapRequest", partial(MapRequest, methods=two))
    without = ("maps", "label-errors", "slices", "gate", "inside", "feature-map", "speed")
    options = EvaluationOptions(trust=4, without=without)
    evaluate(trained.package, str(pictures), split="all", out=tmp_path / "out", options=options)
    found = json.loads((tmp_path / "out" / "metrics.json").read_text(encoding="utf-8"))["trust"]
    assert {one["method"] for one in found["methods"]} == set(two)
    assert (found["pictures"], found["notes"]) == (4, [])
    assert 0 <= found["recognised"] <= 1
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "Which map to believe" in page


def test_boxes_that_do_not_fit_are_refused_before_the_network_runs(
    trained, pictures, tmp_path, monkeypatch
):
    (tmp_path / "boxes").mkdir()
    monkeypatch.setattr(pipeline_evaluation, "answer", None)
    options = EvaluationOptions(trust=4, boxes=tmp_path / "boxes")
    with pytest.raises(UserError, match="boxes"):
        evaluate(trained.package, str(pictures), out=tmp_path / "out", options=options)
