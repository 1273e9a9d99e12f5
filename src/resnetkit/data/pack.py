"""Packing a source: decode its images once, on all cores, so that training need not do it again."""

from __future__ import annotations

import io
import json
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
from resnetkit.data.contract import CHANNELS
from resnetkit.data.decode import UnreadableImage, decode_image
from resnetkit.data.find_pack import pack_folder
from resnetkit.data.pack_building import (
    Building,
    PackRow,
    building_lock,
    disk_full,
    disk_trouble,
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
from resnetkit.data.sources import load_source
from resnetkit.data.splits import concatenate
from resnetkit.data.threads import map_in_order
from resnetkit.data.transforms import image_sizes, resize_shorter, resized_size
from resnetkit.runtime import MANIFEST, DamagedFolder
from resnetkit.types import UserError

DEFAULT_SIDE = 256  # of photographs seen at 224
CHUNK = 64  # images a thread takes at a time, and that are lost at most when all is killed
SAMPLE = 500  # images whose headers tell how large a pack will be
JPEG_SHARE = 0.2  # of the raw size, at `JPEG_QUALITY`; photographs take less
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
    _refuse_folder(folder, location)
    work = _plan(split, settings, _previous(folder, settings))
    if _is_current(work):
        assert work.previous is not None
        return _report(folder, work.previous, decoded=0, up_to_date=True)
    part = folder.with_name(f".{folder.name}.part")
    with disk_trouble(part), building_lock(part):
        wanted = dict(zip(work.keys.tolist(), work.fingerprints.tolist(), strict=True))
        building = Building(part, settings, wanted)
        _refuse_small_disk(work, building)
        decoded = _fill(building, work, progress)
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


def _refuse_folder(folder: Path, location: str) -> None:
    source, target = Path(location).expanduser().resolve(), folder.expanduser().resolve()
    if source.exists() and target.is_relative_to(source):
        raise UserError(
            f"{folder}: this is inside the source {location}, which is only read; choose another "
            "place with --out"
        )
    known = (folder / SETTINGS).is_file() and (folder / MANIFEST).is_file()
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir()) and not known):
        raise UserError(
            f"{folder}: needed a new folder or a pack, found something else; choose another place "
            "with --out"
        )
    if known:
        try:
            json.loads((folder / MANIFEST).read_bytes())
        except ValueError:
            raise UserError(f"{folder}: a damaged pack; delete it and pack again") from None


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


def _is_current(work: _Work) -> bool:
    """Whether the pack that is there holds just these images, none of which has changed."""
    if work.previous is None or len(work.keys) != len(work.previous.index):
        return False
    known = work.previous.index.fingerprints[work.places]
    return bool((work.places >= 0).all() and (known == work.fingerprints).all())


def _fill(building: Building, work: _Work, progress: Progress) -> int:
    """Add all images that `building` lacks; how many had to be decoded."""
    total, done, decoded = len(work.keys), len(building.done), 0
    missing = [i for i, key in enumerate(work.keys.tolist()) if key not in building.done]
    chunks: Iterator[list[int]] = (
        missing[start : start + CHUNK] for start in range(0, len(missing), CHUNK)
    )
    for results in map_in_order(lambda chunk: [_pack_image(work, i) for i in chunk], chunks):
        building.append([row for row, _, _ in results], [content for _, content, _ in results])
        decoded += sum(fresh for _, _, fresh in results)
        done += len(results)
        progress("packing", done, total)
    return decoded


def _pack_image(work: _Work, index: int) -> tuple[PackRow, bytes, bool]:
    """Its row, its stored bytes, and whether they were made now."""
    place = int(work.places[index])
    if work.previous is not None and place >= 0:
        known = work.previous.index
        same = known.fingerprints[place] == work.fingerprints[index]
        if same or content_hash(work.split, index) == known.hashes[place].tobytes():
            content = work.previous.content(place).tobytes()
            if zlib.crc32(content) == known.checksums[place]:  # else the disk has altered it
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


def _refuse_small_disk(work: _Work, building: Building) -> None:
    """`UserError` when the pack will not fit, before hours are spent on finding out."""
    sizes = [(height, width) for height, width, _ in image_sizes(work.split, SAMPLE)]
    if not sizes:
        return
    shorter = np.minimum(1.0, work.settings.side / np.min(sizes, axis=1))
    pixels = float((np.prod(sizes, axis=1) * shorter**2).mean())
    share = 1.0 if work.settings.storage == "raw" else JPEG_SHARE
    left = len(work.keys) - len(building.done)
    needed = int(left * pixels * CHANNELS[work.settings.color_mode] * share)
    free = shutil.disk_usage(building.folder).free
    if needed > free:
        building.discard()
        raise disk_full(building.folder, f"about {needed / 1e9:,.1f} GB more", free)


def _report(folder: Path, pack: Pack, *, decoded: int, up_to_date: bool) -> PackReport:
    problems = tuple(pack.index.problems[place] for place in sorted(pack.index.problems))
    count = len(pack.index)
    return PackReport(
        folder=folder,
        settings=pack.settings,
        images=count - len(problems),
        decoded=decoded,
        reused=count - decoded,
        unreadable=problems,
        size_bytes=int(pack.index.stored.sum()),
        up_to_date=up_to_date,
    )
