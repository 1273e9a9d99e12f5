"""From training to a calibrated package and its predictions; and all that is refused."""

import hashlib
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from resnetkit import pipeline
from resnetkit.cli import main
from resnetkit.data.opening import DescribedSource
from resnetkit.data.seen import SeenWarning
from resnetkit.evaluation.calibration import fit_temperature
from resnetkit.evaluation.confidence import Wanted
from resnetkit.evaluation.evaluate import evaluate as run_evaluation
from resnetkit.export.package import load_package, load_seen
from resnetkit.package_split import load_in_order, load_unseen
from resnetkit.pipeline_calibration import CalibrationRequest, calibrate
from resnetkit.pipeline_evaluation import evaluate
from resnetkit.runtime import verify_folder
from resnetkit.serving.predictor import load
from resnetkit.types import UserError

pytestmark = pytest.mark.usefixtures("one_thread")

CHANGES = {
    "data.image_size": None,
    "data.batch_size": 32,
    "data.validation_fraction": 0.25,
    "training.epochs": 2,
}
PROMISES = Wanted(coverage=0.7, sets=0.9)


@pytest.fixture(scope="module")
def own(tiny, tmp_path_factory):
    """A package trained on digits, with more than a hundred of them to validate it."""
    run = tmp_path_factory.mktemp("own") / "run"
    return pipeline.train(tiny("digits", CHANGES), run).package


@pytest.fixture(scope="module")
def promised(own, tmp_path_factory):
    out = tmp_path_factory.mktemp("promised") / "package"
    request = CalibrationRequest(wanted=PROMISES)
    return calibrate(own, "digits", out, request=request)


def digests(folder):
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir()}


def images_of(folder, split):
    asked = DescribedSource(location="digits")
    return load_unseen(folder, load_package(folder), asked, split, lambda *progress: None)


def logits_of(folder, split):
    package = load_package(folder)
    batches = load_in_order(folder, package, images_of(folder, split), package.contract)
    return run_evaluation(lambda batch: package.logits(batch.images), batches.batches(0))[:2]


# --- what training keeps ---


def test_a_training_keeps_a_temperature_from_its_validation_images(own):
    package = load_package(own)
    assert package.confidence is not None
    count = package.provenance["data"]["images"]["validation"]
    fitted = package.confidence.fitted_on
    assert (fitted.source, fitted.split, fitted.images) == ("digits", "val", count)
    logits, labels = logits_of(own, "val")
    expected = fit_temperature(logits, labels, "single-label").temperature
    assert package.confidence.calibration.temperature == pytest.approx(expected, rel=1e-4)
    assert package.confidence.calibration.method == "temperature"
    report = (own.parent / "report.html").read_text(encoding="utf-8")
    assert "Probabilities are calibrated by a temperature of" in report


def test_metrics_stay_those_of_the_network(own):
    package = load_package(own)
    validation = package.metrics["validation"]
    judged = evaluate(own, "digits", split="val").metrics
    assert (judged.top1, judged.images) == (validation["top1"], validation["images"])
    assert judged.loss == pytest.approx(validation["loss"])
    logits, labels = logits_of(own, "val")
    assert validation["top1"] == (logits.argmax(1) == labels).mean()


def test_the_same_training_keeps_the_same_bits(own, tiny, tmp_path):
    again = pipeline.train(tiny("digits", CHANGES), tmp_path / "run").package
    assert load_package(again).confidence == load_package(own).confidence


def test_too_few_validation_images_keep_nothing_and_it_is_said(trained):
    assert load_package(trained.package).confidence is None
    report = trained.report.read_text(encoding="utf-8")
    assert "have not been calibrated" in report


# --- another package ---


