"""A manifest laid over the source it describes: its splits, labels and exclusions rule."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from resnetkit.data.columns import NO_FILE, concatenate_texts, take_texts, text_keys
from resnetkit.data.content import Progress, file_facts, hash_contents, is_known
from resnetkit.data.manifest_table import NONE, ManifestTable
from resnetkit.data.source_types import SPLIT_NAMES, Source
from resnetkit.data.splits import concatenate
from resnetkit.types import UserError

SHOWN = 5  # names in a message
TRAIN, VALIDATION, TEST = range(len(SPLIT_NAMES))
_ABSOLUTE = re.compile(r"[/\\]|[A-Za-z]:[/\\]")


@dataclass(frozen=True, kw_only=True, eq=False)
class Overlaid:
    """A source as its manifest has it, and for each image of a split its row in `table`."""

    source: Source
    manifest: str
    table: ManifestTable
    rows: dict[str, np.ndarray]  # [N] int64 for each split


def apply_manifest(
    source: Source, table: ManifestTable, manifest: str, fold: int | None = None
) -> Overlaid:
    """`source` (all its splits read) as `table`, read from the file `manifest`, says.

    Images keep their order. Without a split column the source's own splits hold. With `fold` the
    images of that fold validate and those of the others train. Raises `UserError` for images that
    the manifest lacks, or the source (unless excluded), for other classes, and for a bad fold.
    """
    aligned = align(source, table, manifest)
    assert aligned.splits is not None
    chosen = places_by_split(aligned, aligned.splits, fold, manifest)
    chosen = {name: places for name, places in chosen.items() if len(places)}
    labels = aligned.labels
    if aligned.soft_labels is not None:
        labels = harden(aligned.soft_labels, labels)
    names = [name for name in SPLIT_NAMES if name in source.splits]
    whole = replace(concatenate([source.splits[name] for name in names]), labels=labels)
    changed = replace(
        source,
        splits={name: whole.subset(places) for name, places in chosen.items()},
        present=tuple(chosen),
    )
    return Overlaid(source=changed, manifest=manifest, table=aligned, rows=chosen)


def align(source: Source, table: ManifestTable, manifest: str) -> ManifestTable:
    """`table` with one row for each image of `source`, in its order, and the source's classes.

    The splits of the source come first to last (train, val, test); they hold where the table has
    none. Raises `UserError` as `apply_manifest` does.
    """
    assert set(source.splits) == set(source.present), "all splits are read"
    if source.task != table.task:
        raise UserError(
            f"{manifest}: it is for {table.task} images, {source.location} holds {source.task} "
            "ones. Give the manifest that was made for this source"
        )
    names = [name for name in SPLIT_NAMES if name in source.splits]
    own = [np.full(len(source.splits[name]), SPLIT_NAMES.index(name), np.int8) for name in names]
    paths = concatenate_texts([source.splits[name].names for name in names])
    rows = _match(paths, table, source.location, manifest)
    labels, soft_labels = _labels(table, rows, source.class_names, manifest)

    def take(column: np.ndarray | None) -> np.ndarray | None:
        return None if column is None else column[rows]

    return replace(
        table,
        class_names=source.class_names,
        paths=paths,
        labels=labels,
        splits=np.concatenate(own) if table.splits is None else table.splits[rows],
        sha256=take(table.sha256),
        sizes=take(table.sizes),
        modified_ns=take(table.modified_ns),
        findings=None if table.findings is None else [table.findings[row] for row in rows.tolist()],
        exclude=table.exclude[rows],
        group=take(table.group),
        fold=take(table.fold),
        soft_labels=soft_labels,
    )


def places_by_split(
    table: ManifestTable, splits: np.ndarray, fold: int | None, manifest: str
) -> dict[str, np.ndarray]:
    """Which rows each split has, int64 [n], without the excluded ones; `splits` are int8 [N]."""
    if fold is not None:
        splits = _choose_fold(table, splits, fold, manifest)
    kept = ~table.exclude
    if not kept.any():
        raise UserError(f"{manifest}: every image is excluded; there is none left")
    numbered = enumerate(SPLIT_NAMES)
    return {name: np.flatnonzero(kept & (splits == number)) for number, name in numbered}


def refuse_changed(overlaid: Overlaid, name: str, progress: Progress) -> None:
    """UserError unless the images of split `name` still are those that the manifest describes.

    A file of the same size and time of change is taken to be the same; others are read and their
    content hash compared. Rows without a hash cannot be compared and are passed over.
    """
    table, split, rows = overlaid.table, overlaid.source.splits[name], overlaid.rows[name]
    if table.sha256 is None:
        return
    sizes, times = file_facts(split)
    hashes = table.sha256[rows]
    suspect = is_known(hashes)
    if table.sizes is not None and table.modified_ns is not None:
        known_times = table.modified_ns[rows]
        # Without a time of change there is no file of its own: it lies in memory and is hashed.
        same = (sizes == table.sizes[rows]) & (times == known_times) & (times != 0)
        suspect &= ~same
    doubtful = np.flatnonzero(suspect)
    other = (hash_contents(split, doubtful, progress) != hashes[doubtful]).any(axis=1)
    changed = doubtful[other]
    if len(changed):
        gone = int((sizes[changed] == NO_FILE).sum())
        what = "are not there any more" if gone == len(changed) else "have changed"
        raise UserError(
            f"{overlaid.manifest}: {len(changed)} image(s) {what} since it was written: "
            f"{show(take_texts(split.names, changed[: SHOWN + 1]))}. "
            "Bring back the files, or check and split again"
        )


def _match(names: Sequence[str], table: ManifestTable, location: str, manifest: str) -> np.ndarray:
    """The manifest's row of each image: int64 [N]."""
    keys, row_keys = text_keys(names), text_keys(table.paths)
    order = np.argsort(row_keys, kind="stable")
    places = np.minimum(np.searchsorted(row_keys[order], keys), len(order) - 1)
    rows = order[places]
    unknown = np.flatnonzero(row_keys[rows] != keys)
    described = f" (it was written for {table.source})" if table.source else ""
    if len(unknown):
        shown = list(take_texts(names, unknown[: SHOWN + 1]))
        raise UserError(
            f"{manifest}: it does not know {len(unknown)} of the {len(names)} images of "
            f"{location}{described}: {show(shown)}. {_remedy(shown, table)}"
        )
    used = np.zeros(len(table), bool)
    used[rows] = True
    repeated = len(rows) - int(used.sum())
    if repeated:
        raise UserError(
            f"{location}: {repeated} image(s) have the name of another; a manifest cannot tell "
            "them apart. Rename them"
        )
    missing = np.flatnonzero(~used & ~table.exclude)
    if len(missing):
        shown = table.paths.take(missing[: SHOWN + 1])
        raise UserError(
            f"{manifest}: {len(missing)} of its {len(table)} images are not in {location}"
            f"{described}: {show(shown)}. Bring them back, or check and split again"
        )
    return rows


