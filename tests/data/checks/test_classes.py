"""Findings about classes: their sets, names and sizes."""

import numpy as np

from resnetkit.data.checks.classes import judge_classes
from resnetkit.data.checks.listing import list_loaded
from resnetkit.data.source_types import Source, Split


def listing(class_names, **counts):
    splits = {}
    for name, each in counts.items():
        labels = np.repeat(np.arange(len(each)), each)
        splits[name] = Split(
            labels=labels, names=[str(i) for i in range(len(labels))], encoded=[b""] * len(labels)
        )
    return list_loaded(
        Source(location="x", class_names=class_names, splits=splits, present=tuple(counts))
    )


def found(class_names, **counts):
    return {finding.kind: finding for finding in judge_classes(listing(class_names, **counts))}


def test_nothing_to_say():
    assert found(("cat", "dog"), train=(50, 60), test=(10, 11)) == {}
    assert found(("1", "2", "10"), train=(10, 10, 99)) == {}


def test_tiny_classes_and_imbalance():
    findings = found(("cat", "dog", "eel"), train=(100, 9, 10))
    assert findings["tiny-class"].names == ("dog/",)
    assert findings["class-imbalance"].detail == (
        "'cat' has 100 training images, 'dog' has 9: 11.1 to 1"
    )
    assert "class-imbalance" not in found(("cat", "dog"), train=(99, 10))


def test_class_sets():
    findings = found(("cat", "dog"), train=(20, 20), test=(20, 0))
    assert findings["class-missing-in-split"].names == ("test/dog/",)
    assert found(("cat", "dog"), test=(20, 20))["no-training-split"].detail == (
        "the source has only test"
    )


def test_names_alike():
    for pair in (("cat", "Cat"), ("ice cream", "ice_cream"), ("é", "e\u0301"), ("a b", "a  b")):
        assert found(pair, train=(20, 20))["class-names-alike"].names == tuple(
            f"{name}/" for name in pair
        )
    assert found(("_", "-"), train=(20, 20)) == {}


def test_several_labels_an_image():
    labels = np.zeros((40, 2), np.float32)
    labels[:, 0] = 1
    labels[:3, 1] = 1
    split = Split(labels=labels, names=[str(i) for i in range(40)], encoded=[b""] * 40)
    source = Source(
        location="x",
        class_names=("cat", "dog"),
        splits={"train": split},
        present=("train",),
        task="multi-label",
    )
    kinds = [finding.kind for finding in judge_classes(list_loaded(source))]
    assert kinds == ["tiny-class", "class-imbalance"]
