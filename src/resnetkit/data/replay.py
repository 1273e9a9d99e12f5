"""Training data of new images, and of old ones replayed among them, for a package that learns on.

Rehearsal of stored images is hard to beat by anything more elaborate (Rebuffi et al. 2017, "iCaRL",
section 3; Chaudhry et al. 2019, "On Tiny Episodic Memories in Continual Learning").
"""

from __future__ import annotations

import hashlib
import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from resnetkit.data.balance import class_counts
from resnetkit.data.class_map import ClassMap, show_names
from resnetkit.data.columns import text_keys
from resnetkit.data.dataset import Progress, TrainingData
from resnetkit.data.draws import stream, uniform_draws
from resnetkit.data.joining import join, labels_of_one_kind
from resnetkit.data.old_images import OldImages, keep_unseen
from resnetkit.data.seen import PARTS, Seen, SeenWarning, find_seen, note_seen
from resnetkit.data.shots import fill_classes
from resnetkit.data.source_types import Split
from resnetkit.types import Task, UserError


@dataclass(frozen=True, kw_only=True, eq=False)
class Replayed:
    """The new images with the old ones in `data`, and what became of the latter.

    `counts` are how many are replayed of each class of the package; `validation` how many more
    validate; `repeated` were left out because the new data has the same images. `judged` is what
    the package before and after can be compared on, its labels in the package's order: of the split
    `judged_split` what the new data does not train on (see `fit_split`).
    """

    data: TrainingData
    counts: tuple[int, ...]
    validation: int
    repeated: int
    judged: Split | None
    judged_split: str | None

    def describe(self) -> str:
        """One line for the terminal."""
        again = f"; {self.repeated:,} are in the new data anyway" if self.repeated else ""
        return (
            f"{sum(self.counts):,} old images are replayed ({min(self.counts):,} to "
            f"{max(self.counts):,} of each class), {self.validation:,} more validate{again}"
        )


def without_replay(data: TrainingData, classes: ClassMap, parent: Seen | None) -> TrainingData:
    """`data` with its labels in the joint order of `classes`; `parent`: what the package has seen.

    A warning tells which classes no image shows: they will be forgotten.
    """
    joint = _relabel(data, classes)
    if data.seen is not None and parent is not None:
        _warn_of_trained_validation(data, data.seen, parent)
        joint = replace(joint, seen=inherit_seen(data.seen, parent))
    _warn_of_absent(joint, classes)
    _warn_of_unlabelled(joint, "its images", classes.missing)
    return joint


def with_replay(
    data: TrainingData,
    old: Sequence[OldImages],
    classes: ClassMap,
    per_class: int | None,
    parent: Seen | None,
    progress: Progress,
) -> Replayed:
    """`data` with `per_class` (None: all) images of each old class from `old` to train on.

    Images are chosen by a hash of their names and `data.config.split_seed`, so that fewer are among
    more. What the package held out of its training stays out. The old validation images join the
    new ones, of each class no more than the new data's largest has, for otherwise the best weights
    would be those that have not learnt the new classes yet. Old images are stored as the new ones
    are: decoded in memory, or encoded. `parent` is what the package has seen.

    Raises UserError when old test images are in the new data (few copies are left out of the old
    test split with a warning), images cannot be read, or all of them do not fit in memory.
    """
    if per_class is not None and per_class < 1:
        raise UserError(f"--replay-per-class must be 1 or more images, got {per_class}")
    assert data.seen is not None, "training data that does not know its images"
    if parent is not None:
        _warn_of_trained_validation(data, data.seen, parent)
    judged_split, judged = keep_unseen(old, data.seen, data.config.source, progress)
    joint = _relabel(data, classes)
    offered = [_unrepeated(_widen(one.train, classes), data.seen, progress) for one in old]
    train = choose_images(offered, data.contract.task, per_class, data.config.split_seed)
    validation: list[Split] = []
    if joint.validation is not None:
        most = math.ceil(class_counts(joint.validation.labels, len(classes.names)).max())
        parts = [_unrepeated(_widen(one.validation, classes), data.seen, progress) for one in old]
        validation = choose_images(parts, data.contract.task, most, data.config.split_seed)
    joint = join(joint, {"train": train, "val": validation}, progress)
    joint = replace(joint, seen=_see_all(data.seen, train, validation, parent, progress))
    _warn_of_absent(joint, classes)
    _warn_of_unlabelled(joint, "its own images", classes.missing)
    _warn_of_unlabelled(joint, "the replayed images", classes.new_names)
    return Replayed(
        data=joint,
        counts=_count_old(train, classes),
        validation=sum(map(len, validation)),
        repeated=sum(len(one.train) for one in old) - sum(map(len, offered)),
        judged=judged,
        judged_split=judged_split,
    )


