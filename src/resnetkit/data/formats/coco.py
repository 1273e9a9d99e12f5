"""COCO instance annotations: pictures with all their classes, or the boxes cut out of them.

Lin et al. 2014, "Microsoft COCO: Common Objects in Context"; https://cocodataset.org
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

from resnetkit.data.columns import FileColumn, pack_texts
from resnetkit.data.formats.annotated import AnnotatedPictures, cut_crops, whole_pictures
from resnetkit.data.formats.coco_json import CocoAnnotation, read_annotation
from resnetkit.data.formats.listing import check_files
from resnetkit.data.source_types import SPLIT_ALIASES, SPLIT_NAMES, Source
from resnetkit.types import UserError

EXPORTED = "_annotations.coco.json"  # Roboflow's name, in the folder of each split
_SPLIT = re.compile(rf"instances_(({'|'.join(SPLIT_ALIASES)})(?![a-z]).*)\.json", re.IGNORECASE)


def is_coco(location: Path) -> bool:
    """Whether there are instance annotations here, or this is a JSON file."""
    if location.is_file():
        return location.suffix.lower() == ".json"
    return any(True for _ in annotation_files(location))


def load_coco(location: Path, splits: Sequence[str]) -> Source:
    """Whole pictures, each with every class marked in it ("multi-label"), crowds included.

    Classes come in the order of their category ids. Pictures without annotations show no class.
    Annotations of other splits are not read. Raises `UserError`: see the messages.
    """
    source, annotated = _load(location, splits)
    count = len(source.class_names)
    read = {name: whole_pictures(pictures, count) for name, pictures in annotated.items()}
    return replace(source, splits=read, task="multi-label")


def load_coco_crops(location: Path, splits: Sequence[str]) -> Source:
    """Every box as an image of its one class, decoded when asked for; crowds are left out."""
    source, annotated = _load(location, splits)
    return replace(source, splits={name: cut_crops(part) for name, part in annotated.items()})


def _load(location: Path, splits: Sequence[str]) -> tuple[Source, dict[str, AnnotatedPictures]]:
    files = _files_by_split(location)
    wanted = [name for name in files if name in splits]
    # Every file lists all categories: to know the classes, the smallest of them is enough.
    reference = wanted or [min(files, key=lambda name: files[name].stat().st_size)]
    read = {name: read_annotation(files[name]) for name in reference}
    first = read[reference[0]]
    for other in read.values():
        if (other.class_names, other.category_ids) != (first.class_names, first.category_ids):
            raise UserError(
                f"{other.path}: its categories are not those of {first.path.name}; every file must "
                "list the same categories with the same ids, also those it has no object of."
            )
    source = Source(
        location=str(location),
        class_names=first.class_names,
        splits={},
        present=tuple(name for name in SPLIT_NAMES if name in files),
    )
    return source, {name: _find_pictures(location, read[name]) for name in wanted}


def _files_by_split(location: Path) -> dict[str, Path]:
    found = [location] if location.is_file() else list(annotation_files(location))
    if not found:
        raise UserError(
            f"{location}: there are no COCO annotations; needed is annotations/instances_*.json, "
            f"{EXPORTED} in train/ valid/ test/, or the JSON file itself."
        )
    files: dict[str, Path] = {}
    for path in found:
        split = _split_of(path)
        if split is None and len(found) > 1:
            raise UserError(
                f"{location}: {path.name!r} does not say which split it belongs to; let its name "
                "start with instances_train, _val or _test, or name the one file to use."
            )
        split = split or "train"
        if split in files:
            raise UserError(
                f"{location}: {files[split].name} and {path.name} are both the {split} split; "
                "keep one of them, or name the one file to use."
            )
        files[split] = path
    return files


def annotation_files(location: Path) -> Iterator[Path]:
    """The files of instance annotations in a folder, by the names that are usual for them."""
    for folder in (location / "annotations", location):
        yield from sorted(folder.glob("instances_*.json"))
    yield from (path for path in [location / EXPORTED] if path.is_file())
    yield from sorted(path for path in location.glob(f"*/{EXPORTED}") if _split_of(path))


def _split_of(path: Path) -> str | None:
    if path.name == EXPORTED:
        return SPLIT_ALIASES.get(path.parent.name.lower())
    named = _SPLIT.fullmatch(path.name)
    return SPLIT_ALIASES[named[2].lower()] if named else None


def _find_pictures(location: Path, annotation: CocoAnnotation) -> AnnotatedPictures:
    """The pictures of one file, called by their paths below the location."""
    root = location if location.is_dir() else location.parent
    if annotation.path.parent.name == "annotations":
        root = annotation.path.parent.parent
    folder = _image_folder(root, annotation).relative_to(root).as_posix()
    names = annotation.file_names
    paths = pack_texts(names if folder == "." else (f"{folder}/{name}" for name in names))
    files = FileColumn(str(root), paths)
    check_files(str(annotation.path), files)
    return AnnotatedPictures(
        where=str(annotation.path),
        names=paths,
        files=files,
        sizes=annotation.sizes,
        pictures=annotation.pictures,
        classes=annotation.classes,
        boxes=annotation.boxes,
        unfit=annotation.crowds,
        unfit_because="marked as a crowd",
    )


def _image_folder(root: Path, annotation: CocoAnnotation) -> Path:
    """Where the images lie: the first usual folder that has one of the first hundred."""
    path = annotation.path
    named = _SPLIT.fullmatch(path.name)
    own = [named[1], named[2]] if named else []  # "train2017" and "train"
    folders = [folder / name for name in own for folder in (root, root / "images")]
    folders += [path.parent, root / "images", root]
    for folder in folders:
        if any((folder / name).is_file() for name in islice(annotation.file_names, 100)):
            return folder
    looked = ", ".join(dict.fromkeys(str(folder) for folder in folders))
    raise UserError(
        f"{path}: its images ({annotation.file_names[0]!r}, …) are not there; looked in {looked}. "
        "Put them into one of these folders."
    )