def _remedy(names: list[str], table: ManifestTable) -> str:
    """What to do about images that a manifest does not know."""
    path = table.paths[0]
    if is_absolute(path):
        return (
            f"Its paths are absolute ({path!r}), perhaps of another machine; needed are the names "
            "the images have in the source, as `resnetkit data check` writes them"
        )
    if "\\" in path and "/" in names[0]:
        return f"Its paths have backslashes ({path!r}); write them with /"
    near = difflib.get_close_matches(names[0], list(table.paths[:1000]), n=1)
    like = near[0] if near else path
    return f"Its paths are like {like!r}. If images were added, check and split again"


def _labels(
    table: ManifestTable, rows: np.ndarray, class_names: tuple[str, ...], manifest: str
) -> tuple[np.ndarray, np.ndarray | None]:
    """Labels and soft labels of the images in the order of the source's classes.

    int64 [N] (or indicators float32 [N,K]) and float32 [N,K] or None.
    """
    places = {name: number for number, name in enumerate(class_names)}
    unknown = [name for name in table.class_names if name not in places]
    order = np.array([places.get(name, NONE) for name in table.class_names] + [NONE])
    labels, kept = table.labels[rows], ~table.exclude[rows]
    if table.task == "multi-label":
        _refuse_unknown(unknown, class_names, manifest)
        return _reorder(labels, order[:-1], len(class_names)), None
    numbers = order[labels]
    lost = np.unique(labels[kept & (numbers == NONE)])
    _refuse_unknown([table.class_names[number] for number in lost], class_names, manifest)
    if table.soft_labels is None:
        return numbers, None
    _refuse_unknown(unknown, class_names, manifest)
    return numbers, _reorder(table.soft_labels[rows], order[:-1], len(class_names))


def harden(soft: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Soft labels float32 [N,K] with 1 for the class number where a row is NaN: none was given."""
    soft = soft.copy()
    hard = np.flatnonzero(np.isnan(soft).any(axis=1))
    soft[hard] = 0
    soft[hard, numbers[hard]] = 1
    return soft


def _reorder(values: np.ndarray, order: np.ndarray, count: int) -> np.ndarray:
    if len(order) == count and (order == np.arange(count)).all():
        return values
    moved = np.zeros((len(values), count), np.float32)
    moved[:, order] = values
    moved[np.isnan(values).any(axis=1)] = np.nan
    return moved


def _refuse_unknown(labels: list[str], class_names: tuple[str, ...], manifest: str) -> None:
    if labels:
        near = difflib.get_close_matches(labels[0], class_names, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise UserError(
            f"{manifest}: the label(s) {show(labels)} are no class of the source, which has "
            f"{show(list(class_names))}.{hint} Correct them, or exclude these images"
        )


def _choose_fold(table: ManifestTable, splits: np.ndarray, fold: int, manifest: str) -> np.ndarray:
    """The split of each image when `fold` validates: int8 [N]; test images stay what they are."""
    if table.fold is None:
        raise UserError(
            f"{manifest}: data.fold {fold} needs a column fold, which it lacks; write one with "
            "`resnetkit data split --folds 5`, or leave data.fold out"
        )
    folds = table.fold
    pool = splits != TEST
    homeless = np.flatnonzero(pool & (folds == NONE) & ~table.exclude)
    if len(homeless):
        raise UserError(
            f"{manifest}: {len(homeless)} training or validation image(s) have no fold, the first "
            f"is {table.paths[int(homeless[0])]!r}; with data.fold each needs one"
        )
    there = np.unique(folds[pool & (folds != NONE)])
    if fold not in there:
        raise UserError(
            f"{manifest}: there is no fold {fold}; the folds are {', '.join(map(str, there))}"
        )
    return np.where(pool, np.where(folds == fold, VALIDATION, TRAIN), splits).astype(np.int8)


def is_absolute(path: str) -> bool:
    """Whether a path is absolute on this or another kind of machine."""
    return _ABSOLUTE.match(path) is not None


def show(names: Sequence[str]) -> str:
    """The first few names, for a message."""
    return ", ".join(map(repr, names[:SHOWN])) + (", …" if len(names) > SHOWN else "")
