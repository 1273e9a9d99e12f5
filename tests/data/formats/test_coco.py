"""COCO: the official layout in miniature, exports of other tools, and every message."""

import json

import numpy as np
import pytest
from PIL import Image

from resnetkit.data.decode import decode_image
from resnetkit.data.formats import coco_json
from resnetkit.data.sources import load_source
from resnetkit.types import UserError

CATEGORIES = [  # ids have gaps and are not in order, as COCO's
    {"supercategory": "animal", "id": 17, "name": "cat"},
    {"supercategory": "person", "id": 1, "name": "person"},
    {"supercategory": "animal", "id": 18, "name": "dog"},
]
INFO = {"info": {"year": 2017}, "licenses": [{"id": 1, "name": "CC"}]}


def image(number, **changes):
    fields = {"id": number, "file_name": f"{number:012d}.jpg", "width": 40, "height": 30}
    return fields | changes


def marked(number, image_id, category, box=(5, 6, 10, 12), **changes):
    x, y, width, height = box
    outline = [[x, y, x + width, y, x + width, y + height]]
    fields = {"id": number, "image_id": image_id, "category_id": category, "bbox": list(box)}
    return fields | {"segmentation": outline, "area": width * height, "iscrowd": 0} | changes


def picture(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.arange(30 * 40, dtype=np.uint16).reshape(30, 40) % 251
    Image.fromarray(pixels.astype(np.uint8)).save(path, "PNG")


def content(images, annotations, categories=CATEGORIES):
    return INFO | {"images": images, "annotations": annotations, "categories": categories}


TRAIN = content(
    [image(9), image(25), image(30)],
    [
        marked(1, 25, 18, (1.4, 2.6, 10.2, 5.1)),
        marked(2, 9, 1),
        marked(3, 25, 1, iscrowd=1, segmentation={"counts": [3, 4], "size": [30, 40]}),
        marked(4, 25, 17, (35, 25, 10, 10)),
        marked(5, 9, 17, (40, 3, 5, 5)),
        marked(6, 9, 17, (3, 3, 0.5, 20)),
        marked(7, 9, 1, (0, 0, 40, 30)),
    ],
)
VAL = content([image(7)], [marked(8, 7, 17)])


def write(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(data if isinstance(data, str) else json.dumps(data))
    return path


@pytest.fixture
def official(tmp_path):
    for split, data in (("train", TRAIN), ("val", VAL)):
        write(tmp_path / f"annotations/instances_{split}2017.json", data)
        for record in data["images"]:
            picture(tmp_path / f"{split}2017" / record["file_name"])
    write(tmp_path / "annotations/captions_train2017.json", "not even read")
    return tmp_path


def refused(location, message, splits=("train", "val", "test")):
    with pytest.raises(UserError, match=message):
        load_source(str(location), splits)


def rewrite(official, **changes):
    return write(official / "annotations/instances_train2017.json", TRAIN | changes)


@pytest.mark.parametrize("prefix", ["", "coco:"])
def test_whole_pictures_with_all_their_classes(official, prefix):
    source = load_source(f"{prefix}{official}", ["train", "val"])
    assert source.location == f"{prefix}{official}"
    assert source.task == "multi-label"
    assert source.class_names == ("person", "cat", "dog")
    assert source.present == ("train", "val")
    train = source.splits["train"]
    assert list(train.names) == [f"train2017/{n:012d}.jpg" for n in (9, 25, 30)]
    assert train.labels.dtype == np.float32
    assert train.labels.tolist() == [[1, 1, 0], [1, 1, 1], [0, 0, 0]]  # a crowd shows its class
    assert train.encoded is not None
    assert train.encoded[1] == official / "train2017/000000000025.jpg"
    assert source.splits["val"].labels.tolist() == [[0, 1, 0]]


def test_crops(official):
    with pytest.warns(UserWarning, match=r"3 of 7 .* 1 marked as a crowd, 2 with a box that is sm"):
        source = load_source(f"coco-crops:{official}", ["train"])
    assert source.task == "single-label"
    train = source.splits["train"]
    names = [name.removeprefix("train2017/0000000000") for name in train.names]
    assert names == ["09.jpg#0", "09.jpg#3", "25.jpg#0", "25.jpg#2"]
    assert train.labels.tolist() == [0, 0, 2, 1]
    assert train.labels.dtype == np.int64
    assert train.encoded is not None
    boxes = [item.box for item in train.encoded]
    assert boxes == [(5, 6, 15, 18), (0, 0, 40, 30), (1, 2, 12, 8), (35, 25, 40, 30)]
    whole = np.asarray(Image.open(official / "train2017/000000000025.jpg"))
    assert np.array_equal(np.asarray(decode_image(train.encoded[2], "x")), whole[2:8, 1:12])


def test_only_what_was_asked_is_read(official, monkeypatch):
    (official / "train2017").rename(official / "away")
    rewrite(official, images="unread")
    assert set(load_source(str(official), ["val"]).splits) == {"val"}
    assert load_source(str(official), []).class_names == ("person", "cat", "dog")
    monkeypatch.setattr(Image, "open", None)
    (official / "away").rename(official / "train2017")
    write(official / "annotations/instances_train2017.json", TRAIN)
    assert len(load_source(str(official), ["train", "val"]).splits["train"]) == 3


@pytest.mark.parametrize("place", ["images", "train2017", "images/train", "annotations", "."])
def test_one_file_and_where_its_images_may_lie(tmp_path, place):
    file = write(tmp_path / "annotations/instances_train2017.json", TRAIN)
    for record in TRAIN["images"]:
        picture(tmp_path / place / record["file_name"])
    for location in (tmp_path, file):
        train = load_source(str(location), ["train"]).splits["train"]
        assert train.encoded is not None
        assert train.encoded[0] == tmp_path / place / "000000000009.jpg"
        assert (
            train.names[0]
            == (tmp_path / place / "000000000009.jpg").relative_to(tmp_path).as_posix()
        )


def test_exports_with_one_file_in_each_split_folder(tmp_path):
    for folder, data in (("train", TRAIN), ("valid", VAL), ("test", VAL)):
        write(tmp_path / folder / "_annotations.coco.json", data)
        for record in data["images"]:
            picture(tmp_path / folder / record["file_name"])
    source = load_source(str(tmp_path), ["train", "val"])
    assert source.present == ("train", "val", "test")
    assert list(source.splits["val"].names) == ["valid/000000000007.jpg"]


def test_any_other_single_file_is_training(tmp_path):
    file = write(tmp_path / "instances_default.json", VAL)
    picture(tmp_path / "images/000000000007.jpg")
    assert load_source(str(file), ["train"]).present == ("train",)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": []}, "its list 'images' is empty; there is nothing to learn"),
        ({"annotations": []}, "its list 'annotations' is empty"),
        ({"categories": []}, "its list 'categories' is empty"),
        (
            {"annotations": {}},
            "the lists images, annotations, categories; 'annotations' is missing",
        ),
        ({"images": [1]}, "'images' is missing or no list of objects"),
        (
            {"images": [image(9), image(9, file_name="b.jpg")]},
            r"images\[0\] and images\[1\] .* id 9",
        ),
        (
            {"images": [image(9), image(8, file_name="000000000009.jpg")]},
            "the same file_name '0000",
        ),
        (
            {"images": [image(9), image(8, id="8")]},
            r"images\[1\] needs a whole number as 'id'; got '8'",
        ),
        ({"images": [image(9), {"id": 8}]}, r"images\[1\] needs text as 'file_name'; got None"),
        ({"images": [image(9, file_name="../../x.jpg")]}, "'../../x.jpg' does not lie in a folder"),
        ({"images": [image(9, file_name="/etc/x.jpg")]}, "'/etc/x.jpg' does not lie in a folder"),
        (
            {"categories": [*CATEGORIES, {"id": 2, "name": "cat"}]},
            r"categories\[0\] and categories\[3\] have the same name 'cat'",
        ),
        (
            {"annotations": [marked(1, 9, 1), marked(2, 9, 99)]},
            r"annotations\[1\] has the category_id 99, which none of the 3 categories has",
        ),
        (
            {"annotations": [marked(1, 1234, 1)]},
            r"annotations\[0\] has the image_id 1234, which none of the 3 images has",
        ),
        ({"annotations": [{"image_id": 9}]}, r"annotations\[0\] has the category_id None"),
        ({"annotations": [marked(1, [9], 1)]}, r"annotations\[0\] has the image_id \[9\]"),
        ({"annotations": [marked(1, 9, 1, bbox=[1, 2, 3])]}, r"needs a bbox .*; got \[1, 2, 3\]"),
        ({"annotations": [marked(1, 9, 1, bbox=[1, 2, "3", 4])]}, "needs a bbox"),
        ({"annotations": [marked(1, 9, 1, bbox=[1, 2, float("nan"), 4])]}, "needs a bbox"),
    ],
)
def test_what_an_annotation_file_may_not_say(official, changes, message):
    rewrite(official, **changes)
    refused(official, f"instances_train2017.json: .*{message}")


