"""`evaluate` does not count training images as unseen, however they come to be judged."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from resnetkit import pipeline
from resnetkit.data.manifest_table import read_manifest_table
from resnetkit.data.manifest_writer import write_manifest_table
from resnetkit.data.opening import DescribedSource
from resnetkit.data.seen import SeenWarning
from resnetkit.data.split_plan import SplitPlan
from resnetkit.data.splitting import split_source
from resnetkit.export.package import SEEN, load_package, load_seen
from resnetkit.pipeline_evaluation import evaluate
from resnetkit.runtime import commit_folder
from resnetkit.types import UserError

pytestmark = pytest.mark.usefixtures("one_thread")

REFUSED = r"images of {} are among those that this package was trained on: .*--split all"


def nobody(what, done, total):
    """Progress that nobody watches."""


def refused(package, source, split="test", manifest=None):
    asked = DescribedSource(location=str(source), manifest=manifest and str(manifest))
    with pytest.raises(UserError, match=REFUSED.format(split)) as caught:
        evaluate(package, asked, split=split)
    return str(caught.value)


def deal(source, out, **plan):
    return split_source(str(source), out, SplitPlan(**plan), progress=nobody).manifest


def move(images, split_from, split_to, count):
    for folder in sorted((images / split_from).iterdir()):
        for path in sorted(folder.iterdir())[:count]:
            path.rename(images / split_to / folder.name / path.name)


@pytest.fixture(scope="module")
def train(tiny, tmp_path_factory):
    """Trains for one epoch and gives the package."""

    def run(source, **changes):
        settings = {"training.epochs": 1, **{f"data.{k}": str(v) for k, v in changes.items()}}
        return pipeline.train(tiny(source, settings), tmp_path_factory.mktemp("r") / "run").package

    return run


@pytest.fixture
def parted(draw_pictures, tmp_path):
    """train/ with 9 pictures of each class and test/ with 3 others."""
    whole = draw_pictures(tmp_path / "parted" / "train")
    for folder in whole.iterdir():
        (tmp_path / "parted" / "test" / folder.name).mkdir(parents=True)
    move(tmp_path / "parted", "train", "test", 3)
    return tmp_path / "parted"


@pytest.mark.parametrize("name", ["m.csv", "m2.csv"])
def test_a_manifest_that_is_the_source_and_is_dealt_anew(pictures, train, tmp_path, name):
    files = sorted(pictures.rglob("*.png"))

    def write(name, parts):
        rows = [f"{path},{path.parent.name},{parts[n % 3]}" for n, path in enumerate(files)]
        (tmp_path / name).write_text("path,label,split\n" + "\n".join(rows) + "\n")
        return tmp_path / name

    package = train(write("m.csv", ("train", "train", "test")))
    assert evaluate(package, str(tmp_path / "m.csv")).metrics.images == 12
    other = write(name, ("test", "test", "train"))
    assert "24 of the 24" in refused(package, other)


def test_a_copy_under_another_manifest(pictures, trained, tmp_path):
    shutil.copytree(pictures, tmp_path / "copy")
    manifest = deal(tmp_path / "copy", tmp_path / "s9.parquet", seed=9, ratios=(0.5, 0.2, 0.3))
    refused(trained.package, tmp_path / "copy", manifest=manifest)
    refused(trained.package, tmp_path / "copy", "val", manifest)


def test_a_copy_s_own_test_folder_when_it_was_dealt_anew(parted, train, tmp_path):
    manifest = deal(parted, tmp_path / "m.parquet", deal_test_anew=True)
    package = train(parted, manifest=manifest)
    assert evaluate(package, str(parted)).metrics.images
    shutil.copytree(parted, tmp_path / "copy")
    refused(package, tmp_path / "copy")


def test_files_moved_from_train_to_test(parted, train):
    package = train(parted)
    assert evaluate(package, str(parted)).metrics.images == 9
    move(parted, "train", "test", 2)
    message = refused(package, parted)
    assert f"{parted}: 6 of the 15 " in message or f"{parted}: 5 of the 15 " in message
    assert "test/blue/03.png" in message


def test_contents_that_go_round_among_the_same_names(pictures, train, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(pictures, data)
    package = train(data)
    assert evaluate(package, str(data)).metrics.images == 3
    for folder in data.iterdir():
        paths = sorted(folder.iterdir())
        contents = [path.read_bytes() for path in paths]
        for path, content in zip(paths, contents[1:] + contents[:1], strict=True):
            path.write_bytes(content)
    refused(package, data)


def test_train_and_all_say_so(pictures, trained):
    for split, count in (("train", 30), ("all", 33)):
        with pytest.warns(SeenWarning, match=rf"{count} of the \d+ images of {split} .*say little"):
            evaluate(trained.package, str(pictures), split=split)


def test_built_in_arrays_and_manifests_with_hashes_have_keys(trained, train, pictures, tmp_path):
    manifest = deal(pictures, tmp_path / "m.parquet", ratios=(0.5, 0.25, 0.25))
    package = train(pictures, manifest=manifest)
    shutil.copytree(pictures, tmp_path / "data" / "test")
    assert "27 of the 36" in refused(package, tmp_path / "data")
    table = read_manifest_table(manifest)
    assert table.sha256 is not None
    hashes = table.sha256.copy()
    hashes[::2] = 0  # not known: computed
    write_manifest_table(tmp_path / "n.parquet", replace(table, sha256=hashes))
    same = train(pictures, manifest=tmp_path / "n.parquet")
    first, second = load_seen(package), load_seen(same)
    assert first is not None
    assert second is not None
    for name, keys in first.keys.items():
        np.testing.assert_array_equal(keys, second.keys[name])


def test_an_older_package_is_judged_with_a_warning(pictures, trained, tmp_path):
    old = tmp_path / "package"

    def write(temporary):
        for path in trained.package.iterdir():
            if path.name not in (SEEN, "MANIFEST.json", "manifest.json"):
                shutil.copy(path, temporary / path.name)

    commit_folder(old, write)
    load_package(old)
    with pytest.warns(SeenWarning, match="does not say which images it was trained on"):
        assert evaluate(old, str(pictures)).metrics.images == 3


def test_damaged_keys_are_found(trained, tmp_path, pictures):
    shutil.copytree(trained.package, tmp_path / "package")
    (tmp_path / "package" / SEEN).unlink()
    with pytest.raises(UserError, match=r"seen\.safetensors is missing"):
        evaluate(tmp_path / "package", str(pictures))


def test_other_pictures_are_judged_in_silence(trained, draw_pictures, tmp_path):
    for path in draw_pictures(tmp_path / "new" / "test").rglob("*.png"):
        Image.open(path).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(path)
    assert evaluate(trained.package, str(tmp_path / "new")).metrics.images == 36
