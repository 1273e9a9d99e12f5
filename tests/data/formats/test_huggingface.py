"""Hugging Face data sets by name: with a stand-in for their library, and with it if installed."""

import importlib
import io
import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from resnetkit.data.decode import decode_image
from resnetkit.data.sources import load_source
from resnetkit.types import UserError


class ImageKind:
    def __init__(self, decode=True):
        self.decode = decode


class ClassLabel:
    def __init__(self, names):
        self.names = names


class ListKind:
    def __init__(self, feature):
        self.feature = feature


class TextKind:
    pass


class Rows:
    """What is used of `datasets.Dataset`; a picture is decoded unless its column says otherwise."""

    def __init__(self, split, columns, features):
        self.split, self.columns, self.features = split, columns, features
        self.data, self.formatted = pa.table(columns), False

    def __len__(self):
        return self.data.num_rows

    def changed(self, **changes):
        rows = Rows(self.split, self.columns, self.features)
        rows.__dict__.update(changes)
        return rows

    def select_columns(self, names):
        columns = {name: self.columns[name] for name in names}
        return Rows(self.split, columns, {name: self.features[name] for name in names})

    def cast_column(self, name, kind):
        return self.changed(features=self.features | {name: kind})

    def with_format(self, name):
        assert name == "arrow"
        return self.changed(formatted=True)

    def __getitem__(self, index):
        if isinstance(index, slice):
            assert self.formatted
            assert index == slice(None)
            return self.data
        for kind in self.features.values():
            assert not getattr(kind, "decode", False), "an image was decoded"
        return {name: self.data.column(name)[index].as_py() for name in self.columns}


def png(value):
    stream = io.BytesIO()
    Image.fromarray(np.full((4, 6), value, np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def pictures(count):
    return [{"bytes": png(value), "path": None} for value in range(count)]


FEATURES = {"image": ImageKind(), "label": ClassLabel(["cat", "dog"])}
LABELS = {"train": [0, 1, 1], "validation": [1], "test": [-1]}


@pytest.fixture
def hub(monkeypatch):
    """The stand-in: `hub.sets[name, config]` is (features, {split: columns})."""
    opened = []

    def load_dataset_builder(name, config=None):
        if (name, config) not in sets:
            raise ConnectionError(f"Couldn't reach {name!r} on the Hub")
        features, splits = sets[name, config]
        info = SimpleNamespace(splits=None, features=None)

        def download_and_prepare():
            info.splits, info.features = dict.fromkeys(splits), features

        def as_dataset(split):
            opened.append(split)
            return Rows(split, splits[split], features)

        return SimpleNamespace(
            info=info, download_and_prepare=download_and_prepare, as_dataset=as_dataset
        )

    columns = {
        split: {"image": pictures(len(labels)), "label": labels} for split, labels in LABELS.items()
    }
    sets = {("org/pets", None): (FEATURES, columns)}
    module = ModuleType("datasets")
    module.__dict__.update(
        load_dataset_builder=load_dataset_builder, Image=ImageKind, ClassLabel=ClassLabel
    )
    monkeypatch.setitem(sys.modules, "datasets", module)
    return SimpleNamespace(sets=sets, opened=opened)


def refused(location, message, splits=("train",)):
    with pytest.raises(UserError, match=message):
        load_source(location, splits)


def check(location):
    source = load_source(location, ["train", "val"])
    assert source.location == location
    assert source.task == "single-label"
    assert source.class_names == ("cat", "dog")
    assert source.present == ("train", "val", "test")
    train = source.splits["train"]
    assert train.labels.tolist() == [0, 1, 1]
    assert list(train.names) == ["train[0]", "train[1]", "train[2]"]
    assert train.encoded is not None
    assert train.encoded[2] == png(2)
    assert train.encoded[:2] == [png(0), png(1)]
    assert np.asarray(decode_image(train.encoded[1], "x")).max() == 1
    refused(location, r"\(test\): row 0 has the label -1; needed is 0 to 1. A test", ["test"])


def test_by_name(hub):
    check("hf:org/pets")


def test_only_the_splits_asked_for_are_opened(hub):
    load_source("hf:org/pets", ["val"])
    load_source("hf:org/pets", [])
    assert hub.opened == ["validation"]


def test_with_the_library_itself(tmp_path, monkeypatch):
    for name in ("HF_HOME", "HF_DATASETS_CACHE"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])}
    )
    for split, labels in LABELS.items():
        columns = {"image": pictures(len(labels)), "label": labels}
        rows = datasets.Dataset.from_dict(columns, features=features)
        rows.to_parquet(str(tmp_path / f"set/{split}-00000-of-00001.parquet"))
    check(f"hf:{tmp_path / 'set'}")


