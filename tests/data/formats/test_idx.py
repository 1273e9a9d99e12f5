"""IDX files."""

import gzip
import struct
import warnings

import numpy as np
import pytest
import torch

from resnetkit.data.formats import idx
from resnetkit.data.sources import load_source
from resnetkit.types import UserError


def idx_bytes(array):
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    return header + array.astype(np.uint8).tobytes()


def write(folder, stem, count, packed, dot="-"):
    folder.mkdir(exist_ok=True)
    images = np.random.default_rng(count).integers(0, 256, (count, 5, 4), np.uint8)
    labels = np.arange(count) % 10
    pack, ending = (gzip.compress, ".gz") if packed else (bytes, "")
    (folder / f"{stem}-images{dot}idx3-ubyte{ending}").write_bytes(pack(idx_bytes(images)))
    (folder / f"{stem}-labels{dot}idx1-ubyte{ending}").write_bytes(pack(idx_bytes(labels)))
    return images, labels


def refused(folder, message, splits=("train", "test")):
    with pytest.raises(UserError, match=message):
        load_source(str(folder), splits)


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("dot", ["-", "."])
def test_round_trip(tmp_path, packed, dot):
    images, labels = write(tmp_path, "train", 20, packed, dot)
    test_images, _ = write(tmp_path, "t10k", 7, packed, dot)
    source = load_source(str(tmp_path), ["train", "val", "test"])
    assert source.present == ("train", "test")
    assert source.class_names == tuple("0123456789")
    train = source.splits["train"]
    assert np.array_equal(train.images, images[:, None])
    assert np.array_equal(train.labels, labels)
    assert train.names[3] == "train[3]"
    assert np.array_equal(source.splits["test"].images, test_images[:, None])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        torch.from_numpy(train.images)


def test_the_test_files_are_not_read_for_training(tmp_path):
    write(tmp_path, "train", 20, False)
    (tmp_path / "t10k-images-idx3-ubyte").write_bytes(b"damaged")
    assert set(load_source(str(tmp_path), ["train", "val"]).splits) == {"train"}
    refused(tmp_path, "t10k-labels-idx1-ubyte .*missing")


def test_damaged_files(tmp_path):
    write(tmp_path, "train", 20, False)
    images, labels = tmp_path / "train-images-idx3-ubyte", tmp_path / "train-labels-idx1-ubyte"
    whole = images.read_bytes()
    images.write_bytes(whole[:-3])
    refused(tmp_path, r"promises 400 bytes for shape \[20, 5, 4\], 397 follow.*copy it again")
    images.write_bytes(whole[:9])
    refused(tmp_path, "not an IDX file")
    images.write_bytes(b"\0\0\x0d\3" + whole[4:])
    refused(tmp_path, "not an IDX file of unsigned bytes with 3 .*00 00 0d 03")
    images.write_bytes(whole)
    labels.write_bytes(idx_bytes(np.zeros(19)))
    refused(tmp_path, "20 images, train-labels-idx1-ubyte 19 labels")
    labels.write_bytes(idx_bytes(np.full(20, 12)))
    refused(tmp_path, "needed are labels 0 to 9; got 12")
    labels.unlink()
    refused(tmp_path, "train-labels-idx1-ubyte .*is missing; add it")


@pytest.mark.parametrize("part", [0, 10, -10])
def test_damaged_gzip(tmp_path, part):
    write(tmp_path, "train", 20, True)
    images = tmp_path / "train-images-idx3-ubyte.gz"
    images.write_bytes(images.read_bytes()[:part] if part else b"no gzip")
    refused(tmp_path, "not a whole gzip file")


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_builtin_names_fetch_what_is_asked_into_the_cache(tmp_path, monkeypatch, name):
    fetched = []

    def fetch(url, path, md5):
        fetched.append((url, path.name, md5))
        write(path.parent, path.name.split("-")[0], 30, True)

    monkeypatch.setattr(idx, "fetch", fetch)
    monkeypatch.setenv("RESNETKIT_DATA", str(tmp_path))
    source = load_source(name, ["train", "val"])
    assert source.location == name
    assert source.present == ("train", "test")
    assert source.class_names[0] == {"mnist": "0", "fashion-mnist": "T-shirt/top"}[name]
    assert [file for _, file, _ in fetched] == [
        "train-images-idx3-ubyte.gz",
        "train-labels-idx1-ubyte.gz",
    ]
    assert all(url.endswith(file) and len(md5) == 32 for url, file, md5 in fetched)
    assert (tmp_path / name).is_dir()
