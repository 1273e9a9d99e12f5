"""Reading manifests: every column, every mistake by row; writing them back whole or not at all."""

import errno
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resnetkit.data import manifest_cells
from resnetkit.data.columns import NO_FILE, pack_texts
from resnetkit.data.manifest_table import (
    NONE,
    ManifestTable,
    read_group_column,
    read_manifest_table,
    tabulate,
)
from resnetkit.data.manifest_writer import write_manifest_table
from resnetkit.data.sources import load_source
from resnetkit.types import UserError

HASH = "ab" * 32


def write(folder, text):
    path = folder / "m.csv"
    path.write_text(text, encoding="utf-8")
    return path


def write_parquet(folder, columns, **metadata):
    path = folder / "m.parquet"
    table = pa.table(columns).replace_schema_metadata({"resnetkit": json.dumps(metadata)})
    pq.write_table(table, path)
    return path


def full_table(**changes):
    fields = {
        "class_names": ("10", "9", "cat, dog"),
        "paths": pack_texts(["a/1.png", 'a/"2"\n.png', "猫/3.png", "b/4.png"]),
        "labels": np.array([2, 0, 1, NONE]),
        "splits": np.array([0, 1, 2, 0], np.int8),
        "sha256": np.arange(128, dtype=np.uint8).reshape(4, 32) * (np.arange(4) > 0)[:, None],
        "sizes": np.array([NO_FILE, 0, 5, 1 << 40]),
        "modified_ns": np.array([0, 1, 1_700_000_000_000_000_001, 3]),
        "findings": [(), ("truncated", "near-duplicate"), (), ("zero-byte",)],
        "exclude": np.array([False, False, False, True]),
        "group": np.array([NONE, 0, 7, 7]),
        "fold": np.array([0, 1, NONE, 0]),
        "soft_labels": np.array(
            [[0.25, 0.25, 0.5], [np.nan] * 3, [0, 1, 0], [1, 0, 0]], np.float32
        ),
        "source": "here",
        "checked": True,
        "notes": {"split": {"seed": 3}},
    }
    return ManifestTable(**(fields | changes))


def same(one, other, but=()):
    for name in ManifestTable.__dataclass_fields__:
        if name not in but:
            left, right = getattr(one, name), getattr(other, name)
            if isinstance(left, np.ndarray):
                assert left.dtype == right.dtype, name
                np.testing.assert_array_equal(left, right, err_msg=name)
            else:
                assert left == right, name


# --- there and back ---


@pytest.mark.parametrize("rows", [1, 3, 1 << 16])
def test_parquet_keeps_everything(tmp_path, monkeypatch, rows):
    monkeypatch.setattr(manifest_cells, "ROWS", rows)
    written = write_manifest_table(tmp_path / "m.parquet", full_table())
    found = read_manifest_table(tmp_path / "m.parquet")
    same(found, written)
    assert len(found.digest) == 64
    assert list(tmp_path.iterdir()) == [tmp_path / "m.parquet"]


def test_csv_keeps_the_rows(tmp_path):
    table = full_table(class_names=("9", "10", "cat, dog"))  # natural order: it is not recorded
    table = replace(table, labels=np.array([2, 0, 1, 0]))
    write_manifest_table(tmp_path / "m.csv", table)
    found = read_manifest_table(tmp_path / "m.csv")
    same(found, table, but=("group", "source", "checked", "notes", "digest"))
    assert found.group is not None
    assert found.group.tolist() == [NONE, 0, 1, 1]  # the same groups, numbered anew


def test_several_labels(tmp_path):
    indicators = np.array([[1, 0, 1], [0, 0, 0], [0, 1, 0], [1, 1, 1]], np.float32)
    table = full_table(labels=indicators, soft_labels=None, task="multi-label")
    write_manifest_table(tmp_path / "m.parquet", table)
    same(read_manifest_table(tmp_path / "m.parquet"), table, but=("digest",))
    with pytest.raises(UserError, match=r"cannot hold several labels an image; give a name"):
        write_manifest_table(tmp_path / "m.csv", table)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.text(st.characters(codec="utf-8"), min_size=1), min_size=1, unique=True))
def test_any_name_survives_parquet(tmp_path_factory, names):
    path = tmp_path_factory.mktemp("names") / "m.parquet"
    table = ManifestTable(
        class_names=("x",),
        paths=pack_texts(names),
        labels=np.zeros(len(names), np.int64),
        exclude=np.zeros(len(names), bool),
    )
    write_manifest_table(path, table)
    assert read_manifest_table(path).paths == names


