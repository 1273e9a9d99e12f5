import os
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resnetkit.explanation import neighbours
from resnetkit.explanation.neighbours import (
    IndexFacts,
    build_index,
    index_folder,
    load_index,
    nearest,
    refuse_stale,
    save_index,
    to_unit_length,
)
from resnetkit.runtime import DamagedFolder
from resnetkit.types import UserError

FACTS = IndexFacts(
    source="/my/images",
    split="train",
    source_digest="5" * 64,
    weights_digest="a" * 64,
    contract_hash="c" * 64,
    class_names=("cat", "dög"),
)
CORNERS = np.array([[1, 0], [0, 2], [3, 3], [-1, 0], [2, 0]], np.float32)


def make_index(features=CORNERS, labels=None, contents=None, facts=FACTS):
    count = len(features)
    names = [f"{number}.png" for number in range(count)]
    return build_index(
        features,
        np.arange(count) % 2 if labels is None else labels,
        names,
        np.zeros(count, np.uint64) if contents is None else contents,
        facts,
    )


def found(index, features, count, contents=None):
    queries = np.atleast_2d(np.asarray(features, np.float32))
    results = nearest(index, queries, count, contents)
    return [[(one.name, round(one.cosine, 3)) for one in result.nearest] for result in results]


def test_the_nearest_by_hand():
    index = make_index()
    np.testing.assert_allclose(np.linalg.norm(index.features, axis=1), 1, atol=1e-6)
    # Equally near ones come in the order of the index: 0 before 4.
    assert found(index, [5, 0], 3) == [[("0.png", 1.0), ("4.png", 1.0), ("2.png", 0.707)]]
    assert found(index, [[0, 1], [-2, 0]], 1) == [[("1.png", 1.0)], [("3.png", 1.0)]]
    (result,) = nearest(index, np.array([[5.0, 0.0]]), 3)
    assert [one.row for one in result.nearest] == [0, 4, 2]
    assert [one.label for one in result.nearest] == ["cat", "cat", "cat"]
    assert result.left_out == ()


def test_the_same_picture_is_left_out_and_named():
    contents = np.array([11, 12, 11, 0, 13], np.uint64)
    index = make_index(contents=contents)
    result = nearest(index, np.array([[5.0, 0.0]]), 3, np.array([11], np.uint64))[0]
    assert [one.name for one in result.nearest] == ["4.png", "1.png", "3.png"]
    assert result.left_out == ("0.png", "2.png")
    unknown = nearest(index, np.array([[5.0, 0.0]]), 3, np.array([0], np.uint64))[0]
    assert unknown.left_out == (), "what is not known is not the same"
    assert len(unknown.nearest) == 3


def test_more_may_be_left_out_than_remain():
    index = make_index(contents=np.full(5, 7, np.uint64))
    result = nearest(index, np.array([[1.0, 0.0]]), 2, np.array([7], np.uint64))[0]
    assert result.nearest == ()
    assert len(result.left_out) == 5


@settings(deadline=None, max_examples=50)
@given(
    seed=st.integers(0, 10_000),
    count=st.integers(1, 30),
    dimensions=st.integers(1, 4),
    asked=st.integers(1, 30),
    chunk=st.integers(1, 12),
)
def test_the_search_is_exact_whatever_the_chunks(seed, count, dimensions, asked, chunk):
    generator = np.random.default_rng(seed)
    features = generator.integers(-2, 3, (count, dimensions)).astype(np.float32)  # many ties
    queries = generator.integers(-2, 3, (3, dimensions)).astype(np.float32)
    index = make_index(features)
    asked = min(asked, count)
    before = neighbours.CHUNK
    neighbours.CHUNK = chunk
    try:
        results = nearest(index, queries, asked)
    finally:
        neighbours.CHUNK = before

    shown = to_unit_length(queries, "here").astype(np.float64)
    cosines = np.round(shown @ index.features.T.astype(np.float64), 9)
    for result, row in zip(results, cosines, strict=True):
        rows = [one.row for one in result.nearest]
        order = sorted(range(count), key=lambda place: (-row[place], place))
        assert rows == order[:asked]


