"""The images a package is judged on: cut as its training cut them, and none that it has seen."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from resnetkit.build import build_loader, with_workers
from resnetkit.data.contract import InputContract
from resnetkit.data.dataset import Progress, load_evaluation_split
from resnetkit.data.loader import Loader
from resnetkit.data.opening import DescribedSource
from resnetkit.data.past import find_dealings
from resnetkit.data.sources import Split
from resnetkit.experiment import recorded_experiment, recorded_past
from resnetkit.export.package import ModelPackage, load_seen
from resnetkit.training.observers import ReadingBar


def load_unseen(
    folder: Path,
    package: ModelPackage,
    asked: DescribedSource,
    split: str,
    console: Console | None = None,
    *,
    strictly: bool = False,
) -> tuple[Split, Loader]:
    """The split `split` of a source for the package at `folder`, and its batches in order.

    Of "train" and "all" a warning says how many images training has seen; with `strictly` they are
    refused, as they are of any other split. Raises UserError as `load_evaluation_split` does.
    """
    past = recorded_past(package.provenance, package.contract, load_seen(folder), str(folder))
    with ReadingBar(console or Console(stderr=True, quiet=True)) as bar:
        dealings, some = find_dealings(past, asked, split), asked.some_classes
        images = load_evaluation_split(
            dealings, split, past, bar, some_classes=some, strictly=strictly
        )
    return images, load_in_order(folder, package, images, package.contract)


def load_in_order(
    folder: Path, package: ModelPackage, images: Split, geometry: InputContract
) -> Loader:
    """Batches of `images` in order, read as `geometry` says; with this machine's workers."""
    experiment = recorded_experiment(package.provenance, str(folder))
    # The worker count is the training machine's; this one has its own.
    experiment = replace(experiment, data=with_workers(replace(experiment.data, workers=None)))
    return build_loader(experiment, images, geometry, shuffle=False)


def load_as(
    folder: Path,
    package: ModelPackage,
    asked: tuple[DescribedSource, str],
    geometry: InputContract,
    progress: Progress,
) -> Loader:
    """The images of `load_unseen` (source and split `asked`), read anew as `geometry` says.

    They are the package's, with another size: what is to be warned of has been said of them.
    """
    source, split = asked
    past = recorded_past(package.provenance, geometry, None, str(folder))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        images = load_evaluation_split(
            find_dealings(past, source, split),
            split,
            past,
            progress,
            some_classes=source.some_classes,
        )
    return load_in_order(folder, package, images, geometry)
