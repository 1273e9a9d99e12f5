"""The built-in digits and their fixed split."""

import hashlib

import numpy as np

from resnetkit.data.formats.digits import load_digits


def test_digits_are_as_documented():
    source = load_digits(["train", "test"])
    train, test = source.splits["train"], source.splits["test"]
    assert source.class_names == tuple("0123456789")
    assert source.present == ("train", "test")
    assert train.images is not None
    assert train.images.shape == (1438, 1, 8, 8)
    assert train.images.dtype == np.uint8
    assert train.images.max() == 255
    assert set(np.unique(train.images)) <= {round(v * 255 / 16) for v in range(17)}
    assert not set(train.names) & set(test.names)
    assert len(set(train.names) | set(test.names)) == 1797
    shares = np.bincount(test.labels) / np.bincount(np.r_[train.labels, test.labels])
    assert np.all(abs(shares - 0.2) < 0.01)


def test_the_test_split_never_changes():
    names = load_digits(["test"]).splits["test"].names
    assert hashlib.sha256(" ".join(names).encode()).hexdigest()[:16] == "53da7e0d6d520b41"


def test_only_what_was_asked_is_given():
    assert set(load_digits(["train", "val"]).splits) == {"train"}
    assert load_digits([]).splits == {}