def test_broken_json(official):
    file = official / "annotations/instances_train2017.json"
    file.write_text('{"images": [],\n "annotations": [}')
    refused(official, r"instances_train2017.json, line 2: broken JSON \(Expecting value\)")
    file.write_text("[" * 100_000)
    refused(official, r"broken JSON \(nested too deeply\)")
    file.write_bytes(b'{"\xff": 1}')
    refused(official, r"broken JSON \(not text in UTF-8 at byte 2\)")
    file.write_text("")
    refused(official, "line 1: broken JSON")
    file.write_text("[]")
    refused(official, "needed is a JSON object")


def test_images_that_are_not_there(official):
    (official / "train2017/000000000025.jpg").unlink()
    refused(official, r"1 of 3 annotated images are not in .*: 'train2017/000000000025.jpg'\. Add")
    for path in (official / "train2017").iterdir():
        path.unlink()
    refused(official, r"its images \('000000000009.jpg', …\) are not there; looked in .*train2017")


def test_boxes_that_make_no_crop(official):
    rewrite(official, annotations=[marked(1, 9, 1, iscrowd=1), marked(2, 9, 17, bbox=[])])
    with pytest.warns(UserWarning, match="2 of 2 marked objects are left out"):
        refused(f"coco-crops:{official}", "none of its 2 marked objects makes a crop")


