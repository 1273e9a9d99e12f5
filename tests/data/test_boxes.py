"""Boxes beside a source: matched by name, carried through resize and crop, or refused in words."""

import json

import numpy as np
import pytest
from PIL import Image

from resnetkit.data.boxes import fit_corners, load_boxes, map_boxes
from resnetkit.data.contract import InputContract
from resnetkit.data.source_types import Split
from resnetkit.data.sources import load_source
from resnetkit.data.transforms import load_contract_image
from resnetkit.types import UserError

CLASSES = ("cat", "dog")
CONTRACT = InputContract(
    class_names=CLASSES,
    color_mode="L",
    resize=15,
    interpolation="nearest",
    crop=(10, 12),
    mean=(0.0,),
    std=(1.0,),
)


def picture(path, size=(40, 30), **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", size, 90).save(path, **options)


def xml(objects, *, size=(40, 30), file_name=None):
    """VOC's annotation of objects (class, xmin, ymin, xmax, ymax)."""
    name = "" if file_name is None else f"<filename>{file_name}</filename>"
    sides = "" if size is None else f"<width>{size[0]}</width><height>{size[1]}</height>"
    said = f"<size>{sides}</size>"
    corners = ("xmin", "ymin", "xmax", "ymax")
    marked = "".join(
        f"<object><name>{kind}</name><bndbox>"
        + "".join(f"<{key}>{value}</{key}>" for key, value in zip(corners, box, strict=True))
        + "</bndbox></object>"
        for kind, *box in objects
    )
    return f"<annotation>{name}{said}{marked}</annotation>"


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.fixture
def source(tmp_path):
    """Two cats and a dog, 40 x 30."""
    for name in ("cat/a.png", "cat/b.png", "dog/c.png"):
        picture(tmp_path / "images" / name)
    return tmp_path


def split_of(source):
    return load_source(str(source / "images"), ("train",)).splits["train"]


def load(source, **files):
    """Boxes of VOC files a.xml, … with the given objects."""
    for name, objects in files.items():
        write(source / f"boxes/{name}.xml", xml(objects))
    return load_boxes(source / "boxes", split_of(source), CLASSES)


def refused(source, message, **files):
    with pytest.raises(UserError, match=message):
        load(source, **files)


def test_boxes_of_voc_by_hand(source):
    boxes = load(source, a=[("cat", 11, 9, 30, 20), ("dog", 1, 1, 2, 2)], c=[("dog", 5, 5, 60, 9)])
    assert boxes.rows.tolist() == [0, 0, 2]
    assert boxes.classes.tolist() == [0, 1, 1]
    # VOC counts pixels from 1, and its last pixel is inside; the third reaches out of the picture.
    assert boxes.corners.tolist() == [[10, 8, 30, 20], [0, 0, 2, 2], [4, 4, 40, 9]]
    assert boxes.sizes.tolist() == [[40, 30]] * 3
    assert boxes.skipped == ("1 of 3 pictures have no box",)
    assert boxes.of(0, 0).tolist() == [[10, 8, 30, 20]]
    assert boxes.of(1, 0).shape == (0, 4)
    assert boxes.of(2, 0).shape == (0, 4)


def test_the_same_boxes_in_coco(source):
    content = {
        "images": [
            {"id": 7, "file_name": "cat/a.png", "width": 40, "height": 30},
            {"id": 9, "file_name": "c.png"},
        ],
        "categories": [{"id": 2, "name": "dog"}, {"id": 1, "name": "cat"}],
        "annotations": [
            {"image_id": 9, "category_id": 2, "bbox": [4, 4, 56, 5]},
            {"image_id": 7, "category_id": 1, "bbox": [10, 8, 20, 12]},
            {"image_id": 7, "category_id": 1, "bbox": [0, 0, 40, 30], "iscrowd": 1},
        ],
    }
    path = write(source / "boxes/instances_train.json", json.dumps(content))
    for location in (path, path.parent):
        boxes = load_boxes(location, split_of(source), CLASSES)
        assert boxes.corners.tolist() == [[10, 8, 30, 20], [4, 4, 40, 9]]
        assert boxes.rows.tolist() == [0, 2]
        assert boxes.classes.tolist() == [0, 1]


def test_resize_and_crop_by_hand(source):
    boxes = load(source, a=[("cat", 11, 9, 30, 20)], b=[("cat", 1, 1, 4, 30)])
    fitted = map_boxes(boxes, CONTRACT)
    # Halved to 20 x 15, then 4 columns and 2 rows (2.5, rounded to even) are cut off.
    assert fitted.corners.tolist() == [[1, 2, 11, 8]]
    assert fitted.rows.tolist() == [0]
    assert fitted.skipped[-1] == (
        "1 boxes lie outside the centre that the network is shown, or are too small there"
    )


@pytest.mark.parametrize("size", [(64, 48), (37, 91), (50, 50), (15, 15), (300, 23)])
@pytest.mark.parametrize("crop", [(15, 15), (9, 14)])
def test_boxes_lie_where_the_object_comes_to_lie(size, crop):
    contract = InputContract(
        class_names=CLASSES, color_mode="L", resize=15, interpolation="nearest", crop=crop,
        mean=(0.0,), std=(1.0,),
    )  # fmt: skip
    width, height = size
    left, top, right, bottom = 0.3 * width, 0.35 * height, 0.7 * width, 0.8 * height
    box = np.array([[round(left), round(top), round(right), round(bottom)]], np.float64)
    pixels = np.zeros((height, width), np.uint8)
    pixels[int(box[0, 1]) : int(box[0, 3]), int(box[0, 0]) : int(box[0, 2])] = 255
    shown = load_contract_image(pixels, contract)[0] > 127
    rows, columns = np.nonzero(shown)
    expected = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    fitted = fit_corners(box, np.array([size]), contract)
    np.testing.assert_allclose(fitted[0], expected, atol=0.5 + 1e-9)


def test_pictures_that_lie_turned_are_looked_at_upright(source):
    exif = Image.Exif()
    exif[0x0112] = 6
    picture(source / "images/dog/d.jpg", size=(30, 40), exif=exif)
    boxes = load(source, d=[("dog", 1, 1, 40, 30)])
    assert boxes.sizes.tolist() == [[40, 30]]
    assert boxes.corners.tolist() == [[0, 0, 40, 30]]


def test_names_are_matched_by_their_end(source):
    picture(source / "images/dog/a.png")
    write(source / "boxes/dog/a.xml", xml([("dog", 1, 1, 9, 9)]))
    write(source / "boxes/other.xml", xml([("cat", 1, 1, 9, 9)], file_name="b.png"))
    boxes = load_boxes(source / "boxes", split_of(source), CLASSES)
    names = split_of(source).names
    assert [names[row] for row in boxes.rows] == ["cat/b.png", "dog/a.png"]


def test_dots_belong_to_names(source):
    picture(source / "images/dog/v1.2.png")
    boxes = load(source, **{"v1.2": [("dog", 1, 1, 9, 9)]})
    assert split_of(source).names[int(boxes.rows[0])] == "dog/v1.2.png"


def test_names_that_mean_several_pictures_are_refused(source):
    picture(source / "images/dog/a.png")
    refused(source, "a.xml: 2 pictures could be meant: 'cat/a.png', 'dog/a.png'. Put the "
            "annotations into the same folders", a=[("cat", 1, 1, 9, 9)])  # fmt: skip


def test_two_annotations_of_one_picture_are_refused(source):
    write(source / "boxes/more/a.xml", xml([("cat", 1, 1, 9, 9)]))
    refused(source, "both of the picture 'cat/a.png'; keep one", a=[("cat", 1, 1, 9, 9)])


def test_annotations_of_other_pictures_are_passed_over(source):
    boxes = load(source, a=[("cat", 1, 1, 9, 9)], elsewhere=[("cat", 1, 1, 9, 9)])
    assert boxes.rows.tolist() == [0]
    assert len(boxes.skipped) == 1


def test_what_is_left_out_is_said(source):
    write(source / "boxes/b.xml", xml([("cat", 1, 1, 9, 9)], size=(80, 60)))
    boxes = load(
        source,
        a=[("cat", 1, 1, 9, 9), ("bird", 1, 1, 9, 9), ("cat", 50, 1, 60, 9), ("cat", 9, 9, 5, 5)],
    )
    assert len(boxes) == 1
    assert boxes.skipped == (
        "2 of 3 pictures have no box",
        "1 objects are of classes the package does not know: 'bird'",
        "1 objects have no box, or one without width or height",
        "1 boxes lie outside their picture",
        "the boxes of 1 pictures count in another size than the picture's: "
        "cat/b.png (annotated with 80 x 60, it has 40 x 30)",
    )


def test_a_size_that_is_not_said_is_no_other(source):
    write(source / "boxes/a.xml", xml([("cat", 1, 1, 9, 9)], size=None))
    assert len(load(source)) == 1


def test_pictures_that_cannot_be_read_are_said(source):
    (source / "images/cat/b.png").write_bytes(b"no picture")
    boxes = load(source, a=[("cat", 1, 1, 9, 9)], b=[("cat", 1, 1, 9, 9)])
    assert boxes.skipped[-1] == "1 pictures cannot be read: 'cat/b.png'"


def test_nothing_left_is_refused(source):
    refused(
        source,
        "no picture has a box that can be used: 3 of 3 pictures have no box; 1 objects are of "
        "classes the package does not know: 'bird'. Needed are boxes of the classes 'cat', 'dog'",
        a=[("bird", 1, 1, 9, 9)],
    )


def test_boxes_of_other_pictures_are_refused(source):
    refused(
        source,
        "none of its 1 annotations is of one of the 3 pictures, by name: needed are names such as "
        "'cat/a.png', got 'zebra'",
        zebra=[("cat", 1, 1, 9, 9)],
    )


def test_bad_files_are_refused(source):
    write(source / "boxes/a.xml", "<annotation><object>")
    refused(source, "a.xml, line 1: broken XML")
    bomb = '<!DOCTYPE a [<!ENTITY b "lol">]><annotation>&b;</annotation>'
    write(source / "boxes/a.xml", bomb)
    refused(source, "declares the XML entity 'b'")
    write(source / "boxes/a.xml", "<html/>")
    refused(source, "needed is a VOC <annotation>; got <html>")
    write(source / "boxes/a.xml", xml([("cat", 1, 1, "wide", 9)]))
    refused(source, "the <bndbox> of object 1 needs the numbers")
    (source / "boxes/a.xml").unlink()
    refused(source, "there are no boxes here; needed are Pascal VOC XML files")
    write(source / "boxes/instances_train.json", "{")
    refused(source, "broken JSON")


def test_other_places_are_refused(source):
    split = split_of(source)
    with pytest.raises(UserError, match="there is no such file or folder"):
        load_boxes(source / "nowhere", split, CLASSES)
    text = write(source / "boxes.txt", "0 0 9 9")
    with pytest.raises(UserError, match=r"read from .xml .* and .json .*, got a file ending in"):
        load_boxes(text, split, CLASSES)
    write(source / "boxes/a.xml", xml([("cat", 1, 1, 9, 9)]))
    pixels = np.zeros((3, 1, 30, 40), np.uint8)
    arrays = Split(labels=split.labels, names=split.names, images=pixels)
    with pytest.raises(UserError, match="boxes need pictures that come as files"):
        load_boxes(source / "boxes", arrays, CLASSES)


def test_crops_have_no_boxes_of_their_own(tmp_path):
    picture(tmp_path / "JPEGImages/a.jpg")
    objects = [("cat", 1, 1, 20, 20), ("dog", 5, 5, 30, 30)]
    write(tmp_path / "Annotations/a.xml", xml(objects, file_name="a.jpg"))
    split = load_source(f"voc-crops:{tmp_path}", ("train",)).splits["train"]
    with pytest.raises(UserError, match=r"are cut out of others, in which the boxes lie"):
        load_boxes(tmp_path / "Annotations", split, CLASSES)
