"""The features kept in the user's cache: found again, limited in size, and whether they pay."""

from __future__ import annotations

import datetime
import math
import re
import shutil
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn

from resnetkit.data.augment import AugmentConfig
from resnetkit.data.find_pack import cache_folder
from resnetkit.finetuning.feature_store import (
    FeatureStore,
    Layout,
    build_store,
    load_store,
    remove_store,
)
from resnetkit.finetuning.features import (
    FeatureRequest,
    Progress,
    feature_chunks,
    feature_key,
    feature_shape,
)
from resnetkit.runtime import DamagedFolder, held, sweep_temporaries

LIMIT_BYTES = 10 << 30
RESERVED_BYTES = 1 << 30  # of the disk, left to everybody else
MEMORY_BYTES = 1 << 30  # of features that are kept in memory where they cannot be stored
EPOCHS_PER_VIEW = 4
MOST_VIEWS = 8
KEY_LENGTH = 40  # hexadecimal digits of a store's key in its name
OURS = re.compile(rf"[0-9a-f]{{{KEY_LENGTH}}}|\.[0-9a-f]{{{KEY_LENGTH}}}\.part")

Note = Callable[[str], None]


def _default_folder() -> Path:
    return cache_folder() / "features"


@dataclass(frozen=True, kw_only=True)
class FeatureCache:
    """Where features are kept; those not used for longest go when there is more than the limit.

    A store that a living process has open stays. Where the system has no file locks (Windows),
    nobody can tell, and nothing is ever removed.
    """

    folder: Path = field(default_factory=_default_folder)
    limit_bytes: int = LIMIT_BYTES

    def free_bytes(self) -> int:
        """Room for new features, once all that is not in use has gone."""
        idle = sum(_size(path) for path in _entries(self.folder) if not _in_use(path))
        kept = sum(map(_size, _entries(self.folder))) - idle
        return max(0, min(self.limit_bytes - kept, _disk_room(self.folder) + idle))


@dataclass(frozen=True, kw_only=True)
class ViewChoice:
    """Augmented views to compute of each image, 0 where a cache would not pay, and why."""

    views: int
    reason: str


def choose_views(
    epochs: float,
    images: int,
    feature_bytes: int,
    free_bytes: int,
    augment: AugmentConfig,
    asked: int | None = None,
) -> ViewChoice:
    """How many views of each image are worth computing once, for training of `epochs` epochs.

    With the cache the frozen part runs `views` times over the images, without it `epochs` times:
    it pays when views < epochs. Fewer views vary less, and each is seen epochs / views times. By
    default every view serves `EPOCHS_PER_VIEW` epochs, and there are at most `MOST_VIEWS`: at least
    four times as fast, while the images still vary. Images that are not augmented need one view.
    `feature_bytes` are those of one image in one view; `asked` is a number the user wants.
    """
    longest = math.ceil(epochs)
    wanted = min(_wanted(longest, augment) if asked is None else asked, longest)
    affordable = free_bytes // max(1, images * feature_bytes)
    views = min(wanted, affordable)
    size = f"{_in_words(images * feature_bytes)} a view"
    if not views:
        return ViewChoice(views=0, reason=f"features take {size}, {_in_words(free_bytes)} are free")
    if views >= longest and asked is None:
        return ViewChoice(views=0, reason=f"{longest} epoch(s) would use each view once")
    limited = f" (of {wanted}: no room for more)" if views < wanted else ""
    plural = "view" if views == 1 else "views"
    return ViewChoice(
        views=views,
        reason=f"{views} {plural} of each image{limited} serve {longest} epochs; {size}",
    )


