"""Learning on: a package's own classes, perhaps new ones, and old images among the new."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import nn

from resnetkit.build import build_loader, build_predict
from resnetkit.data.class_map import ClassMap, reconcile_classes
from resnetkit.data.contract import InputContract, check_task
from resnetkit.data.dataset import Progress, TrainingData
from resnetkit.data.old_images import load_old_images
from resnetkit.data.opening import DescribedSource
from resnetkit.data.past import DealtSource
from resnetkit.data.replay import with_replay, without_replay
from resnetkit.data.seen import Seen
from resnetkit.data.source_types import Split
from resnetkit.evaluation.class_changes import ClassChanges
from resnetkit.evaluation.evaluate import evaluate
from resnetkit.experiment import Experiment, recorded_past
from resnetkit.export.package import ModelPackage
from resnetkit.finetuning.continual import NetworkWithContract, measure_changes


@dataclass(frozen=True, kw_only=True, eq=False)
class Continuation:
    """How the classes of package and data go together, and old images to judge both networks on.

    `judged` are of the split `judged_split`, labelled in the package's order; None without any.
    `replayed` says how the images that are replayed were dealt.
    """

    classes: ClassMap
    told: str  # what is replayed, in a line
    judged: Split | None
    judged_split: str | None
    replayed: DealtSource | None = None


def continue_classes(
    experiment: Experiment,
    package: ModelPackage,
    seen: Seen | None,
    data: TrainingData,
    progress: Progress,
) -> tuple[TrainingData, Continuation]:
    """`data` with labels in the order of the package's classes, and old images as asked.

    Raises UserError where the classes or the task do not fit, and as `load_old_images` does.
    """
    config = experiment.finetuning
    assert config is not None
    assert config.classes != "fresh"
    location = experiment.data.source
    check_task(package.contract, data.contract.task, location)
    classes = reconcile_classes(
        package.contract.class_names,
        data.contract.class_names,
        location,
        add=config.classes == "add",
        replay=config.replay is not None,
    )
    if config.replay is None:
        nothing = Continuation(classes=classes, told="", judged=None, judged_split=None)
        return without_replay(data, classes, seen), nothing
    past = recorded_past(package.provenance, package.contract, seen, location)
    old = load_old_images(DescribedSource(location=config.replay), past, progress)
    replayed = with_replay(data, [old], classes, config.replay_per_class, seen, progress)
    return replayed.data, Continuation(
        classes=classes,
        told=replayed.describe(),
        judged=replayed.judged,
        judged_split=replayed.judged_split,
        replayed=old.dealt,
    )


def compare_old_classes(
    experiment: Experiment,
    continuation: Continuation,
    before: ModelPackage,
    after: ModelPackage,
) -> ClassChanges | None:
    """What each class of the package lost or gained, on old images kept from training.

    None without such images.
    """

    def run(
        network: nn.Module, split: Split, contract: InputContract
    ) -> tuple[np.ndarray, np.ndarray]:
        batches = build_loader(experiment, split, contract, shuffle=False)
        logits, labels, _ = evaluate(build_predict(network, contract), batches.batches(0))
        return logits, labels

    sides = [
        NetworkWithContract(network=one.model, contract=one.contract) for one in (before, after)
    ]
    return measure_changes(sides[0], sides[1], continuation.judged, run)
