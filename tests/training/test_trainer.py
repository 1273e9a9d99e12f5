from __future__ import annotations

import copy
import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from tiny_run import (
    IDENTITY,
    Recorder,
    Setup,
    build_judge,
    build_loader,
    build_net,
    build_state,
    build_task,
)
from torch import nn

from resnetkit.data.augment import AugmentConfig
from resnetkit.optim.ema import WeightAverage
from resnetkit.optim.optimizers import OptimizerConfig
from resnetkit.optim.schedules import ScheduleConfig, learning_rate_factor
from resnetkit.training import trainer
from resnetkit.training.checkpoint import load_checkpoint
from resnetkit.training.config import TrainingConfig
from resnetkit.training.trainer import (
    accumulate_gradients,
    fit,
    require_finite,
    train_step,
)
from resnetkit.types import CheckFailed, Interrupted

PLAIN = Setup(
    training=TrainingConfig(seed=1, epochs=2, checkpoint_seconds=1e9), augment=AugmentConfig()
)


def test_train_step_is_the_loop_a_user_would_write():
    setup = replace(PLAIN, schedule=ScheduleConfig(name="linear", warmup=0.3))
    net = build_net(dropout=0.5)
    state = build_state(setup, copy.deepcopy(net))
    task = build_task(setup, state)
    by_hand = copy.deepcopy(net).to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(
        by_hand.parameters(), lr=0.2, momentum=0.9, nesterov=True, weight_decay=1e-4, fused=True
    )
    for number, batch in enumerate(build_loader(setup).batches(0)):
        report = train_step(state, task, batch, 0)
        by_hand.train()
        torch.manual_seed(1 * 1_000_003 + number)
        images = (batch.images.float() * (1 / 255) - 0.5) / 0.25
        images = images.contiguous(memory_format=torch.channels_last)
        targets = F.one_hot(batch.labels, 3).float()
        optimizer.param_groups[0]["lr"] = 0.2 * learning_rate_factor(setup.schedule, number, 10)
        optimizer.zero_grad()
        loss = F.cross_entropy(by_hand(images), targets)
        loss.backward()
        optimizer.step()
        assert torch.equal(report.loss, loss.detach())
        assert report.learning_rate == optimizer.param_groups[0]["lr"]
        assert (report.step, report.epoch, report.images) == (number + 1, 0, 8)
    for key, value in by_hand.state_dict().items():
        assert torch.equal(value, state.model.state_dict()[key]), key


def gradients(setup: Setup, net: nn.Module, count: int) -> tuple[float, list[torch.Tensor]]:
    state = build_state(setup, copy.deepcopy(net))
    task = build_task(setup, state)
    batch = next(build_loader(replace(setup, batch_size=count)).batches(0))
    images, targets = task.prepare(batch, 0)
    loss = accumulate_gradients(task, images, targets)
    return float(loss), [p.grad for p in state.model.parameters() if p.grad is not None]


@pytest.mark.parametrize(("count", "parts"), [(8, 2), (7, 2), (8, 8), (5, 4), (3, 6)])
def test_micro_batches_have_the_gradient_of_the_whole_batch(count, parts):
    net = build_net(batch_norm=False, dropout=0.0)
    loss, expected = gradients(PLAIN, net, count)
    split_loss, accumulated = gradients(PLAIN.train(micro_batches=parts), net, count)
    assert split_loss == pytest.approx(loss, abs=1e-6)
    for ours, theirs in zip(accumulated, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("count", "parts"), [(8, 2), (7, 3), (5, 4)])
