"""A time budget makes the choice cheaper, as little as it must."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resnetkit.finetuning.budget import StepTimes, fit_budget, seconds_needed
from resnetkit.finetuning.facts import Backbone, DataFacts
from resnetkit.finetuning.rule import choose_settings
from resnetkit.types import UserError

FACTS = DataFacts(
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
CHOICE = choose_settings(FACTS, SLIM)  # 109 steps of 32 images at 96 pixels
TIMES = StepTimes(image_size=96, batch_size=32, training=1.6, features=0.1)  # 174 s + 2 s


def test_what_fits_stays():
    assert fit_budget(CHOICE, TIMES, 4) is CHOICE
    assert seconds_needed(CHOICE, TIMES) == pytest.approx(109 * 1.6 + 600 / 32 * 0.1)


def test_first_the_run_becomes_shorter():
    fitted = fit_budget(CHOICE, TIMES, 2)
    assert fitted.settings["data.image_size"] == 96
    assert fitted.settings["finetuning.strategy"] == "lp-ft"
    assert fitted.reasons[-1] == "to fit the time budget: 66 of 109 steps"
    assert 104 < seconds_needed(fitted, TIMES) <= 108


def test_then_the_images_smaller_and_the_largest_that_fit():
    fitted = fit_budget(CHOICE, TIMES, 1)
    assert fitted.settings["data.image_size"] == 72
    assert fitted.settings["finetuning.strategy"] == "lp-ft"
    assert "to fit the time budget: image_size 72" in fitted.reasons
    assert seconds_needed(fitted, TIMES) <= 54


def test_then_only_the_head_learns():
    fitted = fit_budget(CHOICE, TIMES, 0.1)
    assert fitted.settings["finetuning.strategy"] == "linear-probe"
    assert fitted.settings["data.image_size"] == 96
    assert "to fit the time budget: image_size 96, strategy linear-probe" in fitted.reasons
    assert "training.epochs" not in fitted.settings


def test_and_where_nothing_fits_the_message_says_what_would():
    with pytest.raises(UserError) as error:
        fit_budget(CHOICE, TIMES, 0.001)
    assert str(error.value) == (
        "training.time_budget_minutes is 0.001, but even the head alone, on images of 48 pixels, "
        "takes about 0.0087 minutes here: give at least that, a smaller network or less data"
    )


@pytest.mark.parametrize(
    "own",
    [
        {"finetuning.strategy": "full"},
        {"finetuning.adapter_rank": 2},
        {"training.epochs": 30, "finetuning.strategy": "lp-ft", "data.image_size": 128},
    ],
)
def test_own_settings_stay_and_the_trainer_cuts_the_rest(own):
    choice = choose_settings(FACTS, SLIM, own)
    fitted = fit_budget(choice, TIMES, 0.1)
    assert fitted.given == own
    assert not fitted.settings.keys() & own.keys()
    assert fitted.reasons[-1] == "0.1 minutes: cut to fit"
    assert fitted.all_settings.get("finetuning.strategy") != "linear-probe"


def test_a_network_of_one_size_keeps_it():
    fixed = choose_settings(FACTS, replace(SLIM, any_size=False))
    times = replace(TIMES, image_size=64)
    fitted = fit_budget(fixed, times, 0.5)
    assert fitted.settings["data.image_size"] == 64
    assert fitted.settings["finetuning.strategy"] == "linear-probe"


@settings(deadline=None, max_examples=50)
@given(
    minutes=st.floats(0.05, 60),
    images=st.integers(6, 20_000),
    training=st.floats(0.001, 3),
)
def test_it_fits_or_says_so_and_more_time_is_never_used_less(minutes, images, training):
    choice = choose_settings(replace(FACTS, images=images), SLIM)
    times = StepTimes(image_size=128, batch_size=32, training=training, features=training / 3)
    try:
        fitted = fit_budget(choice, times, minutes)
    except UserError:
        cheapest = seconds_needed(probe_at(choice, 48), times)
        assert cheapest > 54 * minutes
        return
    assert seconds_needed(fitted, times) <= 54 * minutes
    longer = fit_budget(choice, times, 2 * minutes)
    probes = [c.settings["finetuning.strategy"] == "linear-probe" for c in (fitted, longer)]
    assert probes[1] <= probes[0]
    assert longer.settings["data.image_size"] >= fitted.settings["data.image_size"] or probes[0]


def probe_at(choice, side):
    own = {"finetuning.strategy": "linear-probe", "data.image_size": side}
    return choose_settings(choice.facts, choice.backbone, own)
