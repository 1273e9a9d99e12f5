"""Names for the files of explanations: safe everywhere, and never one that is somebody else's."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from resnetkit.jsonl import load_records
from resnetkit.types import UserError

RECORDS = "explanations.jsonl"
LONGEST = 100  # bytes of one part of a name; file systems allow 255 in all


class FileNames:
    """Which names in `folder` belong to which image: by its records, and by this run.

    An image explained again gets the names it had; others, also of the same name in another
    folder, get a number. Files that no record knows are never overwritten. Upper and lower case
    count as the same, as they are on some file systems.

    Raises UserError when the folder has records that are not of explanations.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._owners = {stem.casefold(): image for stem, image in _recorded(folder)}
        self._stems = {image: stem for stem, image in _recorded(folder)}
        files = [path.name.casefold() for path in folder.iterdir()] if folder.is_dir() else []
        ends = ((name, place) for name in files for place, sign in enumerate(name) if sign == ".")
        self._present = {name[:end] for name, end in ends} | set(files)

    def base_of(self, image: Path, *details: str) -> str:
        """The name, without ending, of a file of this image: its stem and what tells it apart."""
        return ".".join([self.stem_of(image), *map(safe_part, details)])

    def stem_of(self, image: Path) -> str:
        """What all names of this image's files begin with."""
        owner = identify(image)
        if owner not in self._stems:
            self._stems[owner] = stem = self._free(safe_part(image.stem))
            self._owners[stem.casefold()] = owner
        return self._stems[owner]

    def _free(self, wanted: str) -> str:
        stem, number = wanted, 1
        while stem.casefold() in self._owners or stem.casefold() in self._present:
            number += 1
            stem = f"{wanted}-{number}"
        return stem


def safe_part(text: str) -> str:
    """A part of a file name: letters, digits and .+- of any script, at most 100 bytes."""
    safe = re.sub(r"[^\w.+-]+", "_", text).strip("._-")
    # A cut through the middle of a letter leaves no half of it.
    return safe.encode("utf-8", "ignore")[:LONGEST].decode("utf-8", "ignore") or "image"


def identify(image: Path) -> str:
    """The absolute path as text; bytes that are not UTF-8 stay apart, as codes."""
    return os.fsencode(image.absolute()).decode("utf-8", "backslashreplace")


def _recorded(folder: Path) -> list[tuple[str, str]]:
    """(stem, image) of each record in the folder."""
    path = folder / RECORDS
    try:
        records: list[dict[str, Any]] = load_records(path)
        return [(str(record["stem"]), str(record["source"])) for record in records]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path}: needed the records of earlier explanations, or no such file, got other "
            f"content ({type(error).__name__}); give another folder or move it away."
        ) from error