def choose_images(
    splits: Sequence[Split], task: Task, per_class: int | None, seed: int
) -> list[Split]:
    """Of all `splits` together `per_class` images of each class, as far as there are so many.

    Those of the smallest hash of `seed` and name; with several classes an image see `fill_classes`.
    Splits that are left without any are left out.
    """
    if per_class is None or not sum(map(len, splits)):
        return [split for split in splits if len(split)]
    ids = np.concatenate([text_keys(split.names) for split in splits])
    draws = uniform_draws((seed, stream("replay")), ids, 1)[:, 0]
    order = np.lexsort((ids, draws))
    labels = np.concatenate(labels_of_one_kind([split.labels for split in splits]))
    if task == "multi-label":
        chosen = order[fill_classes(labels[order] > 0.5, per_class)]
    else:
        numbers = labels if labels.ndim == 1 else labels.argmax(axis=1)
        by_class = order[np.argsort(numbers[order], kind="stable")]
        starts = np.searchsorted(numbers[by_class], numbers[by_class])
        chosen = by_class[np.arange(len(by_class)) - starts < per_class]
    bounds = np.cumsum([0, *map(len, splits)])
    found = [
        split.subset(np.sort(chosen[(chosen >= start) & (chosen < stop)]) - start)
        for split, start, stop in zip(splits, bounds[:-1], bounds[1:], strict=True)
    ]
    return [split for split in found if len(split)]


def inherit_seen(own: Seen, parent: Seen) -> Seen:
    """What a network has seen that learnt from its own images after its parent did from others.

    Keys of different kinds cannot be kept together: then its own stay, and a warning says so.
    """
    if own.by != parent.by:
        warnings.warn(
            "the new package will not know which images its parent was trained on: their keys are "
            f"by {parent.by}, those of its own images by {own.by}. Images of the parent's training "
            "may count as unseen",
            SeenWarning,
            stacklevel=2,
        )
        return own
    none = np.zeros(0, np.uint64)
    keys = {
        name: np.union1d(own.keys.get(name, none), parent.keys.get(name, none))
        for name in sorted({*own.keys, *parent.keys})
    }
    return Seen(by=own.by, keys=keys)


def _see_all(
    own: Seen,
    train: Sequence[Split],
    validation: Sequence[Split],
    parent: Seen | None,
    progress: Progress,
) -> Seen:
    """Keys of the new images, of the replayed ones, and of all that the package has seen."""
    seen = own
    for part, splits in (("train", train), ("val", validation)):
        for split in splits:
            seen = inherit_seen(seen, note_seen({part: split}, {}, progress, own.by))
    return seen if parent is None else inherit_seen(seen, parent)


def _count_old(splits: Sequence[Split], classes: ClassMap) -> tuple[int, ...]:
    """Images of each of the package's classes; soft labels by their shares, rounded."""
    total = np.zeros(len(classes.names))
    for split in splits:
        total += class_counts(split.labels, len(classes.names))
    return tuple(np.rint(total[: classes.old]).astype(int).tolist())


def _unrepeated(split: Split, seen: Seen, progress: Progress) -> Split:
    """The images that the new data, whose keys are `seen`, does not hold itself."""
    content, _ = find_seen(seen, split, PARTS, progress)
    return split if not content.any() else split.subset(np.flatnonzero(~content))


def _relabel(data: TrainingData, classes: ClassMap) -> TrainingData:
    """`data` with its labels and class names in the joint order."""
    order = repr((classes.names, classes.numbers))
    validation = data.validation
    if validation is not None:
        validation = replace(validation, labels=classes.relabel(validation.labels))
    return replace(
        data,
        contract=replace(data.contract, class_names=classes.names),
        train=replace(data.train, labels=classes.relabel(data.train.labels)),
        validation=validation,
        digest=hashlib.sha256(f"{data.digest}{order}".encode()).hexdigest(),
    )


def _widen(split: Split, classes: ClassMap) -> Split:
    """Old images with labels for all classes: they show none of the new ones."""
    if split.labels.ndim == 1:
        return split
    added = len(classes.names) - split.labels.shape[1]
    return replace(split, labels=np.pad(split.labels, ((0, 0), (0, added))))


def _warn_of_absent(data: TrainingData, classes: ClassMap) -> None:
    """Tell which classes no training image shows."""
    counts = class_counts(data.train.labels, len(classes.names))
    absent = [name for name, count in zip(classes.names, counts, strict=True) if not count]
    if absent:
        warnings.warn(
            f"{data.config.source}: no training image, new or replayed, is of {len(absent)} "
            f"class(es): {show_names(absent)}; the network will forget them. Replay old images "
            "with --replay OLD_SOURCE",
            stacklevel=3,
        )


def _warn_of_unlabelled(data: TrainingData, which: str, names: Sequence[str]) -> None:
    """Tell that images which may show several classes have no labels for some of them."""
    if data.contract.task == "multi-label" and names:
        warnings.warn(
            f"{data.config.source}: {which} have no labels for {show_names(names)} and are taken "
            "not to show them; where they do, label them, or these classes will be missed",
            stacklevel=3,
        )


def _warn_of_trained_validation(data: TrainingData, own: Seen, parent: Seen) -> None:
    """Tell of new validation images that the package was trained on."""
    if own.by != parent.by or "val.content" not in own.keys or "train.content" not in parent.keys:
        return
    count = int(np.isin(own.keys["val.content"], parent.keys["train.content"]).sum())
    if count:
        warnings.warn(
            f"{data.config.source}: the package was trained on {count} of the validation images: "
            "the figures of validation will flatter",
            SeenWarning,
            stacklevel=3,
        )
