"""Pascal VOC annotations: pictures with all their classes, or the boxes cut out of them.

Everingham et al. 2010, "The Pascal Visual Object Classes (VOC) Challenge".
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from xml.etree.ElementTree import Element

import numpy as np

from resnetkit.data.class_names import encode_labels, sort_class_names
from resnetkit.data.columns import FileColumn, pack_texts
from resnetkit.data.formats.annotated import AnnotatedPictures, cut_crops, whole_pictures
from resnetkit.data.formats.folder import EXTENSIONS
from resnetkit.data.formats.listing import ending, images_below, listed, stem
from resnetkit.data.formats.safe_xml import parse_xml
from resnetkit.data.formats.voc_layout import (
    ANNOTATIONS,
    IMAGES,
    VocPart,
    find_annotations,
    find_parts,
)
from resnetkit.data.source_types import SPLIT_ALIASES, Source
from resnetkit.types import UserError

CORNERS = ("xmin", "ymin", "xmax", "ymax")


@dataclass(frozen=True, kw_only=True)
class MarkedObject:
    """One <object> of an annotation file."""

    name: str
    box: tuple[float, ...]  # left, top, right, bottom from 0
    difficult: bool


@dataclass(frozen=True, kw_only=True)
class Marked:
    """One annotation file: the name it gives its image, the size it says, and the objects."""

    path: Path
    file_name: str
    size: tuple[float, float]  # width, height; 0 where not said
    objects: tuple[MarkedObject, ...]


def is_voc(location: Path) -> bool:
    """Whether here, in a year's folder or in train/ val/ test/, are VOC's two kinds of folders."""
    if not location.is_dir():
        return False
    folders = [location, *location.glob("VOC*"), *(location / name for name in SPLIT_ALIASES)]
    return any(
        find_annotations(folder) not in (None, folder)
        and any((folder / name).is_dir() for name in IMAGES)
        for folder in folders
    )


def load_voc(location: Path, splits: Sequence[str]) -> Source:
    """Whole pictures, each with every class marked in it ("multi-label"), difficult ones included.

    An image belongs to the XML file of the same name, else to the one whose `filename` it is.
    Classes are the training objects' names in natural order; pictures without objects show none.
    Annotations of other splits than these and training are not read. Raises `UserError`: see the
    messages.
    """
    source, annotated = _load(location, splits)
    count = len(source.class_names)
    read = {name: whole_pictures(pictures, count) for name, pictures in annotated.items()}
    return replace(source, splits=read, task="multi-label")


def load_voc_crops(location: Path, splits: Sequence[str]) -> Source:
    """Every box as an image of its one class, decoded when asked for.

    Objects marked difficult are left out: nobody can tell them without their surroundings.
    """
    source, annotated = _load(location, splits)
    return replace(source, splits={name: cut_crops(part) for name, part in annotated.items()})


def _load(location: Path, splits: Sequence[str]) -> tuple[Source, dict[str, AnnotatedPictures]]:
    if not location.is_dir():
        raise UserError(f"{location}: needed is a folder with {ANNOTATIONS[0]}/ and {IMAGES[0]}/.")
    parts = find_parts(location)
    first = next(iter(parts))
    wanted = [name for name in parts if name in splits]
    read = {name: _read_part(parts[name]) for name in dict.fromkeys([first, *wanted])}
    class_names = sort_class_names(item.name for marked in read[first] for item in marked.objects)
    if not class_names:
        raise UserError(
            f"{location}: no object is marked in the {len(read[first])} annotation file(s) of the "
            f"{first} split; there is nothing to learn from."
        )
    source = Source(
        location=str(location), class_names=class_names, splits={}, present=tuple(parts)
    )
    return source, {
        name: _find_pictures(location, parts[name], read[name], class_names, name)
        for name in wanted
    }


def _read_part(part: VocPart) -> list[Marked]:
    missing = [path.name for path in part.annotations if not path.is_file()]
    if missing:
        raise UserError(
            f"{part.annotations[0].parent}: {len(missing)} of {len(part.annotations)} annotation "
            f"files are missing: {listed(missing)}. Add them, or take them off the list."
        )
    return [read_marked(path) for path in part.annotations]


def read_marked(path: Path) -> Marked:
    """One annotation file; UserError for what is no sound XML or no VOC annotation."""
    root = parse_xml(path)
    if root.tag != "annotation":
        raise UserError(f"{path}: needed is a VOC <annotation>; got <{root.tag}>.")
    width, height = (_number(root, f"size/{side}") for side in ("width", "height"))
    return Marked(
        path=path,
        file_name=(root.findtext("filename") or "").strip().replace("\\", "/").rpartition("/")[2],
        size=(0.0 if math.isnan(width) else width, 0.0 if math.isnan(height) else height),
        objects=tuple(_read_object(path, item, n) for n, item in enumerate(root.findall("object"))),
    )


def _read_object(path: Path, item: Element, number: int) -> MarkedObject:
    name = (item.findtext("name") or "").strip()
    if not name:
        raise UserError(f"{path}: object {number + 1} has no <name>; every object needs a class.")
    left, top, right, bottom = (_number(item, f"bndbox/{corner}") for corner in CORNERS)
    if item.find("bndbox") is not None and math.isnan(left + top + right + bottom):
        raise UserError(
            f"{path}: the <bndbox> of object {number + 1} needs the numbers {', '.join(CORNERS)}."
        )
    return MarkedObject(
        name=name,
        box=(left - 1, top - 1, right, bottom),  # VOC counts pixels from 1, and the last is inside
        difficult=(item.findtext("difficult") or "").strip() == "1",
    )


def _number(item: Element, path: str) -> float:
    """The number in the element at `path`; NaN where there is none."""
    try:
        value = float(item.findtext(path) or "nan")
    except ValueError:
        return math.nan
    return value if abs(value) < 1e9 else math.nan


def _find_pictures(
    location: Path,
    part: VocPart,
    read: list[Marked],
    class_names: tuple[str, ...],
    split: str,
) -> AnnotatedPictures:
    folder = part.images.relative_to(location).as_posix()
    images = _find_images(part, read)
    names = pack_texts(images if folder == "." else (f"{folder}/{name}" for name in images))
    objects = [item for marked in read for item in marked.objects]
    counts = [len(marked.objects) for marked in read]
    return AnnotatedPictures(
        where=f"{location} ({split})",
        names=names,
        files=FileColumn(str(location), names),
        sizes=np.array([marked.size for marked in read]),
        pictures=np.repeat(np.arange(len(read)), counts),
        classes=encode_labels([item.name for item in objects], class_names, str(location), split),
        boxes=np.array([item.box for item in objects], np.float64).reshape(-1, 4),
        unfit=np.array([item.difficult for item in objects], bool),
        unfit_because="marked as difficult",
    )


def _find_images(part: VocPart, read: list[Marked]) -> list[str]:
    """The image of each annotation file, relative to the part's folder of images."""
    index: dict[str, list[str]] = {}
    for name in images_below(part.images):
        index.setdefault(stem(name), []).append(name)
    found: dict[str, Path] = {}
    missing: list[str] = []
    for marked in read:
        candidates = (
            index.get(marked.path.stem) or index.get(_without_ending(marked.file_name)) or []
        )
        named = [name for name in candidates if name.rpartition("/")[2] == marked.file_name]
        chosen = named if len(named) == 1 else candidates
        if len(chosen) > 1:
            raise UserError(
                f"{marked.path}: {len(chosen)} images could be meant: {listed(chosen)}; image "
                f"names must differ within {part.images}."
            )
        if not chosen:
            missing.append(marked.path.name)
        elif chosen[0] in found:
            raise UserError(
                f"{marked.path} and {found[chosen[0]].name} both annotate {chosen[0]!r}; keep one."
            )
        else:
            found[chosen[0]] = marked.path
    if missing:
        raise UserError(
            f"{part.images}: the images of {len(missing)} of {len(read)} annotation files are not "
            f"there: {listed(missing)}. Add them, or remove these files."
        )
    return list(found)


def _without_ending(file_name: str) -> str:
    return stem(file_name) if ending(file_name) in EXTENSIONS else file_name