def test_calibrating_writes_another_package_of_the_same_network(own, promised, tmp_path):
    before = digests(own)
    out = tmp_path / "out"
    result = calibrate(own, "digits", out, request=CalibrationRequest(split="test"))
    assert digests(own) == before
    after = digests(out)
    new = {"config.json", "README.md", "manifest.json"}
    assert {name for name in after if after[name] != before.get(name)} == new
    verify_folder(out)
    package, parent = load_package(out), load_package(own)
    assert package.confidence == result.confidence
    assert package.metrics == parent.metrics
    told = package.provenance["calibrated"]
    assert told["parent"] == str(own)
    assert told["weights"] == before["model.safetensors"]
    assert told["parent_manifest"] == before["manifest.json"]
    assert {k: v for k, v in package.provenance.items() if k != "calibrated"} == parent.provenance
    assert result.confidence.fitted_on.split == "test"
    assert any("no longer of unseen ones" in note for note in result.notes)
    assert any("is replaced" in note for note in result.notes)
    seen, was = load_seen(out), load_seen(own)
    assert np.array_equal(seen.keys["val.content"], was.keys["val.content"])
    assert any("validated the training" in note for note in promised.notes)


def test_promises_reach_the_predictions(promised):
    confidence = promised.confidence
    images = images_of(promised.package, "test")
    found = load(promised.package).predict(list(images.images.transpose(0, 2, 3, 1)[..., 0]))
    names = load_package(promised.package).contract.class_names
    rejected = np.array([one.rejected for one in found])
    assert rejected.mean() == pytest.approx(1 - confidence.reject.coverage, abs=0.12)
    assert [one.rejected for one in found] == [
        one.probability < confidence.reject.threshold for one in found
    ]
    held = [names[y] in one.prediction_set for y, one in zip(images.labels, found, strict=True)]
    assert np.mean(held) == pytest.approx(0.9, abs=0.08)
    right = np.array([names[y] == p.label for y, p in zip(images.labels, found, strict=True)])
    assert right[~rejected].mean() > right.mean()


def test_a_vector_is_judged_by_its_own_answers(own, tmp_path):
    wanted = Wanted(methods=("vector",))
    request = CalibrationRequest(wanted=wanted)
    result = calibrate(own, "digits", tmp_path / "out", request=request)
    assert result.confidence.calibration.method == "vector"
    images = images_of(result.package, "test")
    found = load(result.package).predict(list(images.images.transpose(0, 2, 3, 1)[..., 0]))
    names = load_package(own).contract.class_names
    right = [names[y] == p.label for y, p in zip(images.labels, found, strict=True)]
    judged = evaluate(result.package, "digits").metrics
    assert judged.top1 == pytest.approx(np.mean(right))


def test_the_same_call_gives_the_same_confidence(own, promised, tmp_path):
    request = CalibrationRequest(wanted=PROMISES)
    again = calibrate(own, "digits", tmp_path / "again", request=request)
    assert again.confidence == promised.confidence


def test_a_calibrated_package_can_be_calibrated_again(promised, tmp_path):
    again = calibrate(promised.package, "digits", tmp_path / "again")
    assert again.confidence.reject is None
    assert load_package(again.package).provenance["calibrated"]["parent"] == str(promised.package)


# --- what is refused ---


def refused(message, package, source, out, request=None):
    with pytest.raises(UserError, match=message):
        calibrate(package, source, out, request=request)
    assert not out.exists()


def test_images_that_were_trained_on_are_refused(own, tmp_path):
    out = tmp_path / "out"
    message = r"images of all are among those that this package was trained on: .* kept from train"
    refused(message, own, "digits", out, CalibrationRequest(split="all"))
    with pytest.warns(SeenWarning):  # as `evaluate` does
        evaluate(own, "digits", split="all")


def test_too_few_images_are_refused_before_they_are_judged(trained, pictures, tmp_path):
    message = "needs 100 or more images, and the split val has 3"
    refused(message, trained.package, str(pictures), tmp_path / "out")
    message = "needs 300 or more images, and the split test has 3: 100 to calibrate"
    request = CalibrationRequest(split="test", wanted=Wanted(sets=0.5))
    refused(message, trained.package, str(pictures), tmp_path / "out", request)


