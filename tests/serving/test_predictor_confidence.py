"""What a package's confidence makes of predictions, and how they are shown and kept."""

import csv
import io
import json
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from rich.console import Console

from resnetkit.data.contract import InputContract
from resnetkit.evaluation.calibration import Calibration, scale_logits
from resnetkit.evaluation.calibration_error import CalibrationError
from resnetkit.evaluation.confidence import Confidence, FittedOn
from resnetkit.evaluation.conformal import Conformal, prediction_sets
from resnetkit.evaluation.probabilities import probabilities
from resnetkit.evaluation.selective import Reject
from resnetkit.export.package import ModelPackage
from resnetkit.models.zoo import ModelConfig, build_model, resolve_model
from resnetkit.serving.predictions import as_record, show_predictions, write_predictions
from resnetkit.serving.predictor import Failure, Prediction, Predictor, image_keys

CLASSES = tuple(f"class {index}" for index in range(7))
NOTHING = CalibrationError(
    images=300,
    ece=0.1,
    ece_equal_mass=0.1,
    ece_by_chance=0.0,
    rms_debiased=0.1,
    class_ece=0.1,
    brier=0.1,
    nll=0.1,
)
FITTED = FittedOn(
    source="x", split="val", images=300, measured="cross-fitted", before=NOTHING, after=NOTHING
)
WARM = Confidence(calibration=Calibration(temperature=2.5), fitted_on=FITTED)
GENERATOR = np.random.default_rng(0)
IMAGES = [GENERATOR.integers(0, 256, (8, 8, 3)).astype(np.uint8) for _ in range(30)]


def reject_below(threshold):
    return Reject(
        threshold=threshold,
        wanted="coverage",
        target=0.5,
        assurance=0.95,
        coverage=0.5,
        precision=0.9,
        images=300,
    )


@pytest.fixture(scope="module")
def predictor():
    """predictor(confidence, task): of a network whose answers differ, from one that is random."""

    def build(confidence, task="single-label"):
        contract = InputContract(
            class_names=CLASSES,
            task=task,
            resize=8,
            crop=(8, 8),
            mean=(0.5, 0.4, 0.3),
            std=(0.05, 0.06, 0.07),
        )
        architecture = resolve_model(ModelConfig(name="lenet"), 7, 3)
        model = build_model(architecture, seed=3).eval()
        for parameter in model.parameters():
            parameter.data.mul_(2.0)
        package = ModelPackage(
            model=model, architecture=architecture, contract=contract, confidence=confidence
        )
        return Predictor(package, torch.device("cpu"))

    return build


@pytest.fixture(scope="module")
def logits(predictor):
    batch = torch.from_numpy(np.stack([image.transpose(2, 0, 1) for image in IMAGES]))
    return predictor(None).package.logits(batch).numpy()


def test_probabilities_are_calibrated_and_the_network_s_own_are_kept(predictor, logits):
    own, calibrated = predictor(None).predict(IMAGES), predictor(WARM).predict(IMAGES)
    shares = probabilities(scale_logits(logits, WARM.calibration), "single-label")
    for before, after, row in zip(own, calibrated, shares, strict=True):
        assert after.label == before.label  # a temperature changes no answer
        expected = {CLASSES[k]: row[k] for k in np.argsort(-row)[:5]}
        assert dict(after.top) == pytest.approx(expected, abs=1e-6)
        assert [name for name, _ in after.top] == list(expected)
        assert after.raw == pytest.approx([share for _, share in before.top], abs=1e-6)
        assert (before.raw, before.rejected, before.prediction_set) == (None, None, None)
        assert (after.rejected, after.prediction_set) == (None, None)
    assert any(one.raw[0] > one.probability + 0.02 for one in calibrated)


def test_a_vector_decides_the_answer(predictor, logits):
    shift = Calibration(scale=(1.0,) * 7, bias=(0.0,) * 6 + (50.0,))
    found = predictor(replace(WARM, calibration=shift)).predict(IMAGES)
    assert {one.label for one in found} == {"class 6"}
    assert found[0].probability > 0.99
    own = probabilities(logits, "single-label")
    assert found[0].raw is not None
    assert found[0].raw[0] == pytest.approx(own[0, 6], abs=1e-6)


def test_what_does_not_reach_the_threshold_is_rejected(predictor):
    sure = [one.probability for one in predictor(WARM).predict(IMAGES)]
    threshold = float(np.median(sure))
    found = predictor(replace(WARM, reject=reject_below(threshold))).predict(IMAGES)
    assert [one.rejected for one in found] == [one < threshold for one in sure]
    assert {one.rejected for one in found} == {True, False}
    everything = predictor(replace(WARM, reject=reject_below(0.0))).predict(IMAGES)
    assert not any(one.rejected for one in everything)


