"""What is decided before a fine-tuning begins: its settings, its network, its plan."""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from resnetkit.config import apply_settings
from resnetkit.continuing import Continuation
from resnetkit.data.dataset import Progress, TrainingData
from resnetkit.data.settings import DataConfig
from resnetkit.data.shots import with_shots_seed
from resnetkit.experiment import Experiment
from resnetkit.export.package import ModelPackage
from resnetkit.finetuning.budget import StepTimes, fit_budget
from resnetkit.finetuning.continual import extend_classes
from resnetkit.finetuning.facts import describe_backbone, read_facts
from resnetkit.finetuning.known_settings import refuse_idle
from resnetkit.finetuning.plan import Plan
from resnetkit.finetuning.rule import Choice, choose_settings
from resnetkit.finetuning.settings import WITH_PROBE, FinetuneConfig
from resnetkit.finetuning.settling import refuse_muon, settle_plan
from resnetkit.finetuning.strategies import build_plan
from resnetkit.models.heads import HeadConfig, replace_head
from resnetkit.models.zoo import MODELS, ModelConfig, Network
from resnetkit.runtime import pick_device
from resnetkit.training.execution import choose_execution
from resnetkit.types import UserError

WHERE = "resnetkit finetune"
TIMED_PASSES = 3


def finetuning_defaults(network: str = "resnet18-slim") -> Experiment:
    """What the rule starts from; `network` names that of the weights."""
    return Experiment(
        recipe="finetune",
        model=ModelConfig(name=network),
        data=DataConfig(normalization="weights"),
        finetuning=FinetuneConfig(),
    )


def decide(
    package: ModelPackage, given: Mapping[str, Any], progress: Progress
) -> tuple[Experiment, tuple[str, ...]]:
    """The complete experiment, the `given` settings as they are, and the reasons for the others.

    Raises UserError for data, weights or settings that do not go together.
    """
    refuse_network_settings(given)
    given = {**given, **settle_probe(package, given)}
    defaults = finetuning_defaults(network_name(package))
    asked = apply_settings(defaults, given, WHERE)
    config = with_shots_seed(asked.data, asked.training.seed)
    facts = read_facts(config, asked.execution.device, progress)
    backbone = describe_backbone(package.model, package.contract.crop[0])
    choice = choose_settings(facts, backbone, given)
    minutes = asked.training.time_budget_minutes
    if minutes is not None:
        choice = fit_budget(choice, time_steps(package, choice, asked), minutes)
    refuse_idle(choice.given, choice.all_settings)
    return apply_settings(defaults, choice.all_settings, WHERE), choice.reasons


def refuse_network_settings(given: Mapping[str, Any]) -> None:
    """UserError for settings of the network, which is that of the weights."""
    for name in given:
        if name.startswith("model."):
            remedy = "leave it out"
            if name in ("model.head", "model.head_hidden", "model.dropout"):
                remedy = f"set finetuning.{name.removeprefix('model.')}"
            raise UserError(
                f"{name} has no effect: the network is that of the weights. {remedy.capitalize()}, "
                "or train one from scratch with `resnetkit train`"
            )


def settle_probe(package: ModelPackage, given: Mapping[str, Any]) -> dict[str, Any]:
    """Steps for the head where it is kept and cannot be solved for; UserError for settings of it.

    Only a linear head can be solved for. A kept head keeps its dropout too.
    """
    classes = given.get("finetuning.classes", "fresh")
    if classes == "fresh":
        return {}
    if given.get("finetuning.dropout"):
        raise UserError(
            f"finetuning.dropout has no effect with finetuning.classes {classes}, which keeps the "
            "head of the package as it is: leave it out, or choose classes fresh"
        )
    kind = package.architecture.head.kind
    if kind == "linear":
        return {}
    if given.get("finetuning.probe") == "lbfgs":
        raise UserError(
            f"finetuning.probe lbfgs fits a linear head, and that of the package is {kind}: choose "
            "probe sgd, or finetuning.classes fresh"
        )
    strategy = given.get("finetuning.strategy", "auto")
    return {"finetuning.probe": "sgd"} if strategy in ("auto", *WITH_PROBE) else {}


def network_name(package: ModelPackage) -> str:
    """The zoo's name of a package's network, as far as it says one."""
    said = package.provenance.get("experiment", {}).get("model", {}).get("name")
    said = said or package.provenance.get("imported", {}).get("network")
    return said if said in MODELS else "custom"


def time_steps(package: ModelPackage, choice: Choice, asked: Experiment) -> StepTimes:
    """What a training step and a forward pass take here, at the size and batch of `choice`."""
    known = choice.all_settings
    size, batch = known["data.image_size"], known["data.batch_size"]
    device = pick_device(asked.execution.device)
    model = package.model.to(device)
    images = torch.zeros(batch, package.contract.channels, size, size, device=device)
    best = choose_execution(model, asked.execution, images, package.contract.num_classes, 0)[0]
    seconds = []
    with torch.inference_mode():
        for _ in range(TIMED_PASSES):
            start = time.perf_counter()
            float(model(images).sum())  # waits for a GPU
            seconds.append(time.perf_counter() - start)
    return StepTimes(
        image_size=size, batch_size=batch, training=best.seconds, features=min(seconds)
    )


def build_network(
    package: ModelPackage,
    experiment: Experiment,
    data: TrainingData,
    continuation: Continuation | None,
) -> Network:
    """A copy of the network of `package` with a head for the classes of `data`, on the device."""
    config, seed = experiment.finetuning, experiment.training.seed
    assert config is not None
    network: Any = copy.deepcopy(package.model)
    if continuation is None:
        head = HeadConfig(kind=config.head, hidden=config.head_hidden)
        replace_head(network, data.contract.num_classes, head, config.dropout, seed)
    else:
        extend_classes(network, continuation.classes, seed)
    return network.to(pick_device(experiment.execution.device))


def make_plan(network: Network, experiment: Experiment, steps_per_epoch: int) -> Plan:
    """The plan of `experiment` as `network` can carry it out; UserError where it cannot."""
    config, training = experiment.finetuning, experiment.training
    assert config is not None
    epochs = training.epochs
    if epochs is None:
        assert training.steps is not None
        epochs = training.steps / steps_per_epoch
    plan = settle_plan(network, build_plan(tuple(network.parts()), config, epochs), config)
    refuse_muon(network, plan, experiment.optimizer)
    return plan


def with_plain_execution(experiment: Experiment) -> Experiment:
    """`experiment` with what it leaves open about execution decided without a measurement."""
    execution = experiment.execution
    chosen = {"precision": "float32", "memory_order": "channels_last", "compile": "no"}
    left_open = {
        name: value for name, value in chosen.items() if getattr(execution, name) == "auto"
    }
    return replace(experiment, execution=replace(execution, **left_open))
