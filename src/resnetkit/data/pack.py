"""Packing a source: decode its images once, on all cores, so that training need not do it again."""

from __future__ import annotations

import io
import shutil
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from resnetkit.data.color_mode import to_color_mode
from resnetkit.data.columns import text_keys
from resnetkit.data.content import content_hash, file_facts
from resnetkit.data.decode import UnreadableImage, decode_image
from resnetkit.data.find_pack import pack_folder
from resnetkit.data.pack_building import (
    Building,
    PackRow,
    building_lock,
    disk_trouble,
    refuse_small_disk,
)
from resnetkit.data.packed import (
    JPEG_QUALITY,
    SETTINGS,
    Pack,
    PackSettings,
    Storage,
    fingerprints,
    load_pack,
)
from resnetkit.data.source_types import Split
from resnetkit.data.sources import load_source, refuse_inside
from resnetkit.data.splits import concatenate
from resnetkit.data.threads import map_in_order
from resnetkit.data.transforms import image_sizes, resize_shorter, resized_size
from resnetkit.runtime import DamagedFolder
from resnetkit.types import UserError

DEFAULT_SIDE = 256  # of photographs seen at 224
CHUNK = 64  # images a thread takes at a time, and that are lost at most when all is killed
GREY_MODES = ("L", "1", "I;16", "LA")

Progress = Callable[[str, int, int], None]  # what, done, total


@dataclass(frozen=True, kw_only=True)
class PackReport:
    """What `pack_source` did."""

    folder: Path
    settings: PackSettings
    images: int  # in the pack, the unreadable ones not counted
    decoded: int  # of them now
    reused: int  # of them from the pack that was there, or from one that was being made
    unreadable: tuple[str, ...]  # messages that name the images
    size_bytes: int
    up_to_date: bool  # nothing had to be written


@dataclass(frozen=True, kw_only=True, eq=False)
class _Work:
    """The images to pack, each name once, and what is known of them: columns of length N."""

    split: Split
    keys: np.ndarray
    fingerprints: np.ndarray
    file_sizes: np.ndarray
    modified: np.ndarray
    settings: PackSettings
    previous: Pack | None
    places: np.ndarray  # position in `previous`, -1 where it has none


def pack_source(
    location: str,
    out: Path | None = None,
    *,
    side: int = DEFAULT_SIDE,
    storage: Storage = "raw",
    color_mode: Literal["auto", "RGB", "L"] = "auto",
    progress: Progress = lambda *_: None,
) -> PackReport:
    """Decode every image of `location` once and keep it with a shorter side of `side` pixels.

    The pack lies in `out`, by default in the user's cache, where training finds it; a pack already
    there gives what has not changed since. "raw" keeps the pixels, "jpeg" a fifth of the bytes,
    which then have to be decoded. Smaller images keep their size. What a killed call has done
    counts for the next one. Raises `UserError` for a source without files to decode, a folder that
    holds something else, and a disk that is too small, which leaves what was there before.
    """
    if side < 1:
        raise UserError(f"The shorter side of a pack must be 1 pixel or more, got {side}")
    split = _load_all(location)
    mode = _color_mode(split) if color_mode == "auto" else color_mode
    settings = PackSettings(side=side, storage=storage, color_mode=mode)
    folder = pack_folder(location, settings) if out is None else out
    refuse_inside(location, folder)
    if out is not None:
        _refuse_folder(out, settings)
    work = _plan(split, settings, _previous(folder, settings))
    if out is not None and work.previous is not None and not (work.places >= 0).any():
        raise UserError(f"{out}: this is a pack of other images; give another place with --out")
    if _is_current(work, progress):
        assert work.previous is not None
        return _report(folder, work.previous, decoded=0, up_to_date=True)
    part = folder.with_name(f".{folder.name}.part")
    with disk_trouble(part), building_lock(part):
        wanted = dict(zip(work.keys.tolist(), work.fingerprints.tolist(), strict=True))
        building = Building(part, settings, wanted)
        refuse_small_disk(building, split, len(work.keys) - len(building.done))
        decoded = _fill(building, work, progress)
        if out is None:
            _clear_damaged(folder)
        building.commit(folder)
    return _report(folder, load_pack(folder), decoded=decoded, up_to_date=False)


def _load_all(location: str) -> Split:
    """Every image of the source, each name once."""
    source = load_source(location, load_source(location, ()).present)
    split = concatenate(list(source.splits.values()))
    if split.encoded is None:
        raise UserError(
            f"{location}: its images come as decoded arrays, which are kept in memory: there is "
            "nothing to pack. Train on it as it is"
        )
    _, first = np.unique(text_keys(split.names), return_index=True)
    return split if len(first) == len(split) else split.subset(np.sort(first))


def _color_mode(split: Split) -> Literal["RGB", "L"]:
    """As training decides it: grey when every image is."""
    return "L" if all(mode in GREY_MODES for _, _, mode in image_sizes(split)) else "RGB"


def _refuse_folder(out: Path, settings: PackSettings) -> None:
    """UserError unless `out` is free, or holds a pack made in the same way."""
    if out.is_dir() and not any(out.iterdir()):
        return
    if not (out / SETTINGS).is_file():
        if out.exists():
            raise UserError(
                f"{out}: needed a new folder or a pack, found something else; choose another place "
                "with --out"
            )
        return
    try:
        found = load_pack(out).settings
    except DamagedFolder as error:
        raise UserError(f"{error}: a damaged pack; delete it and pack again") from None
    if found != settings:
        raise UserError(
            f"{out}: this is a pack of another kind ({found.label}), wanted is {settings.label}; "
            "give another place with --out"
        )


