"""From an Experiment to the objects that training and judging work with."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Collection
from dataclasses import replace

from torch import Tensor, nn

from resnetkit.config import flatten, to_dict
from resnetkit.data.augment import prepare_batch, shrink
from resnetkit.data.contract import InputContract, normalise
from resnetkit.data.dataset import TrainingData
from resnetkit.data.draws import Draws
from resnetkit.data.loader import Loader, LoaderConfig
from resnetkit.data.settings import DataConfig
from resnetkit.data.sources import Split, refuse_single_class
from resnetkit.evaluation.evaluate import SCORES, evaluate, task_metrics
from resnetkit.experiment import FREE_ON_RESUME, Experiment
from resnetkit.optim.ema import WeightAverage
from resnetkit.optim.optimizers import RateOf, build_optimizer
from resnetkit.runtime import pick_device
from resnetkit.training.execution import arrange, prepare_network
from resnetkit.training.loss import build_loss, refuse_absent_classes, settle_loss
from resnetkit.training.plan import count_steps
from resnetkit.training.state import Progress, TrainingState
from resnetkit.training.trainer import Batches, TrainingTask
from resnetkit.types import Batch, UserError

MOST_WORKERS = 8


def with_workers(config: DataConfig) -> DataConfig:
    """`config` with its worker count decided: one per core we may use, where images are read."""
    if config.workers is not None or config.storage not in ("files", "packed"):
        return config
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return replace(config, workers=min(MOST_WORKERS, cores or 1))


def settle_choices(experiment: Experiment, data: TrainingData) -> Experiment:
    """`experiment` with what follows from its data decided: input, storage, workers, loss.

    Raises UserError for a single class, and for a loss that the labels do not allow.
    """
    contract = data.contract
    if contract.task == "single-label":
        refuse_single_class(contract.class_names, experiment.data.source)
    training = settle_loss(experiment.training, contract.task)
    refuse_absent_classes(training, contract.task, data.train.labels, contract.class_names)
    return replace(experiment, data=with_workers(data.config), training=training)


def build_loader(
    experiment: Experiment, split: Split, contract: InputContract, *, shuffle: bool
) -> Loader:
    """Batches of `split`: shuffled and cropped for training, in order for judging."""
    config = LoaderConfig(
        batch_size=experiment.data.batch_size,
        workers=experiment.data.workers or 0,
        seed=experiment.training.seed,
        shuffle=shuffle,
        sampling=experiment.data.sampling,
        resized_crop_scale=experiment.augment.resized_crop_scale if shuffle else None,
    )
    return Loader(split, contract, config)


def build_preparation(
    experiment: Experiment, contract: InputContract, batches: Loader
) -> Callable[[Batch, int], tuple[Tensor, Tensor]]:
    """The function that turns a batch into what the network learns from: images and targets.

    Three images for each target where the loss compares views, see `prepare_batch`.
    """
    augment, seed = experiment.augment, experiment.training.seed
    device = pick_device(experiment.execution.device)
    views = experiment.training.jensen_shannon > 0
    steps = count_steps(experiment.training, batches.steps_per_epoch)
    early_epochs = (augment.early_share or 0.0) * steps / batches.steps_per_epoch

    def prepare(batch: Batch, epoch: int) -> tuple[Tensor, Tensor]:
        draws = Draws(seed, epoch, batch.indices, device)
        moved, crop = batch.to(device), not batches.crops_in_worker
        images, targets = prepare_batch(moved, draws, augment, contract, crop=crop, views=views)
        if augment.early_size is not None and epoch < early_epochs:
            images = shrink(images, augment.early_size)
        return arrange(images, experiment.execution), targets

    return prepare


def build_predict(model: nn.Module, contract: InputContract) -> Callable[[Batch], Tensor]:
    """The function from a batch to logits float32 [N,K] that all judging goes through."""
    device = next(model.parameters()).device
    model.eval()
    return lambda batch: model(normalise(batch.to(device).images, contract))


def build_validation(
    experiment: Experiment, data: TrainingData, model: nn.Module
) -> Callable[[dict[str, Tensor]], tuple[float, float]] | None:
    """The function that judges weights on the validation images: loss and score (`SCORES`).

    None without such images. It works on a copy of the network in plain float32, as the finished
    package will.
    """
    if data.validation is None:
        return None
    judge = copy.deepcopy(model)
    batches = build_loader(experiment, data.validation, data.contract, shuffle=False)
    return judge_by(judge, build_predict(judge, data.contract), batches, data.contract)


def judge_by(
    judge: nn.Module,
    predict: Callable[[Batch], Tensor],
    batches: Batches,
    contract: InputContract,
) -> Callable[[dict[str, Tensor]], tuple[float, float]]:
    """The function that puts weights into `judge`, has it `predict` and gives loss and score."""

    def validate(weights: dict[str, Tensor]) -> tuple[float, float]:
        judge.load_state_dict(weights)
        logits, labels, _ = evaluate(predict, batches.batches(0))
        names, task = contract.class_names, contract.task
        metrics = task_metrics(logits, labels, names, task, resamples=0)
        return metrics.loss, metrics.score

    return validate


def refuse_choice_without_validation(experiment: Experiment, data: TrainingData) -> None:
    """UserError when the settings ask for the best weights and nothing can tell which they are."""
    if data.validation is None and experiment.training.keep == "best":
        raise UserError(
            f"training.keep best needs validation images, and {experiment.data.source} was left "
            "none: raise data.validation_fraction, or set --training.keep last"
        )


def build_state(
    experiment: Experiment,
    model: nn.Module,
    batches: Batches,
    rate_of: RateOf | None = None,
    undecayed: Collection[str] = (),
) -> TrainingState:
    """The state training starts from; the last two are for `build_optimizer`."""
    decay = experiment.training.ema_decay
    return TrainingState(
        model=model,
        optimizer=build_optimizer(model, experiment.optimizer, rate_of, undecayed),
        average=None if decay is None else WeightAverage(model, decay),
        progress=Progress(total_steps=count_steps(experiment.training, batches.steps_per_epoch)),
    )


def build_task(
    experiment: Experiment,
    data: TrainingData,
    model: nn.Module,
    batches: Loader,
    save: Callable[[TrainingState], object],
    stop_requested: Callable[[], bool],
) -> TrainingTask:
    """All that `fit` needs and does not change."""
    contract = data.contract
    return TrainingTask(
        config=experiment.training,
        schedule=experiment.schedule,
        execution=experiment.execution,
        learning_rate=experiment.optimizer.learning_rate,
        batches=batches,
        forward=prepare_network(model, experiment.execution),
        loss=build_loss(
            experiment.training,
            contract.task,
            data.train.labels,
            contract.num_classes,
            pick_device(experiment.execution.device),
        ),
        prepare=build_preparation(experiment, contract, batches),
        validate=build_validation(experiment, data, model),
        score_name=SCORES[contract.task],
        enter_training=model.train,
        penalty=None,
        save=save,
        stop_requested=stop_requested,
    )


def identify(experiment: Experiment, data: TrainingData) -> dict[str, object]:
    """What a checkpoint must have in common with the run that continues it."""
    settings = flatten(to_dict(experiment))
    kept = {key: value for key, value in settings.items() if key not in FREE_ON_RESUME}
    return {**kept, "data": data.digest, "input contract": data.contract.hash}
