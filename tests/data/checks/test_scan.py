"""The scan: what is finished is not done again, what changed is, whoever does the work."""

import os
import shutil

import numpy as np
import pytest
from planted import Planter, encode, picture, plant_clean, plant_images
from pyarrow import parquet

from resnetkit.data.checks import scan_parts, workers
from resnetkit.data.checks.listing import list_source
from resnetkit.data.checks.part_store import SAVED_SCAN, PartStore
from resnetkit.data.checks.scan import scan_source
from resnetkit.data.checks.scan_parts import cut_parts, scan_part
from resnetkit.data.checks.workers import map_in_order, pick_kind
from resnetkit.types import Interrupted


def silent(what, done, total):
    pass


def scan(root, out, progress=silent):
    store = PartStore(out)
    return scan_source(list_source(str(root)), store, progress), store


def assert_equal(one, other):
    for name in ("splits", "labels", "bytes", "modified_ns", "sha256", "pixel_hashes", "grey"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    for name in ("perceptual", "readable", "width", "height"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    assert list(one.names) == list(other.names)
    assert one.modes.to_pylist() == other.modes.to_pylist()
    assert one.formats.to_pylist() == other.formats.to_pylist()
    assert {kind: list(found) for kind, found in one.found.items()} == {
        kind: list(found) for kind, found in other.found.items()
    }


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    planter = Planter(tmp_path_factory.mktemp("scan") / "source")
    plant_clean(planter)
    plant_images(planter, "special", huge=False)
    return planter.root


@pytest.fixture
def source(planted, tmp_path):
    return shutil.copytree(planted, tmp_path / "source", symlinks=True)


@pytest.fixture
def decoded(monkeypatch):
    """Names of the images that were decoded since."""
    names = []
    inspect = scan_parts.inspect_image
    monkeypatch.setattr(
        scan_parts,
        "inspect_image",
        lambda content, name: names.append(name) or inspect(content, name),
    )
    return names


def test_columns(source):
    found, _ = scan(source, None)
    assert len(found) == len(found.names) == len(found.contents)
    row = list(found.names).index("china/0.jpg")
    assert found.label_name(row) == "china"
    assert (found.width[row], found.height[row]) == found.load_rgb(row).size
    assert found.modes[row].as_py() == "RGB"
    assert found.bytes[row] == (source / "china/0.jpg").stat().st_size
    assert found.modified_ns[row] == (source / "china/0.jpg").stat().st_mtime_ns
    assert sorted(f.names[0] for f in found.found["cmyk"]) == [
        "special/print.jpg",
        "special/print.tif",
    ]


def test_parts_cover_everything_once_and_stay_put(source):
    names = [f"{number}.jpg" for number in range(3000)]
    parts = list(cut_parts(names, names))
    assert [name for part in parts for name in part.names] == names
    assert max(len(part.names) for part in parts) <= 4 * 64
    more = list(cut_parts(["0a.jpg", *names], ["0a.jpg", *names]))
    same = {part.names for part in parts} & {part.names for part in more}
    assert len(same) == len(parts) - 1
    assert list(cut_parts([], [])) == []


def test_a_failure_leaves_finished_parts_to_go_on_from(source, tmp_path, monkeypatch, decoded):
    whole, _ = scan(source, None)
    decoded.clear()

    def progress(what, done, total):
        if done > total / 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        scan(source, tmp_path / "out", progress)
    finished = {path.stem for path in (tmp_path / ".out.parts").iterdir()}
    assert finished
    decoded.clear()
    resumed, _ = scan(source, tmp_path / "out")
    assert 0 < len(decoded) < len(resumed)
    assert_equal(resumed, whole)


def test_only_what_changed_is_done_again(source, tmp_path, decoded):
    before, _ = scan(source, tmp_path / "out")
    decoded.clear()
    again, _ = scan(source, tmp_path / "out")
    assert decoded == []
    assert_equal(again, before)
    (source / "flower/9.jpg").write_bytes(encode(picture(1000), "JPEG"))
    os.utime(source / "china/0.jpg", ns=(1, 1))
    changed, _ = scan(source, tmp_path / "out")
    assert {"flower/9.jpg", "china/0.jpg"} <= set(decoded)
    assert len(decoded) < len(changed)
    assert_equal(changed, scan(source, None)[0])


def test_a_file_that_is_gone_or_new(source, tmp_path, decoded):
    scan(source, tmp_path / "out")
    (source / "flower/9.jpg").unlink()
    (source / "flower/new.jpg").write_bytes(encode(picture(1000), "JPEG"))
    decoded.clear()
    changed, _ = scan(source, tmp_path / "out")
    assert "flower/new.jpg" in decoded
    assert len(decoded) < len(changed)
    assert_equal(changed, scan(source, None)[0])


def test_the_saved_scan_serves_the_next_check(source, tmp_path, decoded):
    before, store = scan(source, tmp_path / "out")
    (tmp_path / "out").mkdir()
    store.write_saved(tmp_path / "out" / SAVED_SCAN)
    store.discard()
    assert not (tmp_path / ".out.parts").exists()
    decoded.clear()
    again, _ = scan(source, tmp_path / "out")
    assert decoded == []
    assert_equal(again, before)


@pytest.mark.parametrize("damage", [b"", b"PAR1 but nothing else", None])
def test_damaged_parts_are_done_again(source, tmp_path, damage):
    before, _ = scan(source, tmp_path / "out")
    for path in (tmp_path / ".out.parts").iterdir():
        data = path.read_bytes()
        path.write_bytes(data[: len(data) // 2] if damage is None else damage)
    assert_equal(scan(source, tmp_path / "out")[0], before)
    assert_equal(scan(source, tmp_path / "out")[0], before)


def test_a_damaged_saved_scan_counts_as_none(source, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / SAVED_SCAN).write_bytes(b"PAR1")
    scan(source, tmp_path / "out")


def test_processes_find_the_same(source, monkeypatch):
    threads, _ = scan(source, None)
    monkeypatch.setattr(workers, "FEW_IMAGES", 1)
    monkeypatch.setattr(workers, "SMALL_BYTES", 1e9)
    monkeypatch.setattr(workers, "available_cores", lambda: 2)
    assert pick_kind(10, 10.0) == "processes"
    assert_equal(scan(source, None)[0], threads)


def test_a_process_that_is_killed_ends_the_scan_with_a_reason():
    with pytest.raises(Interrupted, match=r"ended from outside.*continues where it stopped"):
        list(map_in_order(os._exit, [9], "processes"))


def test_kinds_of_workers():
    assert pick_kind(100, 2_000) == "threads"
    assert pick_kind(10**6, 200_000) == "threads"
    for kind in workers.WORKERS:
        assert list(map_in_order(abs, range(-9, 0), kind)) == [(n, -n) for n in range(-9, 0)]


def test_arrays_are_scanned_and_known_by_their_pixels():
    rows = np.random.default_rng(0).integers(0, 256, (30, 1, 8, 8)).astype(np.uint8)
    names = [f"digits[{number}]" for number in range(30)]
    keys = [scan_part(part, frozenset())[0] for part in cut_parts(names, rows)]
    other = rows.copy()
    other[7] += 1
    changed = [scan_part(part, frozenset())[0] for part in cut_parts(names, other)]
    assert sum(a != b for a, b in zip(keys, changed, strict=True)) == 1


def test_parts_with_other_columns_are_done_again(source, tmp_path):
    before, _ = scan(source, tmp_path / "out")
    for path in (tmp_path / ".out.parts").iterdir():
        parquet.write_table(parquet.read_table(path).drop_columns("grey"), path)
    assert_equal(scan(source, tmp_path / "out")[0], before)
