"""One defect does not hide the rest of a source: it is found, and the others are checked."""

from __future__ import annotations

import io
import json
import tarfile

import numpy as np
import pytest
from PIL import Image

from resnetkit.data.checks.check import check_source
from resnetkit.data.checks.listing import list_source
from resnetkit.data.sources import load_source
from resnetkit.types import UserError


def silent(what, done, total):
    pass


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("RESNETKIT_DATA", str(tmp_path_factory.mktemp("cache")))


def png(number):
    pixels = np.random.default_rng(number).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def shard(path, first):
    with tarfile.open(path, "w") as archive:
        for number in range(first, first + 6):
            for name, data in (
                (f"{number}.png", png(number)),
                (f"{number}.cls", b"01"[number % 2 :][:1]),
            ):
                member = tarfile.TarInfo(name)
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))


@pytest.fixture
def shards(tmp_path):
    folder = tmp_path / "shards"
    folder.mkdir()
    for number, name in enumerate(("train-000", "train-001", "val-000")):
        shard(folder / f"{name}.tar", 10 * number)
    return folder


def refusals(listing):
    return [finding.detail for finding in listing.findings if finding.kind == "source-refused"]


@pytest.mark.parametrize("broken", ["train-000", "train-001", "val-000"])
def test_a_truncated_archive_hides_no_other(shards, broken):
    path = shards / f"{broken}.tar"
    path.write_bytes(path.read_bytes()[:1500])
    with pytest.raises(UserError, match=broken):
        load_source(str(shards), ["train", "val"])
    listing = list_source(str(shards))
    assert len(listing) == 12
    [message] = refusals(listing)
    assert broken in message


def test_an_archive_that_is_not_there_hides_no_other(shards):
    (shards / "train-001.tar").unlink()
    listing = list_source(f"{shards}/train-{{000..001}}.tar")
    assert len(listing) == 6
    [message] = refusals(listing)
    assert "train-001.tar" in message
    with pytest.raises(UserError, match="1 of its archives"):
        load_source(f"{shards}/train-{{000..001}}.tar", ["train"])


def test_where_all_of_training_is_damaged_that_is_said(shards):
    for path in shards.glob("train-*.tar"):
        path.write_bytes(path.read_bytes()[:1500])
    report = check_source(str(shards), None, progress=silent)
    assert not report.passed
    assert "source-refused" in report.unsafe


@pytest.mark.parametrize("prefix", ["", "coco-crops:"])
def test_a_picture_that_coco_lacks_hides_no_other(tmp_path, prefix):
    root = tmp_path / "coco"
    (root / "images").mkdir(parents=True)
    (root / "annotations").mkdir()
    for number in range(1, 7):
        (root / "images" / f"{number}.png").write_bytes(png(number))
    (root / "images" / "5.png").write_bytes(b"")
    (root / "images" / "3.png").unlink()
    content = {
        "images": [
            {"id": n, "file_name": f"{n}.png", "width": 16, "height": 16} for n in range(1, 7)
        ],
        "annotations": [
            {"id": n, "image_id": n, "category_id": n % 2 + 1, "bbox": [1, 1, 9, 9], "iscrowd": 0}
            for n in range(1, 7)
        ],
        "categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}],
    }
    (root / "annotations" / "instances_train.json").write_text(json.dumps(content))
    report = check_source(f"{prefix}{root}", None, progress=silent)
    [refused] = report.findings["source-refused"]
    assert "1 of 6 annotated images" in refused.detail
    assert report.images == {"train": 6}
    assert "5.png" in report.findings["zero-byte"][0].names[0]
    with pytest.raises(UserError, match="1 of 6 annotated images"):
        load_source(f"{prefix}{root}", ["train"])


def test_a_file_that_a_manifest_lacks_hides_no_other(tmp_path):
    for number in range(6):
        (tmp_path / f"{number}.png").write_bytes(png(number))
    (tmp_path / "3.png").unlink()
    (tmp_path / "4.png").write_bytes(b"")
    rows = "".join(f"{number}.png,{'ab'[number % 2]}\n" for number in range(6))
    (tmp_path / "images.csv").write_text("path,label\n" + rows)
    report = check_source(str(tmp_path / "images.csv"), None, progress=silent)
    assert "1 of 6 files" in report.findings["source-refused"][0].detail
    assert report.findings["zero-byte"][0].names == ("4.png",)
