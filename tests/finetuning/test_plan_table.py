from __future__ import annotations

from finetuning_nets import build_network

from resnetkit.finetuning.adapters import insert_adapters
from resnetkit.finetuning.plan import apply_phase
from resnetkit.finetuning.plan_table import PlanRow, plan_rows, plan_table
from resnetkit.finetuning.settings import FinetuneConfig
from resnetkit.finetuning.settling import settle_plan
from resnetkit.finetuning.strategies import STRATEGIES, build_plan


def rows_of(strategy: str, kind: str = "basic", **settings: object) -> list[PlanRow]:
    config = FinetuneConfig(strategy=strategy, **settings)
    network = build_network(kind)
    plan = settle_plan(network, build_plan(list(network.parts()), config, 10.0), config)
    if strategy == "adapters":
        insert_adapters(network, 4, seed=0)
    return plan_rows(network, plan, learning_rate=0.02)


def test_the_table_of_lp_ft():
    assert plan_table(rows_of("lp-ft")) == [
        "part    parameters  trained  what  BatchNorm  learning rate  epochs",
        "stem           232      232  all   frozen     0.004          0 to 10",
        "stage1       1,184    1,184  all   frozen     0.004          0 to 10",
        "stage2       3,680    3,680  all   frozen     0.004          0 to 10",
        "stage3       4,960    4,960  all   frozen     0.004          0 to 10",
        "head            51       51  all   -          L-BFGS         before the first",
        "head            51       51  all   -          0.02           0 to 10",
        "total       10,107   10,107  -     -          -              0 to 10",
    ]


def test_a_plan_of_l_bfgs_alone_takes_no_epochs():
    *_, head, total = plan_table(rows_of("linear-probe"))
    assert head.split() == ["head", "51", "51", "all", "-", "L-BFGS", "before", "the", "first"]
    assert total.split() == ["total", "10,107", "51", "-", "-", "-", "-"]


def test_the_table_of_gradual():
    lines = plan_table(rows_of("gradual", probe="sgd"))
    assert [line.split("  ")[-1].strip() for line in lines] == [
        "epochs",
        "7 to 10",
        "7 to 10",
        "5 to 10",
        "2 to 10",
        "0 to 10",
        "0 to 10",
    ]


def test_frozen_parts_have_neither_rate_nor_epochs():
    rows = rows_of("surgical")
    frozen = [row for row in rows if row.trainable == 0]
    assert [row.part for row in frozen] == ["stage2", "stage3"]
    for row in frozen:
        assert (row.learning_rate, row.from_epoch, row.to_epoch) == (None, None, None)
        assert row.batch_norm == "frozen"


def test_layers_of_one_kind_are_counted_alone():
    rows = rows_of("bn-only")
    assert [row.trainable for row in rows] == [16, 32, 96, 96, 51, 291]
    assert {row.batch_norm for row in rows[:-2]} == {"train"}
    rows = rows_of("adapters")
    assert [row.trainable for row in rows] == [140, 640, 352 + 640 + 96, 1280 + 128, 51, 3327]


def test_networks_without_statistics_show_none():
    assert {row.batch_norm for row in rows_of("full", "lenet")} == {"-"}
    assert {row.batch_norm for row in rows_of("full", "group-norm")} == {"-"}


def test_the_total_is_the_networks():
    for strategy in STRATEGIES:
        network = build_network("preact")
        config = FinetuneConfig(strategy=strategy)
        plan = settle_plan(network, build_plan(list(network.parts()), config, 10.0), config)
        if strategy == "adapters":
            insert_adapters(network, 4, seed=0)
        total = plan_rows(network, plan, 0.1)[-1]
        assert total.parameters == sum(value.numel() for value in network.parameters())
        apply_phase(network, plan.phases[-1])
        trained = [value.numel() for value in network.parameters() if value.requires_grad]
        assert total.trainable == sum(trained)
