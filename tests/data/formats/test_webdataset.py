"""WebDataset: samples in archives, whatever their labels look like; one index, kept."""

import io
import json
import pickle
import tarfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from resnetkit.data.decode import decode_image
from resnetkit.data.encoded import FileRegion
from resnetkit.data.formats import tar_index, tar_samples
from resnetkit.data.formats.webdataset import expand_braces
from resnetkit.data.sources import load_source
from resnetkit.types import UserError


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("RESNETKIT_DATA", str(folder))
    return folder / "tar-index"


def png(value):
    stream = io.BytesIO()
    Image.fromarray(np.full((4, 6), value, np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def shard(path, members):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, content in members:
            content = content if isinstance(content, bytes) else str(content).encode()
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def sample(key, label, ending="cls"):
    return [(f"{key}.png", png(int(key[-1]))), (f"{key}.{ending}", label)]


@pytest.fixture
def shards(tmp_path):
    shard(tmp_path / "train-000.tar", [*sample("0001", 1), *sample("0002", 0)])
    shard(tmp_path / "train-001.tar", [*sample("0003", 10)])
    shard(tmp_path / "val-000.tar", [*sample("0001", 10)])
    return tmp_path


def refused(location, message, splits=("train", "val", "test")):
    with pytest.raises(UserError, match=message):
        load_source(str(location), splits)


def one(tmp_path, *members):
    return shard(tmp_path / "a.tar", members)


def test_a_folder_of_archives(shards):
    for location in (shards, f"webdataset:{shards}"):
        source = load_source(str(location), ["train", "val", "test"])
        assert source.class_names == ("0", "1", "10")
        assert source.present == ("train", "val")
        train = source.splits["train"]
        assert list(train.names) == [
            "train-000.tar/0001.png",
            "train-000.tar/0002.png",
            "train-001.tar/0003.png",
        ]
        assert train.labels.tolist() == [1, 0, 2]
        assert source.splits["val"].labels.tolist() == [2]


def test_images_are_regions_that_any_worker_reads(shards):
    train = load_source(str(shards), ["train"]).splits["train"]
    assert train.encoded is not None
    for index, value in ((2, 3), (0, 1), (1, 2)):
        region = pickle.loads(pickle.dumps(train.encoded[index]))
        assert isinstance(region, FileRegion)
        pixels = np.asarray(decode_image(region, "x"))
        assert pixels.shape == (4, 6)
        assert np.unique(pixels).tolist() == [value]
    assert len(train.subset([2]).digest()) == 64


@pytest.mark.parametrize("pattern", ["train-{000..001}.tar", "{train-000,train-001}.tar"])
def test_patterns(shards, pattern):
    source = load_source(f"{shards}/{pattern}", ["train"])
    assert source.present == ("train",)
    assert len(source.splits["train"]) == 3


def test_one_archive_without_a_split_in_its_name(tmp_path):
    path = one(tmp_path, *sample("1", "b"), *sample("2", "a"))
    for location in (path, f"webdataset:{path}"):
        source = load_source(str(location), ["train"])
        assert source.present == ("train",)
        assert source.splits["train"].labels.tolist() == [1, 0]


def test_a_folder_for_each_split(tmp_path):
    for folder, label in (("train", "cat"), ("validation", "dog")):
        shard(tmp_path / folder / "00000.tar", [*sample("a/1", "cat"), *sample("b/2", label)])
        shard(tmp_path / folder / "00001.tar", [*sample("a/1", "dog")])
    source = load_source(str(tmp_path), ["train", "val"])
    assert source.class_names == ("cat", "dog")
    assert source.splits["val"].labels.tolist() == [0, 1, 1]


@pytest.mark.parametrize("place", ["beside", "inside", "above"])
def test_names_of_numbered_classes(tmp_path, place):
    names = "tench\r\ngreat white shark\nhen\n"
    inside = [("classes.txt", names)] if place == "inside" else []
    folder = tmp_path / "train" if place == "above" else tmp_path
    shard(folder / "train-0.tar", [*inside, *sample("1", "2"), *sample("2", "great white shark")])
    if place != "inside":
        (tmp_path / "classes.txt").write_text(names)
    source = load_source(str(tmp_path), ["train"])
    assert source.class_names == ("tench", "great white shark", "hen")
    assert source.splits["train"].labels.tolist() == [2, 1]
    shard(folder / "train-0.tar", [*inside, *sample("1", "3")])
    refused(
        tmp_path, r"'1.png' has the label '3'; needed is a number from 0 to 2 or a name, as .*cla"
    )


@pytest.mark.parametrize(
    ("ending", "first", "second"),
    [
        ("cls", "cat", "dog"),
        ("txt", " cat\n", "dog"),
        ("json", '{"label": "cat"}', '{"label": "dog", "width": 3}'),
        ("json", '{"cls": 7}', '{"class": 8}'),
        ("cls", "007", "8"),
    ],
)
def test_labels(tmp_path, ending, first, second):
    path = one(tmp_path, *sample("1", first, ending), *sample("2", second, ending))
    source = load_source(str(path), ["train"])
    assert source.class_names in (("cat", "dog"), ("7", "8"))
    assert source.splits["train"].labels.tolist() == [0, 1]


def test_captions_and_other_files_are_passed_over(tmp_path):
    extra = [("1.txt", "a long caption"), ("1.json", "{}"), ("README.md", "x"), ("._1.png", "x")]
    path = one(tmp_path, *sample("1", "a"), *extra, *sample("2", "b"), ("2.seg.npy", b"x"))
    train = load_source(str(path), ["train"]).splits["train"]
    assert list(train.names) == ["a.tar/1.png", "a.tar/2.png"]


@pytest.mark.parametrize(
    ("members", "message"),
    [
        (
            [("1.png", b"x")],
            r"the sample '1' has no label; needed is 1.cls or .json or .txt beside",
        ),
        (
            [*sample("1", 0), ("2.png", b"x")],
            "the sample '2' has no 2.cls, where the first sample has",
        ),
        ([*sample("1", 0), *sample("2", 1, "txt")], "the sample '2' has no 2.cls"),
        ([*sample("1", 0), ("2.cls", 1)], "the sample '2' has a label but no image"),
        (
            [*sample("1", 0), ("1.jpg", b"x")],
            "'1.png' and '1.jpg' are both the image of one sample",
        ),
        ([*sample("1", 0), ("1.left.png", b"x")], "'1.png' and '1.left.png' are both the image"),
        ([*sample("1", 0), ("1.cls", 1)], "'1.cls' and '1.cls' are both the label of one sample"),
        ([("README.md", "x")], "there are no images in this archive; needed are key.jpg"),
        ([], "there are no images in this archive"),
        (sample("1", ""), "a.tar/1.cls: needed is the number or the name of a class; got ''"),
        (sample("1", "two\nlines"), "needed is the number or the name of a class"),
        (sample("1", "x" * 201), "needed is the number or the name of a class"),
        (sample("1", b"\xff\xfe"), r"a.tar/1.cls: broken \(.*; needed is a label"),
        (sample("1", "{", "json"), r"a.tar/1.json: broken \("),
        (sample("1", "[" * 50_000, "json"), r"a.tar/1.json: broken \("),
        (
            sample("1", "[1]", "json"),
            r"1.json: needed is an object .* 'label' or 'cls' or .*got '\[1",
        ),
        (sample("1", '{"label": [1, 2]}', "json"), r"needed is an object .*; got '\[1, 2\]'"),
        (sample("1", '{"label": true}', "json"), "needed is an object .*; got 'True'"),
        (sample("1", b"1" * (2 << 20)), "'1.cls' has 2097152 bytes and is no label"),
        ([*sample("1", 0), ("classes.txt", b"\xff")], "a.tar/classes.txt: not text in UTF-8"),
    ],
)
def test_samples_that_cannot_be_used(tmp_path, members, message):
    refused(one(tmp_path, *members), message)


def test_a_class_that_training_lacks(shards):
    shard(shards / "val-000.tar", sample("1", "7"))
    refused(shards, "the val split has 1 class.* that training lacks: '7'")


def test_archives_that_are_not_there_or_cannot_be_told(shards):
    refused(f"{shards}/train-{{000..003}}.tar", "2 of its archives .*train-002.tar.*train-003.tar")
    refused(f"{shards}/train-{{3..1}}.tar", r"needed in braces is a rising range .*; got \{3..1\}")
    refused(f"webdataset:{shards}/train-{{x}}.tar", r"needed in braces .*; got \{x\}")
    refused(f"{shards}/train-{{0..999999999}}.tar", "more than 100000 archives")
    shard(shards / "extra.tar", sample("1", 0))
    refused(shards, "'extra.tar' does not say which split it belongs to, other archives do")
    (shards / "empty").mkdir()
    refused(f"webdataset:{shards}/empty", "all of its archives .* are not there")


def test_a_compressed_archive(tmp_path):
    path = one(tmp_path, *sample("1", 0))
    with tarfile.open(tmp_path / "b.tar", "w:gz") as tar:
        tar.add(path, "a.tar")
    refused(tmp_path / "b.tar", r"b.tar: this archive is compressed \(gzip\)")


def test_only_what_is_needed_is_read(shards, monkeypatch):
    (shards / "val-000.tar").write_bytes(b"broken")
    monkeypatch.setattr(Image, "open", None)
    assert set(load_source(str(shards), ["train"]).splits) == {"train"}
    (shards / "classes.txt").write_text("a\nb\n")
    for path in shards.glob("train*"):
        path.write_bytes(b"broken")
    assert load_source(str(shards), []).class_names == ("a", "b")


def test_an_archive_is_indexed_once(shards, cache, monkeypatch):
    before = {path: path.read_bytes() for path in shards.iterdir()}
    first = load_source(str(shards), ["train"])
    assert len(list(cache.iterdir())) == 2
    monkeypatch.setattr(tar_index, "read_samples", None)
    again = load_source(str(shards), ["train"])
    assert again.class_names == first.class_names
    train = again.splits["train"]
    assert train.encoded is not None
    assert list(train.encoded) == list(first.splits["train"].encoded or ())
    assert train.digest() == first.splits["train"].digest()
    assert {path: path.read_bytes() for path in shards.iterdir()} == before


def test_an_index_that_is_damaged_outdated_or_may_not_be_kept(shards, cache, monkeypatch):
    load_source(str(shards), ["train"])
    for path in cache.iterdir():
        path.write_bytes(path.read_bytes()[:100])
    assert len(load_source(str(shards), ["train"]).splits["train"]) == 3
    shard(shards / "train-001.tar", [*sample("0003", 10), *sample("0004", 10)])
    assert len(load_source(str(shards), ["train"]).splits["train"]) == 4
    monkeypatch.setenv("RESNETKIT_DATA", str(shards / "val-000.tar"))
    assert len(load_source(str(shards), ["train"]).splits["train"]) == 4


def test_class_names_inside_are_kept_with_the_index(tmp_path):
    path = one(tmp_path, ("classes.txt", "a\nb"), *sample("1", 1))
    for _ in range(2):
        assert tar_index.index_archive(path).class_names == ("a", "b")
    assert tar_samples.read_samples(path).labels == ["1"]


@settings(max_examples=50, deadline=None)
@given(first=st.integers(0, 300), count=st.integers(1, 30), width=st.integers(1, 6))
def test_ranges_keep_their_width(first, count, width):
    numbers = range(first, first + count)
    pattern = f"a-{{{first:0{width}d}..{numbers[-1]:0{width}d}}}.tar"
    assert expand_braces(pattern) == [f"a-{number:0{width}d}.tar" for number in numbers]


def test_several_braces():
    assert expand_braces("{a,b}/{1..2}.tar") == ["a/1.tar", "a/2.tar", "b/1.tar", "b/2.tar"]
    assert expand_braces("plain.tar") == ["plain.tar"]
    with pytest.raises(UserError, match="stands for 1000000 archives"):
        expand_braces("{0..999}-{0..999}.tar")


def test_json_with_its_label_under_any_name(tmp_path):
    members = [
        *sample("1", json.dumps({"label": 0, "cls": 9}), "json"),
        *sample("2", '{"label": 1}', "json"),
    ]
    assert load_source(str(one(tmp_path, *members)), ["train"]).class_names == ("0", "1")
