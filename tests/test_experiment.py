"""Where a run may start, and what may differ when it is resumed."""

from dataclasses import replace

import pytest

from resnetkit.config import to_yaml
from resnetkit.data.augment import AugmentConfig
from resnetkit.experiment import CONFIG_FILE, load_run, refuse_unwritable
from resnetkit.recipes import load_recipe
from resnetkit.types import UserError


@pytest.fixture
def saved(tiny, change, tmp_path):
    """A run that decided what `tiny` leaves open, and the settings it was started with."""
    asked = tiny("pictures", {"data.image_size": None, "execution.precision": "auto"})
    decided = change(
        asked,
        {
            "data.image_size": 8,
            "data.resize": 8,
            "data.color_mode": "RGB",
            "data.storage": "memory",
            "execution.precision": "float32",
        },
    )
    (tmp_path / CONFIG_FILE).write_text(to_yaml(decided), encoding="utf-8")
    return asked, decided


def test_a_new_run_starts_in_a_missing_or_empty_folder(tiny, tmp_path):
    for resume in (False, True):
        assert load_run(tmp_path / "none", tiny("digits"), resume) is None
        assert load_run(tmp_path, tiny("digits"), resume) is None
    assert not list(tmp_path.iterdir())


def test_hidden_files_do_not_make_a_run(tiny, tmp_path):
    (tmp_path / ".DS_Store").write_text("")
    assert load_run(tmp_path, tiny("digits"), resume=False) is None


def test_a_folder_in_use_is_refused(saved, tmp_path):
    asked, _ = saved
    with pytest.raises(UserError, match=r"holds a run already; continue it with --resume"):
        load_run(tmp_path, asked, resume=False)
    (tmp_path / CONFIG_FILE).rename(tmp_path / "other.yaml")
    for resume in (False, True):
        with pytest.raises(UserError, match="not empty and holds no run; give another"):
            load_run(tmp_path, asked, resume)


def test_what_was_left_open_is_resumed_as_it_was_decided(saved, tmp_path):
    asked, decided = saved
    assert load_run(tmp_path, asked, resume=True) == decided
    assert load_run(tmp_path, decided, resume=True) == decided


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("training.seed", 5),
        ("training.epochs", 6),
        ("training.ema_decay", None),
        ("data.image_size", 16),
        ("execution.precision", "bfloat16"),
        ("augment.resized_crop_scale", (0.5, 1.0)),
        ("optimizer.nesterov", None),
    ],
)
def test_another_setting_is_refused_by_name(saved, change, tmp_path, setting, value):
    asked, _ = saved
    with pytest.raises(UserError, match=f"cannot resume with other settings:\n  {setting}: the"):
        load_run(tmp_path, change(asked, {setting: value}), resume=True)


def test_what_changes_no_bit_may_be_changed(saved, change, tmp_path):
    asked, _ = saved
    changed = change(asked, {"data.workers": 3, "training.checkpoint_seconds": 5.0})
    resumed = load_run(tmp_path, changed, resume=True)
    assert resumed is not None
    assert (resumed.data.workers, resumed.training.checkpoint_seconds) == (3, 5.0)
    assert resumed.data.image_size == 8


def test_a_length_that_was_shortened_to_a_budget_may_be_asked_again(tiny, change, tmp_path):
    budget = {"training.time_budget_minutes": 1.0}
    asked = tiny("pictures", {**budget, "training.epochs": None, "training.steps": 10_000})
    shortened = change(asked, {"training.steps": None, "training.epochs": 1.5})
    (tmp_path / CONFIG_FILE).write_text(to_yaml(shortened), encoding="utf-8")
    assert load_run(tmp_path, asked, resume=True) == shortened
    other = change(asked, {"training.time_budget_minutes": 2.0})
    with pytest.raises(UserError, match=r"time_budget_minutes: the run has 1\.0, now asked 2\.0"):
        load_run(tmp_path, other, resume=True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model: [", "this is not YAML"),
        ("- 1", "expected settings as a YAML mapping, got list"),
        ("model: {name: lenet}\ntrainning: {epochs: 3}", "unknown setting .trainning.epochs."),
        ("model: {name: lenet}\ntraining: {epochs: many}", "setting 'training.epochs'"),
    ],
)
def test_a_spoiled_configuration_is_named(tiny, tmp_path, text, message):
    (tmp_path / CONFIG_FILE).write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=message) as caught:
        load_run(tmp_path, tiny("digits"), resume=True)
    assert str(tmp_path / CONFIG_FILE) in str(caught.value)


def test_places_that_cannot_hold_a_run(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="this is a file; give a folder"):
        refuse_unwritable(tmp_path / "file")
    with pytest.raises(UserError, match="is a file; give a folder in another place"):
        refuse_unwritable(tmp_path / "file" / "run" / "deep")
    refuse_unwritable(tmp_path / "new" / "deep")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("part", "setting", "value"),
    [
        ("optimizer", "learning_rate", float("nan")),
        ("optimizer", "weight_decay", float("inf")),
        ("training", "epochs", float("inf")),
        ("training", "checkpoint_seconds", float("nan")),
        ("augment", "mixup_alpha", float("nan")),
    ],
)
def test_a_number_that_is_none_is_refused(part, setting, value):
    experiment = load_recipe("digits")
    changed = replace(getattr(experiment, part), **{setting: value})
    with pytest.raises(UserError, match=rf"{part}\.{setting} must be a finite number, got"):
        replace(experiment, **{part: changed})


def test_micro_batches_must_divide_the_batch():
    experiment = load_recipe("digits")
    with pytest.raises(UserError, match=r"micro_batches must divide data\.batch_size 64, got 7"):
        replace(experiment, training=replace(experiment.training, micro_batches=7))


@pytest.mark.parametrize(
    ("augment", "message"),
    [
        ({}, "jensen_shannon 12 compares mixtures of AugMix, and augment.policy is none: set augm"),
        ({"policy": "randaugment"}, "augment.policy is randaugment: set augment.policy augmix, or"),
        ({"policy": "augmix", "mixup_alpha": 0.2}, r"augment.mixup_alpha 0.2 mixes images with"),
        ({"policy": "augmix", "cutmix_alpha": 1.0}, r"augment.cutmix_alpha 1 mixes images with"),
    ],
)
def test_consistency_without_views_of_one_image_is_refused(augment, message):
    experiment = load_recipe("digits")
    training = replace(experiment.training, jensen_shannon=12.0)
    with pytest.raises(UserError, match=message):
        replace(experiment, training=training, augment=AugmentConfig(**augment))
    augmix = AugmentConfig(policy="augmix")
    assert replace(experiment, training=training, augment=augmix).training.jensen_shannon == 12


def test_a_run_may_not_lie_in_its_source(tiny, tmp_path):
    source = tmp_path / "pictures"
    source.mkdir()
    for resume in (False, True):
        with pytest.raises(UserError, match=r"lies in the source .*, which is only read"):
            load_run(source / "run", tiny(source), resume)
        assert load_run(tmp_path / "run", tiny(source), resume) is None
