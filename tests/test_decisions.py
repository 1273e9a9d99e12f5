"""What is decided before a fine-tuning, and which settings are refused then."""

from dataclasses import replace

import pytest
import torch

from resnetkit.decisions import (
    build_network,
    decide,
    finetuning_defaults,
    make_plan,
    network_name,
    settle_probe,
    time_steps,
    with_plain_execution,
)
from resnetkit.export.package import load_package
from resnetkit.finetuning.facts import describe_backbone, read_facts
from resnetkit.finetuning.rule import choose_settings
from resnetkit.models.heads import HeadConfig, replace_head
from resnetkit.types import UserError

pytestmark = pytest.mark.usefixtures("one_thread")

DIGITS = {"data.source": "digits", "data.shots": 8}
PROBE = {**DIGITS, "finetuning.strategy": "linear-probe"}


@pytest.fixture
def package(digits_package):
    return load_package(digits_package)


@pytest.fixture
def decided(package):
    """The experiment for a few digits with these settings, and the reasons."""

    def run(given):
        return decide(package, given, lambda *_: None)

    return run


def test_given_settings_stay_and_the_rest_follows_from_the_images(decided):
    experiment, reasons = decided({**DIGITS, "optimizer.learning_rate": 0.3})
    assert experiment.recipe == "finetune"
    assert experiment.model.name == "digits-resnet8"
    assert experiment.optimizer.learning_rate == 0.3
    assert experiment.finetuning.strategy == "lp-ft"
    assert experiment.data.image_size == 8
    assert not experiment.augment.horizontal_flip, "small grey images may be letters"
    assert reasons[0].startswith("80 images of 10 classes: lp-ft")


