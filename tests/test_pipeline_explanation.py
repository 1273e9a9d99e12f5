"""Explaining files: what lies in the folder afterwards, and what never happens to it."""

from __future__ import annotations

import json
import os
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from resnetkit.data.contract import InputContract, normalise
from resnetkit.data.transforms import load_contract_image
from resnetkit.explanation.attribution import METHODS, attribute
from resnetkit.explanation.attribution_settings import AttributionSettings
from resnetkit.explanation.explained import Explained
from resnetkit.explanation.request import ExplanationRequest
from resnetkit.export.package import ModelPackage, golden_outputs, load_package, save_package
from resnetkit.models.zoo import ModelConfig, build_model, resolve_model
from resnetkit.pipeline_explanation import explain
from resnetkit.serving.predictor import Failure, load
from resnetkit.types import UserError

pytestmark = pytest.mark.usefixtures("one_thread")

CLASSES = ("ant", "bee", "sea/cow")
LARGE_SQUARES = AttributionSettings(occlusion_window=8, occlusion_stride=8)
QUICK = replace(LARGE_SQUARES, integration_steps=2, noise_samples=2)


def build_package(folder, **changes):
    contract = InputContract(
        class_names=CLASSES, resize=20, crop=(16, 20), mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.3)
    )
    contract = replace(contract, **changes)
    architecture = resolve_model(ModelConfig(name="cifar-resnet20"), 3, contract.channels)
    package = ModelPackage(
        model=build_model(architecture, seed=3).eval(),
        architecture=architecture,
        contract=contract,
    )
    images = torch.zeros(1, contract.channels, *contract.crop, dtype=torch.uint8)
    save_package(folder, package, golden_outputs(package, images))
    return folder


@pytest.fixture(scope="module")
def package_folder(tmp_path_factory):
    return build_package(tmp_path_factory.mktemp("run") / "package")


@pytest.fixture
def source(tmp_path):
    """Three pictures, two of them with the same name."""
    generator = np.random.default_rng(0)
    for name in ("ant/one.png", "bee/one.png", "bee/two.jpg"):
        path = tmp_path / "source" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(generator.integers(0, 256, (30, 26, 3), np.uint8)).save(path)
    return tmp_path / "source"


def read_records(out):
    return [json.loads(line) for line in (out / "explanations.jsonl").read_text().splitlines()]


def file_names(out):
    return sorted(path.name for path in out.iterdir())


def snapshot(folder):
    return {path: (path.stat().st_size, path.stat().st_mtime_ns) for path in folder.rglob("*")}


def test_every_image_gets_picture_map_and_facts(package_folder, source, tmp_path):
    out, before = tmp_path / "deep" / "out", snapshot(source)
    results = explain(package_folder, [source], out)
    assert snapshot(source) == before
    assert file_names(out) == sorted(
        ["explanations.jsonl"]
        + [f"{stem}.gradcam.{end}" for stem in ("one", "one-2", "two") for end in ("png", "npy")]
    )
    records = read_records(out)
    assert [record["overlay"] for record in records] == [
        "one.gradcam.png",
        "one-2.gradcam.png",
        "two.gradcam.png",
    ]
    assert [record["folder_class"] for record in records] == ["ant", "bee", "bee"]
    predictions = load(package_folder, "cpu").predict_paths([source])
    for result, record, prediction in zip(results, records, predictions, strict=True):
        assert isinstance(result, Explained)
        assert record["label"] == record["target"] == prediction.label
        assert record["probability"] == pytest.approx(prediction.probability, abs=1e-6)
        assert record["image"] == prediction.name
        assert (record["method"], record["stage"], record["resolution"]) == (
            "gradcam",
            "stage3",
            [4, 5],
        )
        assert np.load(out / record["map"]).shape == (16, 20)
        with Image.open(out / record["overlay"]) as picture:
            assert picture.format == "PNG"


def test_the_map_is_that_of_what_the_contract_shows(package_folder, source, tmp_path):
    package = load_package(package_folder)
    image = source / "bee" / "two.jpg"
    pixels = torch.from_numpy(load_contract_image(image, package.contract))[None]
    prepared = normalise(pixels, package.contract)
    methods = tuple(METHODS)
    asked = ExplanationRequest(methods=methods, targets=("bee",), settings=QUICK)
    results = explain(package_folder, [image], tmp_path / "out", asked)
    for method, one in zip(methods, results, strict=True):
        expected = attribute(package.model, prepared, torch.tensor([1]), method, settings=QUICK)
        values = expected.maps if expected.signed is None else expected.signed
        np.testing.assert_allclose(np.load(one.map), values[0].numpy(), rtol=1e-4, atol=1e-6)
        assert one.signed == (expected.signed is not None)


def test_names_say_what_was_asked_for(package_folder, source, tmp_path):
    asked = ExplanationRequest(
        methods=("gradcam", "occlusion"),
        targets=("sea/cow", "ant"),
        stage="layer2.0.conv1",
        settings=LARGE_SQUARES,
    )
    explain(package_folder, [source / "bee" / "two.jpg"], tmp_path, asked)
    assert [record["overlay"] for record in read_records(tmp_path)] == [
        "two.gradcam.layer2.0.conv1.2-sea_cow.png",
        "two.occlusion.2-sea_cow.png",
        "two.gradcam.layer2.0.conv1.0-ant.png",
        "two.occlusion.0-ant.png",
    ]


