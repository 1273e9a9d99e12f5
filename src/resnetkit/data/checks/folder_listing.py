"""An image folder listed as `formats.folder` reads it, but every defect becomes a finding."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from resnetkit.data.checks.class_folder import (
    SHOWN,
    ClassFolder,
    FolderEntries,
    list_class_folder,
    printable,
)
from resnetkit.data.checks.findings import Finding
from resnetkit.data.class_names import sort_class_names
from resnetkit.data.columns import TextColumn, concatenate_texts, pack_texts
from resnetkit.data.formats.folder import CHECKPOINTS, is_split_layout
from resnetkit.data.source_types import SPLIT_ALIASES


@dataclass(frozen=True, kw_only=True, eq=False)
class SplitImages:
    """The images of one split: `names` relative to the source, by class in natural order."""

    place: str  # of the split's folder in the source: "train/", or "" where it is the source
    classes: tuple[str, ...]  # every class folder, empty ones too
    counts: tuple[int, ...]  # images of each
    names: TextColumn


@dataclass
class FolderImages:
    """All splits of an image folder, and what is wrong with its layout."""

    splits: dict[str, SplitImages] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)


def list_folder(root: Path) -> FolderImages:
    """List every split of `root`; nothing is decoded, only oddly named files are opened."""
    images = FolderImages()
    entries = FolderEntries(root, images.findings)
    for split, folder in _split_folders(root, entries, images.findings).items():
        images.splits[split] = _list_split(folder, root, images.findings)
    return images


def _split_folders(root: Path, entries: FolderEntries, findings: list[Finding]) -> dict[str, Path]:
    """The folder of each split; the root itself is "train" where there are no split folders."""
    visible = [name for name in entries.folders if not name.startswith(".")]
    found = [name for name in visible if name.lower() in SPLIT_ALIASES]
    if not is_split_layout(
        visible, found, lambda name: bool(FolderEntries(root / name, []).images)
    ):
        findings.extend(_splits_as_classes(root, found, visible))
        return {"train": root}
    folders: dict[str, Path] = {}
    for name in found:
        split = SPLIT_ALIASES[name.lower()]
        if split in folders:
            detail = f"{folders[split].name}/ and {name}/ are both the {split} split"
            findings.append(Finding(kind="split-twice", names=(name + "/",), detail=detail))
        else:
            folders[split] = root / name
    for name in visible:
        if name not in found:
            detail = f"{name}/ lies beside {', '.join(found)}"
            findings.append(Finding(kind="ignored-folder", names=(name + "/",), detail=detail))
    if entries.images:
        findings.append(_about_files("unread-images", "", entries.images))
    return folders


def _splits_as_classes(root: Path, found: list[str], visible: list[str]) -> Iterator[Finding]:
    """Folders named like splits that hold folders, and still are no splits by the rule above."""
    holding = [name for name in found if FolderEntries(root / name, []).folders]
    others = [name for name in visible if name not in found]
    if holding:
        detail = (
            f"images lie directly in train/, and {', '.join(others)} lie(s) beside it"
            if any(name.lower() == "train" for name in found)
            else f"there is no train/, and {', '.join(others)} lie(s) beside"
        )
        names = tuple(f"{name}/" for name in holding)
        yield Finding(kind="splits-as-classes", names=names, detail=detail)


def _list_split(folder: Path, root: Path, findings: list[Finding]) -> SplitImages:
    entries = FolderEntries(folder, findings)
    place = "" if folder == root else folder.name + "/"
    if entries.images:
        findings.append(_about_files("loose-images", place, entries.images))
    visible = [name for name in entries.folders if not name.startswith(".")]
    for name in entries.folders:
        if name.startswith("."):
            findings.extend(_hidden_folder(folder, name, place))
    raw_of = {printable(name): name for name in visible}
    classes = sort_class_names(raw_of)
    columns: list[TextColumn] = []
    inner: dict[str, list[str]] = {}
    for name in classes:  # one after the other: a class's names are packed before the next is read
        found = list_class_folder(folder, raw_of[name], root)
        findings.extend(_class_findings(place, name, raw_of[name], found))
        columns.append(pack_texts(f"{place}{raw_of[name]}/{image}" for image in found.images))
        inner[name] = [part for part in found.folders if part.lower() in SPLIT_ALIASES]
    findings.extend(_inner_splits(place, inner))
    counts = tuple(map(len, columns))
    if not any(counts):
        detail = f"{len(classes)} class folder(s), no image in any of them"
        findings.append(Finding(kind="no-images", names=(place or "./",), detail=detail))
    return SplitImages(
        place=place, classes=classes, counts=counts, names=concatenate_texts(columns)
    )


def _hidden_folder(folder: Path, name: str, place: str) -> Iterator[Finding]:
    """A hidden folder that could be taken for a class; .git and .cache hold no images."""
    count = len(list_class_folder(folder, name, folder).images)
    if name == CHECKPOINTS or count:
        yield Finding(
            kind="hidden-folder",
            names=(f"{place}{name}/",),
            detail=f"{name}/ lies among the class folders and holds {count:,} image(s)",
        )


def _class_findings(place: str, name: str, raw: str, found: ClassFolder) -> Iterator[Finding]:
    where = f"{place}{name}/"
    yield from (
        Finding(
            kind=finding.kind,
            # The class folder itself goes by its whole path.
            names=tuple(
                where if Path(part).is_absolute() else where + part for part in finding.names
            ),
            detail=finding.detail,
        )
        for finding in found.findings
    )
    if name != raw:
        detail = f"its bytes are {raw.encode('utf-8', 'surrogateescape')!r}"
        yield Finding(kind="non-unicode-class", names=(where,), detail=detail)
    # Of a folder that could not be listed nobody knows whether it is empty.
    if not found.images and not any(one.kind == "unreadable-folder" for one in found.findings):
        others = ", ".join(f"{count} x {ending}" for ending, count in found.endings.most_common(5))
        detail = f"other files in it: {others}" if others else "there is nothing in it"
        yield Finding(kind="empty-class", names=(where,), detail=detail)


def _inner_splits(place: str, inner: dict[str, list[str]]) -> Iterator[Finding]:
    """Classes that hold train/ and test/ themselves: cat/train, cat/test, dog/train, dog/test."""
    holding = {name: parts for name, parts in inner.items() if len(parts) > 1}
    if holding:
        shown = ", ".join(f"{name}/{part}" for name, parts in holding.items() for part in parts)
        names = tuple(f"{place}{name}/" for name in holding)
        yield Finding(kind="splits-inside-classes", names=names[:SHOWN], detail=shown[:500])


def _about_files(kind: str, place: str, names: list[str]) -> Finding:
    shown = tuple(place + printable(name) for name in names[:SHOWN])
    more = f"; the first {SHOWN} are named" if len(names) > SHOWN else ""
    return Finding(kind=kind, names=shown, detail=f"{len(names):,} image(s){more}")
