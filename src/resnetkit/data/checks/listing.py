"""What a source holds, listed without refusing: what training would refuse becomes a finding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from resnetkit.data.checks.class_folder import printable
from resnetkit.data.checks.findings import Finding
from resnetkit.data.checks.folder_listing import SplitImages, list_folder
from resnetkit.data.checks.scan_types import Content
from resnetkit.data.class_names import sort_class_names
from resnetkit.data.columns import FileColumn, TextColumn, pack_texts
from resnetkit.data.formats.defects import collecting_defects
from resnetkit.data.source_types import SPLIT_NAMES, Source, Split
from resnetkit.data.sources import is_image_folder, load_source, place_of
from resnetkit.types import Task, UserError


@dataclass(frozen=True, kw_only=True, eq=False)
class ListedSplit:
    """One split: its images' names as `Split.names` has them, where they lie, and their labels."""

    names: Sequence[str]
    contents: Sequence[Content]
    labels: np.ndarray  # [N] int64 or [N,K] float32, positions in `Listing.class_names`

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, kw_only=True, eq=False)
class Listing:
    """Every image of a source, and what is wrong with its layout.

    `class_names` go on with the classes that only held-out splits have: training, which would
    refuse them, knows the first `training_classes`.
    """

    location: str
    class_names: tuple[str, ...]
    training_classes: int
    task: Task
    splits: dict[str, ListedSplit]  # in the order of SPLIT_NAMES
    prefixes: dict[str, str]  # split -> what findings put before its classes: "train/"
    findings: tuple[Finding, ...]
    is_folder: bool

    def __len__(self) -> int:
        return sum(map(len, self.splits.values()))


def list_source(location: str) -> Listing:
    """List all splits of `location`; the defects of what is there become findings, not errors.

    Raises `UserError` only where there is nothing to look at, as `load_source` would.
    """
    if is_image_folder(location):
        return _list_folder(Path(location).expanduser())
    return _list_loaded(location)


def _list_folder(root: Path) -> Listing:
    images = list_folder(root)
    present = [name for name in SPLIT_NAMES if name in images.splits]
    known = sort_class_names(images.splits[present[0]].classes)
    others = {name for split in images.splits.values() for name in split.classes} - set(known)
    class_names = known + sort_class_names(others)
    return Listing(
        location=str(root),
        class_names=class_names,
        training_classes=len(known),
        task="single-label",
        splits={name: _listed(root, images.splits[name], class_names) for name in present},
        prefixes={name: images.splits[name].place for name in present},
        findings=tuple(images.findings),
        is_folder=True,
    )


def _listed(root: Path, split: SplitImages, class_names: tuple[str, ...]) -> ListedSplit:
    numbers = {name: number for number, name in enumerate(class_names)}
    labels = np.array([numbers[name] for name in split.classes], np.int64)
    return ListedSplit(
        names=_printable(split.names),
        contents=FileColumn(str(root), split.names),
        labels=np.repeat(labels, split.counts),
    )


def _printable(names: TextColumn) -> TextColumn:
    """The same column where every name is Unicode, so that no memory is spent twice."""
    if all(name.isprintable() or printable(name) == name for name in names):
        return names
    return pack_texts(map(printable, names))


def _list_loaded(location: str) -> Listing:
    """Any other source: what `load_source` says of a split becomes a finding about it."""
    findings: list[Finding] = []
    source = _attempt(location, (), findings)
    if source is None:
        _refuse_nothing(location, findings)
    # A source refused without any split may still have one that can be read.
    names = SPLIT_NAMES if source is None else source.present
    loaded = {name: _attempt(location, (name,), findings) for name in names}
    read = {name: one for name, one in loaded.items() if one is not None and name in one.splits}
    nothing = Source(location=location, class_names=(), splits={}, present=())
    source = source or next(iter(read.values()), nothing)
    splits = {name: one.splits[name] for name, one in read.items()}
    return replace(list_loaded(replace(source, splits=splits)), findings=tuple(findings))


def list_loaded(source: Source) -> Listing:
    """A source that was read already, with the splits that were."""
    several = len(source.present) > 1
    splits = {name: source.splits[name] for name in SPLIT_NAMES if name in source.splits}
    return Listing(
        location=source.location,
        class_names=source.class_names,
        training_classes=len(source.class_names),
        task=source.task,
        splits={name: _of_split(split) for name, split in splits.items()},
        prefixes={name: f"{name}/" if several else "" for name in splits},
        findings=(),
        is_folder=False,
    )


def _attempt(location: str, splits: tuple[str, ...], findings: list[Finding]) -> Source | None:
    """The source with `splits`, without what is defect in them; None where nothing remains.

    Both become findings, each message once: reading another split may say the same again.
    """
    source, refused = None, []
    with collecting_defects() as defects:
        try:
            source = load_source(location, splits)
        except UserError as error:
            refused = [error]
    where = splits[0] if splits else location
    known = {finding.detail for finding in findings}
    for message in dict.fromkeys(map(str, [*defects, *refused])):
        if message not in known:
            findings.append(Finding(kind="source-refused", names=(where,), detail=message))
    return source


def _refuse_nothing(location: str, findings: list[Finding]) -> None:
    """Where nothing is there at all, the mistake is in the command, not in the data."""
    place = place_of(location)
    if place is None or not place.exists():
        raise UserError(findings[0].detail)


def _of_split(split: Split) -> ListedSplit:
    contents: Any = split.encoded if split.images is None else split.images  # one row is an image
    return ListedSplit(names=split.names, contents=contents, labels=split.labels)
