"""Dividing labelled data, the same way on every machine and with every version of NumPy."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np

from resnetkit.data.columns import concatenate_texts, text_keys
from resnetkit.data.draws import stream, uniform_draws
from resnetkit.data.encoded import picture_groups
from resnetkit.data.source_types import Source, Split, chain_encoded
from resnetkit.data.stratify import deal
from resnetkit.types import UserError


def stratified_split(
    labels: np.ndarray, fraction: float, seed: int, ids: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Indices (kept, held out) of `labels` int64 [N], each sorted; the same seed, the same split.

    Each image draws by its number in `ids` (uint64 [N]; its position by default).

    Of a class with n images round(fraction * n) are held out, but at least 1 and at most n - 1
    where n >= 2; a single image is kept. Raises `UserError` unless 0 < fraction < 1.
    """
    if not 0 < fraction < 1:
        raise UserError(
            f"The fraction to hold out must lie between 0 and 1 (say 0.1); got {fraction}."
        )
    labels = np.asarray(labels)
    if not len(labels):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    ids = np.arange(len(labels)) if ids is None else ids
    # By class, and within a class in random order: its first images are the ones held out.
    # Not `numpy.random.Generator`, whose streams may change between NumPy versions (NEP 19):
    # a split that changes with an upgrade would move held-out images into training.
    keys = uniform_draws((seed, stream("stratified_split")), ids, 1)[:, 0]
    order = np.lexsort((keys, labels))
    _, starts, counts = np.unique(labels[order], return_index=True, return_counts=True)
    held_counts = np.rint(fraction * counts).astype(np.int64)
    held_counts = np.where(counts >= 2, np.clip(held_counts, 1, counts - 1), 0)
    position = np.arange(len(labels)) - np.repeat(starts, counts)
    held = position < np.repeat(held_counts, counts)
    return np.sort(order[~held]), np.sort(order[held])


def cut_source(
    source: Source, validation_fraction: float, test_fraction: float, seed: int
) -> dict[str, Split]:
    """The source's splits, with validation (and test) taken from training where it has none.

    A test split is taken only from a source that comes without any split of its own. An image
    draws by its name, so that one more image does not deal all others anew.
    """
    splits = dict(source.splits)
    train, several = splits["train"], source.task == "multi-label"
    if "test" not in source.present and "val" not in source.present and test_fraction:
        train, splits["test"] = _take(train, test_fraction, seed, several)
    if "val" not in splits:
        train, splits["val"] = _take(train, validation_fraction, seed + 1, several)
    splits["train"] = train
    return splits


def describe_cut(splits: Mapping[str, Split]) -> str:
    """SHA-256 of the names of all training and validation images: what must not be test images."""
    parts = [splits[part] for part in ("train", "val") if part in splits]
    names = sorted(name for part in parts for name in part.names)
    return hashlib.sha256("\0".join(names).encode("utf-8", "surrogateescape")).hexdigest()


def concatenate(splits: Sequence[Split]) -> Split:
    """Several splits as one; encoded images stay where they are."""
    if len(splits) == 1:
        return splits[0]
    names = concatenate_texts([split.names for split in splits])
    labels = np.concatenate([split.labels for split in splits])
    if splits[0].images is not None:
        images = np.concatenate([split.images for split in splits if split.images is not None])
        return Split(labels=labels, names=names, images=images)
    encoded = chain_encoded([split.encoded for split in splits if split.encoded is not None])
    return Split(labels=labels, names=names, encoded=encoded)


def _take(split: Split, fraction: float, seed: int, several_labels: bool) -> tuple[Split, Split]:
    """The split without and with only the images that are held out, crops of a picture together."""
    if not fraction:
        return split, split.subset([])
    ids = text_keys(split.names)
    groups = None if split.encoded is None else picture_groups(split.encoded)
    if several_labels or groups is not None:
        keys = uniform_draws((seed, stream("stratified_split")), ids, 1)[:, 0]
        labels = split.labels if several_labels else split.class_numbers
        parts = deal(labels, np.array([1 - fraction, fraction]), keys, groups)
        kept, held_out = np.flatnonzero(parts == 0), np.flatnonzero(parts == 1)
    else:
        kept, held_out = stratified_split(split.class_numbers, fraction, seed, ids)
    return split.subset(kept), split.subset(held_out)