def test_a_second_run_adds_and_replaces_only_the_same_map(package_folder, source, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "two.gradcam.png").write_text("somebody's own")
    explain(package_folder, [source], out)
    first = read_records(out)
    assert (out / "two.gradcam.png").read_text() == "somebody's own"
    assert first[2]["overlay"] == "two-2.gradcam.png"
    asked = ExplanationRequest(methods=("occlusion", "gradcam"), settings=LARGE_SQUARES)
    explain(package_folder, [source / "bee"], out, asked)
    names = [record["overlay"] for record in read_records(out)]
    assert names == [
        "one.gradcam.png",  # of the folder that was not explained again
        "one-2.occlusion.png",
        "one-2.gradcam.png",
        "two-2.occlusion.png",
        "two-2.gradcam.png",
    ]
    assert len(file_names(out)) == 2 * 5 + 2
    assert (out / "two.gradcam.png").read_text() == "somebody's own"


def test_an_image_that_cannot_be_read_keeps_its_place(package_folder, source, tmp_path):
    broken = source / "bee" / "broken.png"
    broken.write_bytes(b"\x89PNG\r\n\x1a\nnot really")
    asked = ExplanationRequest(settings=AttributionSettings(batch_size=2))
    results = explain(package_folder, [source], tmp_path / "out", asked)
    assert [isinstance(result, Failure) for result in results] == [False, True, False, False]
    assert "broken.png" in results[1].reason
    assert len(read_records(tmp_path / "out")) == 3
    only = explain(package_folder, [broken], tmp_path / "none")
    assert [type(result) for result in only] == [Failure]
    assert not (tmp_path / "none").exists()


def test_the_same_image_twice_is_explained_once(package_folder, source, tmp_path):
    image = source / "ant" / "one.png"
    results = explain(package_folder, [image, image, source / "ant"], tmp_path / "out")
    assert len(results) == 1


def test_each_class_of_a_multi_label_task_has_its_map(source, tmp_path):
    folder = build_package(tmp_path / "package", task="multi-label")
    results = explain(folder, [source / "bee"], tmp_path / "out")
    predictions = load(folder, "cpu").predict_paths([source / "bee"])
    expected = [
        (prediction.name, label)
        for prediction in predictions
        for label in prediction.labels or (prediction.label,)
    ]
    assert [(one.subject.name, one.subject.target) for one in results] == expected
    assert len({one.overlay for one in results}) == len(results)
    first = results[0].subject
    words = f".gradcam.{first.target_number}-"
    assert words in results[0].overlay.name


def test_grey_packages_and_pictures(source, tmp_path):
    grey = {"color_mode": "L", "mean": (0.5,), "std": (0.2,)}
    folder = build_package(tmp_path / "package", **grey)
    asked = ExplanationRequest(methods=tuple(METHODS), settings=QUICK)
    results = explain(folder, [source / "ant"], tmp_path / "out", asked)
    assert [one.method for one in results] == list(METHODS)


def test_additions_join_the_facts(package_folder, source, tmp_path):
    seen = []

    def neighbours(shown, found):
        seen.append((len(shown), shown.images.shape, found.method))
        return [{"nearest": [subject.name]} for subject in shown.subjects]

    results = explain(package_folder, [source], tmp_path / "out", additions=[neighbours])
    assert seen == [(3, (3, 3, 16, 20), "gradcam")]
    for result, record in zip(results, read_records(tmp_path / "out"), strict=True):
        assert result.facts["nearest"] == record["facts"]["nearest"] == [result.subject.name]
        assert "concentration" in record["facts"]


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"targets": ("bea",)}, r"classes \(ant, bee, sea/cow\), got 'bea'; did you mean 'bee'"),
        ({"stage": "stage9"}, r"stage: needed one of stem, stage1, .* got 'stage9'; did you mean"),
        (
            {
                "methods": ("gradcam", "occlusion"),
                "settings": AttributionSettings(occlusion_window=17),
            },
            "occlusion_window: needs images at least as large .* got 16x20",
        ),
        ({"device": "cuda:99"}, "Device: needed one that this machine has"),
    ],
)
def test_nothing_is_written_when_something_is_wrong(package_folder, source, tmp_path, asked, words):
    with pytest.raises(UserError, match=words):
        explain(package_folder, [source], tmp_path / "out", ExplanationRequest(**asked))
    assert not (tmp_path / "out").exists()


def test_places_where_nothing_may_be_written(package_folder, source, tmp_path):
    image = source / "ant" / "one.png"
    with pytest.raises(UserError, match="which is only read"):
        explain(package_folder, [source], source / "maps")
    with pytest.raises(UserError, match="lies in the package"):
        explain(package_folder, [image], package_folder / "maps")
    with pytest.raises(UserError, match="this is a file; give a folder"):
        explain(package_folder, [image], image)
    with pytest.raises(UserError, match="there is no such file or folder"):
        explain(package_folder, [source / "nothing.png"], tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")
def test_a_folder_without_permission(package_folder, source, tmp_path):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(UserError, match="no permission to write"):
            explain(package_folder, [source], tmp_path / "out")
    finally:
        tmp_path.chmod(0o700)


def test_names_of_any_bytes(package_folder, source, tmp_path):
    strange = source / os.fsdecode(b"a\xff b.png")
    (source / "ant" / "one.png").rename(strange)
    (one,) = explain(package_folder, [strange], tmp_path / "out")
    assert one.subject.name.endswith("a\ufffd b.png")
    assert one.overlay.name == "a_b.gradcam.png"
    (again,) = explain(package_folder, [strange], tmp_path / "out")
    assert again.overlay == one.overlay
    assert len(read_records(tmp_path / "out")) == 1
