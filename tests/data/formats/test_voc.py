"""Pascal VOC: the devkit in miniature, looser layouts, and every message."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from resnetkit.data.decode import decode_image
from resnetkit.data.sources import load_source
from resnetkit.types import UserError


def marked(name="cat", box=(5, 6, 15, 18), difficult=0, extra=""):
    corners = "".join(
        f"<{key}>{value}</{key}>"
        for key, value in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
    )
    return (
        f"<object><name>{name}</name><pose>Left</pose><truncated>0</truncated>"
        f"<difficult>{difficult}</difficult><bndbox>{corners}</bndbox>{extra}</object>"
    )


def annotation(stem, *objects, file_name=None, size=(40, 30)):
    width, height = size
    return (
        "<annotation>\n<folder>VOC2007</folder>\n"
        f"<filename>{file_name or stem + '.jpg'}</filename>\n"
        f"<size><width>{width}</width><height>{height}</height><depth>3</depth></size>\n"
        f"<segmented>0</segmented>{''.join(objects)}</annotation>"
    )


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def picture(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.arange(30 * 40, dtype=np.uint16).reshape(30, 40) % 251
    Image.fromarray(pixels.astype(np.uint8)).save(path, "PNG")


OBJECTS = {
    "000005": [marked("dog"), marked("cat", (1, 1, 10, 10)), marked("cat", difficult=1)],
    "000007": [marked("person", (20.5, 3.2, 99, 99), extra="<part><name>head</name></part>")],
    "000009": [marked("cat", (8, 8, 8, 3))],
    "000012": [],
}


def devkit(root):
    for stem, objects in OBJECTS.items():
        write(root / f"Annotations/{stem}.xml", annotation(stem, *objects))
        picture(root / f"JPEGImages/{stem}.jpg")
    for name, ids in (
        ("train", ["000005", "000007"]),
        ("val", ["000012"]),
        ("trainval", []),
        ("test", ["000009"]),
    ):
        write(root / f"ImageSets/Main/{name}.txt", "".join(f"{stem}\n" for stem in ids))
    write(root / "ImageSets/Main/cat_train.txt", "000005  1\n000007 -1\n")
    return root


@pytest.fixture
def year(tmp_path):
    return devkit(tmp_path / "VOCdevkit/VOC2007")


def refused(location, message, splits=("train", "val", "test")):
    with pytest.raises(UserError, match=message):
        load_source(str(location), splits)


def test_whole_pictures_with_all_their_classes(year):
    for location in (year, f"voc:{year}", year.parent):
        source = load_source(str(location), ["train", "val", "test"])
        assert source.task == "multi-label"
        assert source.class_names == ("cat", "dog", "person")
        assert source.present == ("train", "val", "test")
        train = source.splits["train"]
        assert train.labels.tolist() == [[1, 1, 0], [0, 0, 1]]
        assert train.encoded is not None
        assert train.encoded[0] == year / "JPEGImages/000005.jpg"
        assert train.names[0].endswith("JPEGImages/000005.jpg")
        assert source.splits["val"].labels.tolist() == [[0, 0, 0]]


def test_crops_count_pixels_from_one_and_end_with_the_last(year):
    with pytest.warns(UserWarning, match=r"\(train\): 1 of 4 .*: 1 marked as difficult"):
        train = load_source(f"voc-crops:{year}", ["train"]).splits["train"]
    assert [name.rpartition("/")[2] for name in train.names] == [
        "000005.jpg#0",
        "000005.jpg#1",
        "000007.jpg#0",
    ]
    assert train.labels.tolist() == [1, 0, 2]
    assert train.encoded is not None
    assert [item.box for item in train.encoded] == [(4, 5, 15, 18), (0, 0, 10, 10), (19, 2, 40, 30)]
    whole = np.asarray(Image.open(year / "JPEGImages/000005.jpg"))
    assert np.array_equal(np.asarray(decode_image(train.encoded[0], "x")), whole[5:18, 4:15])


def test_a_split_without_a_single_crop(year):
    with pytest.warns(UserWarning, match="1 with a box that is smaller than a pixel or outside"):
        refused(
            f"voc-crops:{year}", r"\(test\): none of its 1 marked objects makes a crop", ["test"]
        )


def test_other_splits_are_not_read(year, monkeypatch):
    for stem in ("000012", "000009"):
        (year / f"Annotations/{stem}.xml").write_text("broken")
        (year / f"JPEGImages/{stem}.jpg").unlink()
    monkeypatch.setattr(Image, "open", None)
    assert set(load_source(str(year), ["train"]).splits) == {"train"}
    assert load_source(str(year), []).class_names == ("cat", "dog", "person")
    refused(year, "000012.xml, line 1: broken XML", ["val"])


def test_test_images_without_published_annotations_are_no_split(year):
    write(year / "ImageSets/Main/test.txt", "2008_000001\n2008_000002\n")
    assert load_source(str(year), ["train"]).present == ("train", "val")


def test_trainval_where_there_is_no_train(year):
    for name in ("train", "val"):
        (year / f"ImageSets/Main/{name}.txt").unlink()
    write(year / "ImageSets/Main/trainval.txt", "000005\n000007\n\n")
    source = load_source(str(year), ["train"])
    assert source.present == ("train", "test")
    assert len(source.splits["train"]) == 2


def test_images_sorted_into_class_folders(tmp_path):
    """The layout of NEU-DET, whose `filename` sometimes lacks its ending."""
    for stem, name in (("crazing_1", "crazing"), ("patches_1", "patches")):
        write(tmp_path / f"annotations/{stem}.xml", annotation(stem, marked(name), file_name=stem))
        picture(tmp_path / f"images/{name}/{stem}.jpg")
    source = load_source(str(tmp_path), ["train"])
    assert source.present == ("train",)
    assert list(source.splits["train"].names) == [
        "images/crazing/crazing_1.jpg",
        "images/patches/patches_1.jpg",
    ]


def test_a_folder_for_each_split(tmp_path):
    for folder in ("train", "validation"):
        write(tmp_path / f"{folder}/annotations/a.xml", annotation("a", marked("cat")))
        picture(tmp_path / f"{folder}/images/a.jpg")
    source = load_source(str(tmp_path), ["train", "val"])
    assert source.present == ("train", "val")
    assert list(source.splits["val"].names) == ["validation/images/a.jpg"]


def test_annotations_beside_their_images(tmp_path):
    write(tmp_path / "a.xml", annotation("x", marked("cat"), file_name="C:\\pictures\\b.JPG"))
    picture(tmp_path / "b.JPG")
    write(tmp_path / "c.xml", annotation("c", marked("dog")))
    picture(tmp_path / "c.png")  # of the same name, although the file says c.jpg
    assert list(load_source(f"voc:{tmp_path}", ["train"]).splits["train"].names) == [
        "b.JPG",
        "c.png",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "<annotation>\n<object>\n</annotation>",
            r"000005.xml, line 3: broken XML \(mismatched tag",
        ),
        ("", r"000005.xml, line 1: broken XML \(no element found\)"),
        ("<html/>", r"needed is a VOC <annotation>; got <html>"),
        (annotation("000005", marked(" ")), "object 1 has no <name>"),
        (
            annotation("000005", marked(), marked(box=("a", 1, 2, 3))),
            "the <bndbox> of object 2 needs the numbers xmin, ymin, xmax, ymax",
        ),
        (annotation("000005", marked(box=("inf", 1, 2, 3))), "<bndbox> of object 1"),
    ],
)
def test_what_an_annotation_may_not_be(year, text, message):
    write(year / "Annotations/000005.xml", text)
    refused(year, message)


def test_lists_of_ids(year):
    sets = year / "ImageSets/Main"
    write(sets / "train.txt", "000005\n000007\n000005\n")
    refused(year, "train.txt: '000005' is on line 1 and on line 3; remove one")
    write(sets / "train.txt", "000005\n../secret\n")
    refused(year, r"train.txt, line 2: needed is an image id; got '../secret'")
    write(sets / "train.txt", "\n")
    refused(year, "train.txt: this file is empty")
    write(sets / "train.txt", "000005\n000006\n")
    refused(year, "1 of 2 annotation files are missing: '000006.xml'. Add them")
    for name in ("train", "val", "trainval", "test"):
        (sets / f"{name}.txt").unlink()
    refused(year, "needed is train.txt or trainval.txt with one image id on each line")


def test_images_that_are_missing_or_cannot_be_told(year):
    (year / "JPEGImages/000007.jpg").unlink()
    refused(year, r"the images of 1 of 2 annotation files are not there: '000007.xml'")
    for folder in "ab":
        picture(year / f"JPEGImages/{folder}/000007.jpg")
    refused(year, r"000007.xml: 2 images could be meant: 'a/000007.jpg', 'b/000007.jpg'")


def test_two_annotations_of_one_image(tmp_path):
    picture(tmp_path / "images/a.jpg")
    for stem in ("a", "b"):
        write(tmp_path / f"annotations/{stem}.xml", annotation("a", marked("cat")))
    refused(tmp_path, "b.xml and a.xml both annotate 'a.jpg'")


def test_nothing_marked(year):
    for stem in ("000005", "000007"):
        write(year / f"Annotations/{stem}.xml", annotation(stem))
    refused(year, r"no object is marked in the 2 annotation file\(s\) of the train split")


def test_a_class_that_training_lacks(year):
    write(year / "Annotations/000012.xml", annotation("000012", marked("zebra")))
    refused(year, "the val split has 1 class.* that training lacks: 'zebra'")


def test_several_years(year):
    devkit(year.parent / "VOC2012")
    refused(f"voc:{year.parent}", "it holds 'VOC2007', 'VOC2012'; name the one to use")


def test_no_annotations(tmp_path):
    picture(tmp_path / "a/1.jpg")
    refused(f"voc:{tmp_path}", "there are no annotations; needed are XML files in Annotations/")
    refused(f"voc:{tmp_path / 'a/1.jpg'}", "needed is a folder with Annotations/")


def test_strange_image_names(tmp_path):
    stem = 'it\'s a "cat" 猫'
    write(tmp_path / f"annotations/{stem}.xml", annotation("x", marked("cat")))
    picture(tmp_path / f"images/{stem}.jpg")
    train = load_source(str(tmp_path), ["train"]).splits["train"]
    assert list(train.names) == [f"images/{stem}.jpg"]
    assert train.encoded is not None
    assert decode_image(train.encoded[0], "x").size == (40, 30)
    assert isinstance(train.encoded[0], Path)
