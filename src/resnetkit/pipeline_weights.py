"""Weights from elsewhere, as a function a person can call: `import_weights`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from resnetkit.data.sources import refuse_inside
from resnetkit.experiment import refuse_unwritable
from resnetkit.export.imported import generated_images, package_foreign, read_class_names
from resnetkit.export.package import ModelPackage, golden_outputs, save_package
from resnetkit.models.weights.foreign import ForeignWeights
from resnetkit.models.weights.reading import read_source
from resnetkit.types import UserError


@dataclass(frozen=True, kw_only=True, eq=False)
class ImportedWeights:
    """Where the package of imported weights lies, and what became of the source's entries."""

    folder: Path
    package: ModelPackage
    foreign: ForeignWeights
    source: Path  # the file that was read
    sha256: str  # of its bytes, hex


def import_weights(
    location: str,
    out: Path,
    *,
    model: str | None = None,
    classes: str | None = None,
    mean: Path | None = None,
) -> ImportedWeights:
    """Read the weights at `location` and keep them as a model package at `out`.

    `location` is a file, a folder of Hugging Face, or a name such as "torchvision:resnet50"; see
    `read_source` for `model` and `mean`, `read_class_names` for `classes`. Nothing is written
    unless everything fits. Raises UserError for weights that cannot be read or do not fit, and for
    an `out` that is not free.
    """
    refuse_taken(out)
    refuse_inside(location, out)
    class_names = None if classes is None else read_class_names(classes)
    source = read_source(location, model, mean=mean)
    package = package_foreign(source.foreign, class_names, file=source.path, sha256=source.sha256)
    golden = golden_outputs(package, generated_images(package.contract))
    save_package(out, package, golden=golden)
    return ImportedWeights(
        folder=out,
        package=package,
        foreign=source.foreign,
        source=source.path,
        sha256=source.sha256,
    )


def refuse_taken(out: Path) -> None:
    """UserError unless `out` is, or can become, an empty folder."""
    refuse_unwritable(out)
    if out.exists() and any(out.iterdir()):
        raise UserError(
            f"--out {out}: this folder is not empty; nothing is overwritten. Give another, or "
            "delete it first"
        )
