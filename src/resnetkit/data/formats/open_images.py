"""Open Images: image-level labels from CSV files, verified by people.

Kuznetsova et al. 2020, "The Open Images Dataset V4"; https://storage.googleapis.com/openimages/web
"""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from resnetkit.data.columns import FileColumn, pack_texts
from resnetkit.data.formats.listing import images_below, stem
from resnetkit.data.formats.text_files import read_rows
from resnetkit.data.source_types import SPLIT_ALIASES, SPLIT_NAMES, Source, Split
from resnetkit.types import UserError

COLUMNS = ("ImageID", "LabelName", "Confidence")
LABELS = "*-human-imagelabels*.csv"  # such as oidv6-train-annotations-human-imagelabels.csv
CLASSES = "*class-descriptions*.csv"
FOLDERS = ("", "annotations", "labels", "metadata")
LARGEST_LABELS_BYTES = 8 << 30
_FOLDER_NAMES = {"train": "train(_[0-9a-f])?", "val": "val|valid|validation", "test": "test"}
_SEEN = {"1": True, "0": False, "1.0": True, "0.0": False}
_SPLIT = re.compile(rf"(?:^|[-_])({'|'.join(SPLIT_ALIASES)})-annotations-human")


@dataclass(frozen=True, kw_only=True, eq=False)
class _Verified:
    """The images of one split that are there and have labels, and the M classes seen in them."""

    names: list[str]  # P, relative to the source's folder, in the order of the CSV file
    pictures: np.ndarray  # [M] int64
    classes: np.ndarray  # [M] int64: row of the class descriptions


def is_open_images(location: Path) -> bool:
    """Whether there are CSV files of human-verified image labels, as published."""
    return location.is_dir() and bool(_find(location, LABELS))


def load_open_images(location: Path, splits: Sequence[str]) -> Source:
    """Images with every class that people confirmed in them ("multi-label").

    Confidence 1 says that people saw the class, 0 that they looked and did not: such an image is
    kept even where it shows nothing else. What nobody verified counts as not there either, as in
    most published training. Classes are those seen in a training image, in the order of the class
    descriptions. Images lie in train/ (or train_0/ … train_f/), validation/ and test/ as
    `ImageID.jpg`. Most people hold a part of Open Images: labels of images that are not on the disk
    are left out, as are images without labels, and labels that training lacks; a warning counts
    them. Files of other splits than these and training are not read.
    """
    files = _files_by_split(location)
    described = _read_classes(location)
    first = next(iter(files))
    wanted = [name for name in files if name in splits]
    read = {
        name: _read_labels(location, files[name], name, described)
        for name in dict.fromkeys([first, *wanted])
    }
    seen = np.unique(read[first].classes)
    if not len(seen):
        raise UserError(f"{files[first]}: no label has the confidence 1 in an image that is there.")
    names = _readable(described)
    return Source(
        location=str(location),
        class_names=tuple(names[number] for number in seen.tolist()),
        splits={name: _build_split(location, name, read[name], seen) for name in wanted},
        present=tuple(files),
        task="multi-label",
    )


def _find(location: Path, pattern: str) -> list[Path]:
    return [path for name in FOLDERS for path in sorted((location / name).glob(pattern))]


def _files_by_split(location: Path) -> dict[str, Path]:
    files: dict[str, Path] = {}
    for path in _find(location, LABELS):
        named = _SPLIT.search(path.name)
        if named is None:
            continue
        split = SPLIT_ALIASES[named[1]]
        if split in files:
            raise UserError(
                f"{location}: {files[split].name} and {path.name} both label the {split} split; "
                "keep one of them."
            )
        files[split] = path
    if not files:
        raise UserError(
            f"{location}: there are no labels of Open Images; needed is for instance "
            "train-annotations-human-imagelabels-boxable.csv, and validation- and test-…"
        )
    return {name: files[name] for name in SPLIT_NAMES if name in files}


def _read_classes(location: Path) -> dict[str, str]:
    """The name of each label ("/m/011k07": "Tortoise"), in the order of the file."""
    found = _find(location, CLASSES)
    if len(found) != 1:
        came = ", ".join(path.name for path in found) or "none"
        raise UserError(
            f"{location}: needed is one file of class descriptions (class-descriptions.csv or "
            f"class-descriptions-boxable.csv); found: {came}."
        )
    names: dict[str, str] = {}
    for line, row in read_rows(found[0]):
        if len(row) != 2 or not all(row):
            raise UserError(f"{found[0]}, line {line}: needed is a label and its name; got {row}.")
        if row[0] in names:
            raise UserError(f"{found[0]}, line {line}: the label {row[0]!r} is there twice.")
        if row != ["LabelName", "DisplayName"]:  # the header, since version 6
            names[row[0]] = row[1]
    return names