def test_a_typed_default_is_not_decided_otherwise(decided):
    assert decided({**DIGITS, "augment.horizontal_flip": True})[0].augment.horizontal_flip
    assert decided({**DIGITS, "finetuning.strategy": "auto"})[0].finetuning.strategy == "lp-ft"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"model.name": "resnet50"}, r"model.name has no effect: the network is that of the w"),
        ({"model.dropout": 0.1}, r"model.dropout has no effect.*Set finetuning.dropout"),
        ({"training.epochz": 1}, r"resnetkit finetune: unknown setting.*did you mean 'training.ep"),
        ({"training.epochs": "many"}, r"resnetkit finetune: setting 'training.epochs'.*'many'"),
        ({"finetuning.head_hidden": 8}, r"head_hidden has no effect with finetuning.head linear"),
        ({"data.shots": 5000}, r"data.shots 5000 needs that many images of each class"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(given, message, decided):
    with pytest.raises(UserError, match=message):
        decided({**DIGITS, **given})


@pytest.mark.parametrize(
    "given",
    [
        {"training.epochs": 3},
        {"training.steps": 10, "training.epochs": None},
        {"training.ema_decay": 0.9},
        {"training.keep": "last"},
        {"training.log_every_steps": 1},
        {"optimizer.learning_rate": 0.01},
        {"optimizer.name": "adamw"},
        {"schedule.warmup": 0.2},
        {"augment.mixup_alpha": 0.2},
        {"execution.compile": "yes"},
    ],
)
def test_a_head_that_is_solved_for_takes_no_settings_of_steps(given, decided):
    name = next(name for name, value in given.items() if value is not None)
    with pytest.raises(UserError, match=rf"{name} \S+ has no effect, because .* without steps: le"):
        decided({**PROBE, **given})
    stepped, _ = decided({**PROBE, **given, "finetuning.probe": "sgd"})
    assert stepped.finetuning.strategy == "linear-probe"


def test_a_head_that_is_solved_for_on_plain_images_takes_no_augmentation(decided):
    crop = {"augment.resized_crop_scale": (0.5, 1.0)}
    with pytest.raises(UserError, match=r"resized_crop_scale .* images as they are.*views 4"):
        decided({**PROBE, **crop, "finetuning.views": 1})
    experiment, _ = decided({**PROBE, **crop, "finetuning.views": 2})
    assert experiment.augment.resized_crop_scale == (0.5, 1.0)
    assert decided({**PROBE, "augment.horizontal_flip": False, "finetuning.views": 1})


def test_what_was_chosen_without_effect_is_no_mistake_of_the_user(decided):
    experiment, _ = decided({**PROBE, "training.loss": "focal", "training.label_smoothing": 0.1})
    assert experiment.training.label_smoothing == 0.1, "the loss acts on a solved head too"


def test_by_itself_a_strategy_is_taken_on_which_the_settings_act(decided):
    two = {"data.source": "digits", "data.shots": 2}
    assert decided(two)[0].finetuning.strategy == "linear-probe"
    experiment, reasons = decided({**two, "training.epochs": 3})
    assert experiment.finetuning.strategy == "lp-ft"
    assert "lp-ft, the one your settings have an effect on" in reasons[0]
    assert decided({**two, "augment.horizontal_flip": True})[0].finetuning.strategy != "lp-ft"


def test_a_budget_makes_no_setting_idle(package, decided, monkeypatch):
    config, backbone = finetuning_defaults().data, describe_backbone(package.model, 8)
    facts = read_facts(replace(config, source="digits"), "cpu", lambda *_: None)
    times = time_steps(package, choose_settings(facts, backbone), finetuning_defaults())
    slow = replace(times, training=10.0)
    assert slow.features > 0
    monkeypatch.setattr("resnetkit.decisions.time_steps", lambda *_: slow)
    budget = {**DIGITS, "training.time_budget_minutes": 1.0}
    assert decided(budget)[0].finetuning.strategy == "linear-probe"
    own = decided({**budget, "optimizer.learning_rate": 0.01})[0]
    assert own.finetuning.strategy == "lp-ft"


# --- heads that are kept ---


@pytest.mark.parametrize("kind", ["cosine", "mlp"])
def test_a_kept_head_that_cannot_be_solved_for_is_trained_by_steps(kind, package, decided):
    hidden = 8 if kind == "mlp" else None
    replace_head(package.model, 10, HeadConfig(kind=kind, hidden=hidden), 0.0, 0)
    package = replace(package, architecture=package.model.config)
    same = {"finetuning.classes": "same"}
    assert settle_probe(package, same) == {"finetuning.probe": "sgd"}
    assert settle_probe(package, {**same, "finetuning.strategy": "full"}) == {}
    assert settle_probe(package, {}) == {}
    with pytest.raises(UserError, match=rf"that of the package is {kind}: choose probe sgd"):
        settle_probe(package, {**same, "finetuning.probe": "lbfgs"})
    experiment, _ = decide(package, {**DIGITS, **same}, lambda *_: None)
    assert (experiment.finetuning.strategy, experiment.finetuning.probe) == ("lp-ft", "sgd")


def test_a_kept_head_takes_no_dropout(package):
    assert settle_probe(package, {"finetuning.classes": "add"}) == {}
    with pytest.raises(UserError, match=r"dropout has no effect with finetuning.classes add"):
        settle_probe(package, {"finetuning.classes": "add", "finetuning.dropout": 0.2})


# --- network and plan ---


def test_the_network_gets_a_new_head_and_keeps_the_rest(package, decided):
    before = {key: value.clone() for key, value in package.model.state_dict().items()}
    given = {**DIGITS, "finetuning.head": "mlp", "finetuning.head_hidden": 5}
    experiment, _ = decided(given)

    class Data:
        contract = replace(package.contract, class_names=("a", "b", "c"))

    network = build_network(package, experiment, Data, None)
    after = network.state_dict()
    kept = [key for key in before if not key.startswith("fc.")]
    assert len(kept) > 20
    assert all(torch.equal(before[key], after[key]) for key in kept)
    assert network(torch.zeros(1, 1, 8, 8)).shape == (1, 3)


def test_a_plan_may_be_asked_for_in_steps(package, decided):
    given = {**DIGITS, "training.steps": 9, "training.epochs": None, "finetuning.strategy": "full"}
    experiment, _ = decided(given)
    assert make_plan(package.model, experiment, steps_per_epoch=6).epochs == 1.5


def test_the_name_of_the_network_is_as_far_as_it_is_known(package):
    assert network_name(package) == "digits-resnet8"
    unknown = replace(package, provenance={"imported": {"network": "somebody's"}})
    assert network_name(unknown) == "custom"
    imported = replace(package, provenance={"imported": {"network": "resnet50"}})
    assert network_name(imported) == "resnet50"


def test_without_steps_nothing_is_measured():
    plain = with_plain_execution(finetuning_defaults()).execution
    assert (plain.precision, plain.memory_order, plain.compile) == (
        "float32",
        "channels_last",
        "no",
    )
    asked = replace(finetuning_defaults(), execution=replace(plain, memory_order="channels_first"))
    assert with_plain_execution(asked).execution.memory_order == "channels_first"
