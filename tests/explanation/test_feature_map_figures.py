from itertools import pairwise
from xml.etree import ElementTree

import numpy as np

from resnetkit.explanation.feature_map import map_features
from resnetkit.explanation.feature_map_figures import (
    MOST_NAMED,
    OTHERS_COLOR,
    draw_svg,
    group_points,
)

ODD_NAMES = ["_hidden", "a$b$c", "<b>bold</b>", "猫", 'quote " & co', "x" * 80, "tab\there"]


def scene(classes, each=6):
    labels = np.repeat(np.arange(classes), each)
    features = np.random.default_rng(0).normal(labels[:, None], 1, (len(labels), 8))
    return map_features(features.astype(np.float32)), labels


def test_every_named_class_has_a_mark_of_its_own():
    labels = np.arange(200) % MOST_NAMED
    groups = group_points(labels, [str(number) for number in range(MOST_NAMED)])
    assert [group.name for group in groups] == [str(number) for number in range(MOST_NAMED)]
    assert len({(group.color, group.shape) for group in groups}) == MOST_NAMED >= 40
    assert all(one.color != other.color for one, other in pairwise(groups))
    rows = np.concatenate([group.rows for group in groups])
    np.testing.assert_array_equal(np.sort(rows), np.arange(200))


def test_of_many_classes_the_largest_are_named():
    count = MOST_NAMED + 8
    labels = np.repeat(np.arange(count), np.where(np.arange(count) < 8, 1, 3))
    others, *named = group_points(labels, [f"class {number}" for number in range(count)])
    assert (others.name, others.color, len(others.rows)) == ("8 other classes", OTHERS_COLOR, 8)
    assert [group.name for group in named] == [f"class {number}" for number in range(8, count)]


def test_classes_without_images_are_left_out():
    groups = group_points(np.array([0, 3, 3]), list("abcd"))
    assert [(group.name, len(group.rows)) for group in groups] == [("a", 1), ("d", 2)]


def test_an_svg_has_every_image_in_its_class():
    found, labels = scene(len(ODD_NAMES))
    names = [f"<{number}>&.png" for number in range(len(labels))]
    text = draw_svg(found, labels, ODD_NAMES, names)
    tree = ElementTree.fromstring(f"<div>{text}</div>")
    groups = tree.findall("./svg/g")
    assert [group.get("data-class") for group in groups] == [*ODD_NAMES[:-1], "tab here"]
    for group, label in zip(groups, range(len(ODD_NAMES)), strict=True):
        rows = [int(mark.get("data-row")) for mark in group]
        np.testing.assert_array_equal(rows, np.flatnonzero(labels == label))
        assert group[0].find("title").text == f"{names[rows[0]]}, {ODD_NAMES[label]}"
        for mark in group:
            x, y = map(float, mark.get("transform")[10:-1].split())
            assert 0 <= x <= 560
            assert 0 <= y <= 560
    entries = [
        "".join(entry.itertext()).strip() for entry in tree.findall("./p[@class='key']/span")
    ]
    assert entries == [f"{name} (6)" for name in ODD_NAMES]
    assert "href" not in text
    assert "script" not in text
