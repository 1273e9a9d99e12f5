"""Shots: N images of each class, nested, and nothing else to learn from."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from resnetkit.data.dataset import load_evaluation_split, load_training_data
from resnetkit.data.opening import evaluation_config, find_split
from resnetkit.data.pack import pack_source
from resnetkit.data.past import DealtSource, Past
from resnetkit.data.settings import DataConfig
from resnetkit.data.shots import (
    choose_shots,
    fill_classes,
    take_shots,
    with_shots_seed,
    without_shots,
)
from resnetkit.data.source_types import Source, Split
from resnetkit.data.split_plan import SplitPlan
from resnetkit.data.splits import cut_source
from resnetkit.data.splitting import split_source
from resnetkit.types import UserError


def silent(what, done, total):
    """Progress that nobody watches."""


def arrays(counts, present=("train",), task="single-label", labels=None):
    if labels is None:
        labels = np.repeat(np.arange(len(counts)), counts)
    names = [f"{number}.png" for number in range(len(labels))]
    images = np.arange(len(labels), dtype=np.uint8).reshape(-1, 1, 1, 1)
    split = Split(labels=labels, names=names, images=images)
    classes = len(counts) if labels.ndim == 1 else labels.shape[1]
    class_names = tuple(f"class{number}" for number in range(classes))
    return Source(
        location="here",
        class_names=class_names,
        splits={"train": split},
        present=present,
        task=task,
    )


def asked(shots, seed=0, **settings):
    return DataConfig(shots=shots, shots_seed=seed, **settings)


def shots_of(source, config):
    fractions = (config.validation_fraction, config.test_fraction)
    whole = cut_source(source, *fractions, config.split_seed)
    return whole, take_shots(source, whole, config)


def names_of(splits, *parts):
    return {name for part in parts for name in splits[part].names}


@settings(deadline=None, max_examples=50)
@given(
    counts=st.lists(st.integers(8, 30), min_size=1, max_size=5),
    shots=st.integers(1, 5),
    fraction=st.sampled_from([0.0, 0.1, 0.4]),
    seed=st.integers(0, 2**40),
)
def test_each_class_has_its_shots_and_more_of_them_hold_fewer(counts, shots, fraction, seed):
    source = arrays(counts)
    config = asked(shots, seed, validation_fraction=fraction)
    whole, splits = shots_of(source, config)
    learnt = names_of(splits, "train", "val")
    drawn = np.concatenate([splits["train"].labels, splits["val"].labels])
    assert np.bincount(drawn).tolist() == [shots] * len(counts)
    assert names_of(splits, "test") == names_of(whole, "test")
    assert not learnt & names_of(whole, "test")
    _, more = shots_of(source, replace(config, shots=shots + 1))
    assert learnt < names_of(more, "train", "val")
    # How many are held out does not change which images these are.
    _, other = shots_of(source, replace(config, validation_fraction=0.3))
    assert names_of(other, "train", "val") == learnt
    assert len(shots_of(source, replace(config, validation_fraction=0.0))[1]["val"]) == 0


def test_seeds_draw_other_images_and_position_is_not_favoured():
    source = arrays([100, 100])
    hits = np.zeros(200)
    drawn = set()
    for seed in range(60):
        indices = choose_shots(source.splits["train"], source, asked(10, seed))
        assert indices.tolist() == sorted(indices)
        drawn.add(tuple(indices))
        hits[indices] += 1
    assert len(drawn) == 60
    assert 5.2 < hits[:50].mean() < 6.8  # of 60 draws of 10 in 100
    assert hits.max() <= 18


def test_the_choice_is_pinned():
    # A study must draw the same images when NumPy or this code is updated.
    source = arrays([20, 20])
    chosen = choose_shots(source.splits["train"], source, asked(3, 1))
    assert chosen.tolist() == [13, 16, 17, 21, 28, 38]


def test_one_image_more_moves_at_most_one_out():
    source = arrays([40])
    split = source.splits["train"]
    before = choose_shots(split.subset(np.arange(39)), source, asked(10))
    after = choose_shots(split, source, asked(10))
    assert len({*before.tolist()} - {*after.tolist()}) <= 1


def test_a_validation_split_of_its_own_is_left_alone_unless_asked_for():
    source = arrays([10, 10], present=("train", "val"))
    names, pixels = [f"v{number}" for number in range(50)], np.zeros((50, 1, 1, 1), np.uint8)
    own = Split(labels=np.zeros(50, np.int64), names=names, images=pixels)
    source.splits["val"] = own
    _, splits = shots_of(source, asked(5, validation_fraction=0.2))
    assert (len(splits["train"]), len(splits["val"])) == (8, 2)
    assert not names_of(splits, "val") & set(own.names)
    _, splits = shots_of(source, asked(5, shots_validation="as-is"))
    assert (len(splits["train"]), splits["val"]) == (10, own)


def test_validation_as_without_shots_never_meets_them():
    source = arrays([50, 50])
    config = asked(5, shots_validation="as-is", validation_fraction=0.4)
    whole, splits = shots_of(source, config)
    assert len(splits["train"]) == 10
    assert names_of(splits, "val") == names_of(whole, "val")
    assert not names_of(splits, "val") & names_of(splits, "train")


def test_more_shots_than_images_names_class_count_and_remedy():
    with pytest.raises(UserError) as error:
        shots_of(arrays([30, 12, 4]), asked(10, test_fraction=0.25))
    message = str(error.value)
    assert message.startswith("here: data.shots 10 needs that many images of each class")
    assert "'class2' has 3, 'class1' has 9 (those kept for testing" in message
    assert "Set data.shots to 3 or fewer, or add images" in message


def test_a_class_without_images_is_to_be_removed():
    source = replace(arrays([5, 5]), class_names=("class0", "class1", "empty"))
    with pytest.raises(UserError, match=r"'empty' has 0 .*Remove the class, or add images"):
        shots_of(source, asked(2, test_fraction=0.0))


@settings(deadline=None, max_examples=50)
@given(
    shown=st.integers(1, 4).flatmap(
        lambda k: st.lists(st.lists(st.booleans(), min_size=k, max_size=k), min_size=1, max_size=40)
    ),
    shots=st.integers(1, 6),
)
def test_with_several_labels_each_class_has_enough_and_fewer_are_among_more(shown, shots):
    shown = np.array(shown)
    chosen = fill_classes(shown, shots)
    totals = shown.sum(axis=0)
    assert (shown[chosen].sum(axis=0) >= np.minimum(totals, shots)).all()
    empty = ~shown.any(axis=1)
    assert empty[chosen].sum() == min(empty.sum(), shots)
    assert len(chosen) <= shots * (shown.shape[1] + 1)
    assert set(chosen) <= set(fill_classes(shown, shots + 1))


def test_several_labels_refuse_what_is_short_but_not_what_is_never_there():
    labels = np.zeros((12, 3), np.float32)
    labels[:8, 0] = 1
    labels[6:9, 1] = 1  # class2 is never shown: told by `refuse_lost_classes`
    source = arrays([], task="multi-label", labels=labels)
    config = asked(3, test_fraction=0.0, validation_fraction=0.0)
    train = shots_of(source, config)[1]["train"]
    assert train.labels.sum(axis=0).tolist() >= [3, 3, 0]
    with pytest.raises(UserError, match="'class1' has 3"):
        shots_of(source, replace(config, shots=4))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"shots": 0}, r"^data\.shots must be 1 or more, got 0"),
        ({"shots_seed": 3}, r"^data\.shots_seed 3 has no effect without data\.shots: leave it out"),
        ({"shots_validation": "as-is"}, r"^data\.shots_validation as-is has no effect without"),
        ({"shots": 2, "shots_seed": -1}, r"^data\.shots_seed must be 0 or more, got -1"),
        ({"shots": 2, "fold": 1}, r"^data\.fold 1 .*data\.shots 2 .*set data\.shots_validation as"),
    ],
)
def test_settings_that_make_no_sense_are_refused(fields, message):
    with pytest.raises(UserError, match=message):
        DataConfig(**fields)
    assert DataConfig(shots=2, fold=1, shots_validation="as-is").fold == 1


def test_the_seed_is_the_trainings_unless_given():
    assert with_shots_seed(DataConfig(), 7) == DataConfig()
    assert with_shots_seed(DataConfig(shots=2), 7).shots_seed == 7
    assert with_shots_seed(asked(2, 3), 7).shots_seed == 3
    assert without_shots(asked(2, 3, shots_validation="as-is")) == DataConfig()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    generator = np.random.default_rng(0)
    root = tmp_path_factory.mktemp("shots") / "pics"
    for label in ("cat", "dog"):
        for number in range(12):
            path = root / label / f"{number:02d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            grey = generator.integers(0, 256, (9, 9), dtype=np.uint8)
            mode = "RGB" if number == 11 else "L"  # one in twelve has colours
            Image.fromarray(grey).convert(mode).save(path)
    return root


def test_training_sees_the_shots_and_evaluation_the_same_test_images(folder):
    config = asked(3, source=str(folder), validation_fraction=0.0, test_fraction=0.25)
    data = load_training_data(config, 8, silent)
    again = load_training_data(config, 8, silent)
    other = load_training_data(replace(config, shots_seed=1), 8, silent)
    whole = load_training_data(without_shots(config), 8, silent)
    assert len(data.train) == 6
    assert data.validation is None
    assert data.digest == again.digest
    assert len({data.digest, other.digest, whole.digest}) == 3
    assert data.cut == other.cut == whole.cut
    assert data.test_images == whole.test_images == 6
    # A fact of all images, which few shots must not change with their seed.
    assert {d.contract.color_mode for d in (data, other, whole)} == {"RGB"}
    dealt = DealtSource(config=config, cut=data.cut), DealtSource(config=data.config, cut=whole.cut)
    past = Past(contract=data.contract, seen=data.seen)
    judged = load_evaluation_split(dealt[:1], "test", past, silent)
    plain = load_evaluation_split(dealt[1:], "test", Past(contract=whole.contract), silent)
    assert list(judged.names) == list(plain.names)
    assert find_split(config, "train", silent)[1].names == data.train.names
    with pytest.raises(UserError, match="there is no val split"):
        find_split(config, "val", silent)


def test_validation_of_the_shots_is_found_again(folder):
    config = asked(5, source=str(folder), validation_fraction=0.2)
    data = load_training_data(config, 8, silent)
    assert data.validation is not None
    assert (len(data.train), len(data.validation)) == (8, 2)
    assert find_split(config, "val", silent)[1].names == data.validation.names


def test_another_place_is_judged_as_it_is(folder, tmp_path):
    config = asked(3, source=str(folder), validation_fraction=0.0)
    here, _ = evaluation_config(config, {}, str(folder), "train")
    there, _ = evaluation_config(config, {}, str(tmp_path), "train")
    assert (here.shots, there.shots) == (3, None)


def test_a_manifest_and_a_pack_take_shots_too(folder, tmp_path):
    manifest = tmp_path / "m.parquet"
    split_source(str(folder), manifest, SplitPlan(ratios=(0.5, 0.25, 0.25)), progress=silent)
    config = asked(4, source=str(folder), manifest=str(manifest), validation_fraction=0.25)
    data = load_training_data(config, 8, silent)
    assert data.validation is not None
    assert (len(data.train), len(data.validation)) == (6, 2)
    own = find_split(config, "val", silent)[1].names  # which the shots left unseen
    assert len(own) == 6
    assert not {*own} & {*data.train.names, *data.validation.names}
    pack_source(str(folder), tmp_path / "pack", side=9, progress=silent)
    config = asked(4, source=str(folder), pack=str(tmp_path / "pack"), validation_fraction=0.0)
    packed = load_training_data(config, 8, silent)
    plain = load_training_data(replace(config, pack=None), 8, silent)
    assert packed.train.packed is not None
    assert packed.train.names == plain.train.names
