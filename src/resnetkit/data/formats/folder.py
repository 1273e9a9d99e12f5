"""Image folders: one folder per class, with or without train/ val/ test/ around them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from resnetkit.data.class_names import encode_labels, sort_class_names
from resnetkit.data.columns import FileColumn, TextColumn, concatenate_texts, pack_texts
from resnetkit.data.source_types import SPLIT_ALIASES, SPLIT_NAMES, Source, Split
from resnetkit.types import UserError

EXTENSIONS = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm"})
CHECKPOINTS = ".ipynb_checkpoints"  # Jupyter keeps copies in it


@dataclass
class _Listing:
    """What a class folder holds: images relative to it, and the endings of its other files."""

    images: list[str] = field(default_factory=list)
    other_endings: Counter[str] = field(default_factory=Counter)


def load_folder(root: Path, splits: Sequence[str]) -> Source:
    """List the images of `splits`; a folder without split folders is all "train".

    Classes are the folders' names in natural order, those of training where there is training.
    Images are found at any depth of a class folder; hidden files in it and files that are not
    images are passed over, as are folders beside train/ val/ test/. Raises `UserError` for what
    the issue calls bad input: see the messages.
    """
    folders = _split_folders(root)
    reference = next(folders[name] for name in SPLIT_NAMES if name in folders)
    class_names = sort_class_names(_class_folders(reference))
    for name in class_names:
        if _printable(name) != name:
            raise UserError(f"{reference}: the folder name {name!r} is not Unicode; rename it.")
    wanted = {name: folder for name, folder in folders.items() if name in splits}
    return Source(
        location=str(root),
        class_names=class_names,
        splits={name: _read_split(root, path, class_names) for name, path in wanted.items()},
        present=tuple(name for name in SPLIT_NAMES if name in folders),
    )


def _split_folders(root: Path) -> dict[str, Path]:
    """The folder of each split; the root itself is "train" where there are no split folders."""
    names = [entry.name for entry in _entries(root) if _is_folder(entry)]
    visible = [name for name in names if not name.startswith(".")]
    found = [name for name in visible if name.lower() in SPLIT_ALIASES]
    if not is_split_layout(visible, found, lambda name: _holds_images(root / name)):
        return {"train": root}
    folders: dict[str, Path] = {}
    for name in found:
        split = SPLIT_ALIASES[name.lower()]
        if split in folders:
            raise UserError(
                f"{root}: {folders[split].name}/ and {name}/ are both the {split} split; "
                "keep one of them, or merge them."
            )
        folders[split] = root / name
    return folders


def is_split_layout(
    visible: Sequence[str], found: Sequence[str], holds_images: Callable[[str], bool]
) -> bool:
    """Whether `found` are splits. "train" may also be a class, beside "car": it holds images."""
    if not found:
        return False
    if len(found) == len(visible):
        return True
    train = next((name for name in found if name.lower() == "train"), None)
    return train is not None and not holds_images(train)


def _holds_images(folder: Path) -> bool:
    return any(_is_image(entry) for entry in _entries(folder))


def _class_folders(folder: Path) -> list[str]:
    """Names of the class folders in `folder`, hidden ones refused if they could be taken for one.

    A hidden folder without images (.git, .cache) is nobody's class and is passed over.
    """
    entries = _entries(folder)
    for entry in entries:
        hidden = _is_folder(entry) and entry.name.startswith(".")
        if hidden and (
            entry.name == CHECKPOINTS or _list_images(folder / entry.name, folder).images
        ):
            raise UserError(
                f"{folder}: the hidden folder {entry.name!r} lies among the class folders and is "
                "not read as a class; remove it, or rename it if it is one."
            )
    names = [
        entry.name for entry in entries if _is_folder(entry) and not entry.name.startswith(".")
    ]
    if names:
        return names
    images = [entry.name for entry in entries if _is_image(entry)]
    if images:
        raise UserError(
            f"{folder}: {len(images)} image(s) lie directly in it ({images[0]!r}, …), needed is "
            "one folder per class; move each image into a folder named after its class. A package "
            f"labels images that have no class: resnetkit predict PACKAGE {folder}"
        )
    raise UserError(
        f"{folder}: there are no images in this folder; needed is one folder per class with "
        f"image files ({' '.join(sorted(EXTENSIONS))})."
    )


def _read_split(root: Path, folder: Path, class_names: tuple[str, ...]) -> Split:
    classes = sort_class_names(_class_folders(folder))
    numbers = encode_labels(classes, class_names, str(root), folder.name)  # before a long listing
    _refuse_loose_images(folder)
    prefix = "" if folder == root else f"{folder.name}/"
    images: list[TextColumn] = []
    endings: dict[str, Counter[str]] = {}
    for name in classes:
        listing = _list_images(folder / name, root)
        images.append(pack_texts(f"{prefix}{name}/{image}" for image in listing.images))
        endings[name] = listing.other_endings
    counts = list(map(len, images))
    if not any(counts):
        raise UserError(
            f"{folder}: there are no images in its {len(classes)} class folder(s)"
            f"{_endings(sum(endings.values(), Counter()))}; needed are image files "
            f"({' '.join(sorted(EXTENSIONS))})."
        )
    for name, count in zip(classes, counts, strict=True):
        if not count:
            raise UserError(
                f"{folder}: the class folder {name!r} is empty{_endings(endings[name])}; add "
                "images to it or remove it."
            )
    paths = concatenate_texts(images)
    return Split(
        labels=np.repeat(numbers, counts),
        names=_printable_names(paths),
        encoded=FileColumn(os.fspath(root), paths),
    )


def _printable_names(paths: TextColumn) -> TextColumn:
    """The same column, unless a name is not Unicode."""
    if all(_printable(path) is path for path in paths):
        return paths
    return pack_texts(_printable(path) for path in paths)


def _refuse_loose_images(folder: Path) -> None:
    loose = [entry.name for entry in _entries(folder) if _is_image(entry)]
    if loose:
        raise UserError(
            f"{folder}: {len(loose)} image(s) lie beside the class folders ({loose[0]!r}, …) and "
            "have no class; move them into class folders or out of this folder."
        )


def _list_images(folder: Path, root: Path) -> _Listing:
    """Images at any depth below `folder`, sorted, and the endings of the files that are not."""
    listing = _Listing()
    for relative, entry in _files_below(folder, root):
        if _is_image(entry):
            listing.images.append(relative)
        else:
            listing.other_endings[_ending(entry.name) or entry.name] += 1
    listing.images.sort()
    return listing


def _files_below(folder: Path, root: Path) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Visible files with their paths relative to `folder`; each folder once, none above it.

    Links may lead in circles: a folder is known by its identity on the disk, not by its path.
    """
    visited = {_identity(path) for path in (root, folder.parent, folder)}
    pending = [""]
    while pending:
        prefix = pending.pop()
        folders: list[os.DirEntry[str]] = []
        for entry in _scan(folder / prefix):
            if entry.name.startswith("."):
                continue
            if _is_folder(entry):
                folders.append(entry)
            else:
                yield prefix + entry.name, entry
        for entry in sorted(folders, key=lambda entry: entry.name):
            place = _identity(Path(entry))
            if place not in visited:
                visited.add(place)
                pending.append(f"{prefix}{entry.name}/")


