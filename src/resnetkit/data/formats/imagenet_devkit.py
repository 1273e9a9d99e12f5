"""What ImageNet's files beside the images say: synsets' names, and the validation ground truth."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from resnetkit.data.formats.text_files import read_lines, read_rows
from resnetkit.types import UserError

# Where the devkit lies, below the location or above it where the location is a part of the tree.
FOLDERS = ("", "ILSVRC2012_devkit_t12/data", "devkit/data", "ILSVRC/devkit/data", "data")
LEVELS = 4  # root/ILSVRC/Data/CLS-LOC: three folders above the innermost
NAMES = ("LOC_synset_mapping.txt", "meta.mat", "map_clsloc.txt")
SOLUTION = "LOC_val_solution.csv"  # Kaggle's
TRUTHS = ("ILSVRC2012_validation_ground_truth.txt", "ILSVRC2015_clsloc_validation_ground_truth.txt")
_MAPPING = re.compile(r"(n\d{8}) +(\S.*)")  # n01440764 tench, Tinca tinca
_NUMBERED = re.compile(r"(n\d{8}) +(\d+) +(\S+)")  # n02119789 1 kit_fox


@dataclass(frozen=True, kw_only=True)
class Devkit:
    """The files that are there, with names by WordNet id and WordNet ids by ILSVRC2012_ID."""

    names: Mapping[str, str] = field(default_factory=dict)
    wnids: Mapping[int, str] = field(default_factory=dict)
    solution: Path | None = None
    truth: Path | None = None

    @property
    def named(self) -> bool:
        """Whether there is anything here that only ImageNet has."""
        return bool(self.names or self.solution or self.truth)

    def display_name(self, wnid: str) -> str:
        """The id and the first of the synset's names: "n01440764 tench"."""
        return f"{wnid} {self.names[wnid]}" if wnid in self.names else wnid


def read_devkit(location: Path) -> Devkit:
    """Everything found at `location`, in the devkit's folders in it, or above it in its tree."""
    mapping, meta, numbered = (_find(location, name) for name in NAMES)
    wnids: dict[int, str] = {}
    names: dict[str, str] = {}
    if numbered:
        wnids, names = _read_numbered(numbered)
    if meta:
        wnids, names = _read_meta(meta)
    if mapping:
        names = _read_mapping(mapping)
    truths = (path for name in TRUTHS if (path := _find(location, name)))
    return Devkit(
        names={wnid: name.partition(",")[0].strip() for wnid, name in names.items()},
        wnids=wnids,
        solution=_find(location, SOLUTION),
        truth=next(truths, None),
    )


def validation_wnids(devkit: Devkit, folder: Path) -> dict[str, str]:
    """The synset of each validation image, by its name without ending."""
    if devkit.solution:
        return _read_solution(devkit.solution)
    if devkit.truth and devkit.wnids:
        return _read_truth(devkit.truth, devkit.wnids)
    lacking = NAMES[1] if devkit.truth else f"{SOLUTION} or {TRUTHS[0]} with {NAMES[1]}"
    raise UserError(
        f"{folder}: these images are not sorted into synsets, and {lacking} is not there to say "
        "what they show; put it beside train/ and val/, or the devkit's folder."
    )


def _find(location: Path, name: str) -> Path | None:
    tree = [location]
    # Above the location only where it is a part of ImageNet's own tree.
    while len(tree) < LEVELS and tree[-1].name in ("ILSVRC", "Data", "CLS-LOC"):
        tree.append(tree[-1].parent)
    places = (level / folder / name for level in tree for folder in FOLDERS)
    return next((path for path in places if path.is_file()), None)


def _read_mapping(path: Path) -> dict[str, str]:
    names: dict[str, str] = {}
    for number, line in read_lines(path):
        match = _MAPPING.fullmatch(line)
        if match is None:
            raise UserError(
                f"{path}, line {number}: needed is 'n01440764 tench, Tinca tinca'; got {line!r}."
            )
        names[match[1]] = match[2]
    return names


def _read_numbered(path: Path) -> tuple[dict[int, str], dict[str, str]]:
    rows: dict[int, tuple[str, str]] = {}
    for number, line in read_lines(path):
        match = _NUMBERED.fullmatch(line)
        if match is None or int(match[2]) in rows:
            raise UserError(
                f"{path}, line {number}: needed is 'n02119789 1 kit_fox' with a number of its own; "
                f"got {line!r}."
            )
        rows[int(match[2])] = match[1], match[3].replace("_", " ")
    return {id_: wnid for id_, (wnid, _) in rows.items()}, dict(rows.values())


def _read_meta(path: Path) -> tuple[dict[int, str], dict[str, str]]:
    """Ids and names of the synsets without children: those with images, 1 to 1000."""
    from scipy import io

    try:
        synsets: Any = io.loadmat(path, squeeze_me=True, variable_names=["synsets"])["synsets"]
        columns = ("ILSVRC2012_ID", "WNID", "words", "num_children")
        rows = list(zip(*(synsets[name].reshape(-1).tolist() for name in columns), strict=True))
        leaves = [(int(id_), str(wnid), str(words)) for id_, wnid, words, n in rows if not n]
    except Exception as error:  # a damaged .mat raises anything
        raise UserError(
            f"{path}: not the devkit's meta.mat ({type(error).__name__}: {error}); unpack "
            "ILSVRC2012_devkit_t12.tar.gz again."
        ) from None
    return {id_: wnid for id_, wnid, _ in leaves}, {wnid: words for _, wnid, words in leaves}


def _read_truth(path: Path, wnids: Mapping[int, str]) -> dict[str, str]:
    """Line i holds the ILSVRC2012_ID of ILSVRC2012_val_0000000i."""
    truth: dict[str, str] = {}
    for number, line in read_lines(path):
        if not line.isdecimal() or int(line) not in wnids:
            raise UserError(
                f"{path}, line {number}: needed is the ILSVRC2012_ID of a synset, 1 to "
                f"{len(wnids)}; got {line!r}."
            )
        truth[f"ILSVRC2012_val_{number:08d}"] = wnids[int(line)]
    return truth


def _read_solution(path: Path) -> dict[str, str]:
    """Rows such as "ILSVRC2012_val_00048981,n03995372 85 1 499 272 ": the id, then boxes."""
    truth: dict[str, str] = {}
    for line, row in read_rows(path):
        if row == ["ImageId", "PredictionString"]:
            continue
        wnid = row[1][:9] if len(row) == 2 else ""
        if not re.fullmatch(r"n\d{8}", wnid) or row[0] in truth:
            raise UserError(
                f"{path}, line {line}: needed is an image of its own and its synset "
                f"(ILSVRC2012_val_00048981,n03995372 …); got {','.join(row)!r}."
            )
        truth[row[0]] = wnid
    return truth
