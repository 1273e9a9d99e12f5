"""Old images among new ones: which, under which labels, and that held-out ones never enter."""

from __future__ import annotations

import shutil
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from resnetkit.data.class_map import reconcile_classes
from resnetkit.data.content import hash_contents
from resnetkit.data.dataset import load_training_data
from resnetkit.data.loader import Loader, LoaderConfig
from resnetkit.data.old_images import OldImages, load_old_images
from resnetkit.data.past import DealtSource, Past
from resnetkit.data.replay import choose_images, inherit_seen, with_replay, without_replay
from resnetkit.data.seen import PARTS, Seen, SeenWarning, find_seen
from resnetkit.data.settings import DataConfig
from resnetkit.data.source_types import Split
from resnetkit.data.transforms import decode_split
from resnetkit.types import UserError

SIDE = 6
OLD = {"cat": 24, "dog": 30, "eel": 20}
NEW = {"ant": 10, "dog": 8}


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


def contents(split):
    return {row.tobytes() for row in hash_contents(split)}


def dog_of(split):
    """The first dog whose name the new data does not have."""
    names = {f"dog/{number:02d}.png" for number in range(NEW["dog"])}
    return next(name for name in split.names if name.startswith("dog/") and name not in names)


def class_of(split, class_names):
    """(class by label, class by folder) of every image."""
    return [
        (class_names[label], name.split("/")[-2])
        for label, name in zip(split.class_numbers.tolist(), split.names, strict=True)
    ]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("sources")
    return draw(root / "old", OLD, 0), draw(root / "new", NEW, 1)


@pytest.fixture(scope="module")
def trained(folders):
    """What the package was trained on: a quarter of it kept for testing."""
    return load(folders[0], test_fraction=0.25)


@pytest.fixture(scope="module")
def new(folders, trained):
    return load(folders[1], trained.contract, normalization="weights", test_fraction=0.0)


@pytest.fixture(scope="module")
def classes(trained, new):
    names = trained.contract.class_names, new.contract.class_names
    return reconcile_classes(*names, "new", add=True)


@pytest.fixture(scope="module")
def old(folders, trained):
    return load_old_images(str(folders[0]), past_of(trained), silent)


def test_a_package_that_has_learnt_on_still_knows_its_first_images(
    folders, trained, new, old, classes
):
    few = with_replay(new, [old], classes, 1, trained.seen, silent).data
    second = past_of(few)
    found = load_old_images(str(folders[0]), second, silent)
    assert contents(found.train) == contents(old.train)
    assert contents(found.validation) == contents(old.validation)
    assert contents(found.test) == contents(old.test)
    assert all(label == folder for label, folder in class_of(found.train, classes.names))
    latest = load_old_images(str(folders[1]), second, silent)
    assert contents(latest.train).isdisjoint(contents(old.train))
    assert all(label == folder for label, folder in class_of(latest.train, classes.names))


@pytest.mark.parametrize("per_class", [None, 1, 4])
def test_labels_counts_and_what_never_enters(new, old, classes, trained, per_class):
    replayed = with_replay(new, [old], classes, per_class, trained.seen, silent)
    data = replayed.data
    assert data.contract == replace(trained.contract, class_names=("cat", "dog", "eel", "ant"))
    for split in (data.train, data.validation):
        assert all(label == folder for label, folder in class_of(split, classes.names))
    available = np.bincount(old.train.labels, minlength=3)
    expected = available if per_class is None else np.minimum(available, per_class)
    assert replayed.counts == tuple(expected)
    assert len(data.train) == len(new.train) + sum(expected)
    held = decode_split(old.test, data.contract)[0].reshape(len(old.test), -1)
    entered = np.concatenate([data.train.images, data.validation.images])
    entered = {row.tobytes() for row in entered.reshape(len(entered), -1)}
    assert not entered & {row.tobytes() for row in held}
    assert replayed.judged_split == "test"
    assert contents(replayed.judged) == contents(old.test)
    assert f"{sum(expected)} old images are replayed ({min(expected)} to" in replayed.describe()


