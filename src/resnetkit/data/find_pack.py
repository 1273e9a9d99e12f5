"""Where a source's packs are kept, and whether one of them is what training needs now."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from resnetkit.data.columns import text_keys
from resnetkit.data.content import hash_contents
from resnetkit.data.contract import InputContract
from resnetkit.data.packed import Pack, PackedImages, PackSettings, fingerprints, load_pack
from resnetkit.data.source_types import Split
from resnetkit.data.sources import place_of, prefix_of
from resnetkit.runtime import DamagedFolder, recover_folder

CACHE_VARIABLE = "RESNETKIT_CACHE"


@dataclass(frozen=True, kw_only=True)
class PackChoice:
    """Splits that read from `pack` where they can, and one line that says so or why not.

    `note` is empty when the source has no pack at all.
    """

    splits: dict[str, Split]
    pack: Pack | None
    note: str


def cache_folder() -> Path:
    """Where everything goes that could be made again: $RESNETKIT_CACHE or ~/.cache/resnetkit."""
    return Path(os.environ.get(CACHE_VARIABLE) or "~/.cache/resnetkit").expanduser()


def packs_folder(location: str) -> Path:
    """Where the packs of a source are by default: in the user's cache."""
    path = place_of(location)
    place = location if path is None else os.path.realpath(path)
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", Path(place).name).strip("-.")[:40] or "source"
    # Of one folder, its pictures and the boxes cut out of them are two sources.
    key = os.fsencode("\0".join(filter(None, (place, prefix_of(location), _pattern(location)))))
    return cache_folder() / "packs" / f"{stem}-{hashlib.sha256(key).hexdigest()[:12]}"


def _pattern(location: str) -> str:
    name = location.rpartition("/")[2]
    return name if "{" in name else ""


def pack_folder(location: str, settings: PackSettings) -> Path:
    """The default place of one pack."""
    return packs_folder(location) / settings.label


def choose_pack(
    splits: Mapping[str, Split],
    location: str,
    contract: InputContract,
    folder: Path | None = None,
) -> PackChoice:
    """The splits of a source with its pack attached, the one in `folder` or the best by default.

    A pack must hold every image of the training split ("train") as it is now. Splits that a network
    is judged on take from it only pixels that are exactly those of their files.
    """
    reasons: list[str] = []
    folders = [folder] if folder is not None else _default_folders(location)
    for pack in _rank([pack for place in folders if (pack := _open(place, reasons))]):
        if (reason := _unfit(pack, contract)) is not None:
            reasons.append(f"{pack.folder}: {reason}")
            continue
        exact = pack.fits_exactly(contract)
        attached, reason = _attach_all(splits, pack, exact)
        if reason is not None:
            reasons.append(f"{pack.folder}: {reason}")
            continue
        return PackChoice(splits=attached, pack=pack, note=_describe(pack, exact))
    note = f"no pack is used ({'; '.join(reasons)})" if reasons else ""
    return PackChoice(splits=dict(splits), pack=None, note=note)


def attach_pack(split: Split, pack: Pack) -> Split | str:
    """The split reading from `pack`; or why it cannot: images it lacks, or that changed since."""
    if split.encoded is None:
        return "its images are decoded already"
    positions = pack.index.positions(text_keys(split.names))
    lacking = np.flatnonzero(positions < 0)
    if len(lacking):
        return f"it lacks {len(lacking)} image(s) such as {split.names[lacking[0]]!r}; {AGAIN}"
    other = np.flatnonzero(fingerprints(split.encoded) != pack.index.fingerprints[positions])
    hashes = hash_contents(split, other)
    changed = other[(hashes != pack.index.hashes[positions[other]]).any(axis=1)]
    if len(changed):
        return f"{len(changed)} image(s) such as {split.names[changed[0]]!r} have changed; {AGAIN}"
    return replace(split, packed=PackedImages(pack=pack, positions=positions))


AGAIN = "make it again with data pack"


def _attach_all(
    splits: Mapping[str, Split], pack: Pack, exact: bool
) -> tuple[dict[str, Split], str | None]:
    attached = dict(splits)
    for name, split in splits.items():
        if name != "train" and not exact:
            continue
        found = attach_pack(split, pack)
        if isinstance(found, str):
            return dict(splits), found
        attached[name] = found
    return attached, None


def _default_folders(location: str) -> list[Path]:
    packs = packs_folder(location)
    if not packs.is_dir():
        return []
    for aside in packs.glob(".*.old-[0-9]*"):  # a pack was just being replaced by a newer one
        recover_folder(packs / aside.name[1:].rpartition(".old-")[0])
    return sorted(path for path in packs.iterdir() if path.is_dir() and path.name[0] != ".")


def _open(folder: Path, reasons: list[str]) -> Pack | None:
    try:
        return load_pack(folder)
    except DamagedFolder as error:
        reasons.append(str(error))
        return None


def _rank(packs: list[Pack]) -> list[Pack]:
    """Raw before JPEG, and the smallest first: of those large enough it is the fastest."""
    return sorted(packs, key=lambda pack: (pack.settings.storage != "raw", pack.settings.side))


def _unfit(pack: Pack, contract: InputContract) -> str | None:
    """Why a network with this contract cannot learn from the pack, if so."""
    settings = pack.settings
    wanted = {"color_mode": contract.color_mode, "exif_transpose": contract.exif_transpose}
    for name, value in {**wanted, "interpolation": contract.interpolation}.items():
        if getattr(settings, name) != value:
            return f"its {name} is {getattr(settings, name)}, needed is {value}"
    if settings.side < contract.resize:
        return f"its shorter side is {settings.side} pixels, needed are {contract.resize}; {AGAIN}"
    return None


def _describe(pack: Pack, exact: bool) -> str:
    settings = pack.settings
    judged = "" if exact else "; judging still decodes the files, whose pixels differ"
    return (
        f"images come decoded from the pack {pack.folder} "
        f"({settings.storage}, shorter side {settings.side}){judged}"
    )
