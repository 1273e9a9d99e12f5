"""What may be read for a package and written beside it: a split as it was cut, a place outside."""

from __future__ import annotations

import warnings
from pathlib import Path

from resnetkit.data.dataset import Progress, load_evaluation_split
from resnetkit.data.opening import DescribedSource
from resnetkit.data.past import find_dealings
from resnetkit.data.seen import SeenWarning
from resnetkit.data.source_types import Split
from resnetkit.experiment import recorded_past
from resnetkit.export.package import ModelPackage, load_seen
from resnetkit.types import UserError


def load_package_split(
    package_folder: Path,
    package: ModelPackage,
    asked: DescribedSource,
    split: str,
    progress: Progress,
) -> Split:
    """One split of a source for a package, cut as the package's own training cut it.

    Where that is what it was trained on, no warning says so: it is asked for. Raises UserError as
    `load_evaluation_split` does.
    """
    with warnings.catch_warnings():
        if split in ("train", "all"):
            warnings.simplefilter("ignore", SeenWarning)
        seen = load_seen(package_folder)
        past = recorded_past(package.provenance, package.contract, seen, str(package_folder))
        dealings = find_dealings(past, asked, split)
        return load_evaluation_split(
            dealings, split, past, progress, some_classes=asked.some_classes
        )


def refuse_inside_package(package_folder: Path, out: Path) -> None:
    """UserError where `out` lies in the package: it is sealed, and a new file would break it."""
    package = package_folder.resolve()
    if out.expanduser().resolve().is_relative_to(package):
        raise UserError(
            f"{out}: this lies in the package {package_folder}, which is sealed; give a place "
            "outside of it"
        )