def test_an_index_comes_back_as_it_was(tmp_path):
    names = ["a.png", "dög/ü.png", os.fsdecode(b"b\xff.png"), "c.png", "d.png"]
    index = replace(make_index(contents=np.arange(5).astype(np.uint64) << 60), names=names)
    save_index(tmp_path / "index", index)
    again = load_index(tmp_path / "index")
    np.testing.assert_array_equal(again.features, index.features)
    np.testing.assert_array_equal(again.labels, index.labels)
    np.testing.assert_array_equal(again.contents, index.contents)
    assert list(again.names) == names
    assert again.facts == FACTS
    assert again.features.dtype == np.float32
    save_index(tmp_path / "index", make_index(CORNERS[:2]))
    assert len(load_index(tmp_path / "index")) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["index"], "nothing is left behind"


def test_labels_of_several_classes_come_back_in_words(tmp_path):
    labels = np.array([[1, 1], [0, 1], [0, 0], [1, 0], [0, 1]], np.float32)
    save_index(tmp_path / "index", make_index(labels=labels))
    index = load_index(tmp_path / "index")
    assert [index.describe_label(row) for row in range(4)] == ["cat, dög", "dög", "none", "cat"]


def test_a_stale_index_is_refused(tmp_path):
    index = make_index()
    refuse_stale(index, tmp_path, "a" * 64, "c" * 64)
    message = (
        "of a network with other weights than the package's: needed bbbbbbbbbbbb…, got "
        "aaaaaaaaaaaa…. .*--data /my/images --index"
    )
    with pytest.raises(UserError, match=message):
        refuse_stale(index, tmp_path, "b" * 64, "c" * 64)
    with pytest.raises(UserError, match="another input contract than the package's"):
        refuse_stale(index, tmp_path, "a" * 64, "d" * 64)


def test_what_is_no_index_is_refused(tmp_path):
    with pytest.raises(UserError, match="there is no index of training images; make one with"):
        load_index(tmp_path / "nothing")
    (tmp_path / "other").mkdir()
    (tmp_path / "other/notes.txt").write_text("mine")
    with pytest.raises(DamagedFolder):
        load_index(tmp_path / "other")
    with pytest.raises(UserError, match=r"found notes\.txt in it"):
        save_index(tmp_path / "other", make_index())
    save_index(tmp_path / "index", make_index())
    features = tmp_path / "index" / neighbours.FEATURES
    content = bytearray(features.read_bytes())
    content[-1] ^= 1
    features.write_bytes(bytes(content))
    with pytest.raises(DamagedFolder, match=r"features\.safetensors"):
        load_index(tmp_path / "index")


def test_an_index_of_a_newer_version_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(neighbours, "FORMAT", 2)
    save_index(tmp_path / "index", make_index())
    monkeypatch.undo()
    with pytest.raises(UserError, match="no index of training images that this version"):
        load_index(tmp_path / "index")


@pytest.mark.parametrize(("count", "message"), [(0, "from 1 to the 5"), (6, "--nearest 6: needed")])
def test_numbers_that_cannot_be_are_refused(count, message):
    with pytest.raises(UserError, match=message):
        nearest(make_index(), np.ones((1, 2)), count)


def test_features_that_cannot_be_are_refused():
    with pytest.raises(UserError, match="features of length 2, the network gives 3"):
        nearest(make_index(), np.ones((1, 3)), 1)
    bad = CORNERS.copy()
    bad[3, 1] = np.inf
    with pytest.raises(UserError, match=r"of 1 of 5 images \(the first is number 3\) are not"):
        make_index(bad)
    with pytest.raises(UserError, match="an index needs images, the train split has none"):
        make_index(CORNERS[:0])


def test_the_index_lies_beside_the_package(tmp_path):
    assert index_folder(tmp_path / "run/package") == tmp_path / "run/package.neighbours"
    (tmp_path / "v1").mkdir()
    (tmp_path / "current").symlink_to(tmp_path / "v1")
    assert index_folder(tmp_path / "current") == tmp_path / "v1.neighbours"
