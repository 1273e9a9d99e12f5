"""Hugging Face image parquet."""

import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from resnetkit.data.formats.parquet import BinaryColumn
from resnetkit.data.sources import load_source
from resnetkit.data.transforms import decode_image
from resnetkit.types import UserError


def picture(value):
    stream = io.BytesIO()
    Image.fromarray(np.full((4, 4), value, np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def write(path, labels, names=("cat", "dog"), start=0, **options):
    image, label = options.get("columns", ("image", "label"))
    images = [{"bytes": picture(start + i), "path": f"{i}.png"} for i in range(len(labels))]
    table = pa.table({image: images, label: labels, "lossless": [True] * len(labels)})
    if names:
        features = {image: {"_type": "Image"}, label: {"_type": "ClassLabel", "names": list(names)}}
        table = table.replace_schema_metadata(
            {"huggingface": json.dumps({"info": {"features": features}})}
        )
    path.parent.mkdir(exist_ok=True)
    pq.write_table(table, path, row_group_size=2)


def values(split):
    return [decode_image(content, "x").getpixel((0, 0)) for content in split.encoded]


def refused(location, message, splits=("train", "val", "test")):
    with pytest.raises(UserError, match=message):
        load_source(str(location), splits)


@pytest.mark.parametrize("shards", ["train-{}-of-2.parquet", "train-0000{}-of-00002.parquet"])
@pytest.mark.parametrize("sub", ["", "data/"])
def test_a_folder_of_shards_reads_in_shard_order_and_only_what_is_asked(tmp_path, shards, sub):
    write(tmp_path / sub / shards.format(1), [1, 1, 0], start=10)
    write(tmp_path / sub / shards.format(0), [0, 1], start=0)
    write(tmp_path / sub / "validation-00000-of-00001.parquet", [1], start=20)
    (tmp_path / sub / "test.parquet").write_bytes(b"must not be opened")
    source = load_source(str(tmp_path), ["train", "val"])
    assert source.class_names == ("cat", "dog")
    assert source.present == ("train", "val", "test")
    train = source.splits["train"]
    assert train.labels.tolist() == [0, 1, 1, 1, 0]
    assert values(train) == [0, 1, 10, 11, 12]
    assert train.names[1:3] == [f"{shards.format(0)}[1]", f"{shards.format(1)}[0]"]
    assert values(source.splits["val"]) == [20]
    assert values(train.subset([4, 0])) == [12, 0]
    refused(tmp_path, "test.parquet: not a whole parquet file", ["test"])


def test_more_than_ten_shards_come_in_the_order_of_their_numbers(tmp_path):
    for number in range(11):
        write(tmp_path / f"train-{number}-of-11.parquet", [number % 2], start=number)
    assert values(load_source(str(tmp_path), ["train"]).splits["train"]) == list(range(11))


def test_single_files(tmp_path):
    write(tmp_path / "pictures.parquet", [0, 1])
    assert load_source(str(tmp_path / "pictures.parquet"), ["train"]).present == ("train",)
    assert len(load_source(str(tmp_path), ["train"]).splits["train"]) == 2
    write(tmp_path / "test.parquet", [1, 0, 1])
    source = load_source(str(tmp_path / "test.parquet"), ["train", "test"])
    assert source.present == ("test",)
    assert source.splits["test"].names[2] == "test.parquet[2]"
    refused(tmp_path, "'pictures.parquet' does not say which split")


def test_labels_without_names_and_text_labels(tmp_path):
    write(tmp_path / "train.parquet", [10, 9, 9], names=None)
    source = load_source(str(tmp_path), ["train"])
    assert source.class_names == ("9", "10")
    assert source.splits["train"].labels.tolist() == [1, 0, 0]
    write(tmp_path / "test.parquet", [9, 11], names=None)
    refused(tmp_path, "the test split has 1 class.*lacks: '11'", ["test"])
    write(tmp_path / "train.parquet", ["b", "a10", "a2"], names=None)
    write(tmp_path / "test.parquet", ["b"], names=None)
    source = load_source(str(tmp_path), ["test"])
    assert source.class_names == ("a2", "a10", "b")
    assert source.splits["test"].labels.tolist() == [2]


def test_other_column_names(tmp_path):
    write(tmp_path / "train.parquet", [0, 1], columns=("img", "fine_label"))
    assert load_source(str(tmp_path), ["train"]).splits["train"].labels.tolist() == [0, 1]


def test_plain_bytes_column(tmp_path):
    table = pa.table({"image": [picture(1), picture(2)], "label": ["x", "y"]})
    pq.write_table(table, tmp_path / "a.parquet")
    assert values(load_source(str(tmp_path / "a.parquet"), ["train"]).splits["train"]) == [1, 2]


def test_missing_shards(tmp_path):
    for number in (0, 3):
        write(tmp_path / f"train-{number}-of-4.parquet", [0, 1])
    refused(tmp_path, "of the 4 files train-.* only 2 are there, missing is number 1, 2")


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 2], "row 1 has the label 2; needed is 0 to 1"),
        ([-1, -1], "row 0 has the label -1; .*labels removed"),
        ([0, None], r"1 row\(s\) have no label"),
        ([0.5, 1.5], "'label' must hold whole numbers or text; got double"),
    ],
)
def test_bad_labels(tmp_path, labels, message):
    write(tmp_path / "train.parquet", labels)
    refused(tmp_path, message)


def test_bad_files(tmp_path):
    write(tmp_path / "train.parquet", [0, 1])
    write(tmp_path / "val.parquet", [0, 1], names=("dog", "cat"))
    refused(tmp_path, "val.parquet: its class names are not those of the training files")
    write(tmp_path / "train.parquet", [0, 1], columns=("image", "klass"))
    refused(tmp_path, "a label column is needed.*the columns are image, klass, lossless", ["train"])
    pq.write_table(pa.table({"x": [1], "label": [0]}), tmp_path / "train.parquet")
    refused(tmp_path, "an image column .* is needed", ["train"])
    write(tmp_path / "train.parquet", [0, 0], names=("only",))
    refused(tmp_path, r"only one class \(only\)", ["train"])
    write(tmp_path / "train.parquet", [0, 0], names=("a", "a"))
    refused(tmp_path, "class names must differ; 'a'", ["train"])
    write(tmp_path / "train.parquet", pa.array([], pa.int64()))
    refused(tmp_path, "no images|an image column", ["train"])


def test_rows_with_a_path_instead_of_bytes(tmp_path):
    images = [{"bytes": picture(0), "path": "a"}, {"bytes": None, "path": "b"}, None]
    pq.write_table(
        pa.table({"image": images, "label": ["x", "y", "y"]}), tmp_path / "train.parquet"
    )
    refused(tmp_path, r"2 row\(s\) have no image bytes, the first is row 1")


def test_binary_column_indexes_like_a_list():
    parts = [[b"a", b"b"], [], [b"c"], [b"d", b"e", b"f"]]
    column = BinaryColumn([pa.array(part, pa.binary()) for part in parts])
    expected = [value for part in parts for value in part]
    assert list(column) == expected
    assert [column[i] for i in range(-6, 6)] == expected + expected
    assert column[1:5:2] == [b"b", b"d"]
    for index in (6, -7):
        with pytest.raises(IndexError):
            column[index]
