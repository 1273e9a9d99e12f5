"""One pass over every image of a source, on all cores, that a kill interrupts but does not undo."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from functools import partial
from itertools import chain
from typing import Any, TypeVar, overload

import numpy as np

from resnetkit.data.checks.listing import Listing
from resnetkit.data.checks.part_store import PartStore
from resnetkit.data.checks.scan_parts import (
    cut_parts,
    part_schema,
    pick_images,
    scan_part,
    sizes_and_times,
)
from resnetkit.data.checks.scan_types import ImageFindings, ImageNames, Scan
from resnetkit.data.checks.workers import map_in_order, pick_kind
from resnetkit.data.source_types import SPLIT_NAMES

Progress = Callable[[str, int, int], None]  # what, done, total
Item = TypeVar("Item")

SAMPLED = 64  # images whose size decides between threads and processes


def scan_source(listing: Listing, store: PartStore, progress: Progress) -> Scan:
    """Read, hash and decode every image of `listing`, except of the parts that `store` has.

    A part is finished when it is on the disk: kill -9 loses the parts under way, no more.
    """
    splits = listing.splits.values()
    parts = chain.from_iterable(cut_parts(split.names, split.contents) for split in splits)
    work = partial(scan_part, finished=store.finished())
    batches: list[Any] = []
    done, total = 0, len(listing)
    progress("checking images", done, total)
    for part, (key, batch) in map_in_order(work, parts, _pick_workers(listing)):
        if batch is None:
            batch = store.load(key)
        else:
            store.save(key, batch)
        if batch is None:  # the finished part's file is damaged
            _, batch = scan_part(part, frozenset())
            store.save(key, batch)
        batches.append(batch)
        done += len(batch)
        progress("checking images", done, total)
    return _assemble(listing, batches)


def _pick_workers(listing: Listing) -> str:
    sizes = [0.0]
    for split in listing.splits.values():
        places = np.linspace(0, len(split) - 1, min(SAMPLED, len(split))).astype(int).tolist()
        if places:
            sampled = pick_images(split.names, split.contents, places)
            sizes.append(float(sizes_and_times(sampled)[0].mean()))
    return pick_kind(len(listing), max(sizes))


def _assemble(listing: Listing, batches: list[Any]) -> Scan:
    import pyarrow

    table = pyarrow.Table.from_batches(batches, schema=part_schema())
    splits = _split_numbers(listing)
    paths = _Joined([split.names for split in listing.splits.values()])
    names = paths if listing.is_folder else ImageNames(paths, splits, listing.prefixes)
    return Scan(
        location=listing.location,
        class_names=listing.class_names,
        task=listing.task,
        names=names,
        paths=paths,
        contents=_Joined([split.contents for split in listing.splits.values()]),
        splits=splits,
        labels=_labels(listing),
        bytes=table["bytes"].to_numpy(),
        modified_ns=table["modified_ns"].to_numpy(),
        sha256=_rows_of_bytes(table["sha256"]),
        pixel_hashes=_rows_of_bytes(table["pixel_hash"]),
        perceptual=table["perceptual"].to_numpy(),
        crop_hashes=_rows_of_bytes(table["crop_hashes"]).view(np.uint64),
        readable=table["readable"].to_numpy(),
        width=table["width"].to_numpy(),
        height=table["height"].to_numpy(),
        modes=table["mode"].dictionary_encode().combine_chunks(),
        formats=table["format"].dictionary_encode().combine_chunks(),
        grey=table["grey"].to_numpy(),
        found=_found(table, names),
    )


def _split_numbers(listing: Listing) -> np.ndarray:
    numbers = np.array([SPLIT_NAMES.index(name) for name in listing.splits], np.int8)
    return np.repeat(numbers, [len(split) for split in listing.splits.values()])


def _labels(listing: Listing) -> np.ndarray:
    labels = [split.labels for split in listing.splits.values()]
    return np.concatenate(labels) if labels else np.zeros(0, np.int64)


def _rows_of_bytes(column: Any) -> np.ndarray:
    """A column of fixed-size binary as uint8 [N, size]."""
    size = column.type.byte_width
    rows = [
        np.frombuffer(chunk.buffers()[1], np.uint8)[: size * (chunk.offset + len(chunk))].reshape(
            -1, size
        )[chunk.offset :]
        for chunk in column.chunks
    ]
    return np.concatenate([np.zeros((0, size), np.uint8), *rows])


def _found(table: Any, names: Sequence[str]) -> dict[str, ImageFindings]:
    """The findings of all images by kind, without an object for each of them."""
    lists = table["kinds"].combine_chunks()
    kinds = lists.flatten().dictionary_encode()
    details = table["details"].combine_chunks().flatten()
    images = lists.value_parent_indices().to_numpy()
    codes = kinds.indices.to_numpy()
    found: dict[str, ImageFindings] = {}
    for code, kind in enumerate(kinds.dictionary.to_pylist()):
        places = np.flatnonzero(codes == code)
        found[kind] = ImageFindings(kind, names, images[places], details.take(places))
    return found


class _Joined(Sequence[Item]):
    """Several sequences one after the other, without copying them."""

    def __init__(self, parts: Sequence[Sequence[Item]]) -> None:
        self._parts = parts
        self._stops: list[int] = np.cumsum([len(part) for part in parts], dtype=int).tolist()

    def __len__(self) -> int:
        return self._stops[-1] if self._stops else 0

    @overload
    def __getitem__(self, index: int) -> Item: ...
    @overload
    def __getitem__(self, index: slice) -> list[Item]: ...
    def __getitem__(self, index: int | slice) -> Item | list[Item]:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        if not 0 <= index < len(self):
            raise IndexError(index)
        part = bisect_right(self._stops, index)
        return self._parts[part][index - (self._stops[part - 1] if part else 0)]
