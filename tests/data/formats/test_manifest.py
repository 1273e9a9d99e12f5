"""CSV and Parquet manifests."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from resnetkit.data.sources import load_source
from resnetkit.data.transforms import decode_image
from resnetkit.types import UserError

NAMES = ["a.png", "sub/b.png", "c d,e.png", 'f"g.png', "猫.png"]


@pytest.fixture
def folder(tmp_path):
    for name in NAMES:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / name)
    return tmp_path


def write(folder, text, encoding="utf-8"):
    path = folder / "table.csv"
    path.write_bytes(text.encode(encoding))
    return str(path)


def refused(location, message, splits=("train", "val", "test")):
    with pytest.raises(UserError, match=message):
        load_source(location, splits)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_a_table_without_splits(folder, encoding):
    text = ',path, label\n0,a.png,10\n1,sub/b.png,9\n2,"c d,e.png",10\n3,"f""g.png",9\n4,猫.png,9\n'
    source = load_source(write(folder, text, encoding), ["train"])
    assert source.class_names == ("9", "10")
    assert source.present == ("train",)
    train = source.splits["train"]
    assert train.names == NAMES
    assert train.labels.tolist() == [1, 0, 1, 0, 0]
    assert train.encoded is not None
    assert all(decode_image(file, "x").size == (4, 4) for file in train.encoded)


def test_splits_and_absolute_paths(folder):
    absolute = folder / "sub/b.png"
    text = (
        f"split,label,path\nTrain,x,a.png\nvalidation,y,{absolute}\n"
        "test,x,gone.png\ntrain,y,猫.png\n"
    )
    source = load_source(write(folder, text), ["train", "val"])
    assert source.present == ("train", "val", "test")
    assert source.splits["val"].labels.tolist() == [1]
    assert source.splits["val"].encoded == [absolute]
    assert source.splits["train"].names == ["a.png", "猫.png"]
    refused(
        write(folder, text), "1 of 1 files of the test split are not there: 'gone.png'", ["test"]
    )


@pytest.mark.parametrize("labels", [[1, 10, 2], [1.0, 10.0, 2.0], ["1", "10", "2"]])
def test_parquet_table(folder, labels):
    path = folder / "table.parquet"
    pq.write_table(pa.table({"path": NAMES[:3], "label": labels, "width": [1, 2, 3]}), path)
    source = load_source(str(path), ["train"])
    assert source.class_names == ("1", "2", "10")
    assert source.splits["train"].labels.tolist() == [0, 2, 1]


def test_missing_columns(folder):
    refused(write(folder, "file;class\na;b\n"), "path, label are missing.*found are 'file;class'")
    refused(write(folder, ""), "path, label are missing.*found are none")
    pq.write_table(pa.table({"path": ["a.png"], "klass": [1]}), folder / "t.parquet")
    refused(str(folder / "t.parquet"), r"column\(s\) label are missing.*'path', 'klass'")


def test_missing_files_are_counted_and_the_first_named(folder):
    rows = "".join(f"{i}.png,{i % 2}\n" for i in range(7))
    message = (
        r"7 of 8 files of the train split are not there: '0.png'.*'4.png', …\. Paths are relative"
    )
    refused(write(folder, "path,label\na.png,0\n" + rows), message)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("", "no rows; needed is one row per image"),
        ("a.png,\n", r"row 1 \(without the header\) has no label"),
        ("a.png\n", "row 1 .* has no label"),
        ("a.png,x\n,y\n", "row 2 .* has no path"),
        ("a.png,x\nc d,e.png,y\n", 'row 2 .* has more values.*"double quotes"'),
        ("a.png,x\nsub/b.png,x\n", r"only one class \(x\)"),
    ],
)
def test_bad_rows(folder, rows, message):
    refused(write(folder, "path,label\n" + rows), message)


def test_bad_splits(folder):
    text = "path,label,split\na.png,x,train\nsub/b.png,y,holdout\n"
    refused(write(folder, text), "row 2 .*split 'holdout'; needed is one of train, val, test")
    text = "path,label,split\na.png,x,train\nsub/b.png,y,train\n猫.png,z,val\n"
    refused(write(folder, text), "the val split has 1 class.*training lacks: 'z'")


def test_files_that_are_no_tables(folder):
    refused(write(folder, "path,label\nä.png,1\n", "latin-1"), "not text in UTF-8 .*save the table")
    (folder / "t.parquet").write_bytes(b"PAR1 nothing")
    refused(str(folder / "t.parquet"), "not a whole parquet file")


def test_exclusions_soft_labels_and_paths_of_another_machine(folder):
    rows = [
        'a.png,x,train,0,"[0.8, 0.2]"',
        "sub/b.png,y,train,0,",
        '"c d,e.png",y,test,no,',
        "gone.png,x,train,true,",
    ]
    text = "path,label,split,exclude,soft_label\n" + "\n".join(rows) + "\n"
    source = load_source(write(folder, text), ["train", "test"])
    train = source.splits["train"]
    assert train.names == ["a.png", "sub/b.png"]
    np.testing.assert_allclose(train.labels, [[0.8, 0.2], [0, 1]], rtol=1e-6)
    assert source.splits["test"].labels.dtype == np.float32
    refused(
        write(folder, "path,label\n/home/ann/a.png,x\n/home/ann/b.png,y\n"),
        r"2 of 2 files .*'/home/ann/a.png'.*They are absolute, perhaps of another machine",
    )
    refused(write(folder, "path,label,exclude\na.png,x,1\n"), "every image is excluded")
