"""A package keeps its confidence, and can be given another, its network the same to the byte."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from resnetkit import runtime
from resnetkit.data.contract import InputContract
from resnetkit.data.seen import Seen
from resnetkit.evaluation.calibration_error import CalibrationError
from resnetkit.evaluation.confidence import Calibration, Confidence, FittedOn
from resnetkit.evaluation.conformal import Conformal
from resnetkit.evaluation.selective import Reject
from resnetkit.export.package import (
    ModelPackage,
    golden_deviation,
    golden_outputs,
    load_package,
    load_seen,
    save_package,
)
from resnetkit.export.renewed import save_renewed
from resnetkit.models.zoo import ModelConfig, build_model, resolve_model
from resnetkit.types import UserError

ERROR = CalibrationError(
    images=300,
    ece=0.05,
    ece_equal_mass=0.06,
    ece_by_chance=0.01,
    rms_debiased=0.02,
    class_ece=0.03,
    brier=0.2,
    nll=0.4,
)
CONFIDENCE = Confidence(
    calibration=Calibration(temperature=1.5, scale=(1.0, 1.1, 0.9), bias=(0.0, -0.25, 0.5)),
    fitted_on=FittedOn(
        source="/my/*images*",
        split="val",
        images=450,
        measured="held-out",
        before=ERROR,
        after=replace(ERROR, ece=0.008),
    ),
    reject=Reject(
        threshold=0.1 + 0.7,
        wanted="precision",
        target=0.95,
        assurance=0.95,
        coverage=0.8,
        precision=0.97,
        images=300,
    ),
    conformal=Conformal(coverage=0.9, quantile=0.3, images=300, mean_size=1.2),
)


def make_package(confidence=None):
    contract = InputContract(
        class_names=("cat", "dog", "ant"),
        color_mode="L",
        resize=8,
        crop=(8, 8),
        mean=(0.4,),
        std=(0.25,),
    )
    architecture = resolve_model(ModelConfig(name="digits-resnet8"), 3, 1)
    return ModelPackage(
        model=build_model(architecture, seed=1).eval(),
        architecture=architecture,
        contract=contract,
        provenance={"recipe": "digits", "steps": 3},
        confidence=confidence,
    )


def save(folder, package):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (3, 1, 8, 8), dtype=torch.uint8, generator=generator)
    seen = Seen(by="content", keys={"train.content": np.arange(5, dtype=np.uint64)})
    reference = {"feature_mean": torch.arange(3.0)}
    save_package(folder, package, golden_outputs(package, images), reference, seen)
    return folder


def change(folder, edit):
    """Change config.json and make the manifest match, as someone who knows the format would."""
    path = folder / "config.json"
    config = json.loads(path.read_text())
    edit(config)
    path.write_text(json.dumps(config))
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"]["config.json"] = runtime._facts(path)
    (folder / "manifest.json").write_text(json.dumps(manifest))


def test_a_package_comes_back_with_its_confidence(tmp_path):
    folder = save(tmp_path / "p", make_package(CONFIDENCE))
    loaded = load_package(folder)
    assert loaded.confidence == CONFIDENCE
    assert golden_deviation(folder, loaded) < 1e-5  # golden outputs are the network's own
    stored = json.loads((folder / "config.json").read_text())["confidence"]
    assert stored["calibration"]["temperature"] == 1.5
    assert stored["reject"]["threshold"] == 0.1 + 0.7
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "calibrated by a temperature of 1.5 and by class" in card
    assert r"val of /my/\*images\*" in card
    assert "have not been calibrated" not in card


def test_a_package_without_confidence_is_as_packages_were(tmp_path):
    folder = save(tmp_path / "p", make_package())
    assert load_package(folder).confidence is None
    assert "confidence" not in json.loads((folder / "config.json").read_text())
    assert "have not been calibrated" in (folder / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (
            lambda one: one["calibration"].update(bias=[0.0, 0.0]),
            r"p: config\.json: confidence: calibration\.scale and .* got 3 and 2",
        ),
        (
            lambda one: one["calibration"].update(bias=[0.0], scale=[1.0]),
            r"p: config\.json: confidence: calibration\.scale .* need 3 numbers.*, have 1",
        ),
        (
            lambda one: one["calibration"].update(temperature=float("nan")),
            r"p: config\.json: confidence: calibration\.temperature must be above 0, got nan",
        ),
        (
            lambda one: one["reject"].update(treshold=0.5),
            r"p: config\.json: confidence: unknown setting 'reject\.treshold'; did you mean",
        ),
        (lambda one: one.pop("fitted_on"), r"p: config\.json: confidence: setting 'fitted_on'"),
    ],
)
def test_a_confidence_that_was_changed_is_refused(tmp_path, edit, message):
    folder = save(tmp_path / "p", make_package(CONFIDENCE))
    change(folder, lambda config: edit(config["confidence"]))
    with pytest.raises(UserError, match=message):
        load_package(folder)


def test_another_confidence_changes_no_other_file(tmp_path):
    folder = save(tmp_path / "p", make_package())
    (folder / "README.md").write_text("my own words")
    (folder / ".hidden").write_text("nobody's")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    package = load_package(folder)
    provenance = {**package.provenance, "calibrated": {"parent": str(folder)}}
    save_renewed(
        folder, tmp_path / "q", replace(package, confidence=CONFIDENCE, provenance=provenance)
    )
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    after = {path.name: path.read_bytes() for path in (tmp_path / "q").iterdir()}
    new = {"config.json", "README.md", "manifest.json"}
    assert {name for name in after if after[name] != before[name]} == new
    assert set(before) - set(after) == {".hidden"}
    renewed = load_package(tmp_path / "q")
    assert renewed.confidence == CONFIDENCE
    assert renewed.provenance["calibrated"]["parent"] == str(folder)
    assert golden_deviation(tmp_path / "q", renewed) < 1e-5
    seen = load_seen(tmp_path / "q")
    assert seen is not None
    assert seen.keys["train.content"].tolist() == [0, 1, 2, 3, 4]


def test_a_renewed_package_is_not_written_over_something_else(tmp_path):
    folder = save(tmp_path / "p", make_package())
    (tmp_path / "q").mkdir()
    (tmp_path / "q" / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match=r"thesis\.txt"):
        save_renewed(folder, tmp_path / "q", make_package(CONFIDENCE))
    assert [path.name for path in (tmp_path / "q").iterdir()] == ["thesis.txt"]
