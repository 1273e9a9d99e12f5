"""Annotation files by themselves, apart from the pictures they are of: VOC's XML, COCO's JSON.

Both are read by what reads them as sources; here, too, XML that declares entities is refused.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from resnetkit.data.formats.coco import annotation_files
from resnetkit.data.formats.coco_json import read_annotation
from resnetkit.data.formats.folder import EXTENSIONS
from resnetkit.data.formats.listing import ending
from resnetkit.data.formats.voc import read_marked
from resnetkit.types import UserError

Corners = tuple[float, float, float, float]  # left, top, right, bottom in pixels from 0


@dataclass(frozen=True, kw_only=True)
class MarkedPicture:
    """What an annotation says of one picture: its possible names, its size, the objects in it.

    `names` have no ending, the likeliest comes first. An object is a class and its corners, NaN of
    one without a box; a crowd is none, since its box is no object's.
    """

    where: str  # what messages call it
    names: tuple[str, ...]
    size: tuple[float, float]  # width, height; 0 where not said
    objects: tuple[tuple[str, Corners], ...]


def read_box_files(location: Path) -> list[MarkedPicture]:
    """All that is marked in a folder of VOC XML files at any depth, or in COCO JSON.

    `location` may also be one such file. Raises UserError where there is neither, and for every
    file that is broken or no annotation.
    """
    if not location.exists():
        raise UserError(
            f"{location}: there is no such file or folder; boxes are a folder of Pascal VOC XML "
            "files, or COCO JSON."
        )
    if location.is_file():
        return list(_read_file(location))
    xml = sorted(path for path in location.rglob("*.xml") if not _hidden(path, location))
    if xml:
        return [_read_voc(path, path.relative_to(location)) for path in xml]
    found = list(annotation_files(location)) or sorted(location.glob("*.json"))
    if not found:
        raise UserError(
            f"{location}: there are no boxes here; needed are Pascal VOC XML files, one for each "
            "picture, or COCO JSON (instances_*.json)."
        )
    return [picture for path in found for picture in _read_coco(path)]


def _read_file(path: Path) -> Iterator[MarkedPicture]:
    kind = path.suffix.lower()
    if kind == ".xml":
        yield _read_voc(path, Path(path.name))
    elif kind == ".json":
        yield from _read_coco(path)
    else:
        raise UserError(
            f"{path}: boxes are read from .xml (Pascal VOC) and .json (COCO), got a file ending in "
            f"{path.suffix!r}; export them in one of these formats."
        )


def _hidden(path: Path, folder: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(folder).parts)


def _read_voc(path: Path, below: Path) -> MarkedPicture:
    marked = read_marked(path)
    named = [without_ending(marked.file_name)] if marked.file_name else []
    corners = [(item.name, _four(item.box)) for item in marked.objects]
    return MarkedPicture(
        where=str(path),
        names=tuple(dict.fromkeys([below.with_suffix("").as_posix(), *named])),
        size=marked.size,
        objects=tuple(corners),
    )


def _read_coco(path: Path) -> Iterator[MarkedPicture]:
    annotation = read_annotation(path)
    order = np.argsort(annotation.pictures, kind="stable")
    starts = np.searchsorted(annotation.pictures[order], np.arange(len(annotation.file_names) + 1))
    for number, name in enumerate(annotation.file_names):
        rows = order[starts[number] : starts[number + 1]]
        width, height = annotation.sizes[number].tolist()
        yield MarkedPicture(
            where=f"{path} ({name})",
            names=(without_ending(name),),
            size=(width, height),
            objects=tuple(
                (annotation.class_names[annotation.classes[row]], _four(annotation.boxes[row]))
                for row in rows.tolist()
                if not annotation.crowds[row]
            ),
        )


def _four(box: tuple[float, ...] | np.ndarray) -> Corners:
    left, top, right, bottom = (float(edge) for edge in box)
    return left, top, right, bottom


def without_ending(name: str) -> str:
    """A picture's name without the ending of its format; any other dot belongs to the name."""
    return name[: -len(ending(name))] if ending(name) in EXTENSIONS else name


def is_box(corners: Corners) -> bool:
    """Whether these are a box at all: four numbers, right of left and below top."""
    left, top, right, bottom = corners
    return not math.isnan(left + top + right + bottom) and right > left and bottom > top
