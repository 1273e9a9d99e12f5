"""The images a package was trained on, opened again: dealt as then, whatever happened since."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from resnetkit.data.content import hash_contents
from resnetkit.data.dataset import load_training_data
from resnetkit.data.old_images import load_old_images
from resnetkit.data.past import DealtSource, Past
from resnetkit.data.settings import DataConfig
from resnetkit.types import UserError

SIDE = 6
OLD = {"cat": 24, "dog": 30, "eel": 20}


def silent(what, done, total):
    """Progress that nobody watches."""


def draw(folder, classes, seed):
    """A folder of noise; the same seed gives the same pictures."""
    generator = np.random.default_rng(seed)
    for name, count in classes.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            pixels = generator.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number:02d}.png")
    return folder


def load(source, weights=None, **settings):
    config = DataConfig(source=str(source), image_size=SIDE, **settings)
    return load_training_data(config, SIDE, silent, weights)


def past_of(data, **changes):
    dealt = DealtSource(config=data.config, cut=data.cut, manifest=data.manifest)
    return replace(Past(contract=data.contract, sources=(dealt,), seen=data.seen), **changes)


def moved_to(past, folder):
    """`past` of a package whose training read the same pictures in `folder`."""
    source = past.sources[0]
    return replace(
        past, sources=(replace(source, config=replace(source.config, source=str(folder))),)
    )


def contents(split):
    return {row.tobytes() for row in hash_contents(split)}


def class_of(split, class_names):
    """(class by label, class by folder) of every image."""
    return [
        (class_names[label], name.split("/")[-2])
        for label, name in zip(split.class_numbers.tolist(), split.names, strict=True)
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return draw(tmp_path_factory.mktemp("sources") / "old", OLD, 0)


@pytest.fixture(scope="module")
def trained(folder):
    """What the package was trained on: a quarter of it kept for testing."""
    return load(folder, test_fraction=0.25)


@pytest.fixture(scope="module")
def old(folder, trained):
    return load_old_images(str(folder), past_of(trained), silent)


def test_the_old_source_is_dealt_as_training_dealt_it(old, trained, folder):
    assert list(old.train.names) == list(trained.train.names)
    assert list(old.validation.names) == list(trained.validation.names)
    assert old.dealt.cut == trained.cut
    assert old.dealt.config.source == str(folder)
    assert len(old.test) == trained.test_images > 10
    whole = contents(old.train) | contents(old.validation) | contents(old.test)
    assert len(whole) == sum(OLD.values())
    assert old.known == "dealt as in the package's training"


@pytest.mark.parametrize("where", ["here", "moved"])
def test_a_source_that_has_changed_is_told_apart_by_keys(old, trained, folder, tmp_path, where):
    copied = shutil.copytree(folder, tmp_path / "copied")
    for number in range(5):
        Image.new("RGB", (SIDE, SIDE), (number, 9, 9)).save(copied / "cat" / f"x{number}.png")
    past = past_of(trained)
    if where == "here":
        past = moved_to(past, copied)
    found = load_old_images(str(copied), past, silent)
    assert contents(found.train) == contents(old.train)
    assert contents(found.validation) == contents(old.validation)
    assert contents(found.test) > contents(old.test)
    assert len(found.test) == len(old.test) + 5
    assert "stay out of training" in found.known


def test_an_old_package_whose_source_changed_is_refused(trained, folder, tmp_path):
    copied = shutil.copytree(folder, tmp_path / "copied")
    (copied / "cat" / "00.png").unlink()
    past = moved_to(past_of(trained, seen=None), copied)
    with pytest.raises(UserError, match=r"pictures were added, .* cannot be told from the others"):
        load_old_images(str(copied), past, silent)


def test_other_images_of_the_classes_are_dealt_by_themselves(trained, tmp_path):
    others = draw(tmp_path / "others", {"cat": 10, "eel": 10}, 5)
    found = load_old_images(str(others), past_of(trained), silent)
    assert [len(found.train), len(found.validation), len(found.test)] == [14, 2, 4]
    names = trained.contract.class_names
    assert all(label == folder for label, folder in class_of(found.train, names))
    assert "other images" in found.known
    foreign = load_old_images(str(others), Past(contract=trained.contract), silent)
    assert len(foreign.train) == 16  # a tenth each for validation and testing


def test_a_package_of_few_shots_replays_those_only(folder):
    few = load(folder, test_fraction=0.25, shots=5, shots_seed=3)
    found = load_old_images(str(folder), past_of(few), silent)
    assert contents(found.train).isdisjoint(contents(found.test))
    assert list(found.train.names) == list(few.train.names)
    assert list(found.validation.names) == list(few.validation.names)


def test_replay_of_unknown_classes_and_of_nothing_is_refused(trained, folder, tmp_path):
    with pytest.raises(UserError, match="it has 1 that the package does not know: 'ant'"):
        load_old_images(
            str(draw(tmp_path / "x", {"ant": 2, "cat": 2}, 1)), past_of(trained), silent
        )
    only_test = draw(tmp_path / "only" / "test", {"cat": 2, "eel": 2}, 7).parent
    with pytest.raises(UserError, match=r"only: it has no images to replay .* its splits are test"):
        load_old_images(str(only_test), past_of(trained), silent)
