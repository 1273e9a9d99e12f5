"""import-weights from the command line, and what its packages are good for afterwards."""

import gzip
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from resnetkit.cli import main
from resnetkit.data.seen import SeenWarning
from resnetkit.export.package import load_package
from resnetkit.models.families import imagenet_resnet
from resnetkit.models.zoo import build_model
from resnetkit.pipeline import predict
from resnetkit.pipeline_evaluation import evaluate
from resnetkit.pipeline_weights import import_weights
from resnetkit.types import UserError

GOLDEN = Path(__file__).parent / "models" / "weights" / "golden"
NARROW = replace(imagenet_resnet(18), stage_widths=(4, 8, 12, 16), stem_width=4, num_classes=3)
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def weights(tmp_path):
    path = tmp_path / "downloads" / "weights.safetensors"
    path.parent.mkdir()
    save_file(build_model(NARROW, seed=1).state_dict(), path)
    return path


@pytest.fixture
def classes(tmp_path):
    path = tmp_path / "names.txt"
    path.write_text("blue\ngreen\nred\n")
    return path


def test_imported_weights_predict_evaluate_and_report(weights, classes, pictures, tmp_path, capsys):
    out = tmp_path / "package"
    main(["import-weights", str(weights), "--out", str(out), "--classes", str(classes), "--json"])
    told = json.loads(capsys.readouterr().out)
    assert (told["package"], told["classes"], told["missing"]) == (str(out), 3, [])
    assert told["preprocessing"] == "assumed"
    predictions = predict(out, [pictures])
    assert len(predictions) == 36
    assert {prediction.label for prediction in predictions} <= {"blue", "green", "red"}
    with pytest.warns(SeenWarning, match="imported"):
        result = evaluate(out, str(pictures), split="all", out=tmp_path / "test")
    assert result.metrics.images == 36
    page = (tmp_path / "test" / "report.html").read_text()
    assert str(weights) in page
    assert weights.read_bytes()  # still there, and nothing beside it
    assert [path.name for path in weights.parent.iterdir()] == ["weights.safetensors"]


def test_the_lines_for_a_person(weights, tmp_path, capsys):
    main(["import-weights", str(weights), "--out", str(tmp_path / "package")])
    lines = capsys.readouterr().out
    assert "0 left over, 0 missing" in lines
    assert "assumed" in lines
    assert "class_0, class_1, class_2" in lines
    assert "--classes" in lines


def refused(capsys, *arguments):
    with pytest.raises(SystemExit) as stopped:
        main(["import-weights", *map(str, arguments)])
    assert stopped.value.code == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Traceback" not in captured.err
    return captured.err


def test_an_out_that_is_not_free_is_refused_before_reading(weights, tmp_path, capsys):
    before = weights.read_bytes()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    assert "not empty" in refused(capsys, weights, "--out", tmp_path / "full")
    assert "is a file" in refused(capsys, weights, "--out", weights)
    assert "is a file" in refused(capsys, weights, "--out", weights / "package")
    assert "only read" in refused(capsys, weights.parent, "--out", weights.parent / "package")
    assert weights.read_bytes() == before
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["notes.txt"]


def test_nothing_is_written_where_something_does_not_fit(weights, classes, tmp_path, capsys):
    out = tmp_path / "new" / "package"
    state = build_model(NARROW).state_dict()
    del state["layer1.0.conv1.weight"]
    broken, evil = tmp_path / "broken.safetensors", tmp_path / "half.pth"
    save_file(state, broken)
    torch.save(state, evil)
    evil.write_bytes(evil.read_bytes()[:-2000])
    assert "layer1.0.conv1.weight" in refused(capsys, broken, "--out", out)
    assert "incomplete" in refused(capsys, evil, "--out", out)
    assert "resnet50" in refused(capsys, weights, "--out", out, "--model", "resnet50")
    classes.write_text("a\nb\n")
    assert "as many names" in refused(capsys, weights, "--out", out, "--classes", classes)
    assert "torchvision:resnet50" in refused(capsys, "resnet50", "--out", out)
    assert not out.parent.exists()


@pytest.mark.parametrize("version", [1, 2])
def test_a_keras_package_gives_the_logits_keras_gave(version, tmp_path):
    pytest.importorskip("h5py")
    path = tmp_path / "network.h5"
    path.write_bytes(gzip.decompress((GOLDEN / f"keras-v{version}.h5.gz").read_bytes()))
    package = load_package(import_weights(str(path), tmp_path / "package").folder)
    recorded = load_file(GOLDEN / f"keras-v{version}.safetensors")["logits"]
    size = package.contract.crop[0]
    cells = -(-size // 5)  # the pixels of make_keras_golden.py
    raw = np.random.Philox(key=1).random_raw(2 * cells * cells * 3) >> np.uint64(56)
    colors = raw.astype(np.uint8).reshape(2, cells, cells, 3)
    pixels = colors.repeat(5, 1).repeat(5, 2)[:, :size, :size].transpose(0, 3, 1, 2)
    logits = package.logits(torch.from_numpy(pixels.copy()))
    assert float((logits - recorded).abs().max() / recorded.abs().max()) < 1e-4


def test_weights_that_are_not_finite_are_refused(weights, tmp_path):
    state = build_model(NARROW).state_dict()
    state["fc.bias"][0] = float("nan")
    save_file(state, tmp_path / "nan.safetensors")
    with pytest.raises(UserError, match=r"fc\.bias"):
        import_weights(str(tmp_path / "nan.safetensors"), tmp_path / "package")
    assert not (tmp_path / "package").exists()


def test_an_imported_package_has_the_sources_weights(weights, tmp_path):
    result = import_weights(str(weights), tmp_path / "package")
    own, source = load_package(result.folder).model.state_dict(), build_model(NARROW, seed=1)
    assert all(torch.equal(own[name], value) for name, value in source.state_dict().items())