def _wanted(longest: int, augment: AugmentConfig) -> int:
    if augment == AugmentConfig():
        return 1
    views = max(1, min(MOST_VIEWS, longest // EPOCHS_PER_VIEW))
    # Flips alternate from view to view, and from the last to the first only if views are even.
    return views + views % 2 if augment.alternate_flips else views


def compute_features(
    network: nn.Module,
    request: FeatureRequest,
    cache: FeatureCache | None,
    progress: Progress,
    note: Note,
) -> FeatureStore | None:
    """What enters `request.part`: from the cache where it is there, else computed and kept.

    `note` is told, in a line each, what was found, removed or could not be kept. A damaged store is
    computed again with a warning. Without a cache, or room in it, features come into memory if they
    take at most `MEMORY_BYTES`; else None is returned, and the caller trains on images.
    """
    if cache is None:
        return _compute_in_memory(network, request, _layout(network, request, ""), progress)
    layout = _layout(network, request, feature_key(network, request))
    final = cache.folder / layout.key[:KEY_LENGTH]
    trouble = None
    if (store := _find(final, layout)) is not None:
        note(f"features before {request.part} come from {final}")
        return store
    try:
        trouble = make_room(cache, layout.bytes, final, note)
        if trouble is None:
            chunks = partial(feature_chunks, network, request)
            return build_store(final, layout, chunks, _counter(layout, progress))
    except OSError as error:  # a full disk, a folder that may not be written
        trouble = str(error)
    store = _compute_in_memory(network, request, layout, progress)
    instead = "the images are used" if store is None else "they are kept in memory"
    note(f"features before {request.part} are not stored: {trouble}; {instead}")
    return store


def make_room(cache: FeatureCache, needed: int, final: Path, note: Note) -> str | None:
    """Remove what was not used for longest until `needed` bytes fit; or say why they cannot.

    What a killed process left of the store `final` counts as there already. If even all that is not
    in use would not do, nothing is removed.
    """
    cache.folder.mkdir(parents=True, exist_ok=True)
    sweep_temporaries(cache.folder)
    part = final.with_name(f".{final.name}.part")
    entries = [path for path in _entries(cache.folder) if path != part]
    needed_more = needed - _size(part)
    total = sum(map(_size, entries)) + needed
    idle = [path for path in entries if not _in_use(path)]
    removable = sum(map(_size, idle))
    if total - removable > cache.limit_bytes:
        used = total - removable - needed
        return (
            f"they take {_in_words(needed)}, and the cache {cache.folder} may hold "
            f"{_in_words(cache.limit_bytes)}, of which {_in_words(used)} are in use"
        )
    if needed_more > _disk_room(cache.folder) + removable:
        return (
            f"they take {_in_words(needed)}, and {_in_words(_disk_room(cache.folder))} of the "
            f"disk of {cache.folder} may be used"
        )
    for path in sorted(idle, key=_last_use):
        if total <= cache.limit_bytes and needed_more <= _disk_room(cache.folder):
            break
        size, day = _size(path), datetime.date.fromtimestamp(_last_use(path))
        if _remove_idle(path):
            total -= size
            note(f"removed {path}: {_in_words(size)} of features last used on {day}")
    return None


def _find(final: Path, layout: Layout) -> FeatureStore | None:
    """The store, if it is there and whole."""
    try:
        return load_store(final, layout)
    except DamagedFolder as error:
        warnings.warn(f"stored features are damaged and computed again: {error}", stacklevel=3)
        remove_store(final)
        return None


def _layout(network: nn.Module, request: FeatureRequest, key: str) -> Layout:
    starts = [request.rows_before(chunk) for chunk in range(request.chunks + 1)]
    return Layout(
        key=key,
        views=request.views,
        chunk_rows=tuple(np.diff(starts).tolist()),
        row_shape=feature_shape(network, request),
    )


def _compute_in_memory(
    network: nn.Module, request: FeatureRequest, layout: Layout, progress: Progress
) -> FeatureStore | None:
    if layout.bytes > MEMORY_BYTES:
        return None
    rows, done, tell = np.empty(layout.shape, np.float32), 0, _counter(layout, progress)
    for chunk in feature_chunks(network, request):
        rows[done : done + len(chunk)] = chunk
        done += len(chunk)
        tell(done)
    return FeatureStore(rows=torch.from_numpy(rows), views=request.views)


def _counter(layout: Layout, progress: Progress) -> Callable[[int], None]:
    return lambda done: progress("computing features", done, layout.shape[0])


def _entries(folder: Path) -> list[Path]:
    """Stores, and what killed processes left of some; whatever else lies there is not ours."""
    if not folder.is_dir():
        return []
    return [path for path in folder.iterdir() if path.is_dir() and OURS.fullmatch(path.name)]


def _size(folder: Path) -> int:
    """Bytes on the disk; what is being removed meanwhile counts no more."""
    total = 0
    for path in folder.glob("*"):
        try:
            total += path.stat().st_size
        except FileNotFoundError:
            continue
    return total


def _last_use(folder: Path) -> float:
    """When a store was last opened, or grew; seconds since 1970."""
    return max((path.stat().st_mtime for path in folder.glob("*.json")), default=0.0)


def _in_use(folder: Path) -> bool:
    try:
        with held(folder) as alone:
            return not alone
    except FileNotFoundError:
        return True


def _remove_idle(folder: Path) -> bool:
    try:
        with held(folder) as alone:
            if alone:
                remove_store(folder)
            return alone
    except FileNotFoundError:
        return True


def _disk_room(folder: Path) -> int:
    """Bytes of its disk that may be filled."""
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    return max(0, shutil.disk_usage(there).free - RESERVED_BYTES)


def _in_words(size: int) -> str:
    return f"{size / 1e9:,.1f} GB" if size >= 1e9 else f"{math.ceil(size / 1e6):,} MB"