def test_micro_batches_keep_the_three_views_of_an_image_together(count, parts):
    setup = replace(PLAIN.train(jensen_shannon=12.0), augment=AugmentConfig(policy="augmix"))
    net = build_net(batch_norm=False, dropout=0.0)
    loss, expected = gradients(setup, net, count)
    split_loss, accumulated = gradients(setup.train(micro_batches=parts), net, count)
    assert split_loss == pytest.approx(loss, abs=1e-5)
    for ours, theirs in zip(accumulated, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


def test_a_step_with_consistency_counts_each_image_once_and_learns_from_the_clean_one():
    setup = replace(PLAIN.train(jensen_shannon=12.0), augment=AugmentConfig(policy="augmix"))
    net = build_net(batch_norm=False, dropout=0.0)
    state = build_state(setup, copy.deepcopy(net))
    task, batch = build_task(setup, state), next(build_loader(setup).batches(0))
    images, targets = task.prepare(batch, 0)
    assert (len(images), len(targets)) == (24, 8)
    with torch.no_grad():
        probabilities = net(images).softmax(dim=1).unflatten(0, (8, 3))
    mean = probabilities.mean(dim=1).log()
    divergences = [
        F.kl_div(mean, probabilities[:, view], reduction="batchmean") for view in range(3)
    ]
    clean = -(targets * probabilities[:, 0].log()).sum(dim=1).mean()
    report = train_step(state, task, batch, 0)
    assert report.images == 8
    torch.testing.assert_close(report.loss, clean + 12 * sum(divergences) / 3)


def test_clipping_bounds_the_norm_of_the_whole_gradient():
    plain_sgd = OptimizerConfig(learning_rate=1.0, weight_decay=0.0, momentum=0.0)
    base = replace(PLAIN, optimizer=plain_sgd, schedule=ScheduleConfig(name="constant"))

    def change(clip_norm):
        setup = base.train(clip_norm=clip_norm)
        net = build_net(dropout=0.0)
        state = build_state(setup, copy.deepcopy(net))
        train_step(state, build_task(setup, state), next(build_loader(setup).batches(0)), 0)
        pairs = zip(state.model.parameters(), net.parameters(), strict=True)
        return torch.cat([(new - old).detach().flatten() for new, old in pairs])

    free = change(None)
    assert free.norm() > 0.1
    clipped = change(0.05)
    assert float(clipped.norm()) == pytest.approx(0.05, rel=1e-3)
    torch.testing.assert_close(clipped / clipped.norm(), free / free.norm(), rtol=0, atol=1e-4)
    torch.testing.assert_close(change(1e6), free, rtol=1e-5, atol=1e-7)


def test_the_average_is_updated_after_every_step_and_judged():
    setup = PLAIN.train(ema_decay=0.5)
    state = build_state(setup, build_net())
    follower = WeightAverage(state.model, 0.5)
    judged = []
    judge = build_judge(state.model)
    task = replace(
        build_task(setup, state), validate=lambda weights: judged.append(weights) or judge(weights)
    )
    fit(
        state,
        task,
        [lambda r: hasattr(r, "loss") and hasattr(r, "images") and follower.update(state.model)],
    )
    assert state.average is not None
    assert state.average.updates == follower.updates == 10
    for key, value in follower.weights.items():
        assert torch.equal(value, state.average.weights[key])
    assert judged[0] is state.average.weights


def scripted(results: list[tuple[float, float]]):
    """A judge that says what it is told to, in order."""
    remaining = iter(results)
    return lambda weights: next(remaining)


def run(setup: Setup, results: list[tuple[float, float]]):
    state, recorder = build_state(setup, build_net()), Recorder()
    snapshots: list[dict[str, torch.Tensor]] = []
    judge = scripted(results)

    def validate(weights):
        snapshots.append({k: v.clone() for k, v in weights.items()})
        return judge(weights)

    fit(state, replace(build_task(setup, state), validate=validate), [recorder])
    best = [
        number
        for number, weights in enumerate(snapshots)
        if all(torch.equal(weights[k], state.best_weights[k]) for k in weights)
    ]
    return state, recorder, best


def test_the_best_weights_are_kept_and_a_lower_loss_decides_between_equals():
    results = [(1.0, 0.5), (0.9, 0.5), (0.8, 0.4), (0.95, 0.5)]
    state, recorder, best = run(PLAIN.train(epochs=4), results)
    assert best == [1]
    assert (state.progress.best_score, state.progress.best_loss) == (0.5, 0.9)
    assert state.progress.best_step == 10
    assert [entry[-1] for entry in recorder.validations] == [True, True, False, False]
    assert state.progress.validations_without_improvement == 2


def test_the_last_weights_are_kept_when_asked():
    _, _, best = run(PLAIN.train(epochs=3, keep="last"), [(1.0, 0.5), (0.9, 0.9), (2.0, 0.1)])
    assert best == [2]


def test_early_stopping_counts_validations_without_a_better_one():
    results = [(1.0, 0.5), (1.0, 0.4), (0.9, 0.5), (1.0, 0.5), (1.0, 0.5), (0.1, 1.0)]
    setup = PLAIN.train(epochs=9, early_stopping_patience=2)
    state, recorder, best = run(setup, results)
    assert len(recorder.validations) == 5
    assert best == [2]
    assert state.progress.step == 25
    assert state.progress.finished_because == ("early stopping: 2 validations without a better one")


def test_validation_every_few_epochs_and_always_at_the_end():
    results = [(1.0, 0.5)] * 3
    _, recorder, _ = run(PLAIN.train(epochs=4.4, validate_every_epochs=2), results)
    assert [entry[1] for entry in recorder.validations] == [10, 20, 22]
    assert [entry[0] for entry in recorder.validations] == [1, 3, 4]


def test_train_loss_is_the_mean_over_the_epochs_steps():
    state, recorder = build_state(PLAIN, build_net()), Recorder()
    fit(state, build_task(PLAIN, state), [recorder])
    for epoch, validation in enumerate(recorder.validations):
        losses = [entry[2] for entry in recorder.steps if entry[0] == epoch]
        assert len(losses) == 5
        assert validation[2] == pytest.approx(sum(losses) / 5, rel=1e-12)


def test_without_validation_the_last_weights_are_kept():
    state = build_state(PLAIN, build_net())
    fit(state, replace(build_task(PLAIN, state), validate=None), [])
    assert state.progress.finished_because == "all steps done"
    for key, value in state.model.state_dict().items():
        assert torch.equal(state.best_weights[key], value)
        assert state.best_weights[key].data_ptr() != value.data_ptr()


class FakeTime:
    """A clock that only advances when told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def advance(self, report: object) -> None:
        self.now += 10.0


@pytest.fixture
def fake_time(monkeypatch) -> FakeTime:
    clock = FakeTime()
    monkeypatch.setattr(trainer, "time", SimpleNamespace(monotonic=clock.monotonic))
    return clock


def test_the_time_budget_ends_training_with_a_validation_and_a_checkpoint(fake_time, tmp_path):
    setup = PLAIN.train(epochs=100, time_budget_minutes=2.0)
    state, recorder = build_state(setup, build_net()), Recorder()

    def tick(report):
        if not hasattr(report, "score"):
            fake_time.advance(report)

    fit(state, build_task(setup, state, tmp_path), [tick, recorder])
    assert state.progress.step == 13  # 120 s are passed by the 13th step of 10 s
    assert state.progress.finished_because == "time budget of 2 minutes spent"
    assert recorder.validations[-1][1] == 13
    assert [path.name for path in tmp_path.iterdir()] == ["step-000000013"]
    assert state.progress.elapsed_seconds == pytest.approx(130)


def test_the_time_budget_counts_the_time_before_a_restart(fake_time, tmp_path):
    setup = PLAIN.train(epochs=100, time_budget_minutes=2.0)
    state = build_state(setup, build_net())
    task = build_task(setup, state, tmp_path)
    task = replace(task, stop_requested=lambda: state.progress.step >= 7)
    with pytest.raises(Interrupted):
        fit(state, task, [fake_time.advance])
    fake_time.now += 1e6  # nobody at work
    resumed = build_state(setup, build_net())
    load_checkpoint(tmp_path, resumed, IDENTITY)
    before = resumed.progress.elapsed_seconds
    assert 70 <= before <= 90
    fit(resumed, build_task(setup, resumed, tmp_path), [fake_time.advance])
    assert 120 < resumed.progress.elapsed_seconds <= 150


def test_checkpoints_are_written_as_often_as_asked(fake_time):
    setup = PLAIN.train(epochs=3, checkpoint_seconds=35.0)
    state, saved = build_state(setup, build_net()), []
    task = replace(build_task(setup, state), save=lambda s: saved.append(s.progress.step))

    def tick(report):
        if not hasattr(report, "score"):
            fake_time.advance(report)

    fit(state, task, [tick])
    assert saved == [4, 8, 12, 15]


def test_a_diverging_run_stops_and_leaves_a_checkpoint_that_is_sound(tmp_path):
    setup = PLAIN.train(epochs=50, checkpoint_seconds=0.0)
    state = build_state(setup, build_net())
    task = build_task(setup, state, tmp_path)

    def explode(report):
        if report.step == 12:
            for group in state.optimizer.param_groups:
                group["weight_decay"] = 1e30

    with pytest.raises(CheckFailed) as caught:
        fit(state, task, [explode])
    message = str(caught.value)
    assert "not finite at or shortly before step 1" in message
    for needed in ("optimizer.learning_rate", "schedule.warmup", "training.clip_norm", "kept"):
        assert needed in message
    resumed = build_state(setup, build_net(seed=8))
    assert load_checkpoint(tmp_path, resumed, IDENTITY)
    assert resumed.progress.step >= 12
    for value in resumed.model.state_dict().values():
        assert value.isfinite().all()
    assert all(value.isfinite().all() for value in resumed.best_weights.values())


def test_a_loss_that_is_not_a_number_stops_within_the_logging_interval():
    setup = PLAIN.train(epochs=100, log_every_steps=3)
    state = build_state(setup, build_net())
    task = build_task(setup, state)
    original = task.prepare

    def poison(batch, epoch):
        images, targets = original(batch, epoch)
        return (images * math.nan if state.progress.step == 6 else images), targets

    with pytest.raises(CheckFailed, match="the loss was not finite at or shortly before step 9"):
        fit(state, replace(task, prepare=poison), [])


def test_broken_weights_are_found_before_a_loss_shows_them():
    state = build_state(PLAIN, build_net())
    assert require_finite(torch.tensor(1.5), state) == 1.5
    with torch.no_grad():
        state.model.get_parameter("6.weight")[0, 0] = math.inf
    with pytest.raises(CheckFailed, match="the weights were not finite at or shortly before"):
        require_finite(torch.tensor(1.5), state)


def test_a_stop_request_writes_a_checkpoint_and_says_where_it_stopped(tmp_path):
    state = build_state(PLAIN, build_net())
    task = build_task(PLAIN, state, tmp_path)
    task = replace(task, stop_requested=lambda: state.progress.step == 4)
    with pytest.raises(Interrupted, match="stopped at step 4 of 10"):
        fit(state, task, [])
    assert [path.name for path in tmp_path.iterdir()] == ["step-000000004"]


def test_a_stop_request_in_the_last_step_lets_the_run_finish(tmp_path):
    state = build_state(PLAIN, build_net())
    task = build_task(PLAIN, state, tmp_path)
    fit(state, replace(task, stop_requested=lambda: state.progress.step == 10), [])
    assert state.progress.finished_because == "all steps done"


def test_huge_seeds_train():
    setup = PLAIN.train(seed=2**62, epochs=None, steps=2)
    state = build_state(setup, build_net())
    fit(state, build_task(setup, state), [])
    assert state.progress.step == 2


def test_training_needs_no_global_random_state():
    def weights(seed):
        torch.manual_seed(seed)
        state = build_state(Setup(), build_net())
        task = build_task(Setup(), state)
        fit(state, task, [lambda report: torch.rand(seed % 7)])
        return state.model.state_dict()

    one, other = weights(1), weights(2)
    assert all(torch.equal(one[key], other[key]) for key in one)
