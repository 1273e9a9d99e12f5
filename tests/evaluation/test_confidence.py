import copy
import json
from dataclasses import replace

import numpy as np
import pytest

from resnetkit.evaluation.calibration import fit_temperature, scale_logits
from resnetkit.evaluation.confidence import (
    FEWEST_IMAGES,
    Wanted,
    confidence_of_training,
    describe_confidence,
    describe_reject,
    fit_confidence,
    read_confidence,
)
from resnetkit.evaluation.conformal import prediction_sets
from resnetkit.evaluation.probabilities import probabilities
from resnetkit.types import UserError

CLASSES = 4


def draw(images=900, seed=0, task="single-label"):
    generator = np.random.default_rng(seed)
    true = generator.normal(0, 2.5, (images, CLASSES))
    logits = (true * 2).astype(np.float32)
    if task == "multi-label":
        return logits, (generator.random(true.shape) < 1 / (1 + np.exp(-true))).astype(np.float32)
    sums = probabilities(true, task).cumsum(1)
    return logits, (generator.random((images, 1)) > sums[:, :-1]).sum(1).astype(np.int64)


def fit(wanted=None, images=900, task="single-label"):
    return fit_confidence(
        *draw(images, task=task),
        task,
        source="my/images",
        split="val",
        wanted=wanted or Wanted(),
    )


def test_a_training_keeps_a_temperature_of_all_its_validation_images():
    logits, labels = draw(300)
    found = confidence_of_training(logits, labels, "single-label", "digits")
    assert found is not None
    assert found.calibration == fit_temperature(logits, labels, "single-label")
    fitted = found.fitted_on
    assert (fitted.source, fitted.split, fitted.images) == ("digits", "val", 300)
    assert fitted.measured == "cross-fitted"
    assert fitted.after.ece < fitted.before.ece
    assert (found.reject, found.conformal) == (None, None)
    assert found == confidence_of_training(logits, labels, "single-label", "digits")
    few = FEWEST_IMAGES - 1
    assert confidence_of_training(logits[:few], labels[:few], "single-label", "digits") is None


def test_promises_are_of_images_that_did_not_calibrate():
    logits, labels = draw(900)
    wanted = Wanted(precision=0.85, sets=0.9)
    found = fit(wanted)
    assert found.reject is not None
    assert found.conformal is not None
    assert found.reject.images == found.conformal.images == 600
    assert found.fitted_on.images == 900
    assert found.fitted_on.measured == "held-out"
    assert found.fitted_on.after.images == 600
    scaled = scale_logits(logits, found.calibration)
    answered = probabilities(scaled, "single-label").max(1) >= found.reject.threshold
    assert answered.mean() == pytest.approx(found.reject.coverage, abs=0.05)
    held = prediction_sets(scaled, found.conformal)[np.arange(900), labels]
    assert held.mean() == pytest.approx(0.9, abs=0.04)


def test_several_labels_are_calibrated_and_promise_nothing():
    assert fit(task="multi-label").calibration.temperature == pytest.approx(2, rel=0.2)
    with pytest.raises(UserError, match="reject threshold is for images of one class"):
        fit(Wanted(coverage=0.9), task="multi-label")
    with pytest.raises(UserError, match="Prediction sets are for images of one class"):
        fit(Wanted(sets=0.9), task="multi-label")


def test_what_cannot_be_fitted_is_refused():
    with pytest.raises(UserError, match=r"needs 100 or more images, and the split val has 99, "):
        fit(images=99)
    with pytest.raises(UserError, match=r"needs 300 or more .* val has 299: 100 to calibrate, the"):
        fit(Wanted(coverage=0.5), images=299)
    with pytest.raises(UserError, match="got both"):
        fit(Wanted(precision=0.5, coverage=0.5))
    with pytest.raises(UserError, match="need 999 or more images to be fitted on, got 600"):
        fit(Wanted(sets=0.999))
    with pytest.raises(UserError, match="cannot be promised on these 600 images"):
        fit(Wanted(precision=0.999))


