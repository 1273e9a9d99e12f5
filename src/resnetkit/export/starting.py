"""What fine-tuning starts from: a package, the backbone that ships, or weights from elsewhere."""

from __future__ import annotations

from pathlib import Path

from resnetkit.data.seen import Seen
from resnetkit.export.imported import package_foreign
from resnetkit.export.package import CONFIG, CONTRACT, ModelPackage, load_package, load_seen
from resnetkit.models.weights.reading import read_source
from resnetkit.runtime import MANIFEST
from resnetkit.types import UserError

SHIPPED = "shipped"
SHIPPED_FOLDER = Path(__file__).parents[1] / "backbone"


def load_starting_package(weights: str, model: str | None = None) -> ModelPackage:
    """The package to start from: a folder of one, "shipped", or whatever `read_source` reads.

    Foreign weights are packaged in memory, without a classifier where they have none; `model` is
    a name of the zoo for those that do not tell theirs. Raises UserError as `load_package` and
    `read_source` do, and where no backbone ships with this installation.
    """
    if weights == SHIPPED:
        if not (SHIPPED_FOLDER / MANIFEST).is_file():
            raise UserError(
                f"--weights {SHIPPED}: this installation has no backbone (needed in "
                f"{SHIPPED_FOLDER}). Install resnetkit again, or give another: a package folder, a "
                "weights file, torchvision:resnet18."
            )
        return load_package(SHIPPED_FOLDER)
    folder = Path(weights).expanduser()
    if is_package(folder):
        return load_package(folder)
    source = read_source(weights, model, allow_headless=True)
    return package_foreign(source.foreign, file=source.path, sha256=source.sha256)


def load_starting_seen(weights: str) -> Seen | None:
    """The keys of the images that `weights` were trained on, where they are a package's."""
    folder = SHIPPED_FOLDER if weights == SHIPPED else Path(weights).expanduser()
    return load_seen(folder) if is_package(folder) else None


def is_package(folder: Path) -> bool:
    """Whether `folder` is, or was meant to be, a model package or a run that holds one."""
    if (folder / "package").is_dir():
        return True  # load_package says which folder to give
    return (folder / MANIFEST).is_file() and (
        (folder / CONFIG).is_file() or (folder / CONTRACT).is_file()
    )
