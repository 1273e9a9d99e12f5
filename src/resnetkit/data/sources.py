"""Reading a SOURCE: a path of any kind we know, FORMAT:PATH, or a built-in name."""

from __future__ import annotations

import difflib
import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from resnetkit.data.formats.cifar import is_cifar, load_cifar, load_cifar10, load_cifar100
from resnetkit.data.formats.coco import is_coco, load_coco, load_coco_crops
from resnetkit.data.formats.digits import load_digits
from resnetkit.data.formats.folder import EXTENSIONS, load_folder
from resnetkit.data.formats.huggingface import load_huggingface
from resnetkit.data.formats.idx import has_idx, load_fashion_mnist, load_idx, load_mnist
from resnetkit.data.formats.imagenet import is_imagenet, load_imagenet
from resnetkit.data.formats.manifest import load_manifest
from resnetkit.data.formats.open_images import is_open_images, load_open_images
from resnetkit.data.formats.parquet import has_images, is_parquet, load_parquet
from resnetkit.data.formats.voc import is_voc, load_voc, load_voc_crops
from resnetkit.data.formats.webdataset import is_webdataset, load_webdataset
from resnetkit.data.manifest_table import read_manifest_table
from resnetkit.data.source_types import SPLIT_ALIASES, SPLIT_NAMES, Source, Split
from resnetkit.types import UserError

__all__ = [
    "FORMATS",
    "PREFIXES",
    "SOURCES",
    "Source",
    "Split",
    "check_source",
    "is_image_folder",
    "is_manifest",
    "load_source",
    "place_of",
    "refuse_inside",
]

Load = Callable[[Path, Sequence[str]], Source]


class Format(NamedTuple):
    """Whether a path holds this kind of source, and what reads it."""

    recognises: Callable[[Path], bool]
    load: Load


def _is_manifest(path: Path) -> bool:
    ending = path.suffix.lower()
    table = path.is_file() and ending in (".csv", ".parquet")
    return table and (ending == ".csv" or not has_images(path))


FORMATS: dict[str, Format] = {  # in the order in which a path is tried
    "cifar": Format(is_cifar, load_cifar),
    "idx": Format(has_idx, load_idx),
    "manifest": Format(_is_manifest, load_manifest),
    "parquet": Format(is_parquet, load_parquet),
    "coco": Format(is_coco, load_coco),
    "voc": Format(is_voc, load_voc),
    "open-images": Format(is_open_images, load_open_images),
    "imagenet": Format(is_imagenet, load_imagenet),
    "webdataset": Format(is_webdataset, load_webdataset),
    "folder": Format(Path.is_dir, load_folder),
}
PREFIXES: dict[str, Load] = {  # FORMAT:PATH, where the files could be read in two ways
    "coco": load_coco,
    "coco-crops": load_coco_crops,
    "voc": load_voc,
    "voc-crops": load_voc_crops,
    "open-images": load_open_images,
    "imagenet": load_imagenet,
    "webdataset": load_webdataset,
}
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
    "CIFAR, IDX, ImageNet, COCO, Pascal VOC or Open Images as published, WebDataset archives (a "
    "folder of .tar files, one, or 'shard-{000..003}.tar'), hf:NAME[:CONFIG] for a data set on "
    f"huggingface.co, FORMAT:PATH to say how to read it ({', '.join(PREFIXES)}), or a built-in "
    f"name ({', '.join(SOURCES)})"
)


def load_source(location: str, splits: Sequence[str], *, least_classes: int = 2) -> Source:
    """Read those of `splits` ("train", "val", "test") that `location` has, and no others.

    A built-in name or a prefix comes before a path of that name ("./digits" is the path). COCO and
    VOC without a prefix are whole images with several classes each ("multi-label"); `coco-crops:`
    and `voc-crops:` cut the boxes out. Images stay encoded where they are; the image data of other
    splits is not opened. Raises `UserError` for whatever makes the source unfit: where, what was
    needed, what came, what to do.
    """
    assert set(splits) <= set(SPLIT_NAMES), splits
    prefix, colon, rest = location.partition(":")
    if location in SOURCES:
        source = SOURCES[location](splits)
    elif colon and prefix == "hf":
        source = load_huggingface(rest, splits)
    elif colon and prefix in PREFIXES:
        loaded = PREFIXES[prefix](_existing(location, rest), splits)
        source = replace(loaded, location=location)
    else:
        source = _load_path(location, splits)
    check_source(source, least_classes)
    return source


def prefix_of(location: str) -> str:
    """The format that `location` names in front of its path, or nothing."""
    prefix, colon, _ = location.partition(":")
    return prefix if colon and prefix in PREFIXES else ""


def place_of(location: str) -> Path | None:
    """The path in `location`, without its prefix; None for built-in names and the hub's.

    Of a pattern of archives, the folder that they lie in.
    """
    prefix, colon, rest = location.partition(":")
    if location in SOURCES or (colon and prefix == "hf"):
        return None
    path = Path(rest if colon and prefix in PREFIXES else location).expanduser()
    while "{" in str(path) and not path.exists():
        path = path.parent
    return path


