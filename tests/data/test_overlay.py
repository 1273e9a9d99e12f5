"""A manifest over its source: what it decides, and what it refuses."""

import os
import re
from dataclasses import replace

import numpy as np
import pytest

from resnetkit.data.columns import pack_texts
from resnetkit.data.content import hash_contents
from resnetkit.data.manifest_table import NONE, ManifestTable, tabulate
from resnetkit.data.overlay import apply_manifest, refuse_changed
from resnetkit.data.sources import load_source
from resnetkit.data.splits import concatenate
from resnetkit.types import UserError

NAMES = [f"{label}/{number}.png" for label in ("cat", "dog") for number in range(3)]


def silent(what, done, total):
    """Progress that nobody watches."""


@pytest.fixture
def folder(tmp_path):
    for name in NAMES:
        path = tmp_path / "source" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return tmp_path / "source"


def read(folder):
    return load_source(str(folder), load_source(str(folder), ()).present)


def table_of(folder, **changes):
    source = read(folder)
    hashes = hash_contents(concatenate(list(source.splits.values())))
    return replace(tabulate(source), sha256=hashes, **changes)


def splits_of(overlaid):
    return {name: list(split.names) for name, split in overlaid.source.splits.items()}


def refused(folder, table, message, fold=None):
    with pytest.raises(UserError, match=message):
        apply_manifest(read(folder), table, "m.parquet", fold)


# --- what it decides ---


def test_splits_labels_and_exclusions_rule(folder):
    table = table_of(
        folder,
        splits=np.array([2, 1, 0, 0, 0, 2], np.int8),
        labels=np.array([0, 1, 0, 1, 1, 1]),
        exclude=np.array([0, 0, 0, 1, 0, 0], bool),
    )
    overlaid = apply_manifest(read(folder), table, "m.parquet")
    assert splits_of(overlaid) == {
        "train": ["cat/2.png", "dog/1.png"],
        "val": ["cat/1.png"],
        "test": ["cat/0.png", "dog/2.png"],
    }
    assert overlaid.source.splits["val"].labels.tolist() == [1]
    assert overlaid.source.present == ("train", "val", "test")
    for name in overlaid.rows:
        refuse_changed(overlaid, name, silent)
    encoded = overlaid.source.splits["test"].encoded
    assert encoded is not None
    assert list(encoded) == [folder / "cat/0.png", folder / "dog/2.png"]


def test_the_order_of_rows_and_classes_does_not_matter(folder):
    table = table_of(folder)
    order = np.array([5, 3, 1, 0, 2, 4])
    shuffled = ManifestTable(
        class_names=("dog", "cat"),
        paths=table.paths.take(order),
        labels=1 - table.labels[order],
        sha256=table.sha256[order],
        exclude=table.exclude[order],
        soft_labels=np.array([[0.9, 0.1]] + [[np.nan] * 2] * 5, np.float32),
    )
    overlaid = apply_manifest(read(folder), shuffled, "m.parquet")
    assert splits_of(overlaid) == {"train": NAMES}  # the source's own split: the table has none
    train = overlaid.source.splits["train"]
    assert train.labels.dtype == np.float32
    expected = [[1, 0]] * 3 + [[0, 1]] * 2 + [[0.1, 0.9]]
    np.testing.assert_allclose(train.labels, expected, rtol=1e-6)
    refuse_changed(overlaid, "train", silent)


def test_a_fold_validates_and_the_others_train(folder):
    table = table_of(
        folder,
        splits=np.array([0, 0, 0, 0, 0, 2], np.int8),
        fold=np.array([0, 1, 2, 0, 1, NONE]),
    )
    overlaid = apply_manifest(read(folder), table, "m.parquet", 1)
    assert splits_of(overlaid) == {
        "train": ["cat/0.png", "cat/2.png", "dog/0.png"],
        "val": ["cat/1.png", "dog/1.png"],
        "test": ["dog/2.png"],
    }
    refused(folder, table, r"there is no fold 3; the folds are 0, 1, 2", fold=3)
    refused(folder, table_of(folder), r"data.fold 0 needs a column fold, which it lacks", fold=0)
    homeless = replace(table, fold=np.array([0, 1, 2, 0, NONE, NONE]))
    refused(folder, homeless, r"1 training or validation .* no fold, the first is 'dog/1", fold=0)


