"""One class folder: its images at any depth, and whatever else lies in it."""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from resnetkit.data.checks.file_types import HEAD_BYTES, UNREAD_ENDINGS, file_type
from resnetkit.data.checks.findings import Finding
from resnetkit.data.formats.folder import EXTENSIONS

SHOWN = 20  # file names a finding about a folder carries; its detail says how many there are


@dataclass
class ClassFolder:
    """What lies in a class folder; names are relative to it, as the file system has them."""

    images: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)  # directly in it
    endings: Counter[str] = field(default_factory=Counter)  # of files that are not images
    findings: list[Finding] = field(default_factory=list)  # names relative to the folder


class FolderEntries:
    """The entries of one folder, sorted; one that cannot be listed has none, and a finding."""

    def __init__(self, folder: Path, findings: list[Finding], name: str = "") -> None:
        self.folders: list[str] = []
        self.images: list[str] = []
        self.hidden: list[str] = []  # hidden files with an image's ending
        self.others: list[str] = []
        try:
            with os.scandir(folder) as entries:
                listed = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            shown = printable(name) or f"{folder}/"
            detail = error.strerror or str(error)
            findings.append(Finding(kind="unreadable-folder", names=(shown,), detail=detail))
            return
        for entry in listed:
            self._sort_in(entry)

    def _sort_in(self, entry: os.DirEntry[str]) -> None:
        name = entry.name
        if _is_folder(entry):
            self.folders.append(name)
        elif name.startswith("."):
            if ending(name) in EXTENSIONS:
                self.hidden.append(name)
        elif ending(name) in EXTENSIONS and _is_file_or_broken(entry):
            self.images.append(name)
        else:
            self.others.append(name)


def list_class_folder(parent: Path, name: str, root: Path) -> ClassFolder:
    """List `parent/name` as `load_folder` does: every folder below it once, and none above it.

    Links may lead in circles: a folder is known by its identity on the disk, not by its path.
    """
    found, folder = ClassFolder(), parent / name
    visited = {identity for path in (root, parent, folder) if (identity := _identity(path))}
    others: list[str] = []
    hidden: list[str] = []
    pending = [""]
    while pending:
        prefix = pending.pop()
        entries = FolderEntries(folder / prefix, found.findings, prefix)
        found.images += [prefix + image for image in entries.images]
        found.findings += _names_alike(prefix, entries.images)
        others += [prefix + other for other in entries.others]
        hidden += [prefix + image for image in entries.hidden]
        hidden += _hidden_folders(folder, prefix, entries)
        inner = [f"{prefix}{name}/" for name in entries.folders if not name.startswith(".")]
        found.folders = found.folders or [path[:-1] for path in inner if not prefix]
        pending += _unvisited(folder, inner, visited, found.findings)
    found.images.sort()
    found.endings.update(ending(other) or other for other in map(_last, others))
    found.findings += _judge_others(folder, others)
    found.findings += _judge_names(found.images)
    found.findings += _group("hidden-image", hidden)
    if deep := sum("/" in image for image in found.images):
        found.findings += _group("nested-folders", found.folders, f"{deep:,} image(s) in them")
    return found


def _hidden_folders(folder: Path, prefix: str, entries: FolderEntries) -> Iterator[str]:
    for name in entries.folders:
        path = f"{prefix}{name}/"
        if name.startswith(".") and FolderEntries(folder / path, []).images:
            yield path


def _unvisited(
    folder: Path, paths: list[str], visited: set[tuple[int, int]], findings: list[Finding]
) -> Iterator[str]:
    """Those of `paths` that are to be read; a link to a folder read already is a finding."""
    for path in paths:
        place = _identity(folder / path)
        if place is not None and place not in visited:
            visited.add(place)
            yield path
        else:
            detail = f"it leads to {printable(os.path.realpath(folder / path))}"
            findings.append(Finding(kind="link-loop", names=(printable(path),), detail=detail))


def _judge_others(folder: Path, others: list[str]) -> Iterator[Finding]:
    """Files that training passes over, told apart into pictures and the rest."""
    groups: dict[str, list[str]] = {}
    for name in others:
        groups.setdefault(_kind_of_other(folder / name, _last(name)), []).append(name)
    for kind, names in groups.items():
        endings = Counter(ending(name) or name for name in map(_last, names)).most_common(5)
        yield from _group(kind, names, ", ".join(f"{count} x {what}" for what, count in endings))


def _kind_of_other(path: Path, name: str) -> str:
    if ending(name) in UNREAD_ENDINGS:
        return "unread-format"
    try:
        if not path.is_file():  # a pipe would block whoever opens it
            return "other-file"
        with path.open("rb") as file:
            found = file_type(file.read(HEAD_BYTES))
    except OSError:
        return "other-file"
    if found is None or found.what == "other":
        return "other-file"
    return "image-without-ending" if found.what == "read" else "unread-format"


def _judge_names(names: list[str]) -> Iterator[Finding]:
    strange = [name for name in names if not name.isprintable()]
    foreign = [name for name in strange if printable(name) != name]
    control = [name for name in strange if any(unicodedata.category(c) == "Cc" for c in name)]
    yield from _group("non-unicode-name", foreign)
    yield from _group("unusual-name", control)


def _names_alike(prefix: str, names: list[str]) -> Iterator[Finding]:
    """Files of one folder that a file system without letter case takes for the same."""
    if len({_folded(name) for name in names}) == len(names):
        return
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(_folded(name), []).append(name)
    for group in groups.values():
        if len(group) > 1:
            shown = tuple(printable(prefix + name) for name in group)
            yield Finding(kind="names-alike", names=shown, detail=" and ".join(map(repr, group)))


def _folded(name: str) -> str:
    return name.lower() if name.isascii() else unicodedata.normalize("NFC", name).casefold()


def _group(kind: str, names: Iterable[str], what: str = "") -> list[Finding]:
    """One finding for all `names`, or none without them."""
    listed = sorted(names)
    if not listed:
        return []
    more = f"; the first {SHOWN} are named" if len(listed) > SHOWN else ""
    detail = f"{len(listed):,} in this class{': ' if what else ''}{what}{more}"
    return [Finding(kind=kind, names=tuple(map(printable, listed[:SHOWN])), detail=detail)]


def ending(name: str) -> str:
    """The lower-case ending of a file's name with its dot; "" where there is none."""
    stem, dot, last = name.rpartition(".")
    return dot + last.lower() if stem else ""


def printable(name: str) -> str:
    """The name, its bytes that are not Unicode written out as backslash codes."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return os.fsencode(name).decode("utf-8", "backslashreplace")
    return name


def _last(name: str) -> str:
    return name.rpartition("/")[2]


def _identity(folder: Path) -> tuple[int, int] | None:
    try:
        status = folder.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _is_folder(entry: os.DirEntry[str]) -> bool:
    # A link to itself makes DirEntry.is_dir raise.
    return Path(entry).is_dir() if entry.is_symlink() else entry.is_dir(follow_symlinks=False)


def _is_file_or_broken(entry: os.DirEntry[str]) -> bool:
    if not entry.is_symlink():
        return entry.is_file(follow_symlinks=False)
    target = Path(entry)
    return target.is_file() or not target.exists()  # a link to nowhere: decoding will name it
