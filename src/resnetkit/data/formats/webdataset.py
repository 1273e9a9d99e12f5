"""WebDataset: images and their labels in tar archives, each image read where it lies.

Format: https://github.com/webdataset/webdataset
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import product
from pathlib import Path

import numpy as np

from resnetkit.data.class_names import encode_labels, sort_class_names
from resnetkit.data.columns import pack_texts
from resnetkit.data.encoded import FileRegions
from resnetkit.data.formats.defects import report_defect
from resnetkit.data.formats.listing import listed
from resnetkit.data.formats.tar_index import index_archive
from resnetkit.data.formats.tar_samples import CLASSES, TarSamples, parse_classes
from resnetkit.data.source_types import SPLIT_ALIASES, SPLIT_NAMES, Source, Split
from resnetkit.types import UserError

MOST_SHARDS = 100_000
_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")
_SPLIT = re.compile(rf"(?<![a-z])({'|'.join(SPLIT_ALIASES)})(?![a-z])", re.IGNORECASE)

Shards = list[tuple[Path, TarSamples]]


def is_webdataset(location: Path) -> bool:
    """Whether this is a .tar, a pattern of them ("shard-{000..003}.tar") or a folder with some."""
    if location.is_dir():
        return bool(_archives_in(location))
    return location.suffix == ".tar" and (location.is_file() or bool(_BRACES.search(str(location))))


def load_webdataset(location: Path, splits: Sequence[str]) -> Source:
    """Samples of the archives, whose splits are in their names or in their folders' (else "train").

    A sample is key.jpg (or another image) with key.cls, key.json ("label") or key.txt, which hold
    the number or name of its class. Numbers count in classes.txt, beside the archives or in the
    first of them: one name a line. Without it classes are the training labels in natural order.
    Nothing is unpacked to the disk; archives of splits not asked for are not read, except those of
    training where the class names must come from them. Raises `UserError`: see the messages.
    """
    shards = _shards_by_split(location)
    present = tuple(name for name in SPLIT_NAMES if name in shards)
    read = {name: _read_shards(shards[name]) for name in present if name in splits}
    class_names, listing = _read_class_names(location, shards[present[0]], read.get(present[0]))
    return Source(
        location=str(location),
        class_names=class_names,
        splits={
            name: _build_split(location, name, part, class_names, listing)
            for name, part in read.items()
        },
        present=present,
    )


def expand_braces(pattern: str) -> list[str]:
    """`shard-{000..003}.tar` as four names, `{a,b}.tar` as two, as a shell would.

    Raises `UserError` for braces that are neither, or that stand for more than `MOST_SHARDS` names.
    """
    texts = _BRACES.split(pattern)  # every second one was in braces
    choices = [_choices(pattern, text) if i % 2 else [text] for i, text in enumerate(texts)]
    if (count := int(np.prod([float(len(texts)) for texts in choices]))) > MOST_SHARDS:
        raise UserError(f"{pattern}: it stands for {count} archives, more than {MOST_SHARDS}.")
    return ["".join(parts) for parts in product(*choices)]


def _choices(pattern: str, text: str) -> list[str]:
    if "," in text:
        return text.split(",")
    numbers = _RANGE.fullmatch(text)
    if numbers is None or int(numbers[1]) > int(numbers[2]):
        raise UserError(
            f"{pattern}: needed in braces is a rising range such as {{000..003}} or a list such as "
            f"{{a,b}}; got {{{text}}}."
        )
    first, last = int(numbers[1]), int(numbers[2])
    if last - first >= MOST_SHARDS:
        raise UserError(f"{pattern}: it stands for more than {MOST_SHARDS} archives.")
    return [str(number).zfill(len(numbers[1])) for number in range(first, last + 1)]


def _archives_in(folder: Path) -> list[Path]:
    """The archives in a folder, or in its folders train/ val/ test/."""
    own = sorted(folder.glob("*.tar"))
    return own or sorted(path for name in SPLIT_ALIASES for path in (folder / name).glob("*.tar"))


def _shards_by_split(location: Path) -> dict[str, list[Path]]:
    if location.is_dir():
        archives = _archives_in(location)
    elif location.is_file():
        archives = [location]
    else:
        archives = [Path(name) for name in expand_braces(str(location))]
    missing = [str(path) for path in archives if not path.is_file()]
    if missing or not archives:
        error = UserError(
            f"{location}: {len(missing) or 'all'} of its archives (.tar) are not there"
            f"{': ' if missing else ''}{listed(missing)}; copy or download them, or correct the "
            "pattern."
        )
        if len(missing) == len(archives):
            raise error
        report_defect(error)
        archives = [path for path in archives if path.is_file()]
    shards: dict[str, list[Path]] = {}
    for path in archives:
        shards.setdefault(_split_of(path) or "", []).append(path)
    unnamed = shards.pop("", [])
    if unnamed and shards:
        raise UserError(
            f"{location}: {unnamed[0].name!r} does not say which split it belongs to, other "
            "archives do; put train, val or test into its name, or move it away."
        )
    return shards or {"train": unnamed}


def _split_of(path: Path) -> str | None:
    named = _SPLIT.search(path.name) or _SPLIT.fullmatch(path.parent.name)
    return SPLIT_ALIASES[named[1].lower()] if named else None


def _read_shards(paths: Sequence[Path]) -> Shards:
    """The archives with their samples; a damaged one is left out where defects are collected."""
    shards: Shards = []
    for path in paths:
        try:
            shards.append((path, index_archive(path)))
        except UserError as error:
            if path == paths[-1] and not shards:
                raise  # nothing remains
            report_defect(error)
    return shards


def _read_class_names(
    location: Path, reference: list[Path], read: Shards | None
) -> tuple[tuple[str, ...], str | None]:
    """Class names in the order of their numbers, and where they are listed if they are."""
    beside = (reference[0].parent / CLASSES, reference[0].parent.parent / CLASSES)
    for path in beside if location.is_dir() else beside[:1]:
        if path.is_file():
            return parse_classes(str(path), path.read_bytes()), str(path)
    shards = read or _read_shards(reference)
    for path, samples in shards:
        if samples.class_names is not None:
            return samples.class_names, f"{path}/{CLASSES}"
    labels = {label for _, samples in shards for label in set(samples.labels)}
    return sort_class_names(labels), None


def _build_split(
    location: Path, split: str, shards: Shards, class_names: tuple[str, ...], listing: str | None
) -> Split:
    counts = [len(samples.names) for _, samples in shards]
    names = (f"{path.name}/{name}" for path, samples in shards for name in samples.names)
    labels = [
        _numbers(path, samples, class_names, listing)
        if listing
        else encode_labels(list(samples.labels), class_names, str(location), split)
        for path, samples in shards
    ]
    return Split(
        labels=np.concatenate(labels),
        names=pack_texts(names),
        encoded=FileRegions(
            [path for path, _ in shards],
            np.repeat(np.arange(len(shards), dtype=np.int32), counts),
            np.concatenate([samples.offsets for _, samples in shards]),
            np.concatenate([samples.sizes for _, samples in shards]),
        ),
    )


def _numbers(
    path: Path, samples: TarSamples, class_names: tuple[str, ...], listing: str
) -> np.ndarray:
    """Class numbers of labels that are numbers or names in the list of classes: int64 [N]."""
    numbers = {str(number): number for number in range(len(class_names))}
    numbers |= {name: number for number, name in enumerate(class_names)}
    for place, label in enumerate(samples.labels):
        if label not in numbers:
            raise UserError(
                f"{path}: {samples.names[place]!r} has the label {label!r}; needed is a number "
                f"from 0 to {len(class_names) - 1} or a name, as {listing} lists "
                f"{len(class_names)} classes."
            )
    return np.fromiter((numbers[label] for label in samples.labels), np.int64, len(samples.names))
