"""Which dealing of a source a package is judged by: that of the training the source was in."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from resnetkit.data.dataset import load_evaluation_split, load_training_data
from resnetkit.data.opening import DescribedSource
from resnetkit.data.past import DealtSource, Past, distinct_sources, find_dealings
from resnetkit.data.settings import DataConfig
from resnetkit.types import UserError

SIDE = 6
PACKAGE = ("dog", "cat", "eel")  # not in natural order, as of a package that learned on


def silent(what, done, total):
    """Progress that nobody watches."""


def draw(folder, classes, seed=0, count=20):
    generator = np.random.default_rng(seed)
    for name in classes:
        (folder / name).mkdir(parents=True)
        for number in range(count):
            pixels = generator.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number:02d}.png")
    return folder


def deal(source, **settings):
    """The data of a training on `source`."""
    config = DataConfig(source=str(source), image_size=SIDE, **settings)
    return load_training_data(config, SIDE, silent)


def dealt(data):
    return DealtSource(config=data.config, cut=data.cut, manifest=data.manifest)


def judged(past, source, split="test", **changes):
    asked = DescribedSource(location=str(source))
    return load_evaluation_split(find_dealings(past, asked, split), split, past, silent, **changes)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("past")
    return draw(root / "old", ("cat", "dog")), draw(root / "new", ("cat", "eel"), seed=1)


@pytest.fixture(scope="module")
def trainings(folders):
    """Of the parent, and of the package itself, which would cut no other source like that."""
    return deal(folders[0], test_fraction=0.3, split_seed=4), deal(folders[1], test_fraction=0.2)


@pytest.fixture(scope="module")
def past(trainings):
    contract = replace(trainings[0].contract, class_names=PACKAGE)
    sources = (dealt(trainings[1]), dealt(trainings[0]))
    return Past(contract=contract, sources=sources, learned_on=True)


@pytest.mark.parametrize(("which", "missing"), [(0, "'eel'"), (1, "'dog'")])
@pytest.mark.parametrize("moved", [False, True])
def test_each_source_is_cut_as_its_own_training_cut_it(
    past, trainings, folders, tmp_path, which, missing, moved
):
    source, training = folders[which], trainings[which]
    if moved:
        source = shutil.copytree(source, tmp_path / "copy")
    with pytest.warns(UserWarning, match=rf"no images of 1 of the package's 3 .*: {missing}; "):
        test = judged(past, source)
    held_out = {*training.train.names, *training.validation.names}
    assert len(test) == training.test_images == 40 - len(held_out)
    assert held_out.isdisjoint(test.names)
    folders_of = [name.split("/")[0] for name in test.names]
    assert [PACKAGE[number] for number in test.labels] == folders_of
    assert set(folders_of) == set(training.contract.class_names)


def test_what_nobody_dealt_like_that_is_refused(past, folders, tmp_path):
    other = shutil.copytree(folders[0], tmp_path / "other")
    (other / "cat" / "00.png").unlink()
    with pytest.raises(UserError, match=r"other: not the pictures .*split all, or give the source"):
        judged(past, other)
    with pytest.warns(UserWarning, match="the figures say nothing of them"):
        assert len(judged(past, other, "all")) == 39


def test_an_ordinary_package_is_judged_on_some_classes_only_where_asked(past, tmp_path):
    ordinary = replace(past, learned_on=False)
    some = draw(tmp_path / "some" / "test", ("cat", "eel"), count=2).parent
    expected = r"some: its classes are not the 3 of the package: the data lacks 'dog'\. Add images"
    with pytest.raises(UserError, match=expected):
        judged(ordinary, some)
    with pytest.warns(UserWarning, match="'dog'; the figures say nothing of them"):
        split = judged(ordinary, some, some_classes=True)
    assert split.labels.tolist() == [1, 1, 2, 2]
    whole = draw(tmp_path / "whole" / "test", PACKAGE, count=2).parent
    assert judged(ordinary, whole).labels.tolist() == [1, 1, 0, 0, 2, 2]


def test_classes_that_the_package_does_not_know_are_refused_for_any(past, tmp_path):
    unknown = draw(tmp_path / "unknown" / "test", ("cat", "dogs"), count=2).parent
    expected = r"does not know 'dogs'; the data lacks 'dog', 'eel'\. class 'dogs' looks like the"
    for one in (past, replace(past, learned_on=False)):
        with pytest.raises(UserError, match=expected):
            judged(one, unknown, some_classes=True)


def test_foreign_weights_are_judged_on_what_is_given(past, folders):
    foreign = Past(contract=replace(past.contract, class_names=("cat", "eel")))
    assert len(judged(foreign, folders[1])) == 4  # a tenth of each class, rounded


def test_equal_cuts_are_kept_once(past):
    twice = (*past.sources, replace(past.sources[0]), DealtSource(config=DataConfig()))
    assert distinct_sources(twice) == (*past.sources, twice[-1])