def test_csv_refuses_names_it_would_change(tmp_path):
    table = full_table(paths=pack_texts(["a ", "b", "c", "d"]))
    with pytest.raises(UserError, match=r"'a ', which begins or ends with a space"):
        write_manifest_table(tmp_path / "m.csv", table)
    with pytest.raises(UserError, match=r"a manifest is a \.parquet or \.csv file; got '\.xlsx'"):
        write_manifest_table(tmp_path / "m.xlsx", table)
    (tmp_path / "d.csv").mkdir()
    with pytest.raises(UserError, match="this is a folder"):
        write_manifest_table(tmp_path / "d.csv", table)


def test_a_full_disk_leaves_the_old_manifest(tmp_path, monkeypatch):
    path = tmp_path / "m.parquet"
    write_manifest_table(path, full_table())
    before = path.read_bytes()

    def full(self, data):
        os.truncate(self, 3)
        raise OSError(errno.ENOSPC, "No space left on device", str(self))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        write_manifest_table(path, full_table(source="other"))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_source_as_a_table():
    source = load_source("digits", ("train", "val", "test"))
    table = tabulate(source)
    assert len(table) == 1797
    assert table.paths[0] == "digits[0]"
    assert table.class_names == source.class_names
    assert table.splits is not None
    sizes = [len(source.splits[name]) for name in ("train", "test")]
    assert np.bincount(table.splits).tolist() == [sizes[0], 0, sizes[1]]
    assert np.array_equal(table.labels[: sizes[0]], source.splits["train"].labels)
    assert table.sizes is not None
    assert set(table.sizes.tolist()) == {64}


# --- reading what people write ---


def test_cells_are_read_leniently(tmp_path):
    text = (
        "exclude,path,label,split,findings,fold,modified_ns\n"
        "Yes,a,,Validation,truncated;zero-byte,,\n"
        "0,b,10,train,,3,17\n"
        "\n"
        "FALSE,c d,9,TEST,,,\n"
    )
    table = read_manifest_table(write(tmp_path, text))
    assert table.class_names == ("9", "10")  # numbers, so 9 comes first
    assert table.labels.tolist() == [NONE, 1, 0]
    assert table.splits is not None
    assert table.splits.tolist() == [1, 0, 2]
    assert table.exclude.tolist() == [True, False, False]
    assert table.findings == [("truncated", "zero-byte"), (), ()]
    assert table.fold is not None
    assert table.fold.tolist() == [NONE, 3, NONE]
    assert table.modified_ns is not None
    assert table.modified_ns.tolist() == [0, 17, 0]
    assert table.sha256 is None
    assert table.group is None


def test_group_columns_of_any_kind(tmp_path):
    path = write(tmp_path, "path,label,patient,group\na,x,Ann,4\nb,y,,x\nc,x,Bob,4\nd,x,Ann,\n")
    assert read_group_column(path, "patient").tolist() == [0, NONE, 1, 0]
    group = read_manifest_table(path).group
    assert group is not None
    assert group.tolist() == [0, 1, 0, NONE]
    with pytest.raises(UserError, match=r"no column 'patent' to group by.*Did you mean 'patient'"):
        read_group_column(path, "patent")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,label\na,x\n", r"the column\(s\) path are missing.*found are 'file', 'label'"),
        ("path,label\n", "no rows"),
        ("path,label\na,x\nb,y\na,y\n", "rows 1 and 3 .* have the same path 'a'"),
        ("path,label,exclude\na,x,0\nb,,0\n", "row 2 .* has no label"),
        (
            "path,label,exclude\na,x,maybe\n",
            "row 1 .* has exclude 'maybe'; needed is true or false",
        ),
        (
            "path,label,fold\na,x,-1\n",
            "row 1 .* has the fold '-1'; needed is a whole number from 0",
        ),
        ("path,label,fold\na,x,1.5\n", "row 1 .* has the fold '1.5'"),
        ("path,label,bytes\na,x,many\n", "row 1 .* has the bytes 'many'"),
        ("path,label,split\na,x,holdout\n", "row 1 .* split 'holdout'; needed is one of train"),
        (f"path,label,sha256\na,x,{HASH}\nb,x,abc\n", "row 2 .* sha256 'abc'; needed are 64"),
        (f"path,label,sha256\na,x,{HASH[:-1]}g\n", "row 1 .* needed are 64 hexadecimal"),
        (
            'path,label,soft_label\na,x,"[1]"\nb,y,\n',
            "the soft labels have 1 numbers; needed are 2",
        ),
        ('path,label,soft_label\na,x,"[0.5, 0.4]"\nb,y,\n', "row 1 .* sums to 0.9; needed is 1"),
        ('path,label,soft_label\na,x,"[1.5, -0.5]"\nb,y,\n', "row 1 .* values outside 0 to 1"),
        ('path,label,soft_label\na,x,"[1, 0]"\nb,y,"[1]"\n', "row 2 .* of 1; needed are 2 numbers"),
        (
            'path,label,soft_label\na,x,"[1, 0]"\nb,y,lots\n',
            r"row 2 .* the soft_label 'lots'; needed is a JSON list .*\[0\.9, 0\.1\]",
        ),
    ],
)
def test_mistakes_are_named_by_row(tmp_path, text, message):
    with pytest.raises(UserError, match=message):
        read_manifest_table(write(tmp_path, text))