def test_fewer_are_among_more_and_the_digest_tells_them_apart(new, old, classes):
    sets, digests = [], {new.digest}
    for per_class in (1, 3, 9, None):
        data = with_replay(new, [old], classes, per_class, None, silent).data
        again = with_replay(new, [old], classes, per_class, None, silent).data
        assert data.digest == again.digest
        assert list(data.train.names) == list(again.train.names)
        digests.add(data.digest)
        sets.append(set(data.train.names))
    assert all(fewer < more for fewer, more in pairwise(sets))
    assert len(digests) == 5


def test_the_new_package_knows_all_that_it_or_its_parent_has_seen(new, old, classes, trained):
    few = with_replay(new, [old], classes, 1, trained.seen, silent).data
    for part in (old.train, old.validation, new.train):
        images = part if part.encoded is not None else None
        if images is not None:
            assert find_seen(few.seen, images, PARTS, silent)[0].all()
    assert set(new.seen.keys["train.content"]) <= set(few.seen.keys["train.content"])
    assert not find_seen(few.seen, old.test, PARTS, silent)[0].any()
    alone = with_replay(new, [old], classes, 1, None, silent).data
    assert 0 < find_seen(alone.seen, old.train, PARTS, silent)[0].sum() <= 3


def test_keys_of_two_kinds_cannot_be_kept_together(new):
    with pytest.warns(SeenWarning, match="by size, those of its own images by content"):
        assert inherit_seen(new.seen, Seen(by="size", keys={})) is new.seen


def test_old_validation_images_do_not_outvote_the_new(new, old, classes):
    most = np.bincount(new.validation.labels).max()
    replayed = with_replay(new, [old], classes, None, None, silent)
    counts = np.bincount(replayed.data.validation.labels, minlength=4)
    own = np.bincount(classes.relabel(new.validation.labels), minlength=4)
    assert most == 1
    assert (counts - own).tolist() == [1, 1, 1, 0]
    assert replayed.validation == 3
    without = replace(new, validation=None)
    assert with_replay(without, [old], classes, None, None, silent).data.validation is None


def test_images_that_the_new_data_holds_itself_are_not_replayed(
    folders, trained, old, classes, tmp_path
):
    both = shutil.copytree(folders[1], tmp_path / "both")
    name = dog_of(old.train)
    shutil.copy(folders[0] / name, both / "dog" / "again.png")
    data = load(both, trained.contract, validation_fraction=0.0, test_fraction=0.0)
    replayed = with_replay(data, [old], classes, None, None, silent)
    assert replayed.repeated == 1
    assert name not in replayed.data.train.names
    assert "dog/again.png" in replayed.data.train.names


def test_old_test_images_in_the_new_data_are_refused(folders, trained, old, classes, tmp_path):
    leaking = shutil.copytree(folders[1], tmp_path / "leaking")
    name = dog_of(old.test)
    shutil.copy(folders[0] / name, leaking / name)
    settings = {"validation_fraction": 0.0, "test_fraction": 0.0}
    data = load(leaking, trained.contract, **settings)
    message = rf"leaking: its training .* hold 1 of the {len(old.test)} of .*old that .*'{name}'"
    with pytest.raises(UserError, match=message):
        with_replay(data, [old], classes, None, None, silent)
    (leaking / name).rename(leaking / "dog" / "other.png")
    data = load(leaking, trained.contract, **settings)
    others = [place for place, own in enumerate(old.test.names) if own != name]
    many = replace(old, test=old.test.subset([*range(len(old.test)), *others]))
    with pytest.warns(SeenWarning, match="under other names; the old classes are judged"):
        replayed = with_replay(data, [many], classes, 1, None, silent)
    assert name not in replayed.judged.names
    assert len(replayed.judged) == len(many.test) - 1


