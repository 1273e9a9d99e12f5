from __future__ import annotations

from dataclasses import fields
from typing import get_args

import pytest

from resnetkit.config import from_dict, to_dict
from resnetkit.finetuning.settings import ACTS_ON, FinetuneConfig, Strategy, probe_solver
from resnetkit.types import UserError

STRATEGIES = get_args(Strategy)
OTHER_VALUES = {
    "probe": "sgd",
    "head_share": 0.3,
    "backbone_rate": 0.3,
    "rate_decay": 0.3,
    "batch_norm": "train",
    "adapter_rank": 2,
    "l2_sp": 0.1,
    "bss": 0.001,
    "cache": "no",
    "views": 2,
}


def build_config(strategy: Strategy, name: str) -> FinetuneConfig:
    probe = {"probe": "sgd"} if name == "head_share" else {}
    return FinetuneConfig(strategy=strategy, **{name: OTHER_VALUES[name]}, **probe)


@pytest.mark.parametrize("name", ACTS_ON)
@pytest.mark.parametrize("strategy", [s for s in STRATEGIES if s != "auto"])
def test_a_setting_acts_or_is_refused(name, strategy):
    if strategy in ACTS_ON[name]:
        assert getattr(build_config(strategy, name), name) == OTHER_VALUES[name]
        return
    with pytest.raises(UserError) as refused:
        build_config(strategy, name)
    message = str(refused.value)
    assert f"no effect with strategy {strategy}" in message
    assert f"choose finetuning.strategy {ACTS_ON[name][0]}" in message


@pytest.mark.parametrize("name", ACTS_ON)
def test_auto_takes_every_setting(name):
    assert getattr(build_config("auto", name), name) == OTHER_VALUES[name]


def test_what_is_not_in_the_table_acts_on_every_strategy():
    assert {field.name for field in fields(FinetuneConfig)} - set(ACTS_ON) == {
        "weights",
        "strategy",
        "head",
        "head_hidden",
        "dropout",
        "classes",
        "replay",
        "replay_per_class",
    }


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"weights": ""}, "finetuning.weights must name weights"),
        ({"head_hidden": 0, "head": "mlp"}, "head_hidden must be 1 or more, got 0"),
        ({"adapter_rank": 0}, "adapter_rank must be 1 or more, got 0"),
        ({"views": 0}, "views must be 1 or more"),
        ({"head_share": 1.0}, "head_share must lie between 0 and 1, got 1"),
        ({"rate_decay": 1.0}, "rate_decay must lie between 0 and 1, got 1"),
        ({"backbone_rate": 0.0}, "frozen by finetuning.strategy linear-probe"),
        ({"dropout": 1.0}, r"dropout must be in \[0, 1\), got 1"),
        ({"l2_sp": -1.0}, "l2_sp must be 0 or more, got -1"),
        ({"bss": -1.0}, "bss must be 0 or more, got -1"),
        ({"head_hidden": 8}, "head_hidden has no effect with finetuning.head linear"),
        ({"head": "mlp", "probe": "lbfgs"}, "probe lbfgs fits a linear head"),
        ({"strategy": "lp-ft", "head_share": 0.5}, "takes no epochs"),
        ({"strategy": "linear-probe", "dropout": 0.5}, "chooses its own regularisation"),
        ({"views": 2, "cache": "no"}, "views has no effect with finetuning.cache no"),
    ],
)
def test_mistakes_are_refused_with_the_way_out(settings, message):
    with pytest.raises(UserError, match=message):
        FinetuneConfig(**settings)


@pytest.mark.parametrize(
    ("settings", "solver"),
    [
        ({}, "lbfgs"),
        ({"head": "cosine"}, "sgd"),
        ({"head": "mlp"}, "sgd"),
        ({"probe": "sgd"}, "sgd"),
        ({"probe": "lbfgs"}, "lbfgs"),
    ],
)
def test_the_probe_is_exact_where_it_can_be(settings, solver):
    assert probe_solver(FinetuneConfig(**settings)) == solver


def test_it_is_saved_and_read():
    config = FinetuneConfig(strategy="adapters", adapter_rank=2, head="mlp", bss=0.001)
    assert from_dict(FinetuneConfig, to_dict(config), "config.yaml") == config