def _clear_damaged(folder: Path) -> None:
    """Remove a pack that cannot be opened from the default place, which is ours."""
    try:
        load_pack(folder)
    except DamagedFolder:
        shutil.rmtree(folder, ignore_errors=True)


def _previous(folder: Path, settings: PackSettings) -> Pack | None:
    """The pack that is being renewed, if its pixels were made in the same way."""
    try:
        pack = load_pack(folder)
    except DamagedFolder:
        return None
    return pack if pack.settings == settings else None


def _plan(split: Split, settings: PackSettings, previous: Pack | None) -> _Work:
    assert split.encoded is not None
    keys = text_keys(split.names)
    sizes, times = file_facts(split)
    nowhere = np.full(len(split), -1)
    return _Work(
        split=split,
        keys=keys,
        fingerprints=fingerprints(split.encoded),
        file_sizes=sizes,
        modified=times,
        settings=settings,
        previous=previous,
        places=nowhere if previous is None else previous.index.positions(keys),
    )


def _is_current(work: _Work, progress: Progress) -> bool:
    """Whether the pack that is there holds just these images, none changed, each stored whole."""
    if work.previous is None or len(work.keys) != len(work.previous.index):
        return False
    known = work.previous.index.fingerprints[work.places]
    if not ((work.places >= 0).all() and (known == work.fingerprints).all()):
        return False
    for number, place in enumerate(work.places.tolist(), 1):
        if not work.previous.is_whole(place):
            return False
        if number % CHUNK == 0:
            progress("comparing checksums", number, len(work.keys))
    return True


def _fill(building: Building, work: _Work, progress: Progress) -> int:
    """Add all images that `building` lacks; how many had to be decoded."""
    total, done, decoded = len(work.keys), len(building.done), 0
    missing = [i for i, key in enumerate(work.keys.tolist()) if key not in building.done]
    chunks: Iterator[list[int]] = (
        missing[start : start + CHUNK] for start in range(0, len(missing), CHUNK)
    )
    for results in map_in_order(lambda chunk: [_pack_image(work, i) for i in chunk], chunks):
        building.append([row for row, _, _ in results], [content for _, content, _ in results])
        decoded += sum(fresh and row.problem is None for row, _, fresh in results)
        done += len(results)
        progress("packing", done, total)
    return decoded


def _pack_image(work: _Work, index: int) -> tuple[PackRow, bytes, bool]:
    """Its row, its stored bytes, and whether they were made now."""
    place = int(work.places[index])
    if work.previous is not None and place >= 0:
        known = work.previous.index
        same = known.fingerprints[place] == work.fingerprints[index]
        same = same or content_hash(work.split, index) == known.hashes[place].tobytes()
        if same and work.previous.is_whole(place):
            content = work.previous.content(place).tobytes()
            height, width = known.sizes[place].tolist()
            digest = known.hashes[place].tobytes()
            row = _row(work, index, digest, content, (height, width))
            return row._replace(problem=known.problems.get(place)), content, False
    digest = content_hash(work.split, index)
    try:
        picture = _shrink(work, index)
    except UnreadableImage as error:
        return _row(work, index, digest, b"", (0, 0))._replace(problem=str(error)), b"", True
    content = _store(picture, work.settings.storage)
    return _row(work, index, digest, content, (picture.height, picture.width)), content, True


def _row(work: _Work, index: int, digest: bytes, content: bytes, size: tuple[int, int]) -> PackRow:
    return PackRow(
        name=work.split.names[index],
        key=int(work.keys[index]),
        fingerprint=int(work.fingerprints[index]),
        sha256=digest.hex(),
        bytes=int(work.file_sizes[index]),
        modified_ns=int(work.modified[index]),
        stored=len(content),
        crc32=zlib.crc32(content),
        height=size[0],
        width=size[1],
        problem=None,
    )


def _shrink(work: _Work, index: int) -> Image.Image:
    """The image as `fit_image` has it before it crops; left as it is where it would be enlarged."""
    assert work.split.encoded is not None
    name, settings = work.split.names[index], work.settings
    picture = decode_image(work.split.encoded[index], name)
    picture = to_color_mode(picture, settings.color_mode, settings.exif_transpose, name)
    resized_size(picture, settings.side, name)  # refuses what training could not use
    if min(picture.size) <= settings.side:
        return picture
    return resize_shorter(picture, settings.side, settings.interpolation, name)


def _store(picture: Image.Image, storage: Storage) -> bytes:
    if storage == "raw":
        return picture.tobytes()
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=JPEG_QUALITY)
    return stream.getvalue()


def _report(folder: Path, pack: Pack, *, decoded: int, up_to_date: bool) -> PackReport:
    problems = tuple(pack.index.problems[place] for place in sorted(pack.index.problems))
    count = len(pack.index)
    return PackReport(
        folder=folder,
        settings=pack.settings,
        images=count - len(problems),
        decoded=decoded,
        reused=count - len(problems) - decoded,
        unreadable=problems,
        size_bytes=int(pack.index.stored.sum()),
        up_to_date=up_to_date,
    )
