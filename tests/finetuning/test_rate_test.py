"""The rate test: a copy is trained until it diverges, and the curve is read by a stated rule."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import nn

from resnetkit.finetuning.rate_test import (
    RateTestConfig,
    judge_rates,
    plot_rate_test,
    run_rate_test,
    smooth,
)
from resnetkit.optim.schedules import ScheduleConfig
from resnetkit.training.config import TrainingConfig
from resnetkit.training.execution import ExecutionConfig
from resnetkit.training.state import Progress, TrainingState
from resnetkit.training.trainer import TrainingTask
from resnetkit.types import Batch, UserError


@dataclass
class Blobs:
    """Three separate clouds of points, as batches."""

    steps_per_epoch: int = 4

    def batches(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        for step in range(start, self.steps_per_epoch):
            generator = np.random.default_rng((epoch, step))
            labels = generator.integers(0, 3, 16)
            points = generator.normal(size=(16, 4)) + 2 * np.eye(3, 4)[labels]
            yield Batch(
                images=torch.from_numpy(points).float(),
                labels=torch.from_numpy(labels),
                indices=torch.arange(16),
            )


def build(factor=1.0):
    torch_free = torch.Generator().manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Dropout(0.1), nn.Linear(16, 3))
    for parameter in net.parameters():
        parameter.data.normal_(0, 0.3, generator=torch_free)
    groups = [{"params": list(net.parameters()), "rate_factor": factor}]
    state = TrainingState(
        model=net,
        optimizer=torch.optim.SGD(groups, lr=0.1, momentum=0.9),
        average=None,
        progress=Progress(total_steps=3),
    )
    task = TrainingTask(
        config=TrainingConfig(steps=3, epochs=None),
        schedule=ScheduleConfig(name="onecycle", warmup=0.5),
        execution=ExecutionConfig(device="cpu", precision="float32", compile="no"),
        learning_rate=0.1,
        batches=Blobs(),
        forward=net,
        loss=lambda logits, targets: F.cross_entropy(logits, targets),
        prepare=lambda batch, epoch: (batch.images, F.one_hot(batch.labels, 3).float()),
        validate=None,
        score_name="top1",
        enter_training=net.train,
        penalty=None,
        save=lambda state: pytest.fail("a rate test keeps nothing"),
        stop_requested=lambda: False,
    )
    return state, task


CONFIG = RateTestConfig(lowest=1e-4, highest=1e3, steps=80)


def test_it_finds_a_rate_that_learns_and_stops_when_it_diverges():
    result = run_rate_test(build, CONFIG)
    assert 1e-3 < result.suggested < 1
    assert result.suggested == min(result.steepest, 0.1 * result.minimum)
    assert len(result.rates) == len(result.losses) == len(result.smoothed) < 80
    assert result.stopped_because.startswith("stopped at ")
    ratios = np.diff(np.log(result.rates))
    assert np.allclose(ratios, ratios[0])  # rising by equal factors
    assert result.rates[0] == pytest.approx(1e-4)
    assert result == run_rate_test(build, CONFIG)


def test_nothing_outside_changes():
    torch.manual_seed(5)
    template, _ = build()
    before = torch.get_rng_state()
    weights = {key: value.clone() for key, value in template.model.state_dict().items()}
    run_rate_test(build, CONFIG)
    assert torch.equal(torch.get_rng_state(), before)
    for key, value in build()[0].model.state_dict().items():
        assert torch.equal(value, weights[key])


def test_factors_of_parts_are_kept_so_the_suggestion_is_the_peak_rate():
    whole = run_rate_test(build, CONFIG)
    tenth = run_rate_test(lambda: build(factor=0.1), CONFIG)
    assert 4 < tenth.suggested / whole.suggested < 25


def test_a_loss_that_is_not_finite_ends_it():
    def broken():
        state, task = build()
        with torch.no_grad():
            state.model[0].weight.fill_(math.nan)
        return state, task

    result = run_rate_test(broken, CONFIG)
    assert result.losses == ()
    assert (result.suggested, result.rule) == (None, "none")
    assert result.stopped_because == "stopped at 0.0001: the loss was no longer finite"


def valley(noise=0.0):
    """Flat, falling around 1e-2, lowest at 0.3, then up."""
    rates = np.geomspace(1e-5, 10, 100)
    place = np.log10(rates)
    losses = 2 - 1.5 / (1 + np.exp(-4 * (place + 2))) + np.exp(6 * (place - 0.2))
    losses += noise * np.random.default_rng(0).normal(size=100)
    return tuple(rates.tolist()), tuple(losses.tolist())


@pytest.mark.parametrize("noise", [0.0, 0.05])
def test_the_curve_is_read_as_a_person_would(noise):
    result = judge_rates(*valley(noise), "all rates tried")
    assert 5e-3 < result.steepest < 2e-2
    assert 0.1 < result.minimum < 0.5
    assert result.suggested == pytest.approx(result.steepest)
    assert result.rule == "steepest descent"


def test_a_fall_right_before_the_edge_takes_the_tenth():
    rates = np.geomspace(1e-5, 10, 100)
    losses = np.where(rates < 1, 2.0, 2 - np.log10(rates))
    result = judge_rates(tuple(rates.tolist()), tuple(losses.tolist()), "all rates tried")
    assert result.rule == "a tenth of the minimum"
    assert result.suggested == pytest.approx(0.1 * result.minimum)


def test_a_second_valley_behind_a_rise_is_not_looked_at():
    rates, losses = valley()
    deeper = np.where(np.array(rates) > 5, 0.1, np.minimum(losses, 3.0))
    once = judge_rates(rates, losses, "all rates tried")
    assert judge_rates(rates, tuple(deeper.tolist()), "").minimum == once.minimum


@pytest.mark.parametrize("count", [0, 1, 19, 100])
def test_a_flat_or_short_curve_suggests_nothing(count):
    rates = tuple(np.geomspace(1e-5, 10, 100)[:count].tolist())
    result = judge_rates(rates, (1.0,) * count, "all rates tried")
    assert (result.suggested, result.steepest, result.minimum) == (None, None, None)


@settings(deadline=None, max_examples=50)
@given(losses=st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=60))
def test_smoothing_stays_within_and_keeps_straight_lines(losses):
    smoothed = smooth(np.array(losses))
    assert smoothed.min() >= min(losses) - 1e-6
    assert smoothed.max() <= max(losses) + 1e-6
    line = smooth(np.arange(100.0))
    assert np.allclose(line[20:80], np.arange(20, 80))  # no lag


def test_the_plot_is_a_png_with_the_rate_marked(tmp_path):
    path = tmp_path / "plots" / "rate.png"
    plot_rate_test(judge_rates(*valley(0.05), "all rates tried"), path)
    with Image.open(path) as image:
        image.load()
        pixels = np.asarray(image.convert("RGB")).reshape(-1, 3).astype(int)
        assert image.size == (960, 576)
    assert (np.abs(pixels - (214, 69, 45)).sum(axis=1) < 30).sum() > 300  # the red line
    plot_rate_test(judge_rates((), (), "the loss was no longer finite"), path)
    plot_rate_test(judge_rates((0.1, 0.2), (1.0, 1.0), "short"), path)
    with pytest.raises(UserError, match=r"rate\.svg: needed a file name that ends in \.png"):
        plot_rate_test(judge_rates(*valley(), ""), tmp_path / "rate.svg")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"lowest": 0.0}, r"0 < lowest < highest, .*got 0 and 10"),
        ({"lowest": 1.0, "highest": 0.1}, r"0 < lowest < highest"),
        ({"highest": math.inf}, r"0 < lowest < highest"),
        ({"steps": 5}, r"needs 20 steps or more .*got 5; 100 are usual"),
    ],
)
def test_ranges_that_show_nothing_are_refused(fields, message):
    with pytest.raises(UserError, match=message):
        RateTestConfig(**fields)