def test_no_such_split_is_refused(pictures, tiny, tmp_path):
    changes = {"training.epochs": 1, "data.validation_fraction": 0.0, "training.keep": "last"}
    package = pipeline.train(tiny(pictures, changes), tmp_path / "run").package
    refused("there is no val split", package, str(pictures), tmp_path / "out")


def test_an_imported_package_does_not_know_what_validated_it(own, pictures, tmp_path):
    package = load_package(own)
    folder = shutil.copytree(own, tmp_path / "imported")
    (folder / "seen.safetensors").unlink()
    provenance = {"recipe": "imported", "imported": {"network": "x", "origin": "elsewhere"}}
    from resnetkit.export.renewed import save_renewed

    save_renewed(folder, tmp_path / "p", replace(package, provenance=provenance))
    message = r"no record of its training .* --split test or --split all"
    refused(message, tmp_path / "p", "digits", tmp_path / "out")
    request = CalibrationRequest(split="all")
    with pytest.warns(SeenWarning, match="does not say which images"):
        result = calibrate(tmp_path / "p", "digits", tmp_path / "out", request=request)
    assert result.confidence.fitted_on.images == 1797


def test_a_place_that_is_taken_is_refused(own, pictures, trained, tmp_path):
    taken = tmp_path / "taken"
    taken.mkdir()
    with pytest.raises(UserError, match=r"taken: needed is a folder that does not exist yet"):
        calibrate(own, "digits", taken)
    with pytest.raises(UserError, match="needed is a folder that does not exist yet"):
        calibrate(own, "digits", own)
    assert list(taken.iterdir()) == []
    refused("lies in the source", trained.package, str(pictures), pictures / "out")
    refused("lies in the package", own, "digits", own / "out")


def test_other_classes_are_refused(own, pictures, tmp_path):
    refused("classes", own, str(pictures), tmp_path / "out")


# --- the command ---


def run(capsys, *arguments):
    code = 0
    try:
        main(["calibrate", *map(str, arguments)])
    except SystemExit as stopped:
        code = stopped.code
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_the_command_says_how_the_error_changed(own, tmp_path, capsys):
    arguments = [own, "--data", "digits", "--out", tmp_path / "out", "--sets", "0.9"]
    code, out, _ = run(capsys, *arguments, "--precision", "0.5")
    assert code == 0
    said = " ".join(out.split())
    assert "expected calibration error" in said
    assert "% before," in said
    assert "at least 50 % of the answers are right (95 % sure; of " in said
    assert "hold the true class of at least 90 % of images" in said
    assert f"Package {tmp_path / 'out'}" in said
    main(["predict", str(tmp_path / "out"), str(picture(tmp_path)), "--json"])
    record = json.loads(capsys.readouterr().out)["predictions"][0]
    assert record.keys() >= {"raw_probability", "rejected", "prediction_set"}


def picture(folder):
    from PIL import Image

    path = folder / "picture.png"
    Image.fromarray(np.full((8, 8), 100, np.uint8)).save(path)
    return path


def test_the_command_gives_json(own, tmp_path, capsys):
    code, out, _ = run(capsys, own, "--data", "digits", "--out", tmp_path / "out", "--json")
    assert code == 0
    figures = json.loads(out)
    assert figures["package"] == str(tmp_path / "out")
    assert figures["fitted_on"]["before"]["ece"] >= 0
    assert figures["reject"] is None


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--precision", "0.9", "--coverage", "0.9"], "got both; give one of them"),
        (["--precision", "1.0"], "precision must be above 0 and below 1"),
        (["--sets", "1.5"], "sets must be above 0 and below 1"),
        (["--precision", "0.9999"], "cannot be promised on these"),
    ],
)
def test_the_command_refuses_wishes_that_cannot_be(own, tmp_path, capsys, more, message):
    code, out, err = run(capsys, own, "--data", "digits", "--out", tmp_path / "out", *more)
    assert code == 2
    assert out == ""
    assert message in " ".join(err.split())
    assert not (tmp_path / "out").exists()
