"""Open Images: label files as published, in miniature; people mostly hold a part of the images."""

import numpy as np
import pytest
from PIL import Image

from resnetkit.data.formats import open_images
from resnetkit.data.sources import load_source
from resnetkit.types import UserError

HEADER = "ImageID,Source,LabelName,Confidence\n"
NAMES = {"train": "train", "val": "validation", "test": "test"}
CLASSES = '/m/0a,Tree\n/m/0b,"Car, old"\n/m/0c,Person\n/m/0d,Dog\n'
TRAIN = (
    "000a,verification,/m/0c,1\n000a,verification,/m/0b,0\n000b,crowdsource-verification,/m/0a,0\n"
    "000c,verification,/m/0a,1\n000a,verification,/m/0a,1\nffff,verification,/m/0d,1\n"
)


def put(path, content=""):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path


def label_file(root, split):
    return root / f"{NAMES[split]}-annotations-human-imagelabels-boxable.csv"


@pytest.fixture
def root(tmp_path):
    put(tmp_path / "class-descriptions-boxable.csv", CLASSES)
    put(label_file(tmp_path, "train"), HEADER + TRAIN)
    put(
        label_file(tmp_path, "val"),
        HEADER + "00aa,verification,/m/0a,1\n00aa,verification,/m/0d,1\n",
    )
    for name in ("train_0/000a", "train_0/000b", "train_f/000c", "validation/00aa"):
        put(tmp_path / f"{name}.jpg")
    return tmp_path


def read(location, *splits):
    with pytest.warns(UserWarning, match="left out"):
        return load_source(str(location), splits)


def refused(location, message, splits=("train",)):
    with pytest.raises(UserError, match=message):
        load_source(str(location), splits)


@pytest.mark.parametrize("prefix", ["", "open-images:"])
def test_labels_people_confirmed(root, prefix):
    with pytest.warns(UserWarning, match="left out") as told:
        source = load_source(f"{prefix}{root}", ["train", "val", "test"])
    assert source.task == "multi-label"
    assert source.class_names == ("Tree", "Person")  # those seen in training images that are there
    assert source.present == ("train", "val")
    train = source.splits["train"]
    assert list(train.names) == ["train_0/000a.jpg", "train_0/000b.jpg", "train_f/000c.jpg"]
    assert train.labels.dtype == np.float32
    assert train.labels.tolist() == [[1, 1], [0, 0], [1, 0]]  # the second: only a verified negative
    assert train.encoded is not None
    assert train.encoded[2] == root / "train_f/000c.jpg"
    assert source.splits["val"].labels.tolist() == [[1, 0]]
    messages = " ".join(str(warning.message) for warning in told)
    assert (
        "train split has 3 images; left out are 1 with labels that are not there, and 0" in messages
    )
    assert "1 labels of the val split are left out, as no training image shows" in messages


def test_version_six_and_folders_for_the_files(root):
    (root / "class-descriptions-boxable.csv").unlink()
    put(root / "metadata/oidv6-class-descriptions.csv", "LabelName,DisplayName\n" + CLASSES)
    (root / "labels").mkdir()
    label_file(root, "train").rename(root / "labels/oidv6-train-annotations-human-imagelabels.csv")
    put(root / "train/extra.jpg")
    with pytest.warns(UserWarning, match="and 1 without labels"):
        source = load_source(str(root), ["train"])
    assert source.class_names == ("Tree", "Person")


def test_classes_with_the_same_name_are_told_apart(root):
    put(root / "class-descriptions-boxable.csv", CLASSES.replace("Person", "Tree"))
    assert read(root, "train").class_names == ("Tree /m/0a", "Tree /m/0c")


def test_other_splits_are_not_read_and_nothing_is_opened(root, monkeypatch):
    label_file(root, "val").write_text("broken")
    monkeypatch.setattr(Image, "open", None)
    assert set(read(root, "train", "test").splits) == {"train"}
    assert read(root).class_names == ("Tree", "Person")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("000a,verification,/m/zz,1\n", "line 2: the class descriptions have no label '/m/zz'"),
        (
            "000a,verification,/m/0a,1\n000b,machine,/m/0a,0.7\n",
            "line 3: .*0 or 1.*got '0.7'.*machines",
        ),
        ("000a,verification,/m/0a\n", "line 2: needed are 4 values; got 3"),
        ('000a,verification,"/m/0a,1\n', "line 2: broken CSV"),
        (
            "eeee,verification,/m/0a,1\n",
            "none of the 1 images that .* labels is there; needed is tra",
        ),
        ("000a,verification,/m/0a,0\n", "no label has the confidence 1"),
        ("", "none of the 0 images"),
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_rows_that_cannot_be_used(root, rows, message):
    label_file(root, "train").write_text(HEADER + rows)
    refused(root, message)


def test_missing_columns(root):
    label_file(root, "train").write_text("ImageID,LabelName\n000a,/m/0a\n")
    refused(
        root, r"the column\(s\) Confidence are missing; needed are ImageID.* has ImageID, LabelN"
    )
    label_file(root, "train").write_text("")
    refused(root, "the first line has none")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("/m/0a,Tree\n/m/0a,Oak\n", "line 2: the label '/m/0a' is there twice"),
        ("/m/0a\n", r"line 1: needed is a label and its name; got \['/m/0a'\]"),
        ('/m/0a,"Tree\n', "broken CSV"),
    ],
)
def test_broken_class_descriptions(root, content, message):
    put(root / "class-descriptions-boxable.csv", content)
    refused(root, message)


def test_files_that_are_missing_or_too_many(root):
    put(root / "class-descriptions.csv", CLASSES)
    refused(root, "needed is one file of class descriptions .*; found: .*boxable.csv")
    for path in root.glob("class-*"):
        path.unlink()
    refused(root, "needed is one file of class descriptions .*; found: none")
    put(root / "oidv6-train-annotations-human-imagelabels.csv")
    refused(root, "both label the train split")
    for path in root.glob("*human*"):
        path.unlink()
    refused(
        f"open-images:{root}", "there are no labels of Open Images; needed is for instance train-"
    )


def test_an_image_in_two_folders(root):
    put(root / "train_1/000a.jpg")
    refused(root, "the image 000a is there twice, as 'train_0/000a.jpg' and as 'train_1/000a.jpg'")


def test_more_labels_than_memory(root, monkeypatch):
    monkeypatch.setattr(open_images, "LARGEST_LABELS_BYTES", 10)
    with pytest.warns(UserWarning, match="left out"):
        refused(root, "the labels of 3 images in 2 classes would take 0 GiB; use fewer classes")