@pytest.mark.parametrize(
    "wanted",
    [
        Wanted(),
        Wanted(methods=("vector",)),
        Wanted(precision=0.8, sets=0.95, set_method="aps"),
        Wanted(coverage=0.7),
    ],
)
def test_it_comes_back_from_json_as_it_was(wanted):
    found = fit(wanted)
    text = json.dumps(found.as_dict(), allow_nan=False)
    assert read_confidence(json.loads(text), "here", CLASSES, "single-label") == found
    assert read_confidence(None, "here", CLASSES, "single-label") is None


def put(path, value):
    def change(data):
        *parts, last = path.split(".")
        for part in parts:
            data = data[part]
        if value is ...:
            del data[last]
        else:
            data[last] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (put("colour", "red"), "config: unknown setting 'colour'"),
        (put("calibration.temperatur", 1.0), "unknown setting 'calibration.temperatur'; did you"),
        (put("reject.thresh", 0.5), r"unknown setting 'reject\.thresh'"),
        (put("calibration.temperature", float("nan")), r"calibration\.temperature must be above 0"),
        (
            put("calibration.temperature", float("inf")),
            r"calibration\.temperature must be a finite",
        ),
        (put("calibration.temperature", "2"), r"config: calibration\.temperature needs a float"),
        (put("calibration.temperature", True), r"config: calibration\.temperature needs a float"),
        (put("calibration.scale", [1.0, 2.0, 3.0]), "need one number a class each, got 3 and 4"),
        (put("calibration.bias", None), r"calibration\.scale and calibration\.bias go together"),
        (put("calibration.bias", [0, 0, 0, float("inf")]), r"calibration\.bias must be a finite"),
        (put("fitted_on.before.ece", float("nan")), r"fitted_on\.before\.ece must be a finite"),
        (put("fitted_on.images", "many"), r"setting 'fitted_on\.images': .* got 'many'"),
        (put("fitted_on.measured", "guessed"), r"setting 'fitted_on\.measured': .* got 'guessed'"),
        (put("fitted_on.after", ...), r"setting 'fitted_on\.after'"),
        (put("reject.threshold", 1.5), r"reject\.threshold must lie in 0…1, got 1\.5"),
        (put("conformal.quantile", -1.0), r"conformal\.quantile must lie in 0…1, got -1\.0"),
        (put("conformal.method", "best"), "conformal.method"),
        (put("conformal", [1]), r"setting 'conformal': "),
    ],
)
def test_what_was_changed_is_refused_by_name(change, message):
    wanted = Wanted(methods=("vector",), precision=0.8, sets=0.9)
    data = copy.deepcopy(fit(wanted).as_dict())
    change(data)
    with pytest.raises(UserError, match=message) as caught:
        read_confidence(data, "package: config", CLASSES, "single-label")
    assert str(caught.value).startswith("package: config")


def test_another_number_of_classes_or_another_task_is_refused():
    data = fit(Wanted(methods=("vector",))).as_dict()
    with pytest.raises(UserError, match=r"here: calibration\.scale .* need 7 numbers.*, have 4"):
        read_confidence(data, "here", 7, "single-label")
    data = fit(Wanted(coverage=0.9)).as_dict()
    with pytest.raises(UserError, match="here: reject is for images of one class"):
        read_confidence(data, "here", CLASSES, "multi-label")
    with pytest.raises(UserError, match="here: needs an object, has list"):
        read_confidence([], "here", CLASSES, "single-label")


def test_it_says_what_probabilities_are_worth():
    assert "have not been calibrated" in describe_confidence(None)
    text = describe_confidence(fit(Wanted(precision=0.8, sets=0.9)))
    assert "900 images (val of my/images)" in text
    assert "at least 80 % of the answers are right (95 % sure; of 600 images " in text
    assert "hold the true class of at least 90 % of images" in text
    assert "at least 70 % of images are answered" in describe_confidence(fit(Wanted(coverage=0.7)))
    assert "and by class" in describe_confidence(fit(Wanted(methods=("vector",))))


def test_a_threshold_next_to_1_is_not_rounded_to_it_and_0_withholds_nothing():
    reject = fit(Wanted(precision=0.8)).reject
    assert reject is not None
    said = describe_reject(replace(reject, threshold=0.99996))
    assert said.startswith("Below a probability of 0.99996 no answer is given, so that at least")
    said = describe_reject(replace(reject, threshold=0.0))
    assert said.startswith("Every image is answered, so that at least 80 % of the answers are")