def test_a_configuration(hub):
    hub.sets["org/pets", "small"] = (FEATURES, {"train": {"image": pictures(2), "label": [1, 0]}})
    source = load_source("hf:org/pets:small", ["train"])
    assert source.location == "hf:org/pets:small"
    assert source.splits["train"].labels.tolist() == [1, 0]


@pytest.mark.parametrize(
    "kind", [ListKind(ClassLabel(["x", "y", "z"])), [ClassLabel(["x", "y", "z"])]]
)
def test_lists_of_labels(hub, kind):
    columns = {"img": pictures(3), "tags": [[0, 2], [], [1]]}
    hub.sets["tags", None] = ({"img": ImageKind(), "tags": kind}, {"train": columns})
    source = load_source("hf:tags", ["train"])
    assert source.task == "multi-label"
    assert source.class_names == ("x", "y", "z")
    assert source.splits["train"].labels.tolist() == [[1, 0, 1], [0, 0, 0], [0, 1, 0]]
    columns["tags"] = [[0], [1], [3]]
    refused("hf:tags", "row 2 has the label 3; needed is 0 to 2")


def test_labels_that_are_text(hub):
    features = {"photo": ImageKind(), "label": TextKind()}
    columns = {
        "train": {"photo": pictures(3), "label": ["dog", "cat", "dog"]},
        "test": {"photo": pictures(1), "label": ["cat"]},
    }
    hub.sets["text", None] = (features, columns)
    assert load_source("hf:text", ["train"]).splits["train"].labels.tolist() == [1, 0, 1]
    assert load_source("hf:text", ["test"]).splits["test"].labels.tolist() == [0]
    columns["test"]["label"] = ["cow"]
    refused("hf:text", "1 class.* that training lacks: 'cow'", ["test"])


def test_images_that_are_files(hub, tmp_path):
    (tmp_path / "a.png").write_bytes(png(9))
    rows = [{"bytes": None, "path": str(tmp_path / "a.png")}] * 2
    hub.sets["files", None] = (FEATURES, {"train": {"image": rows, "label": [0, 1]}})
    train = load_source("hf:files", ["train"]).splits["train"]
    assert train.encoded is not None
    assert train.encoded[1] == tmp_path / "a.png"


@pytest.mark.parametrize(
    ("features", "columns", "message"),
    [
        (
            {"image": TextKind(), "label": TextKind()},
            {},
            "needed are a column of images and one of",
        ),
        ({"image": ImageKind(), "class": TextKind()}, {}, "the columns are image, class"),
        (FEATURES, {"image": [None, *pictures(1)]}, r"\(train\): 1 row\(s\) have no image"),
        (
            {"image": ImageKind(), "labels": TextKind()},
            {"labels": [["a", "b"], ["a"]]},
            r"the column 'labels' holds \['a', 'b'\]; needed are whole numbers, text, or lists",
        ),
        (FEATURES, {"label": [None, 1]}, r"\(train\): 1 row\(s\) have no label"),
    ],
)
def test_tables_that_cannot_be_used(hub, features, columns, message):
    whole = {"image": pictures(2), "label": [0, 1], "class": [0, 1]} | columns
    hub.sets["bad", None] = (features, {"train": whole})
    refused("hf:bad", message)


def test_splits_of_other_names(hub):
    hub.sets["odd", None] = (FEATURES, {"unsupervised": {"image": [], "label": []}})
    refused("hf:odd", "none of its splits is called train, .*; it has unsupervised")


def test_what_the_hub_says_is_passed_on(hub):
    refused(
        "hf:no/such", r"hf:no/such: cannot be loaded. ConnectionError: Couldn't reach 'no/such'"
    )
    refused("hf:org/pets:big", "Needed is hf:NAME or hf:NAME:CONFIG .* HF_HUB_OFFLINE=1")


def test_without_the_library(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    refused(
        "hf:org/pets",
        r"hf:org/pets: this needs the library datasets: pip install 'resnetkit\[hf\]'",
    )


def test_another_missing_library_is_not_hidden(monkeypatch):
    def import_module(name):
        raise ModuleNotFoundError("No module named 'fsspec'", name="fsspec")

    monkeypatch.setattr(importlib, "import_module", import_module)
    with pytest.raises(ModuleNotFoundError, match="fsspec"):
        load_source("hf:org/pets", ["train"])
