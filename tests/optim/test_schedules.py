from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resnetkit.optim.schedules import SCHEDULES, ScheduleConfig, learning_rate_factor
from resnetkit.types import UserError


def factors(total: int, **config: object) -> list[float]:
    """The factor of every step, and after the last one."""
    schedule = ScheduleConfig(**config)
    return [learning_rate_factor(schedule, step, total) for step in range(total + 1)]


def test_constant():
    assert factors(4, name="constant") == [1, 1, 1, 1, 1]


def test_multistep_falls_at_its_milestones_as_the_paper_does():
    values = factors(64_000, name="multistep", milestones=(0.5, 0.75))
    assert (values[0], values[31_999]) == (1, 1)
    assert (values[32_000], values[47_999]) == (0.1, 0.1)
    assert values[48_000] == values[63_999] == pytest.approx(0.01)


def test_multistep_takes_its_own_decay():
    values = factors(9, name="multistep", milestones=(1 / 3, 2 / 3), decay=0.5)
    assert values == [1, 1, 1, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25, 0.25]


def test_cosine_falls_by_half_at_half_time():
    values = factors(100, name="cosine", final=0.2)
    assert values[0] == 1
    assert values[50] == pytest.approx(0.6)
    assert values[25] == pytest.approx(0.2 + 0.8 * (1 + 2**-0.5) / 2)
    assert values[100] == pytest.approx(0.2)


def test_linear_falls_evenly():
    assert factors(4, name="linear") == [1, 0.75, 0.5, 0.25, 0]
    assert factors(4, name="linear", final=0.5) == [1, 0.875, 0.75, 0.625, 0.5]


def test_onecycle_rises_and_falls_in_straight_lines():
    values = factors(10, name="onecycle", warmup=0.4)
    assert values == pytest.approx([0.25, 0.5, 0.75, 1, 1, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6, 0])


def test_warmup_rises_from_its_start_to_the_peak():
    values = factors(10, name="constant", warmup=0.4, warmup_from=0.2)
    assert values[:5] == pytest.approx([0.4, 0.6, 0.8, 1, 1])


def test_flat_warmup_stays_and_jumps():
    values = factors(
        64_000,
        name="multistep",
        milestones=(0.5, 0.75),
        warmup=400 / 64_000,
        warmup_from=0.1,
        warmup_curve="flat",
    )
    assert values[:400] == [0.1] * 400
    assert values[400:32_000] == [1] * 31_600
    assert values[32_000] == 0.1


SHAPES = st.fixed_dictionaries(
    {"name": st.sampled_from(sorted(SCHEDULES)), "warmup": st.floats(0.01, 0.9)},
    optional={"warmup_from": st.floats(0, 1)},
)


@given(shape=SHAPES, final=st.floats(0, 1), total=st.integers(1, 300))
@settings(deadline=None, max_examples=50)
def test_every_schedule_rises_then_falls_within_its_bounds_to_its_final(shape, final, total):
    extra: dict[str, object] = {}
    if shape["name"] == "multistep":
        extra["milestones"] = (0.3, 0.6)
    if shape["name"] in ("cosine", "linear"):
        extra["final"] = final
    values = factors(total, **shape, **extra)
    warmup_steps = round(shape["warmup"] * total)
    assert all(0 <= value <= 1 for value in values)
    rising, falling = values[:warmup_steps], values[warmup_steps:]
    assert rising == sorted(rising)
    assert falling == sorted(falling, reverse=True)
    if rising:
        assert rising[-1] == pytest.approx(1)
    if shape["name"] not in ("constant", "multistep") and len(falling) > 1:
        assert falling[0] == 1
        assert falling[-1] == pytest.approx(extra.get("final", 0), abs=1e-12)


@given(warmup=st.floats(0, 0.999), total=st.integers(1, 5), name=st.sampled_from(sorted(SCHEDULES)))
@settings(deadline=None, max_examples=50)
def test_very_short_runs_have_a_rate(warmup, total, name):
    config: dict[str, object] = {"name": name, "warmup": warmup or 0.001}
    if name == "multistep":
        config["milestones"] = (0.5,)
    values = factors(total, **config)[:total]
    assert all(0 < value <= 1 for value in values)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"warmup": 1.0}, r"share of all steps \(0 to 1\), got 1.0"),
        ({"warmup": -0.1}, "share of all steps"),
        ({"name": "multistep"}, "needs schedule.milestones, e.g. 0.5 0.75"),
        ({"milestones": (0.5,)}, "schedule.milestones has no effect with cosine: leave it out"),
        ({"name": "multistep", "milestones": (0.5, 30.0)}, "schedule.milestones must be in"),
        ({"name": "onecycle", "warmup": 0.2, "final": 0.1}, "schedule.final has no effect"),
        ({"name": "constant", "final": 0.1}, "set schedule.name to cosine or linear"),
        ({"final": 1.5}, r"schedule.final must be in \[0, 1\], got 1.5"),
        ({"name": "onecycle"}, "onecycle needs schedule.warmup, e.g. 0.2"),
        ({"warmup_from": 0.1}, "schedule.warmup_from has no effect without warm-up"),
        ({"warmup_curve": "flat"}, "schedule.warmup_curve has no effect without warm-up"),
        ({"warmup_curve": "flat", "warmup": 0.1}, "flat stays at schedule.warmup_from, which is 0"),
        ({"warmup": 0.1, "warmup_from": -0.5}, "schedule.warmup_from must be in"),
    ],
)
def test_settings_out_of_range_or_without_effect_are_refused(settings, message):
    with pytest.raises(UserError, match=message):
        ScheduleConfig(**settings)
