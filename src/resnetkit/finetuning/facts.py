"""What the rule decides by: facts of the images at hand and of the weights to start from."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace

import numpy as np
from torch import nn

from resnetkit.data.balance import class_counts
from resnetkit.data.content import Progress
from resnetkit.data.opening import open_source, refuse_untrainable
from resnetkit.data.settings import DataConfig
from resnetkit.data.shots import take_shots
from resnetkit.data.soundness import WHOLE_CHECK
from resnetkit.data.splits import cut_source
from resnetkit.data.transforms import image_sizes
from resnetkit.finetuning.plan import BATCH_NORM, layers_of
from resnetkit.models.lenet import LeNet
from resnetkit.runtime import pick_device
from resnetkit.types import Task, UserError


@dataclass(frozen=True, kw_only=True)
class DataFacts:
    """What there is to learn from.

    `images` may be divided between training and validation, unless the source brings
    `validation_images` of its own: then all of them train. Sizes are medians in pixels.
    """

    images: int
    classes: int
    smallest_class: int  # images of the rarest class; of several labels it may be 0
    largest_class: int
    validation_images: int
    height: int
    width: int
    grey: bool
    task: Task
    accelerator: bool  # a GPU of any kind
    cores: int

    def __post_init__(self) -> None:
        counts = (self.images, self.classes, self.height, self.width, self.cores)
        assert min(counts) >= 1, self

    @property
    def per_class(self) -> float:
        """Images for each class, on average."""
        return self.images / self.classes

    @property
    def side(self) -> int:
        """The shorter side in pixels."""
        return min(self.height, self.width)


@dataclass(frozen=True, kw_only=True)
class Backbone:
    """The weights to start from: the input side they were trained at, and what they consist of."""

    image_size: int
    parameters: int
    any_size: bool = True  # whether the network takes other input sizes too
    batch_norm: bool = True  # whether it has layers with statistics of batches


def read_facts(config: DataConfig, device: str, progress: Progress) -> DataFacts:
    """The facts of the images that `config` would train and validate with, from their headers.

    `device` is as in `execution.device`; a shots seed is decided already, see `with_shots_seed`.
    Raises UserError as opening the source does, when a class has fewer images than shots, and when
    no image has a readable header.
    """
    opened = open_source(config, ("train", "val"), progress)
    refuse_untrainable(config, opened)
    source = opened.source
    of_shots = config.shots is not None and config.shots_validation == "shots"
    own = ("val" in source.splits and not of_shots) or config.shots_validation == "as-is"
    fraction = config.validation_fraction if own else 0.0  # what is held out is still to be decided
    splits = cut_source(source, fraction, config.test_fraction, config.split_seed)
    if config.shots is not None:
        splits = take_shots(source, splits, replace(config, validation_fraction=fraction))
    train = splits["train"]
    headers = image_sizes(train, WHOLE_CHECK)
    if not headers:
        raise UserError(
            f"{source.location}: not one of the {len(train)} images to train on has a readable "
            "header; see what these files are with `resnetkit data check`"
        )
    counts = class_counts(train.labels, len(source.class_names))
    affinity = hasattr(os, "sched_getaffinity")
    return DataFacts(
        images=len(train),
        classes=len(source.class_names),
        smallest_class=int(counts.min()),
        largest_class=int(counts.max()),
        validation_images=len(splits["val"]) if own else 0,
        height=int(np.median([height for height, _, _ in headers])),
        width=int(np.median([width for _, width, _ in headers])),
        grey=all(mode in ("L", "1", "I;16", "LA") for _, _, mode in headers),
        task=source.task,
        accelerator=pick_device(device).type != "cpu",
        cores=len(os.sched_getaffinity(0)) if affinity else os.cpu_count() or 1,
    )


def describe_backbone(network: nn.Module, image_size: int) -> Backbone:
    """The facts of a trained `network` whose contract says `image_size`."""
    return Backbone(
        image_size=image_size,
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        any_size=not isinstance(network, LeNet),
        batch_norm=bool(layers_of((network,), BATCH_NORM)),
    )
