"""Names of explanations: safe, told apart, and never one that is somebody else's."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resnetkit.explanation.file_names import RECORDS, FileNames, identify, safe_part
from resnetkit.types import UserError


@given(st.text(max_size=300))
@settings(deadline=None, max_examples=50)
def test_a_part_is_safe_whatever_it_comes_from(text):
    part = safe_part(text)
    assert part
    assert part[0] not in ".-"
    assert not set(part) & set('/\\:*?"<>|\0\n')
    assert len(part.encode()) <= 100
    assert part.isprintable()


def test_what_is_readable_stays():
    assert safe_part("Kot №7 (copy)") == "Kot_7_copy"
    assert safe_part("猫.2-b+c") == "猫.2-b+c"
    assert safe_part("../../etc/passwd") == "etc_passwd"
    assert safe_part("...") == "image"


def test_the_same_name_in_another_folder_gets_a_number(tmp_path):
    names = FileNames(tmp_path / "out")
    images = [tmp_path / place for place in ("a/cat.png", "b/cat.png", "a/CAT.jpg", "a/cat.jpg")]
    stems = [names.stem_of(image) for image in images]
    assert stems == ["cat", "cat-2", "CAT-3", "cat-4"]
    assert [names.stem_of(image) for image in images] == stems
    assert names.base_of(images[0], "gradcam++", "3-a/b") == "cat.gradcam++.3-a_b"


def test_an_image_explained_before_keeps_its_names(tmp_path):
    first, second = tmp_path / "a" / "cat.png", tmp_path / "b" / "cat.png"
    records = [
        {"stem": "cat", "source": identify(first), "overlay": "cat.gradcam.png"},
        {"stem": "cat-2", "source": identify(second), "overlay": "cat-2.gradcam.png"},
    ]
    (tmp_path / RECORDS).write_text("".join(json.dumps(record) + "\n" for record in records))
    for record in records:
        (tmp_path / record["overlay"]).touch()
    names = FileNames(tmp_path)
    assert names.stem_of(second) == "cat-2"
    assert names.stem_of(first) == "cat"
    assert names.stem_of(tmp_path / "c" / "cat.png") == "cat-3"


def test_files_that_are_not_ours_keep_their_names(tmp_path):
    for name in ("Cat.gradcam.png", "dog", "owl.b.c.txt"):
        (tmp_path / name).touch()
    names = FileNames(tmp_path)
    assert names.stem_of(Path("x/cat.png")) == "cat-2"
    assert names.stem_of(Path("x/dog.png")) == "dog-2"
    assert names.stem_of(Path("x/owl.png")) == "owl-2"
    assert names.stem_of(Path("x/owl.b.png")) == "owl.b-2"
    assert names.stem_of(Path("x/fox.png")) == "fox"


def test_names_that_differ_in_bytes_only_are_different_images():
    one, other = Path(os.fsdecode(b"/x/a\xff.png")), Path(os.fsdecode(b"/x/a\xfe.png"))
    assert identify(one) != identify(other)
    json.dumps(identify(one)).encode()
    names = FileNames(Path("nowhere at all"))
    assert names.stem_of(one) != names.stem_of(other)


@pytest.mark.parametrize("content", ["hello\n", '{"a": 1}\n', "[1]\n", "\xff\n"])
def test_records_of_something_else_are_refused(tmp_path, content):
    (tmp_path / RECORDS).write_text(content, encoding="latin-1")
    with pytest.raises(UserError, match=r"explanations\.jsonl: needed the records of earlier"):
        FileNames(tmp_path)
