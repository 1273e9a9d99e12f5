"""What the frozen parts of a phase give, computed once: to solve for the head, or to train on."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from rich.console import Console
from torch import Tensor

from resnetkit.build import judge_by
from resnetkit.data.augment import AugmentConfig, to_targets
from resnetkit.data.dataset import TrainingData
from resnetkit.data.loader import LoaderConfig
from resnetkit.experiment import Experiment
from resnetkit.finetuning.feature_batches import (
    FeatureBatches,
    FromPart,
    build_feature_predict,
    build_feature_preparation,
)
from resnetkit.finetuning.feature_cache import (
    FeatureCache,
    ViewChoice,
    choose_views,
    compute_features,
)
from resnetkit.finetuning.feature_store import FeatureStore
from resnetkit.finetuning.features import FeatureRequest, feature_shape, why_not_cacheable
from resnetkit.finetuning.plan import Phase, Plan, lowest_trained_part
from resnetkit.finetuning.probe import Probe, fit_probe, probe_objective
from resnetkit.finetuning.settings import FinetuneConfig
from resnetkit.models.zoo import Network
from resnetkit.runtime import write_file_atomically
from resnetkit.training.execution import prepare_network
from resnetkit.training.observers import ReadingBar
from resnetkit.training.trainer import TrainingTask
from resnetkit.types import Interrupted, UserError

VIEWS_FILE = "features.json"  # beside a phase's checkpoints
# What no single image has: a feature could only be computed without it.
UNMIXED = {"mixup_alpha": 0.0, "cutmix_alpha": 0.0, "early_size": None, "early_share": None}


@dataclass(frozen=True, kw_only=True)
class PhaseFeatures:
    """What enters `part` of all training images, and of the validation images where there are."""

    part: str
    train: FeatureStore
    validation: FeatureStore | None


@dataclass(frozen=True, kw_only=True)
class PhasePlace:
    """Where a phase keeps what it decided, whom it tells, and whether it shall stop."""

    folder: Path
    console: Console
    stop_requested: Callable[[], bool]


def refuse_uncacheable(
    experiment: Experiment, plan: Plan, data: TrainingData, model: Network
) -> None:
    """UserError where finetuning.cache yes asks for what a phase cannot do, or has no room for."""
    if _config(experiment).cache == "yes":
        for phase in plan.phases:
            if phase.solver == "gradient" and lowest_trained_part(phase) != "stem":
                _choose_views(_request(experiment, data, phase), experiment, model, phase)


def find_features(
    experiment: Experiment, data: TrainingData, model: Network, phase: Phase, place: PhasePlace
) -> PhaseFeatures | None:
    """The features that `phase` works on; None where it works on images.

    What was decided by the room there was is kept in the phase's folder: resumed, it decides the
    same. Raises UserError where features are needed that cannot be had.
    """
    config = _config(experiment)
    request = _request(experiment, data, phase)
    if phase.solver == "lbfgs":
        found = _compute_all(model, _as_probed(request, experiment, config), data, config, place)
        if found is None:
            raise _no_room("finetuning.probe lbfgs", config, "--finetuning.probe sgd")
        return found
    if config.cache == "no" or request.part == "stem":
        return None
    kept = _load_views(place.folder)
    views, found = kept, None
    if views is None:
        choice = _choose_views(request, experiment, model, phase)
        views = choice.views
        if views:
            told = f"Features {phase.name}: {choice.reason}"
            place.console.print(told, highlight=False, soft_wrap=True)
    if views:
        seed = experiment.training.seed
        request = replace(request, augment=experiment.augment, seed=seed, views=views)
        found = _compute_all(model, request, data, config, place)
        if found is None and (kept or config.cache == "yes"):
            raise _no_room(f"phase {phase.name}", config, "another --out with finetuning.cache no")
    if kept is None:
        views = 0 if found is None else views
        write_file_atomically(place.folder / VIEWS_FILE, json.dumps({"views": views}) + "\n")
    return found


def feature_task(
    task: TrainingTask,
    experiment: Experiment,
    data: TrainingData,
    model: Network,
    features: PhaseFeatures,
) -> TrainingTask:
    """`task` with features in place of images, to train on and to validate with."""
    batches = feature_batches(experiment, data, features)
    return replace(
        task,
        batches=batches,
        forward=prepare_network(FromPart(model, features.part), experiment.execution),
        prepare=build_feature_preparation(data.contract, experiment.execution),
        validate=feature_validation(experiment, data, model, features),
    )


def feature_batches(
    experiment: Experiment, data: TrainingData, features: PhaseFeatures
) -> FeatureBatches:
    """Batches of features in the order in which the loader has the images."""
    config = LoaderConfig(
        batch_size=experiment.data.batch_size,
        workers=0,
        seed=experiment.training.seed,
        shuffle=True,
        sampling=experiment.data.sampling,
    )
    return FeatureBatches(features.train, data.train.labels, data.contract.task, config)


def feature_validation(
    experiment: Experiment, data: TrainingData, model: Network, features: PhaseFeatures
) -> Callable[[dict[str, Tensor]], tuple[float, float]] | None:
    """The function that judges weights on the features of the validation images."""
    if data.validation is None or features.validation is None:
        return None
    config = LoaderConfig(
        batch_size=experiment.data.batch_size,
        workers=0,
        seed=experiment.training.seed,
        shuffle=False,
    )
    labels, task = data.validation.labels, data.contract.task
    batches = FeatureBatches(features.validation, labels, task, config)
    judge = copy.deepcopy(model)
    return judge_by(judge, build_feature_predict(judge, features.part), batches, data.contract)


def solve_head(
    experiment: Experiment,
    data: TrainingData,
    model: Network,
    features: PhaseFeatures,
    place: PhasePlace,
) -> tuple[Probe, float]:
    """Put the best linear head for the features into `model`; also its loss on them."""
    contract, labels = data.contract, data.train.labels
    objective = probe_objective(
        experiment.training, experiment.data.sampling, contract.task, labels, contract.num_classes
    )
    pooled = features.train.pooled()
    with ReadingBar(place.console) as bar:
        tell, seed = _stoppable(bar, place), experiment.training.seed
        probe = fit_probe(pooled, labels, objective, seed=seed, progress=tell)
    probe.install(model.classifier)
    targets = to_targets(torch.from_numpy(labels), contract.num_classes)
    with torch.no_grad():
        logits = pooled[0] @ probe.weight.T + probe.bias
        return probe, float(objective(logits, targets))


def _config(experiment: Experiment) -> FinetuneConfig:
    assert experiment.finetuning is not None
    return experiment.finetuning


def _as_probed(
    request: FeatureRequest, experiment: Experiment, config: FinetuneConfig
) -> FeatureRequest:
    """For the probe: images as they are judged, or several augmented views where asked."""
    views = config.views or 1
    augment = replace(experiment.augment, **UNMIXED)
    if views == 1 or augment == AugmentConfig():
        return request
    return replace(request, augment=augment, seed=experiment.training.seed, views=views)


def _request(experiment: Experiment, data: TrainingData, phase: Phase) -> FeatureRequest:
    """For what enters the lowest part that trains, of the training images as they are judged."""
    return FeatureRequest(
        part=lowest_trained_part(phase),
        split=data.train,
        contract=data.contract,
        execution=experiment.execution,
        workers=experiment.data.workers or 0,
    )


def _choose_views(
    request: FeatureRequest, experiment: Experiment, model: Network, phase: Phase
) -> ViewChoice:
    """As many augmented views of each image as pay; UserError where some must, and none do."""
    augment, config = experiment.augment, _config(experiment)
    choice = ViewChoice(views=0, reason=why_not_cacheable(request.part, augment) or "")
    if experiment.training.jensen_shannon and not choice.reason:
        reason = "training.jensen_shannon compares three views of an image at a time"
        choice = ViewChoice(views=0, reason=reason)
    if not choice.reason:
        size = math.prod(feature_shape(model, request)) * 4
        images, free = len(request.split), FeatureCache().free_bytes()
        choice = choose_views(phase.epochs, images, size, free, augment, config.views)
    if config.cache == "yes" and not choice.views:
        raise UserError(
            f"finetuning.cache yes: phase {phase.name} cannot work on stored features, because "
            f"{choice.reason}. Change that, or leave finetuning.cache at auto"
        )
    return choice


def _no_room(what: str, config: FinetuneConfig, instead: str) -> UserError:
    places, remedy = "fit neither into the cache nor into memory", "free some disk"
    if config.cache == "no":
        places, remedy = "do not fit into memory", "leave finetuning.cache at auto"
    return UserError(
        f"{what} needs the features of all images, which {places}: {remedy}, or give {instead}"
    )


def _load_views(folder: Path) -> int | None:
    """The views that the phase began with; None before it has."""
    path = folder / VIEWS_FILE
    return int(json.loads(path.read_bytes())["views"]) if path.exists() else None


def _compute_all(
    model: Network,
    request: FeatureRequest,
    data: TrainingData,
    config: FinetuneConfig,
    place: PhasePlace,
) -> PhaseFeatures | None:
    """The features of the training images as requested, and of the validation images."""
    train = _compute(model, request, config, place)
    if train is None:
        return None
    validation = None
    if data.validation is not None:
        plain = replace(request, split=data.validation, augment=None, seed=0, views=1)
        validation = _compute(model, plain, config, place)
        if validation is None:
            return None
    return PhaseFeatures(part=request.part, train=train, validation=validation)


def _compute(
    model: Network, request: FeatureRequest, config: FinetuneConfig, place: PhasePlace
) -> FeatureStore | None:
    cache = None if config.cache == "no" else FeatureCache()
    with ReadingBar(place.console) as bar:
        return compute_features(
            model,
            request,
            cache,
            _stoppable(bar, place),
            lambda line: place.console.print(line, highlight=False, soft_wrap=True),
        )


def _stoppable(bar: ReadingBar, place: PhasePlace) -> Callable[[str, int, int], None]:
    """`bar`, which ends the work it shows once asked to stop: nothing is lost of what is stored."""

    def show(what: str, done: int, total: int) -> None:
        bar(what, done, total)
        if done < total and place.stop_requested():
            raise Interrupted(f"stopped while {what}")

    return show