def test_mistakes_beyond_the_first_block_have_their_own_row(tmp_path, monkeypatch):
    monkeypatch.setattr(manifest_cells, "ROWS", 2)
    path = write(tmp_path, "path,label\na,x\nb,x\nc,y\nd,\n")
    with pytest.raises(UserError, match=r"row 4 .* has no label"):
        read_manifest_table(path)


def test_labels_outside_the_recorded_classes(tmp_path):
    path = write_parquet(
        tmp_path, {"path": ["a", "b"], "label": ["cat", "dgo"]}, class_names=["dog", "cat"]
    )
    with pytest.raises(UserError, match=r"row 2 .* label 'dgo', which is none.*Did you mean 'dog'"):
        read_manifest_table(path)
    columns = {"path": ["a"], "label": [["cat", "cow"]]}
    path = write_parquet(tmp_path, columns, class_names=["dog", "cat"], task="multi-label")
    with pytest.raises(UserError, match=r"row 1 .* label 'cow', which is none"):
        read_manifest_table(path)


def test_soft_labels_are_brought_to_one(tmp_path):
    columns = {"path": ["a"], "label": ["x"], "soft_label": [[0.3334, 0.3333, 0.3330]]}
    path = write_parquet(tmp_path, columns, class_names=["x", "y", "z"])
    soft = read_manifest_table(path).soft_labels
    assert soft is not None
    assert abs(float(soft.sum()) - 1) < 1e-7


def test_files_that_are_not_there_or_no_tables(tmp_path):
    with pytest.raises(UserError, match="there is no such manifest"):
        read_manifest_table(tmp_path / "no.csv")
    whole = write_manifest_table(tmp_path / "m.parquet", full_table())
    assert whole.digest
    content = (tmp_path / "m.parquet").read_bytes()
    (tmp_path / "m.parquet").write_bytes(content[:-10])  # cut short
    with pytest.raises(UserError, match="not a whole parquet file"):
        read_manifest_table(tmp_path / "m.parquet")


def test_a_file_of_another_kind_is_refused_before_it_is_read(tmp_path):
    (tmp_path / "m.xlsx").write_bytes(b"PK\x03\x04\xff")
    for read in (read_manifest_table, lambda path: read_group_column(path, "site")):
        with pytest.raises(UserError, match=r"m\.xlsx: .*ends in \.csv or \.parquet; \.xlsx came"):
            read(tmp_path / "m.xlsx")


def test_of_many_columns_the_first_are_named(tmp_path):
    (tmp_path / "m.csv").write_text(",".join(f"c{n}" for n in range(500)) + "\n")
    for read in (read_manifest_table, lambda path: read_group_column(path, "site")):
        with pytest.raises(UserError, match=r"'c11' and 488 more\.") as caught:
            read(tmp_path / "m.csv")
        assert len(str(caught.value)) < 500


@pytest.mark.parametrize("cell", ['"0.1;0.9"', "0.5", '"[[0.5, 0.5]]"'])
def test_a_soft_label_in_another_format_is_told_the_format(tmp_path, cell):
    (tmp_path / "m.csv").write_text(f"path,label,soft_label\na,x,{cell}\nb,y,{cell}\n")
    with pytest.raises(UserError, match=r"row 1 .*needed is a JSON list .* \"\[0\.9, 0\.1\]\""):
        read_manifest_table(tmp_path / "m.csv")