def test_validation_images_that_the_package_was_trained_on_are_told(new, classes, trained):
    flattered = replace(
        trained.seen,
        keys={**trained.seen.keys, "train.content": new.seen.keys["val.content"]},
    )
    with pytest.warns(SeenWarning, match="trained on 2 of the validation images"):
        without_replay(replace(new, train=new.train), classes_all_there(classes), flattered)


def classes_all_there(classes):
    """The same map for a package that has only what the data has, so that nothing is missing."""
    return replace(classes, names=("ant", "dog"), old=1, numbers=(0, 1))


def test_without_replay_the_missing_classes_are_named(new, classes, trained):
    with pytest.warns(UserWarning, match=r"is of 2 class\(es\): 'cat', 'eel'; .* will forget them"):
        data = without_replay(new, classes, trained.seen)
    assert data.contract.class_names == classes.names
    assert all(label == folder for label, folder in class_of(data.train, classes.names))
    assert set(trained.seen.keys["train.content"]) < set(data.seen.keys["train.content"])
    assert data.digest != new.digest


def test_encoded_new_images_keep_old_ones_encoded_and_arrays_lose_nothing(
    folders, trained, old, classes
):
    data = load(folders[1], trained.contract, storage="files", normalization="weights")
    arrays = Split(
        labels=old.train.labels,
        names=old.train.names,
        images=decode_split(old.train, trained.contract)[0],
    )
    mixed = replace(old, train=arrays)
    joint = with_replay(data, [mixed, old], classes, None, None, silent).data
    assert joint.train.images is None
    assert joint.config.storage == "files"
    config = LoaderConfig(batch_size=1000, workers=0, seed=0, shuffle=False)
    batch = next(Loader(joint.train, joint.contract, config).batches(0))
    rows = batch.images.numpy()
    start, count = len(data.train), len(arrays)
    assert np.array_equal(rows[start : start + count], arrays.images)
    assert np.array_equal(rows[start + count :], arrays.images)


def test_a_pack_of_the_new_images_is_given_up(folders, trained, old, classes):
    data = load(folders[1], trained.contract, storage="files", normalization="weights")

    class Packed:
        """Stands for a pack: only its being there counts."""

        def __len__(self):
            return len(data.train)

        def take(self, indices):
            return self

    packed = replace(
        data,
        train=replace(data.train, packed=Packed()),
        config=replace(data.config, storage="packed"),
    )
    joint = with_replay(packed, [old], classes, 2, None, silent).data
    assert joint.train.packed is None
    assert (joint.config.storage, joint.config.pack) == ("files", None)
    assert "no pack is used" in joint.pack


@pytest.mark.parametrize("storage", ["memory", "files"])
def test_unreadable_old_images(folders, trained, classes, tmp_path, storage):
    broken = shutil.copytree(folders[0], tmp_path / "broken")
    here = DealtSource(config=replace(trained.config, source=str(broken)), cut=trained.cut)
    past = past_of(trained, sources=(here,))
    old = load_old_images(str(broken), past, silent)
    (broken / old.train.names[0]).write_bytes(b"no picture")
    data = load(folders[1], trained.contract, storage=storage)
    with pytest.raises(UserError, match=r"(?s)1 unreadable image.* to replay:.*skip_unreadable"):
        with_replay(data, [old], classes, None, None, silent)
    lenient = replace(data, config=replace(data.config, skip_unreadable=True))
    joint = with_replay(lenient, [old], classes, None, None, silent).data
    assert len(joint.skipped) == 1
    assert len(joint.train) == len(data.train) + len(old.train) - 1
    (broken / old.test.names[0]).write_bytes(b"no picture")
    with pytest.warns(UserWarning, match="broken: 1 image.* cannot be read; the old classes are"):
        replayed = with_replay(lenient, [old], classes, 1, None, silent)
    assert len(replayed.judged) == len(old.test) - 1


