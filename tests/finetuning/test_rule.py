"""The rule: always settings that every configuration takes, and the user's own among them."""

import math
from dataclasses import fields, replace

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from resnetkit.config import apply_settings
from resnetkit.experiment import Experiment
from resnetkit.finetuning import defaults
from resnetkit.finetuning.facts import Backbone, DataFacts
from resnetkit.finetuning.known_settings import (
    epochs_for,
    finetune_config,
    steps_per_epoch,
    takes_steps,
)
from resnetkit.finetuning.rule import choose_settings
from resnetkit.finetuning.settings import FinetuneConfig
from resnetkit.models.zoo import ModelConfig
from resnetkit.training.plan import count_steps
from resnetkit.types import UserError

DEFECTS = DataFacts(
    images=600,
    classes=6,
    smallest_class=100,
    largest_class=100,
    validation_images=0,
    height=200,
    width=200,
    grey=True,
    task="single-label",
    accelerator=False,
    cores=2,
)
SLIM = Backbone(image_size=64, parameters=1_900_000)
PLAIN = Experiment(model=ModelConfig(name="resnet18"))

FACTS = st.builds(
    lambda classes, per_class, uneven, **others: DataFacts(
        images=classes * per_class,
        classes=classes,
        smallest_class=max(1, round(per_class / uneven)),
        largest_class=round(per_class * uneven),
        **others,
    ),
    classes=st.integers(2, 1000),
    per_class=st.integers(1, 1000),
    uneven=st.sampled_from([1, 3, 30]),
    validation_images=st.sampled_from([0, 20, 5000]),
    height=st.integers(8, 10_000),
    width=st.integers(8, 10_000),
    grey=st.booleans(),
    task=st.sampled_from(["single-label", "multi-label"]),
    accelerator=st.booleans(),
    cores=st.integers(1, 64),
)
BACKBONES = st.builds(
    Backbone,
    image_size=st.sampled_from([8, 28, 32, 64, 224, 448]),
    parameters=st.sampled_from([60_000, 2_000_000, 60_000_000]),
    any_size=st.booleans(),
    batch_norm=st.booleans(),
)
OWN = [
    *({"finetuning.strategy": name} for name in defaults.OTHER_STRATEGIES),
    {"finetuning.strategy": "auto"},
    {"finetuning.adapter_rank": 2},
    {"finetuning.rate_decay": 0.7},
    {"finetuning.backbone_rate": 0.5},
    {"finetuning.head": "mlp"},
    {"finetuning.head": "cosine"},
    {"finetuning.dropout": 0.2},
    {"finetuning.probe": "sgd", "finetuning.head_share": 0.3},
    {"finetuning.cache": "no"},
    {"finetuning.views": 3},
    {"finetuning.l2_sp": 0.1},
    {"optimizer.name": "adamw"},
    {"optimizer.name": "muon"},
    {"optimizer.momentum": 0.0},
    {"optimizer.learning_rate": 0.3},
    {"schedule.name": "onecycle"},
    {"schedule.warmup": 0.0},
    {"training.steps": 70},
    {"training.steps": 70, "training.epochs": None},
    {"training.epochs": 3.5},
    {"training.keep": "best"},
    {"training.keep": "last"},
    {"training.early_stopping_patience": 4},
    {"training.micro_batches": 3},
    {"training.class_weights": "inverse"},
    {"training.logit_adjustment": 1.0},
    {"data.validation_fraction": 0.3},
    {"data.image_size": 40},
    {"augment.alternate_flips": True},
    {"augment.pad_crop": 2},
    {"augment.cutmix_alpha": 1.0},
]
CONTRADICTIONS = [
    {"optimizer.momentum": 0.0, "optimizer.name": "adamw"},
    {"training.keep": "last", "training.early_stopping_patience": 4},
    {"training.steps": 70, "training.epochs": 3.5},
    {"training.class_weights": "inverse", "training.logit_adjustment": 1.0},
    {"schedule.name": "onecycle", "schedule.warmup": 0.0},
]


def experiment_of(choice):
    """What the integrator makes of a choice, the fine-tuning part checked on its own."""
    chosen = {k: v for k, v in choice.settings.items() if not k.startswith("finetuning.")}
    own = {k: v for k, v in choice.given.items() if not k.startswith("finetuning.")}
    return apply_settings(PLAIN, {**chosen, **own}, "the rule"), finetune_config(
        choice.all_settings
    )