def test_splits_with_other_categories(official):
    other = [*CATEGORIES[:2], {"id": 18, "name": "horse"}]
    write(official / "annotations/instances_val2017.json", VAL | {"categories": other})
    refused(official, "instances_val2017.json: its categories are not those of instances_train2017")


def test_splits_that_cannot_be_told(official):
    write(official / "annotations/instances_train2014.json", TRAIN)
    refused(official, r"instances_train2014.json and instances_train2017.json are both the train")
    (official / "annotations/instances_train2014.json").rename(
        official / "annotations/instances_extra.json"
    )
    refused(official, "'instances_extra.json' does not say which split it belongs to")


def test_no_annotations(tmp_path):
    picture(tmp_path / "a.jpg")
    refused(
        f"coco:{tmp_path}", r"there are no COCO annotations; needed is annotations/instances_\*"
    )
    refused(f"coco:{tmp_path}/no", "there is no file or folder")


def test_outlines_are_not_kept(official, monkeypatch):
    seen = []
    monkeypatch.setattr(coco_json, "_read_list", lambda path, data, key: seen.append(data) or [])
    monkeypatch.setattr(coco_json, "_ids_and", lambda *_: ([], []))
    coco_json.read_annotation(official / "annotations/instances_train2017.json")
    assert all("segmentation" not in item for item in seen[0]["annotations"])