def test_arrays_and_several_splits_of_the_source():
    source = load_source("digits", ("train", "val", "test"))
    table = tabulate(source)
    whole = concatenate([source.splits["train"], source.splits["test"]])
    table = replace(table, sha256=hash_contents(whole), splits=(table.splits + 1) % 3)
    overlaid = apply_manifest(source, table, "m.parquet")
    assert np.array_equal(overlaid.source.splits["val"].images, source.splits["train"].images)
    assert np.array_equal(overlaid.source.splits["train"].images, source.splits["test"].images)
    refuse_changed(overlaid, "val", silent)
    assert table.sha256 is not None
    wrong = table.sha256.copy()
    wrong[7, 0] ^= 1
    overlaid = apply_manifest(source, replace(table, sha256=wrong), "m.parquet")
    changed = re.escape(repr(whole.names[7]))
    with pytest.raises(UserError, match=rf"1 image\(s\) have changed .*{changed}"):
        refuse_changed(overlaid, "val", silent)


# --- what it refuses ---


def test_images_it_does_not_know_and_images_that_are_gone(folder):
    table = table_of(folder)
    (folder / "dog/9.png").write_bytes(b"new")
    refused(
        folder, table, r"does not know 1 of the 7 images of .*'dog/9\.png'.*check and split again"
    )
    (folder / "dog/9.png").unlink()
    (folder / "cat/1.png").unlink()
    refused(folder, table, r"1 of its 6 images are not in .*'cat/1\.png'\. Bring them back")
    excluded = replace(table, exclude=np.array(NAMES) == "cat/1.png")
    assert splits_of(apply_manifest(read(folder), excluded, "m.parquet"))["train"] == [
        name for name in NAMES if name != "cat/1.png"
    ]


@pytest.mark.parametrize("root", ["/home/ann/pictures/", "C:\\pictures\\"])
def test_absolute_paths_of_another_machine(folder, root):
    table = table_of(folder)
    table = replace(table, paths=pack_texts(root + name for name in NAMES))
    refused(folder, table, r"6 of the 6 .*Its paths are absolute \('.*perhaps of another machine")


def test_backslashes(folder):
    table = table_of(folder)
    table = replace(table, paths=pack_texts(name.replace("/", "\\") for name in NAMES))
    refused(folder, table, "Its paths have backslashes .*write them with /")


def test_labels_that_are_no_class_of_the_source(folder):
    table = table_of(folder, class_names=("cat", "dgo"))
    refused(folder, table, r"the label\(s\) 'dgo' are no class.*Did you mean 'dog'")
    kept = replace(table, exclude=table.labels == 1)  # of excluded images it does not matter
    assert len(apply_manifest(read(folder), kept, "m").source.splits["train"]) == 3
    refused(folder, replace(table, exclude=np.ones(6, bool)), "every image is excluded")


def test_another_task(folder):
    labels = np.eye(2, dtype=np.float32)[[0, 0, 0, 1, 1, 1]]
    refused(folder, table_of(folder, task="multi-label", labels=labels), "for multi-label images")


def test_changed_content_is_refused_by_its_hash(folder):
    table = table_of(folder)
    os.utime(folder / "cat/0.png", ns=(1, 1))  # touched, but the same
    told = []
    overlaid = apply_manifest(read(folder), table, "m.parquet")
    refuse_changed(overlaid, "train", lambda *step: told.append(step))
    assert told == [("hashing images", 1, 1)]
    (folder / "cat/0.png").write_bytes(b"CAT/0.png")
    (folder / "dog/2.png").write_bytes(b"longer than before")
    overlaid = apply_manifest(read(folder), table, "m.parquet")
    message = r"m\.parquet: 2 image\(s\) have changed .*: 'cat/0\.png', 'dog/2\.png'\. Bring back"
    with pytest.raises(UserError, match=message):
        refuse_changed(overlaid, "train", silent)
    for name in ("cat/0.png", "dog/2.png"):
        (folder / name).unlink()
    with pytest.raises(UserError, match=r"2 image\(s\) are not there any more"):
        refuse_changed(overlaid, "train", silent)
    gone = np.isin(NAMES, ["cat/0.png", "dog/2.png"])
    unhashed = apply_manifest(read(folder), replace(table, exclude=gone, sha256=None), "m")
    refuse_changed(unhashed, "train", silent)  # nothing to compare with