def test_too_many_for_the_memory_are_refused(new, old, classes, monkeypatch):
    monkeypatch.setattr("resnetkit.data.joining.MEMORY_LIMIT_BYTES", 4000)
    with pytest.raises(UserError, match=r"need .* GiB, more than .* --replay-per-class"):
        with_replay(new, [old], classes, None, None, silent)
    with pytest.raises(UserError, match="--replay-per-class must be 1 or more images, got 0"):
        with_replay(new, [old], classes, 0, None, silent)


def test_without_a_test_split_validation_is_judged(new, old, classes):
    none = old.test.subset([])
    replayed = with_replay(new, [replace(old, test=none)], classes, 1, None, silent)
    assert replayed.judged_split == "validation"
    assert contents(replayed.judged) == contents(old.validation)
    bare = replace(old, test=none, validation=none)
    replayed = with_replay(new, [bare], classes, 1, None, silent)
    assert (replayed.judged_split, replayed.judged) == (None, None)


def several(count, width, seed):
    """A split of noise that shows any number of `width` classes."""
    generator = np.random.default_rng(seed)
    return Split(
        labels=(generator.random((count, width)) < 0.4).astype(np.float32),
        names=[f"{seed}/{n}.png" for n in range(count)],
        images=generator.integers(0, 256, (count, 3, SIDE, SIDE), dtype=np.uint8),
    )


def test_several_classes_an_image(new, classes):
    data = replace(
        new,
        contract=replace(new.contract, task="multi-label"),
        train=several(10, 2, 1),
        validation=several(6, 2, 2),
    )
    old = OldImages(
        location="old",
        train=several(40, 3, 3),
        validation=several(12, 3, 4),
        test=several(12, 3, 5),
        dealt=DealtSource(config=DataConfig()),
        known="",
    )
    with pytest.warns(UserWarning, match="labels for") as told:
        replayed = with_replay(data, [old], classes, 5, None, silent)
    messages = [str(one.message) for one in told]
    assert any("its own images have no labels for 'cat', 'eel'" in text for text in messages)
    assert any("the replayed images have no labels for 'ant'" in text for text in messages)
    labels = replayed.data.train.labels
    assert labels.shape[1] == 4
    assert np.array_equal(labels[:10], classes.relabel(data.train.labels))
    assert not labels[10:, 3].any()
    assert min(replayed.counts) >= 5
    assert len(labels) < 50
    assert replayed.judged.labels.shape == (12, 3)


def test_soft_labels_among_numbers(new, old, classes):
    soft = replace(new.train, labels=np.eye(2, dtype=np.float32)[new.train.labels])
    joint = with_replay(replace(new, train=soft), [old], classes, 2, None, silent).data
    plain = with_replay(new, [old], classes, 2, None, silent).data
    assert joint.train.labels.dtype == np.float32
    assert joint.train.class_numbers.tolist() == plain.train.class_numbers.tolist()


@given(
    labels=st.lists(st.integers(0, 3), min_size=1, max_size=40),
    per_class=st.integers(1, 6),
    cut=st.integers(0, 40),
    seed=st.integers(0, 3),
)
@settings(deadline=None, max_examples=50)
def test_chosen_images_are_as_many_as_asked_wherever_they_lie(labels, per_class, cut, seed):
    numbers = np.array(labels, np.int64)
    whole = Split(
        labels=numbers,
        names=[f"n{i}" for i in range(len(labels))],
        images=np.zeros((len(labels), 1, 1, 1), np.uint8),
    )
    one = choose_images([whole], "single-label", per_class, seed)
    counts = np.bincount(numbers, minlength=4)
    got = np.bincount(one[0].labels, minlength=4)
    assert got.tolist() == np.minimum(counts, per_class).tolist()
    cut = min(cut, len(labels))
    parts = [whole.subset(np.arange(cut)), whole.subset(np.arange(cut, len(labels)))]
    two = choose_images(parts, "single-label", per_class, seed)
    assert {name for part in two for name in part.names} == set(one[0].names)