@settings(deadline=None, max_examples=50)
@given(facts=FACTS, backbone=BACKBONES)
def test_every_choice_is_one_the_configurations_take(facts, backbone):
    choice = choose_settings(facts, backbone)
    experiment, finetuning = experiment_of(choice)
    assert finetuning.strategy != "auto"
    assert 8 <= experiment.data.image_size <= max(backbone.image_size, 256)
    assert experiment.data.image_size >= backbone.image_size
    assert experiment.training.early_stopping_patience is None
    held_out = round(facts.images * experiment.data.validation_fraction)
    if experiment.training.keep == "best":  # something must tell which are the best
        assert facts.validation_images or held_out >= defaults.LEAST_VALIDATION
    if takes_steps(choice.all_settings):
        in_epoch = steps_per_epoch(facts, choice.all_settings)
        assert count_steps(experiment.training, in_epoch) == defaults.steps_of(facts.images)
    if not backbone.any_size:
        assert experiment.data.image_size == backbone.image_size
    if not backbone.batch_norm:
        assert finetuning.batch_norm == "auto"
    assert all(len(reason.splitlines()) == 1 for reason in choice.reasons)


@settings(deadline=None, max_examples=50)
@given(facts=FACTS, backbone=BACKBONES, own=st.lists(st.sampled_from(OWN), max_size=2))
def test_own_settings_win_and_what_depends_on_them_follows(facts, backbone, own):
    own = {name: value for part in own for name, value in part.items()}
    for wrong in CONTRADICTIONS:
        assume(not wrong.items() <= own.items())
    strategies = [own["finetuning.strategy"]] if "finetuning.strategy" in own else ["auto"]
    if strategies == ["auto"]:
        strategies = defaults.OTHER_STRATEGIES
    assume(any(defaults._fits(name, own) for name in strategies))  # else the user is told
    choice = choose_settings(facts, backbone, own)
    experiment, finetuning = experiment_of(choice)
    assert not choice.settings.keys() & choice.given.keys()
    for name, value in own.items():
        part, field = name.split(".")
        found = getattr(finetuning if part == "finetuning" else getattr(experiment, part), field)
        assert found == value or (name, value) == ("finetuning.strategy", "auto")
    if experiment.optimizer.name == "muon" and backbone.batch_norm:
        assert finetuning.batch_norm == "train"
    assert experiment.data.batch_size % experiment.training.micro_batches == 0


@settings(deadline=None, max_examples=50)
@given(facts=FACTS, backbone=BACKBONES, factor=st.floats(1, 50))
def test_more_images_mean_no_fewer_steps_no_smaller_batches_and_wider_crops(
    facts, backbone, factor
):
    few = choose_settings(facts, backbone).all_settings
    more = replace(facts, images=round(facts.images * factor))
    many = choose_settings(more, backbone).all_settings
    assert defaults.steps_of(more.images) >= defaults.steps_of(facts.images)
    assert many["data.batch_size"] >= few["data.batch_size"]
    assert many["data.image_size"] == few["data.image_size"]
    assert many.get("finetuning.views", 1) <= few.get("finetuning.views", math.inf)
    crops = [known.get("augment.resized_crop_scale", (1, 1))[0] for known in (few, many)]
    assert crops[1] <= crops[0]
    if takes_steps(few):
        assert takes_steps(many)


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"images": 6}, {"finetuning.strategy": "linear-probe", "finetuning.views": 8}),
        ({"images": 600}, {"finetuning.strategy": "lp-ft", "finetuning.batch_norm": "train"}),
        ({"images": 180}, {"finetuning.views": 4, "training.epochs": 5.5}),
        ({"images": 600}, {"finetuning.views": None}),
        ({"images": 180}, {"finetuning.batch_norm": "frozen", "data.batch_size": 16}),
        ({"images": 600}, {"training.keep": "last", "data.validation_fraction": 0.0}),
        ({"images": 5000}, {"training.keep": "best", "data.validation_fraction": 0.1}),
        ({"images": 500_000}, {"finetuning.strategy": "full", "data.validation_fraction": 0.02}),
        ({"validation_images": 500}, {"training.keep": "best"}),
        ({"validation_images": 50}, {"training.keep": "last"}),
        ({}, {"data.image_size": 96}),
        ({"cores": 16}, {"data.image_size": 96}),
        ({"height": 90}, {"data.image_size": 64}),
        ({"height": 97}, {"data.image_size": 96}),
        ({"height": 32, "width": 32, "grey": False}, {"data.image_size": 64}),
        ({"height": 28, "width": 28}, {"augment.horizontal_flip": False}),
        ({"height": 28, "width": 28, "grey": False}, {"augment.horizontal_flip": True}),
        ({}, {"augment.horizontal_flip": True, "training.label_smoothing": 0.1}),
        ({"task": "multi-label"}, {"training.label_smoothing": 0.0}),
        ({"largest_class": 400, "smallest_class": 20}, {"data.sampling": "square-root"}),
        ({"images": 50_000}, {"augment.mixup_alpha": 0.1, "data.batch_size": 64}),
        ({"images": 50_000, "accelerator": True}, {"data.batch_size": 128}),
    ],
)
def test_what_it_says_of_known_cases(changes, wanted):
    chosen = choose_settings(replace(DEFECTS, **changes), SLIM).settings
    assert {name: chosen.get(name) for name in wanted} == wanted


