"""What a fine-tuning says before its first step."""

import io
from dataclasses import replace

import pytest
from rich.console import Console

from resnetkit.continuing import Continuation
from resnetkit.data.class_map import reconcile_classes
from resnetkit.export.package import load_package
from resnetkit.narration_finetuning import describe_start
from resnetkit.pipeline_finetuning import prepare

pytestmark = pytest.mark.usefixtures("one_thread")
DIGITS = {"data.source": "digits", "data.shots": 5, "execution.compile": "no"}


@pytest.fixture
def package(digits_package):
    return load_package(digits_package)


def continuation(names, told=""):
    digits = tuple("0123456789")
    classes = reconcile_classes(digits, (*digits, *names), "new", add=True)
    return Continuation(classes=classes, told=told, judged=None, judged_split=None)


def test_where_weights_come_from_and_what_becomes_of_their_head(package):
    first = "Weights  trained on digits, at 8 pixels"
    fresh = describe_start(package, None, ("few images",))
    assert fresh == [
        first,
        "Head     new: the one for 10 classes is replaced",
        "Rule     few images",
    ]
    kept = describe_start(package, continuation(()), ())
    assert kept == [first, "Head     kept: it goes on learning its 10 classes"]
    many = [f"letter {name}" for name in "abcdefg"]
    grown = describe_start(package, continuation(many, "40 old images are replayed"), ())
    assert "10 classes, 7 added (letter a, letter b, letter c, letter d, letter e, …)" in grown[1]
    assert grown[2] == "Replay   40 old images are replayed"


def test_weights_from_elsewhere_are_named_by_their_origin(package):
    imported = replace(package, provenance={"imported": {"origin": "torchvision:resnet18"}})
    assert describe_start(imported, None, ())[0].startswith("Weights  trained on torchvision:res")
    assert "an unknown source" in describe_start(replace(package, provenance={}), None, ())[0]


def test_the_plan_is_shown_with_its_adapters_before_anything_is_written(digits_package, tmp_path):
    text = io.StringIO()
    given = {
        **DIGITS,
        "finetuning.weights": str(digits_package),
        "finetuning.strategy": "adapters",
        "finetuning.adapter_rank": 2,
        "training.epochs": 3,
        "execution.precision": "float32",
        "execution.memory_order": "channels_last",
    }
    run, _, _ = prepare(given, tmp_path / "run", False, Console(file=text, width=200))
    said = text.getvalue()
    rows = {line.split()[0]: line.split() for line in said.splitlines() if line.startswith("  ")}
    assert rows["stage1"][3:5] == ["adapters", "frozen"]
    assert 0 < int(rows["stage1"][2].replace(",", "")) < int(rows["stage1"][1].replace(",", ""))
    assert rows["head"][-3:] == ["0", "to", "3"]
    assert "Plan     adapters" in said
    assert said.index("Rule") < said.index("Data") < said.index("Plan")
    assert all("down" not in key and "adapter" not in key for key in run.start), "not yet inserted"
    assert not (tmp_path / "run").exists()
