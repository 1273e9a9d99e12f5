from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resnetkit.config import from_dict, to_dict
from resnetkit.finetuning.plan import Phase, Plan, lowest_trained_part, trained_in
from resnetkit.finetuning.settings import FinetuneConfig
from resnetkit.finetuning.strategies import STRATEGIES, build_plan
from resnetkit.types import UserError

PARTS = ["stem", "stage1", "stage2", "stage3", "stage4", "head"]


def plan_of(strategy: str, epochs: float = 30.0, **other: object) -> Plan:
    return build_plan(PARTS, FinetuneConfig(strategy=strategy, **other), epochs)


def rates(phase: Phase) -> list[float]:
    return [part.rate_factor for part in phase.parts]


def lengths(plan: Plan) -> list[float]:
    return [phase.epochs for phase in plan.phases]


def test_linear_probe_trains_the_head_only():
    (phase,) = plan_of("linear-probe").phases
    assert trained_in(phase) == {"head"}
    assert (phase.solver, phase.epochs) == ("lbfgs", 0.0)
    (phase,) = plan_of("linear-probe", probe="sgd").phases
    assert trained_in(phase) == {"head"}
    assert (phase.solver, phase.epochs) == ("gradient", 30.0)


def test_full_trains_everything_the_backbone_slower():
    (phase,) = plan_of("full").phases
    assert {part.trains for part in phase.parts} == {"everything"}
    assert rates(phase) == [0.2] * 5 + [1.0]
    (phase,) = plan_of("full", backbone_rate=0.5).phases
    assert rates(phase) == [0.5] * 5 + [1.0]


def test_lp_ft_is_the_one_after_the_other():
    probe, full = plan_of("lp-ft").phases
    assert probe.parts == plan_of("linear-probe").phases[0].parts
    assert full.parts == plan_of("full").phases[0].parts
    assert [(phase.name, phase.solver) for phase in (probe, full)] == [
        ("probe", "lbfgs"),
        ("full", "gradient"),
    ]
    assert lengths(plan_of("lp-ft")) == [0, 30]
    assert lengths(plan_of("lp-ft", probe="sgd")) == [6, 24]
    assert lengths(plan_of("lp-ft", probe="sgd", head_share=0.5)) == [15, 15]


def test_gradual_unfreezes_from_the_top():
    plan = plan_of("gradual", probe="sgd")
    assert [lowest_trained_part(phase) for phase in plan.phases] == [
        "head",
        "stage4",
        "stage3",
        "stage2",
        "stem",
    ]
    assert [phase.name for phase in plan.phases] == [
        "probe",
        "from-stage4",
        "from-stage3",
        "from-stage2",
        "from-stem",
    ]
    for before, after in zip(plan.phases, plan.phases[1:], strict=False):
        assert trained_in(before) < trained_in(after)
    assert lengths(plan) == [6, 6, 6, 6, 6]
    assert lengths(plan_of("gradual", epochs=8.0)) == [0, 2, 2, 2, 2]
    assert lengths(plan_of("gradual", epochs=2.0)) == [0, 0.5, 0.5, 0.5, 0.5]


def test_layer_decay_slows_each_part_below():
    (phase,) = plan_of("layer-decay", rate_decay=0.5, backbone_rate=0.8).phases
    assert rates(phase) == pytest.approx([0.05, 0.1, 0.2, 0.4, 0.8, 1.0])
    assert {part.trains for part in phase.parts} == {"everything"}


def test_surgical_trains_the_first_block_and_the_new_head():
    (phase,) = plan_of("surgical").phases
    assert trained_in(phase) == {"stem", "stage1", "head"}


@pytest.mark.parametrize(
    ("strategy", "what", "statistics"),
    [("bn-only", "norms", "train"), ("adapters", "adapters", "frozen")],
)
def test_few_parameters_learn_at_the_heads_rate(strategy, what, statistics):
    (phase,) = plan_of(strategy).phases
    assert [part.trains for part in phase.parts] == [what] * 5 + ["everything"]
    assert {part.batch_norm for part in phase.parts[:-1]} == {statistics}
    assert set(rates(phase)) == {1.0}


@pytest.mark.parametrize("asked", ["frozen", "train"])
@pytest.mark.parametrize("strategy", ["full", "gradual", "surgical", "bn-only", "adapters"])
def test_batch_norm_is_as_asked_where_a_part_trains(strategy, asked):
    for phase in plan_of(strategy, batch_norm=asked).phases:
        for part in phase.parts[:-1]:
            assert part.batch_norm == ("frozen" if part.trains == "nothing" else asked)


@settings(deadline=None, max_examples=50)
@given(
    strategy=st.sampled_from(sorted(STRATEGIES)),
    epochs=st.floats(0.01, 500),
    probe=st.sampled_from(["lbfgs", "sgd"]),
    stages=st.integers(2, 6),
)
def test_every_plan_adds_up_and_is_saved_whole(strategy, epochs, probe, stages):
    names = ["stem", *(f"stage{n}" for n in range(1, stages + 1)), "head"]
    probing = {"probe": probe} if strategy in ("linear-probe", "lp-ft", "gradual") else {}
    plan = build_plan(names, FinetuneConfig(strategy=strategy, **probing), epochs)
    by_steps = [phase for phase in plan.phases if phase.solver == "gradient"]
    assert all(phase.epochs > 0 for phase in by_steps)
    assert plan.epochs == pytest.approx(epochs if by_steps else 0.0)
    assert all("head" in trained_in(phase) for phase in plan.phases)
    assert len({phase.name for phase in plan.phases}) == len(plan.phases)
    assert from_dict(Plan, to_dict(plan), "plan.json") == plan


@pytest.mark.parametrize(
    ("strategy", "names", "message"),
    [
        ("gradual", ["stem", "head"], "gradual unfreezes stage by stage, .* choose strategy lp-ft"),
        ("surgical", ["stem", "stage1", "head"], "leaves the later .* choose strategy full"),
    ],
)
def test_a_strategy_without_its_parts_is_refused(strategy, names, message):
    with pytest.raises(UserError, match=message):
        build_plan(names, FinetuneConfig(strategy=strategy), 1.0)
