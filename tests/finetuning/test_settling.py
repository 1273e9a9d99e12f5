from __future__ import annotations

import pytest
from finetuning_nets import build_network, copy_state, train

from resnetkit.finetuning.plan import Plan, lowest_trained_part, trained_in
from resnetkit.finetuning.settings import FinetuneConfig
from resnetkit.finetuning.settling import adapter_rank, refuse_muon, settle_plan, trained_parts
from resnetkit.finetuning.strategies import build_plan
from resnetkit.optim.optimizers import OptimizerConfig, build_optimizer
from resnetkit.types import UserError

MUON = OptimizerConfig(name="muon", learning_rate=0.05, weight_decay=0.0)


def settle(kind: str, **settings: object) -> Plan:
    config = FinetuneConfig(**settings)
    network = build_network(kind)
    return settle_plan(network, build_plan(list(network.parts()), config, 10.0), config)


def test_a_part_without_what_would_train_is_frozen():
    (phase,) = settle("preact", strategy="bn-only").phases
    assert trained_in(phase) == {"stage1", "stage2", "stage3", "head"}
    assert lowest_trained_part(phase) == "stage1"
    assert phase.parts[0].batch_norm == "frozen"
    (phase,) = settle("basic", strategy="bn-only").phases
    assert lowest_trained_part(phase) == "stem"
    (phase,) = settle("lenet", strategy="adapters").phases
    assert trained_in(phase) == {"stem", "stage1", "head"}  # stage2 is a linear layer
    (phase,) = settle("basic", strategy="adapters", adapter_rank=7).phases
    assert trained_in(phase) == {"stage1", "stage2", "stage3", "head"}  # too large for the stem


def test_other_strategies_stay_as_planned():
    config = FinetuneConfig(strategy="gradual")
    network = build_network("basic")
    plan = build_plan(list(network.parts()), config, 10.0)
    assert settle_plan(network, plan, config) == plan
    assert trained_parts(plan) == set(network.parts())


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        ("lenet", {"strategy": "bn-only"}, "this network has none: choose strategy linear-probe"),
        (
            "basic",
            {"strategy": "adapters", "adapter_rank": 500},
            "adapter_rank 500: .* give at most [0-9]+, or choose strategy full",
        ),
        (
            "group-norm",
            {"strategy": "full", "batch_norm": "train"},
            r"batch_norm train has no effect: .*\(stem, stage1, stage2, stage3, head\) hold no",
        ),
        ("lenet", {"strategy": "full", "batch_norm": "frozen"}, "batch_norm frozen has no effect"),
    ],
)
def test_what_matches_nothing_is_refused(kind, settings, message):
    with pytest.raises(UserError, match=message):
        settle(kind, **settings)


def test_group_norm_may_train_alone():
    (phase,) = settle("group-norm", strategy="bn-only").phases
    assert trained_in(phase) == {"stem", "stage1", "stage2", "stage3", "head"}


def test_the_largest_rank_named_is_taken():
    with pytest.raises(UserError) as refused:
        settle("basic", strategy="adapters", adapter_rank=500)
    largest = int(str(refused.value).split("at most ")[1].split(",")[0])
    settle("basic", strategy="adapters", adapter_rank=largest)
    with pytest.raises(UserError):
        settle("basic", strategy="adapters", adapter_rank=largest + 1)


def test_the_rank_of_adapters():
    assert adapter_rank(FinetuneConfig(strategy="adapters")) == 4
    assert adapter_rank(FinetuneConfig(strategy="adapters", adapter_rank=2)) == 2


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        ("basic", {"strategy": "linear-probe", "probe": "sgd"}, "linear-probe trains none"),
        ("basic", {"strategy": "bn-only"}, "bn-only trains none of"),
        ("basic", {"strategy": "adapters"}, "adapters trains none of"),
        ("basic", {"strategy": "full"}, "set finetuning.batch_norm train, or choose .* sgd"),
        ("preact", {"strategy": "surgical", "batch_norm": "frozen"}, "with frozen statistics"),
    ],
)
def test_muon_is_refused_where_it_would_idle_or_spoil(kind, settings, message):
    with pytest.raises(UserError, match=message):
        refuse_muon(build_network(kind), settle(kind, **settings), MUON)


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("basic", {"strategy": "gradual", "batch_norm": "train", "probe": "sgd"}),
        ("group-norm", {"strategy": "full"}),
    ],
)
def test_muon_trains_what_it_may(kind, settings):
    network, plan = build_network(kind), settle(kind, **settings)
    refuse_muon(network, plan, MUON)
    for phase in plan.phases:
        before = copy_state(network)
        train(network, phase, MUON)
        frozen = [part.name for part in phase.parts if part.trains == "nothing"]
        keys = [key for name in frozen for key in state_keys(network, name)]
        assert all(before[key].equal(network.state_dict()[key]) for key in keys)
        assert not before["fc.weight"].equal(network.state_dict()["fc.weight"])


def test_others_are_never_refused():
    for name in ("sgd", "adamw"):
        optimizer = OptimizerConfig(name=name)
        refuse_muon(build_network("basic"), settle("basic", strategy="full"), optimizer)


def test_muon_still_needs_kernels():
    with pytest.raises(UserError, match="this network has none: choose sgd or adamw"):
        build_optimizer(build_network("lenet"), MUON)


def state_keys(network, part: str) -> list[str]:
    inside = {
        id(value)
        for module in network.parts()[part]
        for value in module.state_dict(keep_vars=True).values()
    }
    return [key for key, value in network.state_dict(keep_vars=True).items() if id(value) in inside]