def _identity(folder: Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_dev, status.st_ino


def _ending(name: str) -> str:
    stem, dot, ending = name.rpartition(".")  # Path.suffix takes seconds for 100,000 files
    return dot + ending.lower() if stem else ""


def _is_image(entry: os.DirEntry[str]) -> bool:
    if _ending(entry.name) not in EXTENSIONS or entry.name.startswith("."):
        return False
    if not entry.is_symlink():
        return entry.is_file(follow_symlinks=False)
    target = Path(entry)
    return target.is_file() or not target.exists()  # a link to nowhere: decoding will name it


def _is_folder(entry: os.DirEntry[str]) -> bool:
    # A link to itself makes DirEntry.is_dir raise.
    return Path(entry).is_dir() if entry.is_symlink() else entry.is_dir(follow_symlinks=False)


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    return sorted(_scan(folder), key=lambda entry: entry.name)


def _scan(folder: Path) -> Iterator[os.DirEntry[str]]:
    """The entries of a folder, one at a time: a million of them need not exist together."""
    try:
        with os.scandir(folder) as entries:
            yield from entries
    except PermissionError:
        raise UserError(
            f"{folder}: no permission to read this folder; change its rights."
        ) from None


def _endings(endings: Counter[str]) -> str:
    if not endings:
        return ""
    listed = ", ".join(f"{count} x {ending}" for ending, count in endings.most_common(5))
    return f" (it holds other files: {listed})"


def _printable(name: str) -> str:
    """The name, its bytes that are not Unicode written out as backslash codes."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return os.fsencode(name).decode("utf-8", "backslashreplace")
    return name