@pytest.mark.parametrize("method", ["lac", "aps"])
def test_sets_are_those_of_the_images_in_any_batch(predictor, logits, method):
    conformal = Conformal(method=method, coverage=0.9, quantile=0.8, images=300, mean_size=2.0)
    ours = predictor(replace(WARM, conformal=conformal))
    found = ours.predict(IMAGES)
    keys = image_keys([image.transpose(2, 0, 1) for image in IMAGES])
    scaled = scale_logits(logits, WARM.calibration)
    sets = prediction_sets(scaled, conformal, keys)
    for one, held in zip(found, sets, strict=True):
        assert set(one.prediction_set) == {CLASSES[k] for k in np.flatnonzero(held)}
        if one.prediction_set:
            assert one.prediction_set[0] == one.label or method == "aps"
    assert len({len(one.prediction_set) for one in found}) > 1
    alone = ours.predict(IMAGES[::-1], batch_size=1)[::-1]
    assert [one.prediction_set for one in alone] == [one.prediction_set for one in found]


def test_several_labels_are_calibrated_each(predictor, logits):
    own = predictor(None, "multi-label").predict(IMAGES)
    found = predictor(WARM, "multi-label").predict(IMAGES)
    for before, after in zip(own, found, strict=True):
        assert after.labels == before.labels
        assert after.raw == pytest.approx([share for _, share in before.top], abs=1e-6)
    record = as_record(found[0])
    assert record["raw_probabilities"].keys() == record["probabilities"].keys() == set(CLASSES)
    assert as_record(own[0]).keys() == {"image", "labels", "probabilities"}


# --- shown and kept ---

RESULTS = [
    Prediction(
        name="a.png",
        label="cat",
        probability=0.7,
        top=(("cat", 0.7), ("dog", 0.3)),
        raw=(0.9, 0.1),
        rejected=True,
        prediction_set=("cat", '"dog", 狗'),
    ),
    Failure(name="broken.png", reason="cut short"),
    Prediction(
        name="b.png",
        label="dog",
        probability=0.95,
        top=(("dog", 0.95), ("cat", 0.05)),
        raw=(0.99, 0.01),
        rejected=False,
        prediction_set=(),
    ),
]
COLUMNS = ["image", "error", "label", "probability", "label_2", "probability_2"]
MORE = ["raw_probability", "rejected", "prediction_set"]


def test_csv_has_columns_of_its_own(tmp_path):
    write_predictions(tmp_path / "out.csv", RESULTS)
    text = (tmp_path / "out.csv").read_text(encoding="utf-8")
    first, broken, last = csv.DictReader(io.StringIO(text))
    assert list(first) == COLUMNS + MORE
    assert [first[name] for name in MORE[:2]] == ["0.9", "true"]
    assert json.loads(first["prediction_set"]) == ["cat", '"dog", 狗']
    assert [last[name] for name in MORE] == ["0.99", "false", "[]"]
    assert [broken[name] for name in MORE] == ["", "", ""]


def test_parquet_has_columns_of_its_own(tmp_path):
    write_predictions(tmp_path / "out.parquet", RESULTS)
    table = pq.read_table(tmp_path / "out.parquet")
    assert table.column_names == COLUMNS + MORE
    assert [str(table.schema.field(name).type) for name in MORE] == ["double", "bool", "string"]
    assert table["rejected"].to_pylist() == [True, None, False]
    assert table["raw_probability"].to_pylist() == [0.9, None, 0.99]


def test_json_says_what_there_is(tmp_path):
    write_predictions(tmp_path / "out.jsonl", RESULTS)
    first, _, last = map(json.loads, (tmp_path / "out.jsonl").read_text().splitlines())
    assert first["rejected"] is True
    assert first["raw_probability"] == 0.9
    assert first["prediction_set"] == ["cat", '"dog", 狗']
    assert last["prediction_set"] == []
    plain = as_record(Prediction(name="a", label="x", probability=1.0, top=(("x", 1.0),)))
    assert plain.keys() == {"image", "label", "probability", "top"}


def test_several_labels_have_a_column_each(tmp_path):
    one = Prediction(
        name="a.png",
        label="sea",
        probability=0.8,
        top=(("sea", 0.8), ("air", 0.1)),
        labels=("sea",),
        raw=(0.9, 0.2),
    )
    write_predictions(tmp_path / "out.parquet", [one])
    row = pq.read_table(tmp_path / "out.parquet").to_pylist()[0]
    assert row["raw_probability_sea"] == 0.9
    assert row["raw_probability_air"] == 0.2
    assert row["probability_air"] == 0.1


def test_the_table_says_what_is_rejected_and_what_it_may_be():
    console = Console(file=io.StringIO(), width=160)
    show_predictions(console, RESULTS)
    text = console.file.getvalue()
    assert "rejected: cat" in text
    assert "rejected: dog" not in text
    assert 'cat, "dog", 狗' in text
    assert "none of them" in text
    assert "one of" in text
    plain = Console(file=io.StringIO(), width=160)
    show_predictions(plain, [RESULTS[1]])
    assert "one of" not in plain.file.getvalue()