def test_images_are_not_mixed_where_views_of_one_image_are_compared():
    own = {"augment.policy": "augmix", "training.jensen_shannon": 12.0}
    facts = replace(DEFECTS, images=50_000)
    assert "augment.mixup_alpha" in choose_settings(facts, SLIM).settings
    assert "augment.mixup_alpha" not in choose_settings(facts, SLIM, own).settings


@pytest.mark.parametrize("images", [6, 600])  # a head that is fitted, and one that is trained
def test_few_old_images_are_drawn_as_often_as_new_ones(images):
    facts, own = replace(DEFECTS, images=images), {"finetuning.classes": "add"}
    own |= {"finetuning.replay": "old", "finetuning.replay_per_class": 20}
    choice = choose_settings(facts, SLIM, own)
    assert choice.settings["data.sampling"] == "balanced"
    assert choice.reasons[-1].startswith("20 old images a class replayed: classes equally often")
    for other in (
        {"data.sampling": "as-is"},
        {"training.class_weights": "inverse"},
        {"training.logit_adjustment": 1.0},
        {"finetuning.replay_per_class": None},
    ):
        choice = choose_settings(facts, SLIM, own | other)
        assert "data.sampling" not in choice.settings
        assert "replayed" not in " ".join(choice.reasons)
    several = choose_settings(replace(facts, task="multi-label"), SLIM, own)
    assert "data.sampling" not in several.settings


def test_a_heavy_backbone_is_enlarged_on_an_accelerator_only():
    heavy = Backbone(image_size=128, parameters=25_000_000)
    large = replace(DEFECTS, height=500, width=500)
    sides = [
        choose_settings(replace(large, accelerator=fast), heavy).settings["data.image_size"]
        for fast in (False, True)
    ]
    assert sides == [128, 192]


def test_reasons_are_words_with_the_figures():
    reasons = choose_settings(DEFECTS, SLIM).reasons
    assert reasons[0].startswith("600 images of 6 classes: lp-ft, ")
    assert reasons[1] == (
        "images of about 200x200 pixels: seen at 96, more than the 64 of the weights, for detail "
        "that they would not see"
    )
    assert reasons[2].startswith("too few images to hold some out: the last weights are kept")
    assert reasons[3] == "length: 109 steps of 32 images, 6.06 epochs"
    assert reasons[4] == "peak rate 0.001 for the head, adamw"
    assert reasons[5] == (
        "pretrained layers at 0.2 of the head's rate; BatchNorm statistics of these images"
    )
    own = choose_settings(DEFECTS, SLIM, {"training.epochs": 4}).reasons
    assert "length: 72 steps of 32 images, 4 epochs" in own


def test_own_settings_that_contradict_the_strategy_are_told_by_its_configuration():
    with pytest.raises(UserError, match=r"^finetuning\.rate_decay 0\.5 has no effect with str"):
        choose_settings(
            DEFECTS, SLIM, {"finetuning.strategy": "full", "finetuning.rate_decay": 0.5}
        )


@settings(deadline=None, max_examples=50)
@given(steps=st.integers(1, 20_000), in_epoch=st.integers(1, 100_000))
def test_epochs_are_short_numbers_that_make_exactly_the_steps(steps, in_epoch):
    epochs = epochs_for(steps, in_epoch)
    assert round(epochs * in_epoch) == steps
    assert epochs_for(300, 100) == 3


def test_every_setting_it_names_exists():
    known = {f"finetuning.{field.name}" for field in fields(FinetuneConfig)}
    chosen = choose_settings(DEFECTS, SLIM).settings
    assert {name for name in chosen if name.startswith("finetuning.")} <= known
