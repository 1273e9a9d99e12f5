"""What follows from the figures of a diagnosis."""

from __future__ import annotations

import pytest

from resnetkit.doctor.timing import summarise
from resnetkit.doctor.verdict import (
    Alternative,
    LoaderTiming,
    Measured,
    Stage,
    advise,
    describe_verdict,
    find_bottleneck,
)


def at(rate):
    return summarise([1 / rate])


def measured(*, loader, training, waiting, others=(), alternatives=(), **stages):
    rates = {"read": 9000, "decode": 300, "resize": 900, "copy": 1e6, "augment": 1e5, "step": 500}
    found = [Stage(name=name, timing=at(rate)) for name, rate in (rates | stages).items()]
    chosen = LoaderTiming(
        how="1 thread", setting="--data.workers 1", timing=at(loader), chosen=True
    )
    return Measured(
        stages=tuple(found),
        loaders=(chosen, *others),
        training=at(training),
        waiting=waiting,
        alternatives=tuple(alternatives),
    )


def other(setting, rate):
    return LoaderTiming(how=setting, setting=setting, timing=at(rate))


def test_waiting_for_batches_makes_the_dearest_stage_of_loading_the_bottleneck():
    figures = measured(loader=220, training=200, waiting=0.6)
    assert find_bottleneck(figures) == "decode"
    assert find_bottleneck(measured(loader=220, training=200, waiting=0.6, read=20)) == "read"
    text = describe_verdict(figures, "decode")
    for part in ("Loading is the bottleneck, decode", "60%", "497", "220", "200"):
        assert part in text


def test_without_waiting_the_dearest_stage_of_learning_is_the_bottleneck():
    figures = measured(loader=2000, training=490, waiting=0.01)
    assert find_bottleneck(figures) == "step"
    assert find_bottleneck(measured(loader=2000, training=90, waiting=0, augment=99)) == "augment"
    assert "4.0 times" in describe_verdict(figures, "step")
    assert "% less" not in describe_verdict(figures, "step")


def test_a_loader_that_takes_next_to_nothing_is_not_blamed_for_what_is_missing():
    others = [other("resnetkit data pack x", 50_000)]
    figures = measured(loader=30_000, training=250, waiting=0.02, others=others)
    assert "% less" not in describe_verdict(figures, "step")
    assert advise(figures, "step") == ()


def test_waiting_that_costs_nothing_does_not_make_loading_the_bottleneck():
    assert find_bottleneck(measured(loader=2000, training=480, waiting=0.2)) == "step"


def test_cores_that_loading_takes_from_the_step_are_told():
    figures = measured(loader=800, training=250, waiting=0.02)
    text = describe_verdict(figures, "step")
    assert "50% less, because loading goes on at the same time" in text


def test_the_best_worker_count_and_a_pack_are_advised_with_what_they_gain_at_most():
    others = [
        other("--data.workers 0", 150),
        other("--data.workers 2", 330),
        other("--data.workers 4", 440),
        other("resnetkit data pack x --side 146", 5000),
    ]
    figures = measured(loader=220, training=200, waiting=0.6, others=others)
    advice = advise(figures, "decode")
    assert [one.setting for one in advice] == [
        "resnetkit data pack x --side 146",
        "--data.workers 4",
    ]
    assert advice[0].gain == pytest.approx(figures.network_limit / 200)
    assert advice[1].gain == pytest.approx(1 / (1 / 200 - 1 / 220 + 1 / 440) / 200)
    assert "440 images/s instead of 220" in advice[1].reason


def test_no_loader_is_advised_where_the_network_is_already_fed():
    others = [other("resnetkit data pack x", 50_000)]
    figures = measured(loader=2000, training=490, waiting=0.01, others=others)
    assert advise(figures, "step") == ()


def test_a_faster_step_is_advised_by_its_part_of_the_whole():
    faster = Alternative(setting="--execution.memory-order channels_last", gain=2.0)
    same = Alternative(setting="--data.batch-size 64", gain=1.03, caution="c")
    figures = measured(loader=2000, training=490, waiting=0.01, alternatives=[faster, same])
    (advice,) = advise(figures, "step")
    assert advice.setting == "--execution.memory-order channels_last"
    assert advice.gain == pytest.approx(1 / (1 - 490 / 500 / 2))
    assert advise(figures, "decode") == ()


def test_what_is_slower_or_within_the_spread_is_never_advised():
    others = [other("--data.workers 2", 230), other("--data.workers 0", 100)]
    assert advise(measured(loader=220, training=200, waiting=0.6, others=others), "decode") == ()
