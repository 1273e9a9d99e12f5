"""Reading a SOURCE: a path of any kind we know, or a built-in name."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from resnetkit.data.formats.cifar import find_cifar, load_cifar, load_cifar10, load_cifar100
from resnetkit.data.formats.digits import load_digits
from resnetkit.data.formats.folder import EXTENSIONS, load_folder
from resnetkit.data.formats.idx import has_idx, load_fashion_mnist, load_idx, load_mnist
from resnetkit.data.formats.manifest import load_manifest
from resnetkit.data.formats.parquet import has_images, load_parquet
from resnetkit.data.source_types import SPLIT_NAMES, Source, Split
from resnetkit.types import UserError

__all__ = ["SOURCES", "Source", "Split", "load_source"]

SOURCES: dict[str, Callable[[Sequence[str]], Source]] = {
    "digits": load_digits,
    "cifar10": load_cifar10,
    "cifar100": load_cifar100,
    "mnist": load_mnist,
    "fashion-mnist": load_fashion_mnist,
}
ACCEPTED = (
    "an image folder (one folder per class, with or without train/ val/ test/), a .csv or .parquet "
    "manifest (columns path, label), a Hugging Face image-parquet file or folder, a folder with "
    f"CIFAR or IDX files, or a built-in name ({', '.join(SOURCES)})"
)


def load_source(location: str, splits: Sequence[str]) -> Source:
    """Read those of `splits` ("train", "val", "test") that `location` has, and no others.

    A built-in name comes before a path of that name ("./digits" is the path). Images stay encoded
    where they are; the image data of other splits is not opened. Raises `UserError` for whatever
    makes the source unfit: where, what was needed, what came, what to do.
    """
    assert set(splits) <= set(SPLIT_NAMES), splits
    source = SOURCES[location](splits) if location in SOURCES else _load_path(location, splits)
    _check_classes(source)
    for name, split in source.splits.items():
        if not len(split):
            raise UserError(f"{location}: the {name} split has no images; add some or remove it.")
    return source


def _load_path(location: str, splits: Sequence[str]) -> Source:
    path = Path(location).expanduser()
    if location.strip() and path.is_dir():
        return _load_directory(path, splits)
    if path.is_file():
        return _load_file(path, splits)
    near = difflib.get_close_matches(location.lower(), SOURCES, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise UserError(
        f"There is no file or folder {location!r}, and it is no built-in name.{hint} "
        f"Needed is {ACCEPTED}."
    )


def _load_directory(path: Path, splits: Sequence[str]) -> Source:
    if (path / "model.safetensors").exists() or (path / "preprocessor_config.json").exists():
        raise UserError(
            f"{path}: this is a model package, not images. Give the images it should be used on; "
            f"needed is {ACCEPTED}."
        )
    if found := find_cifar(path):
        return load_cifar(found, splits)
    if has_idx(path):
        return load_idx(path, splits)
    for folder in (path, path / "data"):  # the hub keeps a data set's files in data/
        if any(folder.glob("*.parquet")):
            return load_parquet(folder, splits)
    return load_folder(path, splits)


def _load_file(path: Path, splits: Sequence[str]) -> Source:
    if found := find_cifar(path):
        return load_cifar(found, splits)
    ending = path.suffix.lower()
    if ending == ".csv" or (ending == ".parquet" and not has_images(path)):
        return load_manifest(path, splits)
    if ending == ".parquet":
        return load_parquet(path, splits)
    what = "a single image" if ending in EXTENSIONS else "a file of a kind that is not read"
    raise UserError(f"{path}: this is {what}. Needed is {ACCEPTED}.")


def _check_classes(source: Source) -> None:
    names = source.class_names
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise UserError(
            f"{source.location}: class names must differ; {repeated[0]!r} is there twice or more."
        )
    if len(names) < 2:
        raise UserError(
            f"{source.location}: there is only one class ({', '.join(names)}); needed are two or "
            "more, each with images of its own."
        )
