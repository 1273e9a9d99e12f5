"""Where Pascal VOC keeps things: which annotation belongs to which split and which image."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from resnetkit.data.formats.listing import listed
from resnetkit.data.formats.text_files import read_lines
from resnetkit.data.source_types import SPLIT_ALIASES, SPLIT_NAMES
from resnetkit.types import UserError

ANNOTATIONS = ("Annotations", "annotations")
IMAGES = ("JPEGImages", "images", "Images")
SETS = Path("ImageSets", "Main")


@dataclass(frozen=True, kw_only=True)
class VocPart:
    """One split: its annotation files in order, and the folder that its images lie below."""

    annotations: tuple[Path, ...]
    images: Path


def find_annotations(folder: Path) -> Path | None:
    """The folder of XML files in `folder`: named as VOC does, or itself with images beside them."""
    for place in (*(folder / name for name in ANNOTATIONS), folder):
        if any(place.glob("*.xml")):
            return place
    return None


def find_parts(root: Path) -> dict[str, VocPart]:
    """Each split that `root` has annotations of; only names are looked at.

    By ImageSets/Main/{train,val,trainval,test}.txt; else by folders train/ val/ test/ that each
    hold annotations; else all is training. VOCdevkit/ stands for the one year in it.
    """
    root = _only_year(root)
    folders = {
        SPLIT_ALIASES[path.name.lower()]: path
        for path in sorted(path for path in root.iterdir() if path.is_dir())
        if path.name.lower() in SPLIT_ALIASES and find_annotations(path)
    }
    if folders:
        parts = {name: _whole(folder) for name, folder in folders.items()}
    elif (root / SETS).is_dir():
        parts = _parts_of_sets(root)
    else:
        parts = {"train": _whole(root)}
    return {name: parts[name] for name in SPLIT_NAMES if name in parts}


def _only_year(root: Path) -> Path:
    if find_annotations(root) or (root / SETS).is_dir():
        return root
    years = sorted(path for path in root.glob("VOC*") if find_annotations(path))
    if len(years) > 1:
        raise UserError(
            f"{root}: it holds {listed([path.name for path in years])}; name the one to use."
        )
    return years[0] if years else root


def _whole(folder: Path) -> VocPart:
    place = find_annotations(folder)
    if place is None:
        raise UserError(
            f"{folder}: there are no annotations; needed are XML files in {ANNOTATIONS[0]}/ and "
            f"images in {IMAGES[0]}/ or images/."
        )
    return VocPart(annotations=tuple(sorted(place.glob("*.xml"))), images=_image_folder(folder))


def _image_folder(folder: Path) -> Path:
    places = (folder / name for name in IMAGES)
    return next((place for place in places if place.is_dir()), folder)


def _parts_of_sets(root: Path) -> dict[str, VocPart]:
    names = {"train": "train", "val": "val", "test": "test"}
    if not (root / SETS / "train.txt").is_file():
        names["train"] = "trainval"
    lists = {split: root / SETS / f"{name}.txt" for split, name in names.items()}
    parts = {split: _listed_part(root, path) for split, path in lists.items() if path.is_file()}
    # VOC 2012 lists test images whose annotations were never published.
    found = {
        split: part
        for split, part in parts.items()
        if split != "test" or any(path.is_file() for path in part.annotations)
    }
    if found:
        return found
    raise UserError(
        f"{root / SETS}: needed is train.txt or trainval.txt with one image id on each line."
    )


def _listed_part(root: Path, path: Path) -> VocPart:
    place = find_annotations(root) or root / ANNOTATIONS[0]
    seen: dict[str, int] = {}
    for number, line in read_lines(path):
        if not line or "/" in line or "\0" in line:
            raise UserError(f"{path}, line {number}: needed is an image id; got {line!r}.")
        if line in seen:
            raise UserError(
                f"{path}: {line!r} is on line {seen[line]} and on line {number}; remove one of "
                "them."
            )
        seen[line] = number
    return VocPart(
        annotations=tuple(place / f"{name}.xml" for name in seen), images=_image_folder(root)
    )