def _readable(described: dict[str, str]) -> list[str]:
    """Class names; followed by the label where two classes have the same name, as some have."""
    counts = Counter(described.values())
    return [name if counts[name] == 1 else f"{name} {label}" for label, name in described.items()]


def _read_labels(location: Path, path: Path, split: str, described: dict[str, str]) -> _Verified:
    there = _images_of(location, split)
    numbers = {label: number for number, label in enumerate(described)}
    places: dict[str, int] = {}  # of the images that are there and have labels
    pairs: list[int] = []  # picture, class, picture, class, …
    absent: set[str] = set()
    for image, label, seen in _verified_rows(path, numbers):
        if image not in there:
            absent.add(image)
            continue
        place = places.setdefault(image, len(places))
        if seen:
            pairs += place, numbers[label]
    if not places:
        raise UserError(
            f"{location}: none of the {len(absent)} images that {path.name} labels is there; "
            f"needed is {split if split != 'val' else 'validation'}/<ImageID>.jpg."
        )
    unlabelled = len(there) - len(places)
    if absent or unlabelled:
        warnings.warn(
            f"{location}: the {split} split has {len(places)} images; left out are {len(absent)} "
            f"with labels that are not there, and {unlabelled} without labels",
            stacklevel=2,
        )
    table = np.array(pairs, np.int64).reshape(-1, 2)
    return _Verified(
        names=[there[image] for image in places], pictures=table[:, 0], classes=table[:, 1]
    )


def _images_of(location: Path, split: str) -> dict[str, str]:
    """Paths relative to `location` of a split's images, by their ids."""
    there: dict[str, str] = {}
    pattern = re.compile(_FOLDER_NAMES[split])
    for folder in sorted(path for path in location.iterdir() if pattern.fullmatch(path.name)):
        for name in images_below(folder):
            if (image := stem(name)) in there:
                raise UserError(
                    f"{location}: the image {image} is there twice, as {there[image]!r} and as "
                    f"'{folder.name}/{name}'; remove one."
                )
            there[image] = f"{folder.name}/{name}"
    return there


def _verified_rows(path: Path, numbers: dict[str, int]) -> Iterator[tuple[str, str, bool]]:
    """Image, label and whether people saw it, of each row of a file of labels."""
    rows = read_rows(path)
    _, header = next(rows, (0, []))
    if missing := [name for name in COLUMNS if name not in header]:
        raise UserError(
            f"{path}: the column(s) {', '.join(missing)} are missing; needed are "
            f"{', '.join(COLUMNS)}, the first line has {', '.join(header) or 'none'}."
        )
    image, label, confidence = (header.index(name) for name in COLUMNS)
    for line, row in rows:
        if len(row) != len(header):
            raise UserError(
                f"{path}, line {line}: needed are {len(header)} values; got {len(row)}. Copy or "
                "download it again."
            )
        if row[label] not in numbers:
            raise UserError(
                f"{path}, line {line}: the class descriptions have no label {row[label]!r}; use "
                "those that were published with this file."
            )
        if row[confidence] not in _SEEN:
            raise UserError(
                f"{path}, line {line}: needed is the confidence 0 or 1 of labels verified by "
                f"people; got {row[confidence]!r}. Labels made by machines cannot be used."
            )
        yield row[image], row[label], _SEEN[row[confidence]]


def _build_split(location: Path, split: str, verified: _Verified, seen: np.ndarray) -> Split:
    """Indicators [P,K] of the classes `seen` in training, K of them."""
    if (needed := len(verified.names) * len(seen) * 4) > LARGEST_LABELS_BYTES:
        raise UserError(
            f"{location}: the labels of {len(verified.names)} images in {len(seen)} classes would "
            f"take {needed >> 30} GiB; use fewer classes (remove their rows from the labels)."
        )
    labels = np.zeros((len(verified.names), len(seen)), np.float32)
    known = np.isin(verified.classes, seen)
    labels[verified.pictures[known], np.searchsorted(seen, verified.classes[known])] = 1
    if not known.all():
        warnings.warn(
            f"{location}: {np.count_nonzero(~known)} labels of the {split} split are left out, as "
            "no training image shows their classes",
            stacklevel=2,
        )
    names = pack_texts(verified.names)
    return Split(labels=labels, names=names, encoded=FileColumn(str(location), names))