def refuse_inside(location: str, out: Path) -> None:
    """UserError where `out` is a source, or lies in its folder: nothing is written there, ever.

    Links are followed, those to the folders of splits and classes too. A manifest is one file,
    beside which there may be others; the folders of its images are refused.
    """
    place = place_of(location)
    if place is None or not location.strip():
        return
    target = out.expanduser().resolve()
    folders = _image_folders(place) if is_manifest(location) else _linked_folders(place)
    for folder in {place.resolve(), *folders}:
        if target.is_relative_to(folder):
            raise UserError(
                f"{out}: this lies in the source {location}, which is only read; give a place "
                "outside of it"
            )


def _linked_folders(place: Path) -> list[Path]:
    """Where the links in a source's folder, and in those of its splits, lead to."""
    named = [entry for entry in _entries(place) if entry.name.lower() in SPLIT_ALIASES]
    inner = [entry for split in named for entry in _entries(Path(split.path))]
    links = [entry for entry in [*_entries(place), *inner] if entry.is_symlink() and entry.is_dir()]
    return [Path(os.path.realpath(entry.path)) for entry in links]


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError:  # no folder, or none that may be read: reading the source says so
        return []


def _image_folders(manifest: Path) -> list[Path]:
    """The folders in which a manifest's images lie, but for those that it lies in itself."""
    try:
        paths = read_manifest_table(manifest).paths
    except UserError:  # reading the source says so
        return []
    names = {path.rpartition("/")[0] for path in paths}
    folders = {Path(os.path.realpath(manifest.parent / name)) for name in names}
    own = manifest.resolve()
    return [folder for folder in folders if not own.is_relative_to(folder)]


def check_source(source: Source, least_classes: int = 2) -> None:
    """UserError unless classes are named otherwise, `least_classes` or more, and no split is empty.

    One class is enough where an image need not show it ("multi-label").
    """
    _check_classes(source)
    if source.task == "single-label" and len(source.class_names) < least_classes:
        refuse_single_class(source.class_names, source.location)
    for name, split in source.splits.items():
        if not len(split):
            raise UserError(
                f"{source.location}: the {name} split has no images; add some or remove it."
            )


def is_manifest(location: str) -> bool:
    """Whether `load_source` takes `location` for a manifest: a table of files, not of images."""
    return _find_format(location) == "manifest"


def is_image_folder(location: str) -> bool:
    """Whether `load_source` takes `location` for an image folder, be it a good one or not."""
    return _find_format(location) == "folder" and not _is_package(Path(location).expanduser())


def _find_format(location: str) -> str | None:
    """The key in `FORMATS` of what lies at a path; None for names, and for what is not known."""
    prefix, colon, _ = location.partition(":")
    if location in SOURCES or not location.strip() or (colon and prefix in ("hf", *PREFIXES)):
        return None
    path = Path(location).expanduser()
    if not path.exists() and "{" not in location:  # "{": a pattern of archives
        return None
    return next((name for name, kind in FORMATS.items() if kind.recognises(path)), None)


def _load_path(location: str, splits: Sequence[str]) -> Source:
    path = Path(location).expanduser()
    found = _find_format(location)
    if found == "folder" and _is_package(path):
        raise UserError(
            f"{path}: this is a model package, not images. Give the images it should be used on; "
            f"needed is {ACCEPTED}."
        )
    if found is not None:
        return FORMATS[found].load(path, splits)
    if location.strip() and path.is_file():
        single = path.suffix.lower() in EXTENSIONS
        what = "a single image" if single else "a file of a kind that is not read"
        raise UserError(f"{path}: this is {what}. Needed is {ACCEPTED}.")
    raise _nothing_there(location)


def _existing(location: str, text: str) -> Path:
    path = Path(text).expanduser()
    if not text.strip() or not (path.exists() or "{" in text):
        raise UserError(f"{location}: there is no file or folder {text!r}; correct the path.")
    return path


def _nothing_there(location: str) -> UserError:
    prefix, colon, rest = location.partition(":")
    near = difflib.get_close_matches(location.lower(), SOURCES, n=1)
    if colon and not near:
        closest = difflib.get_close_matches(prefix.lower(), PREFIXES, n=1)
        near = [f"{name}:{rest}" for name in closest]
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return UserError(
        f"There is no file or folder {location!r}, and it is no built-in name.{hint} "
        f"Needed is {ACCEPTED}."
    )


def _is_package(path: Path) -> bool:
    return any((path / name).exists() for name in ("model.safetensors", "preprocessor_config.json"))


def _check_classes(source: Source) -> None:
    names = source.class_names
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise UserError(
            f"{source.location}: class names must differ; {repeated[0]!r} is there twice or more."
        )


def refuse_single_class(class_names: Sequence[str], location: str) -> None:
    """UserError for a single class, which nothing can be told from."""
    if len(class_names) < 2:
        raise UserError(
            f"{location}: there is only one class ({', '.join(class_names)}); needed are two or "
            "more, each with images of its own."
        )
