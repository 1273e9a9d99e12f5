"""What may be read for a package and written beside it: a split as it was cut, a place outside."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

from resnetkit.build import build_loader, with_workers
from resnetkit.data.contract import InputContract
from resnetkit.data.dataset import Progress, load_evaluation_split
from resnetkit.data.loader import Loader
from resnetkit.data.opening import DescribedSource
from resnetkit.data.past import find_dealings
from resnetkit.data.seen import SeenWarning
from resnetkit.data.source_types import Split
from resnetkit.experiment import recorded_experiment, recorded_past
from resnetkit.export.package import ModelPackage, load_seen
from resnetkit.types import UserError


def load_unseen(
    folder: Path,
    package: ModelPackage,
    asked: DescribedSource,
    split: str,
    progress: Progress,
    *,
    strictly: bool = False,
) -> Split:
    """The split of a source that the package at `folder` is judged on, cut as its training cut it.

    Of "train" and "all" a warning says how many images training has seen; with `strictly` they are
    refused, as they are of any other split. Raises UserError as `load_evaluation_split` does.
    """
    past = recorded_past(package.provenance, package.contract, load_seen(folder), str(folder))
    return load_evaluation_split(
        find_dealings(past, asked, split),
        split,
        past,
        progress,
        some_classes=asked.some_classes,
        strictly=strictly,
    )


def load_package_split(
    folder: Path, package: ModelPackage, asked: DescribedSource, split: str, progress: Progress
) -> Split:
    """As `load_unseen`, for what is not to be judged: training images are no reason to warn."""
    with warnings.catch_warnings():
        if split in ("train", "all"):
            warnings.simplefilter("ignore", SeenWarning)
        return load_unseen(folder, package, asked, split, progress)


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


def refuse_inside_package(package_folder: Path, out: Path) -> None:
    """UserError where `out` lies in the package: it is sealed, and a new file would break it."""
    package = package_folder.resolve()
    if out.expanduser().resolve().is_relative_to(package):
        raise UserError(
            f"{out}: this lies in the package {package_folder}, which is sealed; give a place "
            "outside of it"
        )
