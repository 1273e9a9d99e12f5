"""Which images are left out, and which kinds the manifest has of each."""

from types import SimpleNamespace

import numpy as np

from resnetkit.data.checks.exclusion import choose_excluded, kinds_by_image, locate_images
from resnetkit.data.checks.findings import Finding
from resnetkit.data.checks.scan_types import ImageFindings

NAMES = ["a", "b", "c", "d", "e", "f"]


def scan(splits):
    return SimpleNamespace(names=NAMES, splits=np.array(splits, np.int8))


def excluded(splits, kind, *groups):
    found = {kind: [Finding(kind=kind, names=tuple(group), detail="") for group in groups]}
    view = scan(splits)
    chosen = choose_excluded(view, locate_images(view, found))  # type: ignore[arg-type]
    return {NAMES[row]: kinds for row, kinds in chosen.items()}


def test_all_but_the_first_of_identical_images():
    assert excluded([0] * 6, "exact-duplicate", "cab", "ef") == {
        "b": ["exact-duplicate"],
        "c": ["exact-duplicate"],
        "f": ["exact-duplicate"],
    }
    assert excluded([0, 0, 1, 1, 2, 2], "exact-duplicate", "abc") == {"b": ["exact-duplicate"]}


def test_both_of_two_labels():
    assert set(excluded([0] * 6, "two-labels", "ad")) == {"a", "d"}


def test_held_out_images_are_kept():
    assert set(excluded([0, 0, 1, 1, 2, 2], "shared-between-splits", "abe", "bd")) == {"a", "b"}
    assert set(excluded([0, 0, 1, 1, 2, 2], "shared-between-splits", "cf")) == {"c"}
    assert excluded([0] * 6, "near-duplicate", "ab") == {}


def test_kinds_of_each_image():
    found = {
        "palette": ImageFindings("palette", NAMES, np.array([1, 4]), ["", ""]),
        "two-labels": [Finding(kind="two-labels", names=("e", "a"), detail="")],
        "empty-class": [Finding(kind="empty-class", names=("x/",), detail="")],
    }
    view = scan([0] * 6)
    located = locate_images(view, found)  # type: ignore[arg-type]
    kinds = kinds_by_image(6, located)
    assert list(kinds) == [
        ("two-labels",),
        ("palette",),
        (),
        (),
        ("palette", "two-labels"),
        (),
    ]
    assert kinds[3:5] == [(), ("palette", "two-labels")]
    assert located["empty-class"][0].tolist() == []
