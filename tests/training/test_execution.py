from __future__ import annotations

import copy
import time
from dataclasses import replace

import pytest
import torch
from tiny_run import Setup, build_net, build_state, build_task

from resnetkit.training import execution
from resnetkit.training.execution import (
    ExecutionConfig,
    Measurement,
    arrange,
    autocast,
    choose_execution,
    is_open,
    prepare_network,
)
from resnetkit.training.trainer import fit
from resnetkit.types import UserError

IMAGES = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
PINNED = ExecutionConfig(precision="float32", memory_order="channels_last", compile="no")


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (ExecutionConfig(), True),
        (PINNED, False),
        (replace(PINNED, precision="auto"), True),
        (replace(PINNED, memory_order="auto"), True),
        (replace(PINNED, compile="auto"), True),
        (replace(PINNED, device="cpu"), False),
    ],
)
def test_is_open_when_anything_is_left_to_measure(config, expected):
    assert is_open(config) == expected


@pytest.fixture
def measured(monkeypatch):
    """Measurements by a table: seconds for (precision, memory order, compile)."""
    seconds: dict[tuple[str, str, str], float] = {}
    asked: list[ExecutionConfig] = []

    def measure(model, choice, images, classes):
        asked.append(choice)
        value = seconds[choice.precision, choice.memory_order, choice.compile]
        if value < 0:
            raise RuntimeError("no Python.h")
        return Measurement(choice=choice, seconds=value)

    monkeypatch.setattr(execution, "_measure", measure)
    monkeypatch.setattr(execution, "_precisions", lambda device: ["float32", "bfloat16"])
    monkeypatch.setattr(execution, "can_compile", lambda: True)
    return seconds, asked


EAGER = {
    ("float32", "channels_first", "no"): 2.0,
    ("float32", "channels_last", "no"): 1.0,
    ("bfloat16", "channels_first", "no"): 1.5,
    ("bfloat16", "channels_last", "no"): 0.5,
}
COMPILED = {("float32", "channels_last", "yes"): 0.7, ("bfloat16", "channels_last", "yes"): 0.2}


def test_choices_come_fastest_first_and_short_runs_do_not_compile(measured):
    measured[0].update(EAGER)
    result = choose_execution(build_net(), ExecutionConfig(), IMAGES, 3, total_steps=100)
    assert [row.seconds for row in result] == [0.5, 1.0, 1.5, 2.0]
    assert result[0].choice == ExecutionConfig(
        precision="bfloat16", memory_order="channels_last", compile="no"
    )
    assert not is_open(result[0].choice)


def test_long_runs_try_to_compile_the_best_memory_order(measured):
    measured[0].update(EAGER | COMPILED)
    result = choose_execution(build_net(), ExecutionConfig(), IMAGES, 3, total_steps=10_000)
    assert [row.seconds for row in result] == [0.2, 0.5, 0.7, 1.0, 1.5, 2.0]
    assert result[0].choice.compile == "yes"
    assert result[0].describe() == "bfloat16, channels_last, compiled"
    assert result[1].describe() == "bfloat16, channels_last"


def test_where_compiling_fails_the_run_goes_without(measured):
    measured[0].update(EAGER | dict.fromkeys(COMPILED, -1.0))
    result = choose_execution(build_net(), ExecutionConfig(), IMAGES, 3, total_steps=10_000)
    assert [row.seconds for row in result] == [0.5, 1.0, 1.5, 2.0]


def test_what_is_set_is_not_measured(measured):
    measured[0].update(EAGER | COMPILED)
    config = replace(PINNED, precision="auto", compile="yes", device="cpu")
    choose_execution(build_net(), config, IMAGES, 3, total_steps=10)
    assert {choice.memory_order for choice in measured[1]} == {"channels_last"}
    assert {choice.compile for choice in measured[1]} == {"yes"}
    assert {choice.device for choice in measured[1]} == {"cpu"}
    assert len(measured[1]) == 2


def test_measuring_leaves_the_network_and_the_training_alone(monkeypatch):
    monkeypatch.setattr(execution, "_precisions", lambda device: ["float32"])
    setup = Setup()
    net = build_net()
    reference = copy.deepcopy(net)
    images = IMAGES.clone()
    result = choose_execution(net, ExecutionConfig(), images, 3, total_steps=1)
    assert len(result) == 2
    assert all(row.seconds > 0 for row in result)
    assert torch.equal(images, IMAGES)
    for key, value in reference.state_dict().items():
        assert torch.equal(net.state_dict()[key], value)
        assert net.state_dict()[key].stride() == value.stride()
    assert net.training == reference.training
    assert all(parameter.grad is None for parameter in net.parameters())
    trained = []
    for model in (net, reference):
        state = build_state(setup, model)
        fit(state, build_task(setup, state), [])
        trained.append(model.state_dict())
    assert all(torch.equal(trained[0][key], trained[1][key]) for key in trained[0])


def test_slow_networks_are_measured_with_fewer_steps(monkeypatch):
    calls = []
    net = build_net()
    net.register_forward_hook(lambda *_: calls.append(1))
    monkeypatch.setattr(execution, "TRIAL_SECONDS", 0.0)
    choose_execution(net, PINNED, IMAGES, 3, total_steps=1)
    assert len(calls) == 2


def test_the_first_step_which_compiles_is_not_timed(monkeypatch):
    calls = []
    net = build_net()

    def slow_at_first(*_):
        calls.append(1)
        if len(calls) == 1:
            time.sleep(0.5)

    net.register_forward_hook(slow_at_first)
    monkeypatch.setattr(execution, "TRIAL_SECONDS", 0.2)
    (measurement,) = choose_execution(net, PINNED, IMAGES, 3, total_steps=1)
    assert measurement.seconds < 0.4
    assert len(calls) > 1


def test_the_prepared_network_has_the_models_own_weights():
    net = build_net()
    forward = prepare_network(net, PINNED)
    assert forward is net
    assert net.state_dict()["0.weight"].is_contiguous(memory_format=torch.channels_last)
    first = build_net()
    prepare_network(first, replace(PINNED, memory_order="channels_first"))
    assert first.state_dict()["0.weight"].is_contiguous()


def test_compiling_without_a_compiler_says_what_to_install(monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(UserError, match=r"needs a C\+\+ compiler.*--execution.compile no"):
        prepare_network(build_net(), replace(PINNED, compile="yes"))


def test_images_are_arranged_without_changing_them():
    last = arrange(IMAGES, PINNED)
    assert last.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(last, IMAGES)
    first = arrange(last, replace(PINNED, memory_order="channels_first"))
    assert first.is_contiguous()
    assert torch.equal(first, IMAGES)


@pytest.mark.parametrize(
    ("precision", "kind"), [("float32", torch.float32), ("bfloat16", torch.bfloat16)]
)
def test_autocast_sets_the_format_of_convolutions_only(precision, kind):
    net = build_net()
    with autocast(torch.device("cpu"), replace(PINNED, precision=precision)):
        assert net(IMAGES).dtype == kind
    assert net.state_dict()["0.weight"].dtype == torch.float32
