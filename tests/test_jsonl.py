from __future__ import annotations

import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resnetkit.jsonl import append_record, keep_records, load_records

VALUES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
)
RECORDS = st.lists(st.dictionaries(st.text(), VALUES, max_size=4), max_size=6)


@given(records=RECORDS)
@settings(deadline=None, max_examples=50)
def test_what_is_appended_comes_back(records, tmp_path_factory):
    path = tmp_path_factory.mktemp("jsonl") / "metrics.jsonl"
    for record in records:
        append_record(path, record)
    assert load_records(path) == records
    if records:
        assert path.read_bytes().count(b"\n") == len(records)


def test_a_missing_file_holds_no_records(tmp_path):
    assert load_records(tmp_path / "none.jsonl") == []
    keep_records(tmp_path / "none.jsonl", lambda record: True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("cut", range(1, 19))
def test_a_last_line_cut_short_is_left_out(tmp_path, cut):
    path = tmp_path / "metrics.jsonl"
    append_record(path, {"step": 1})
    append_record(path, {"text": "schön"})
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    assert load_records(path) == [{"step": 1}]


def test_numbers_that_json_lacks_are_refused(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        append_record(tmp_path / "metrics.jsonl", {"loss": math.nan})
    assert load_records(tmp_path / "metrics.jsonl") == []


def test_keep_records_drops_what_came_after_and_the_cut_line(tmp_path):
    path = tmp_path / "metrics.jsonl"
    for step in range(6):
        append_record(path, {"step": step})
    with path.open("a") as file:
        file.write('{"step": 6, "lo')
    keep_records(path, lambda record: record["step"] <= 3)
    append_record(path, {"step": 4, "again": True})
    assert [record["step"] for record in load_records(path)] == [0, 1, 2, 3, 4]
    assert [p.name for p in tmp_path.iterdir()] == ["metrics.jsonl"]
    assert all(json.loads(line) for line in path.read_text().splitlines())


def test_keeping_nothing_leaves_an_empty_file(tmp_path):
    path = tmp_path / "metrics.jsonl"
    append_record(path, {"step": 1})
    keep_records(path, lambda record: False)
    assert path.read_text() == ""
