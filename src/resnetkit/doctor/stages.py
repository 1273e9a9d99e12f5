"""What happens to an image in the loader, each stage by itself over the same few images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from resnetkit.data.encoded import Crop, Encoded, FileRegion, open_encoded
from resnetkit.data.packed import PackedImages
from resnetkit.data.reading import (
    Item,
    Reading,
    decode_item,
    fit_item,
    list_items,
    new_rows,
    read_packed,
)
from resnetkit.data.source_types import Split
from resnetkit.doctor.timing import (
    Timing,
    drop_from_cache,
    free_memory_bytes,
    summarise,
    time_once,
    time_rounds,
)
from resnetkit.doctor.verdict import Stage, StageName

SAMPLE_IMAGES = 128
SAMPLE_BYTES = 256 << 20
COLD_ROUNDS = 8


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A few images of a split, spread evenly: as they are stored, and with bytes in memory."""

    stored: tuple[Item, ...]
    held: tuple[Item, ...]

    @property
    def files(self) -> list[Path]:
        """The files that hold them, each once."""
        found = (_file_of(item.encoded) for item in self.stored)
        return sorted({path for path in found if path is not None})


def take_sample(split: Split) -> Sample:
    """Read a sample of `split`, which has encoded images, into memory."""
    numbers = sample_numbers(len(split))
    held, size = [], 0
    for item in list_items(split, numbers):
        content, stored = _content(item), item.encoded
        crop = Crop(of=content, box=stored.box) if isinstance(stored, Crop) else None
        held.append(item._replace(encoded=crop or content))
        size += len(content)
        if size > SAMPLE_BYTES:
            break
    stored = list_items(split, numbers[: len(held)])
    return Sample(stored=tuple(stored), held=tuple(held))


def sample_numbers(images: int) -> np.ndarray:
    """Which of so many images are looked at: int64, spread evenly."""
    return np.unique(np.linspace(0, images - 1, SAMPLE_IMAGES).astype(np.int64))


def time_files(split: Split, reading: Reading, seconds: float) -> list[Stage]:
    """Reading, decoding, cropping and collating of encoded images, one thread."""
    sample = take_sample(split)
    draws = reading.draws(0, np.array([item.number for item in sample.held]))
    decode = partial(decode_item, reading)
    pictures, size = [], 0
    for item, draw in zip(sample.held, draws, strict=True):
        pictures.append(decode(item, draw))
        size += np.asarray(pictures[-1]).nbytes
        if size > SAMPLE_BYTES:
            break
    items, draws = sample.held[: len(pictures)], draws[: len(pictures)]

    def fit(item: Item, draw: np.ndarray, picture: Any) -> np.ndarray:
        return fit_item(reading, picture, item.name, draw)

    fitted = [fit(*each) for each in zip(items, draws, pictures, strict=True)]
    rows = new_rows(reading, len(fitted)).numpy()

    def collate(number: int) -> None:
        rows[number] = fitted[number]

    return [
        time_reading(sample, len(split), seconds),
        _time_each("decode", decode, (items, draws), seconds),
        _time_each("resize", fit, (items, draws, pictures), seconds),
        _time_each("collate", collate, (range(len(fitted)),), seconds),
    ]


def time_pack(packed: PackedImages, reading: Reading, seconds: float) -> list[Stage]:
    """Bytes out of the pack; decoding where it holds JPEG; the whole way into a batch."""
    numbers = sample_numbers(len(packed))
    positions: list[int] = packed.positions[numbers].tolist()
    rows = new_rows(reading, len(numbers)).numpy()
    pack = packed.pack

    def fill() -> int:
        read_packed(reading, 0, numbers, packed, rows)
        return len(numbers)

    read = _time_each("read", lambda place: pack.content(place).copy(), (positions,), seconds)
    decode = _time_each("decode", pack.pixels, (positions,), seconds)
    whole = Stage(name="resize", timing=time_rounds(fill, seconds), note="into the batch, all told")
    jpeg = pack.settings.storage == "jpeg"
    return [replace(read, note="out of the pack"), *([decode] if jpeg else []), whole]


def time_reading(sample: Sample, images: int, seconds: float) -> Stage:
    """Bytes from the disk, first out of an emptied file cache, then out of a full one.

    Which of the two a run of `images` will meet is decided by whether they fit the free memory.
    """
    if not sample.files:
        note = "the encoded bytes are in memory already"
        return Stage(name="read", timing=_time_content(sample, seconds), note=note)
    emptied = drop_from_cache(sample.files)
    step = -(-len(sample.stored) // COLD_ROUNDS)
    parts = [sample.stored[start : start + step] for start in range(0, len(sample.stored), step)]
    cold = summarise([time_once(partial(_read, part)) for part in parts])
    warm = _time_content(sample, seconds)
    total = images * float(np.mean([len(_content(item)) for item in sample.held]))
    free = free_memory_bytes()
    if not emptied:
        note = "out of the file cache, which could not be emptied: the disk itself was not timed"
        return Stage(name="read", timing=warm, note=note)
    if free is None or total < free:
        note = f"out of the file cache; {_milliseconds(cold.seconds)} from the disk, first epoch"
        return Stage(name="read", timing=warm, note=note)
    note = (
        f"file cache emptied: {total / 2**30:.0f} GiB do not fit {free / 2**30:.0f} GiB of free "
        f"memory; out of the cache {_milliseconds(warm.seconds)}"
    )
    return Stage(name="read", timing=cold, note=note)


def _time_content(sample: Sample, seconds: float) -> Timing:
    return time_rounds(partial(_read, sample.stored), seconds)


def _read(items: Sequence[Item]) -> int:
    for item in items:
        _content(item)
    return len(items)


def _content(item: Item) -> bytes:
    """The encoded bytes; of a crop those of the picture it is cut from."""
    with open_encoded(item.encoded) as stream:
        return stream.read()


def _file_of(encoded: Encoded) -> Path | None:
    stored = encoded.of if isinstance(encoded, Crop) else encoded
    if isinstance(stored, FileRegion):
        return stored.path
    return stored if isinstance(stored, Path) else None


def _time_each(
    name: StageName,
    work: Callable[..., object],
    arguments: Sequence[Sequence[Any] | np.ndarray | range],
    seconds: float,
) -> Stage:
    """`work` of every image; `arguments` are columns, one value an image."""

    def each() -> int:
        done = 0
        for values in zip(*arguments, strict=True):
            work(*values)
            done += 1
        return done

    return Stage(name=name, timing=time_rounds(each, seconds))


def _milliseconds(seconds: float) -> str:
    return f"{1000 * seconds:.3g} ms"
