"""Split: subset and digest."""

from dataclasses import replace

import numpy as np
import pytest

from resnetkit.data.source_types import Split


def make_split(**changes):
    fields = {
        "labels": np.array([0, 1, 0]),
        "names": ["a", "b", "c"],
        "encoded": [b"x", b"yy", b"zzz"],
    }
    return Split(**(fields | changes))


def test_subset_of_encoded_is_a_view_in_the_asked_order():
    split = make_split()
    part = split.subset([2, 0, 1]).subset(np.array([0, 2]))
    assert part.names == ["c", "b"]
    assert part.labels.tolist() == [0, 1]
    assert part.encoded is not None
    assert list(part.encoded) == [b"zzz", b"yy"]
    assert part.encoded[0] is split.encoded[2]
    assert list(part.encoded[1:]) == [b"yy"]


def test_subset_of_images():
    images = np.arange(12, dtype=np.uint8).reshape(3, 1, 2, 2)
    part = make_split(encoded=None, images=images).subset([1])
    assert np.array_equal(part.images, images[[1]])
    assert len(part) == 1


def test_digest_is_of_the_content_and_its_order():
    split = make_split()
    same = split.digest()
    assert make_split().digest() == same
    assert split.subset([0, 1, 2]).digest() == same
    assert make_split(names=["a", "b", "d"]).digest() != same
    assert make_split(names=["a", "bc", ""]).digest() != make_split(names=["a", "b", "c"]).digest()
    assert make_split(labels=np.array([0, 1, 1])).digest() != same
    assert make_split(encoded=[b"xy", b"y", b"zzz"]).digest() != same
    assert split.subset([1, 0, 2]).digest() != same


def test_digest_of_arrays():
    images = np.zeros((3, 1, 2, 2), np.uint8)
    split = make_split(encoded=None, images=images)
    changed = images.copy()
    changed[2, 0, 1, 1] = 1
    assert replace(split, images=changed).digest() != split.digest()
    assert replace(split, images=images.reshape(3, 1, 4, 1)).digest() != split.digest()
    strided = np.zeros((3, 1, 2, 4), np.uint8)[..., ::2]
    assert replace(split, images=strided).digest() == split.digest()


def test_digest_of_files_sees_a_changed_file(tmp_path):
    files = [tmp_path / name for name in "abc"]
    for file in files:
        file.write_bytes(b"1")
    split = make_split(encoded=files)
    before = split.digest()
    assert split.digest() == before
    files[1].write_bytes(b"22")
    assert split.digest() != before


def test_class_numbers_are_the_labels_or_the_largest_soft_label():
    split = make_split()
    assert split.class_numbers is split.labels
    soft = np.array([[0.1, 0.9], [0.6, 0.4], [0.5, 0.5]], np.float32)
    numbers = make_split(labels=soft).class_numbers
    assert (numbers.tolist(), numbers.dtype) == ([1, 0, 0], np.int64)
    chosen = make_split(labels=soft).subset([2, 0])
    np.testing.assert_array_equal(chosen.labels, soft[[2, 0]])
    assert make_split(labels=soft).digest() != make_split(labels=soft[::-1]).digest()


@pytest.mark.parametrize("labels", [np.zeros(3), np.zeros((3, 2)), np.zeros((3, 2), np.int64)])
def test_labels_of_another_kind_are_our_bug(labels):
    with pytest.raises(AssertionError):
        make_split(labels=labels)
