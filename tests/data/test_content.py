"""What images are known by: sizes, times, hashes, wherever they lie."""

import hashlib
import os

import numpy as np

from resnetkit.data.columns import NO_FILE, FileColumn, pack_texts
from resnetkit.data.content import file_facts, hash_contents, is_known
from resnetkit.data.encoded import FileRegion
from resnetkit.data.source_types import Split

NAMES = ["a", "b", "gone"]


def split_of(encoded=None, images=None):
    return Split(labels=np.zeros(3, np.int64), names=NAMES, encoded=encoded, images=images)


def sha256(*contents):
    return [list(hashlib.sha256(content).digest()) for content in contents]


def test_files(tmp_path):
    for name in "ab":
        (tmp_path / name).write_bytes(name.encode() * 3)
    os.utime(tmp_path / "b", ns=(5, 7))
    for encoded in (FileColumn(str(tmp_path), pack_texts(NAMES)), [tmp_path / n for n in NAMES]):
        split, told = split_of(encoded), []

        def tell(*step, told=told):
            told.append(step)

        sizes, times = file_facts(split)
        assert sizes.tolist() == [3, 3, NO_FILE]
        assert times.tolist()[1:] == [7, 0]
        hashes = hash_contents(split, progress=tell)
        assert hashes.tolist() == [*sha256(b"aaa", b"bbb"), [0] * 32]
        assert is_known(hashes).tolist() == [True, True, False]
        assert told == [("hashing images", 3, 3)]
        assert hash_contents(split, np.array([1])).tolist() == sha256(b"bbb")


def test_bytes_and_pixels_lie_in_memory():
    split = split_of(encoded=[b"x", b"yy", b""])
    assert [column.tolist() for column in file_facts(split)] == [[1, 2, 0], [0, 0, 0]]
    assert hash_contents(split).tolist() == sha256(b"x", b"yy", b"")
    pixels = np.arange(12, dtype=np.uint8).reshape(3, 1, 2, 2)
    split = split_of(images=pixels)
    assert [column.tolist() for column in file_facts(split)] == [[4] * 3, [0] * 3]
    assert hash_contents(split).tolist() == sha256(*(image.tobytes() for image in pixels))


def test_a_part_of_an_archive_has_its_own_size_and_the_archives_time(tmp_path):
    (tmp_path / "tar").write_bytes(b"0123456789")
    os.utime(tmp_path / "tar", ns=(5, 9))
    regions = [FileRegion(path=tmp_path / "tar", offset=start, size=2) for start in (0, 4)]
    split = split_of([*regions, FileRegion(path=tmp_path / "no", offset=0, size=2)])
    assert [column.tolist() for column in file_facts(split)] == [[2, 2, NO_FILE], [9, 9, 0]]
    assert hash_contents(split).tolist() == [*sha256(b"01", b"45"), [0] * 32]
