"""Columns of names and files: they behave as the lists they stand for, in little memory."""

import os
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resnetkit.data.columns import (
    NO_FILE,
    FileColumn,
    concatenate_texts,
    pack_texts,
    take_texts,
    text_keys,
)

TEXTS = st.lists(st.text(st.characters(blacklist_categories=["Cs"]), max_size=9), max_size=20)


@settings(deadline=None, max_examples=50)
@given(TEXTS, TEXTS, st.data())
def test_a_column_is_the_list_of_its_texts(texts, more, data):
    column = pack_texts(iter(texts))
    assert column == texts
    assert list(column) == texts
    assert concatenate_texts([column, more]) == texts + more
    places = (
        data.draw(st.lists(st.integers(0, max(len(texts) - 1, 0)), max_size=9)) if texts else []
    )
    chosen = np.array(places, np.int64)
    assert column.take(chosen) == [texts[place] for place in places]
    assert take_texts(texts, chosen) == [texts[place] for place in places]
    assert column[1:-1] == texts[1:-1]
    assert text_keys(column).tolist() == text_keys(texts).tolist()
    if texts:
        assert column[-1] == texts[-1]
        assert column != [*texts[:-1], texts[-1] + "x"]
    with pytest.raises(IndexError):
        column[len(texts)]


def test_file_names_that_are_not_unicode_survive(tmp_path):
    name = os.fsdecode(b"\xff\n'.png")
    (tmp_path / name).write_bytes(b"12")
    files = FileColumn(str(tmp_path), pack_texts(["gone", name]))
    assert files[1] == tmp_path / name
    assert list(files) == [tmp_path / "gone", tmp_path / name]
    sizes, times = files.facts()
    assert sizes.tolist() == [NO_FILE, 2]
    assert times.tolist() == [0, (tmp_path / name).stat().st_mtime_ns]


def test_absolute_names_stay_where_they_are(tmp_path):
    (tmp_path / "a").touch()
    files = FileColumn("/nowhere", pack_texts([str(tmp_path / "a")]))
    assert files == [tmp_path / "a"]
    assert files.facts()[0].tolist() == [0]
    assert files.take(np.array([0, 0]))[1:] == [Path(tmp_path / "a")]


def test_a_hundred_thousand_names_take_few_bytes():
    tracemalloc.start()
    try:
        names = pack_texts(f"class/{number:06d}.png" for number in range(100_000))
        kept, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert names[99_999] == "class/099999.png"
    assert kept < 100_000 * 40
    assert peak < 100_000 * 160  # a list of strings: 75 each, the paths another 200
