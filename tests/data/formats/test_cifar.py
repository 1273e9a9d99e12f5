"""CIFAR in its four published editions, unpacked and packed."""

import hashlib
import pickle
import tarfile
from dataclasses import replace

import numpy as np
import pytest

from resnetkit.data.formats import cifar
from resnetkit.data.formats.cifar import EDITIONS
from resnetkit.data.sources import load_source
from resnetkit.types import UserError

NAMES = {"cifar10": [f"ten{i}" for i in range(10)], "cifar100": [f"fine{i}" for i in range(100)]}
EDITION_IDS = [f"{edition.name}-{edition.form}" for edition in EDITIONS]


def pixels(file, count=6):
    seed = int(hashlib.sha256(file.split(".")[0].encode()).hexdigest()[:8], 16)
    return np.random.default_rng(seed).integers(0, 256, (count, 3, 32, 32), np.uint8)


def batch(edition, file):
    images, fine = pixels(file), np.arange(6) % len(NAMES[edition.name]) + 3
    flat = images.reshape(6, -1)
    if edition.form == "binary":
        coarse = [np.full((6, 1), 9, np.uint8)] if edition.name == "cifar100" else []
        return np.concatenate([*coarse, fine[:, None].astype(np.uint8), flat], axis=1).tobytes()
    key = b"labels" if edition.name == "cifar10" else b"fine_labels"
    content = {b"data": flat, key: fine.tolist(), b"coarse_labels": [9] * 6}
    return pickle.dumps(content, 2)


def names(edition):
    if edition.form == "binary":
        return ("\n".join(NAMES[edition.name]) + "\n\n").encode()
    key = b"label_names" if edition.name == "cifar10" else b"fine_label_names"
    return pickle.dumps({key: [name.encode() for name in NAMES[edition.name]]}, 2)


def unpacked(edition, parent, leave_out=()):
    folder = parent / edition.folder
    folder.mkdir(parents=True)
    for file in (*edition.train, edition.test):
        if file not in leave_out:
            (folder / file).write_bytes(batch(edition, file))
    (folder / edition.names).write_bytes(names(edition))
    return folder


def packed(edition, parent):
    archive = parent / edition.archive
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(unpacked(edition, parent / "source"), edition.folder)
    return archive


def check(source, edition):
    assert source.class_names == tuple(NAMES[edition.name])
    assert source.present == ("train", "test")
    train, test = source.splits["train"], source.splits["test"]
    assert np.array_equal(train.images, np.concatenate([pixels(file) for file in edition.train]))
    assert np.array_equal(test.images, pixels(edition.test))
    assert test.labels.tolist() == [3, 4, 5, 6, 7, 8]
    assert test.names[2] == f"{edition.test}[2]"


@pytest.mark.parametrize("edition", EDITIONS, ids=EDITION_IDS)
def test_every_edition_in_every_place(tmp_path, edition):
    folder = unpacked(edition, tmp_path / "a")
    (tmp_path / "b").mkdir()
    archive = packed(edition, tmp_path / "b")
    for location in (folder, folder.parent, archive, archive.parent):
        check(load_source(str(location), ["train", "val", "test"]), edition)


@pytest.mark.parametrize("edition", EDITIONS, ids=EDITION_IDS)
def test_the_test_batch_is_not_read_for_training(tmp_path, edition):
    folder = unpacked(edition, tmp_path, leave_out=[edition.test])
    assert set(load_source(str(folder), ["train", "val"]).splits) == {"train"}
    with pytest.raises(UserError, match=rf"{edition.test} are missing; download"):
        load_source(str(folder), ["test"])


@pytest.mark.parametrize("edition", EDITIONS, ids=EDITION_IDS)
def test_damaged_batches(tmp_path, edition):
    folder = unpacked(edition, tmp_path)
    file = folder / edition.train[-1]
    file.write_bytes(file.read_bytes()[:-5])
    with pytest.raises(UserError, match=rf"{file.name}: (needed is a whole number|not a CIFAR)"):
        load_source(str(folder), ["train"])


def test_labels_outside_are_refused(tmp_path):
    folder = unpacked(EDITIONS[0], tmp_path)
    (folder / "test_batch.bin").write_bytes(bytes([10]) + bytes(3072))
    with pytest.raises(UserError, match="labels reach from 10 to 10, needed are 0 to 9"):
        load_source(str(folder), ["test"])


@pytest.mark.parametrize(
    "content",
    [
        {b"data": np.zeros((2, 3072), np.uint8)},
        {b"data": [1], b"labels": [1]},
        {b"data": np.zeros((2, 3072), np.uint8), b"labels": ["a", "b"]},
        {b"data": np.zeros((2, 3000), np.uint8), b"labels": [1, 2]},
        {b"data": np.zeros((2, 3072), np.uint8), b"labels": [1]},
    ],
)
def test_pickles_of_another_shape(tmp_path, content):
    folder = unpacked(EDITIONS[1], tmp_path)
    (folder / "test_batch").write_bytes(pickle.dumps(content, 2))
    with pytest.raises(UserError, match=r"test_batch: needed are"):
        load_source(str(folder), ["test"])


def test_a_cut_archive(tmp_path):
    archive = packed(EDITIONS[0], tmp_path)
    archive.write_bytes(archive.read_bytes()[:5000])
    with pytest.raises(UserError, match=r"cifar-10-binary.tar.gz: not a whole .tar.gz archive"):
        load_source(str(archive), ["train"])


def test_both_data_sets_in_one_folder(tmp_path):
    unpacked(EDITIONS[0], tmp_path)
    unpacked(EDITIONS[3], tmp_path)
    with pytest.raises(UserError, match="it holds cifar-10-batches-bin, cifar-100-python; name"):
        load_source(str(tmp_path), ["train"])


def test_an_image_folder_is_not_mistaken_for_cifar(tmp_path):
    for name in ("train", "test", "meta"):
        (tmp_path / name).mkdir()
    assert cifar.find_cifar(tmp_path) is None


@pytest.fixture
def cache(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    folder.mkdir()
    monkeypatch.setenv("RESNETKIT_DATA", str(folder))
    return folder


def test_builtin_is_downloaded_once_and_checked(tmp_path, cache, monkeypatch):
    remote = tmp_path / "remote"
    remote.mkdir()
    archive = packed(EDITIONS[0], remote)
    edition = replace(EDITIONS[0], md5=hashlib.md5(archive.read_bytes()).hexdigest())
    monkeypatch.setattr(cifar, "EDITIONS", (edition,))
    monkeypatch.setattr(cifar, "URL", remote.as_uri() + "/")
    source = load_source("cifar10", ["train", "test"])
    check(source, edition)
    assert source.location == "cifar10"
    archive.unlink()
    check(load_source("cifar10", ["train", "test"]), edition)
    (cache / edition.archive).write_bytes(b"other")
    with pytest.raises(UserError, match="not the published file"):
        load_source("cifar10", ["train"])


def test_builtin_takes_what_is_in_the_cache(cache, monkeypatch):
    unpacked(EDITIONS[3], cache)
    unpacked(EDITIONS[0], cache)
    check(load_source("cifar100", ["train", "test"]), EDITIONS[3])
    monkeypatch.setattr(cifar, "URL", "file:///nowhere/")
    (cache / EDITIONS[3].folder).rename(cache / "away")
    with pytest.raises(UserError, match="Could not download file:///nowhere/cifar-100-binary"):
        load_source("cifar100", ["train"])
