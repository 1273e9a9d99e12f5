"""The images a package was trained on, opened again: which may be replayed, and which never."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from resnetkit.data.class_map import ClassMap, reconcile_classes, show_names
from resnetkit.data.content import hash_contents
from resnetkit.data.contract import check_task
from resnetkit.data.joining import concatenate_any
from resnetkit.data.opening import DescribedSource, evaluation_config, open_source
from resnetkit.data.past import DealtSource, Past
from resnetkit.data.seen import LARGEST_SHARE, PARTS, Progress, Seen, SeenWarning, find_seen
from resnetkit.data.settings import DataConfig
from resnetkit.data.shots import take_shots, without_shots
from resnetkit.data.soundness import look_over
from resnetkit.data.source_types import SPLIT_NAMES, Source, Split
from resnetkit.data.splits import concatenate, cut_source, describe_cut
from resnetkit.types import UserError


@dataclass(frozen=True, kw_only=True, eq=False)
class OldImages:
    """A package's training images by what they may be used for; labels are in the package's order.

    `train` may be replayed, `validation` may choose between weights, `test` has never been trained
    on and is never trained on. Each may be empty. `dealt` is for a package that learns from them,
    `known` says how the three were told apart.
    """

    location: str
    train: Split
    validation: Split
    test: Split
    dealt: DealtSource
    known: str

    def judged(self) -> tuple[str | None, Split | None]:
        """The images to compare the package before and after on: test, else validation."""
        if len(self.test):
            return "test", self.test
        return ("validation", self.validation) if len(self.validation) else (None, None)


def load_old_images(asked: str | DescribedSource, past: Past, progress: Progress) -> OldImages:
    """Open the images that a package was trained on, or others of its classes.

    If they are those of a training of its own or before it, they are dealt as then: by the cut
    where it is the same, else by the keys of what it has seen, and whatever it has not seen counts
    as held out. If it has seen none of them, they are dealt as their own splits say, or as its
    training dealt.

    Raises UserError when the source is for another task, has classes that the package lacks, has no
    image to replay, or has changed since so that test images cannot be told from the others.
    """
    asked = DescribedSource(location=asked) if isinstance(asked, str) else asked
    config, cut = _reading_config(asked, past)
    opened = open_source(config, SPLIT_NAMES, progress)
    source = opened.source
    check_task(past.contract, source.task, asked.location)
    names = past.contract.class_names
    classes = reconcile_classes(names, source.class_names, asked.location, add=False, replay=True)
    splits, known = _deal(source, config, cut, past, progress)
    parts = {name: _relabel(splits.get(name), splits, classes) for name in SPLIT_NAMES}
    if not len(parts["train"]):
        raise UserError(
            f"{asked.location}: it has no images to replay ({known}); its splits are "
            f"{', '.join(source.present)}. Give the source that the package was trained on"
        )
    return OldImages(
        location=asked.location,
        train=parts["train"],
        validation=parts["val"],
        test=parts["test"],
        dealt=DealtSource(config=config, cut=describe_cut(parts), manifest=opened.manifest_digest),
        known=known,
    )


def keep_unseen(
    old: Sequence[OldImages], seen: Seen, location: str, progress: Progress
) -> tuple[str | None, Split | None]:
    """The old images to judge on that the new data at `location` does not train on.

    Of the test split, else of validation: which, and its images (None without any). `seen` are the
    new data's own. Raises UserError when that holds old test images, see `refuse_seen`; of a few
    copies under other names there is a warning, and they are left out.
    """
    found: dict[str, list[Split]] = {"test": [], "validation": []}
    for one in old:
        name, split = one.judged()
        if name is None or split is None:
            continue
        content, named = find_seen(seen, split, PARTS, progress)
        if name == "test" and content.any():
            _tell_of_copies(one, content, named, location)
        unseen = split.subset(np.flatnonzero(~content))
        found[name] += [] if not len(unseen) else [_readable(unseen, one.location, progress)]
    name = next((name for name, splits in found.items() if splits), None)
    return (None, None) if name is None else (name, concatenate_any(found[name]))


def _readable(split: Split, location: str, progress: Progress) -> Split:
    """The images that can be judged; those that cannot be read must not end a run at its end."""
    found = look_over(
        split,
        whole=True,
        progress=lambda done: progress("checking images", done, len(split)),
    )
    if not found.failures:
        return split
    warnings.warn(
        f"{location}: {len(found.failures)} image(s) cannot be read; the old classes are judged on "
        f"the others: {found.failures[0][1]}",
        stacklevel=4,
    )
    return split.subset(np.setdiff1d(np.arange(len(split)), [i for i, _ in found.failures]))


def _tell_of_copies(one: OldImages, content: np.ndarray, named: np.ndarray, location: str) -> None:
    """UserError, or for a few copies a warning, when the new data holds images kept from training.

    As `refuse_seen` has it: one of the same content and name is enough, or many copies.
    """
    count = int(content.sum())
    told = (
        f"{location}: its training or validation images hold {count} of the "
        f"{len(content)} of {one.location} that the package's training kept for testing"
    )
    if named.any() or count > LARGEST_SHARE * len(content):
        first = np.flatnonzero(named if named.any() else content)
        raise UserError(
            f"{told}: {show_names([one.test.names[i] for i in first.tolist()])}. What the old "
            "classes lose could then not be judged on unseen images. Take them out of the new "
            "data, or leave out --replay where the new data holds the old images itself"
        )
    warnings.warn(
        f"{told}, under other names; the old classes are judged on the others",
        SeenWarning,
        stacklevel=4,
    )


def _reading_config(asked: DescribedSource, past: Past) -> tuple[DataConfig, str | None]:
    """How to read the source, and the cut of the training it was in."""
    known = past.at(asked.location)
    dealt = known or next(iter(past.sources), DealtSource(config=DataConfig()))
    # Packs and storage are of the training's own source and network.
    trained = replace(dealt.config, storage="auto", pack=None)
    if known is not None:
        recorded = {"cut": dealt.cut, "manifest": dealt.manifest}
        return evaluation_config(trained, recorded, asked, "train")
    elsewhere = without_shots(replace(trained, fold=None))
    config = replace(elsewhere, source=asked.location, manifest=asked.manifest)
    return config, dealt.cut


def _deal(
    source: Source, config: DataConfig, cut: str | None, past: Past, progress: Progress
) -> tuple[dict[str, Split], str]:
    """The splits to replay, to validate with and to keep away, and how they were told apart."""
    splits = dict(source.splits)
    if "train" in splits:
        fractions = (config.validation_fraction, config.test_fraction)
        splits = cut_source(source, *fractions, config.split_seed)
    if cut is not None and describe_cut(splits) == cut:
        if config.shots is not None:  # the package learnt from these only
            splits = take_shots(source, splits, config)
        return splits, "dealt as in the package's training"
    if past.seen is not None:
        found = _deal_by_keys(splits, past.seen, progress)
        if found is not None:
            kept = "those that it has not seen stay out of training"
            return found, f"told apart by what the package has seen; {kept}"
    elif cut is not None and past.at(config.source) is not None:
        raise UserError(
            f"{config.source}: pictures were added, removed or renamed since the package was "
            "trained on it, and the package does not say which ones it has seen: its test images "
            "cannot be told from the others and might be trained on. Give the pictures as they "
            "were, or a source that has a test/ folder"
        )
    return splits, "other images than the package was trained on, dealt by themselves"


def _deal_by_keys(
    splits: Mapping[str, Split], seen: Seen, progress: Progress
) -> dict[str, Split] | None:
    """The images by what the package has seen; None when it has seen none of them."""
    parts = [split for split in splits.values() if len(split)]
    if not parts:
        return None
    whole = concatenate(parts)
    hashes = hash_contents(whole, None, progress) if seen.by == "content" else None
    trained, _ = find_seen(seen, whole, PARTS[:1], progress, hashes)
    either, _ = find_seen(seen, whole, PARTS, progress, hashes)
    if not either.any():
        return None
    chosen = {"train": trained, "val": either & ~trained, "test": ~either}
    return {name: whole.subset(np.flatnonzero(where)) for name, where in chosen.items()}


def _relabel(split: Split | None, splits: Mapping[str, Split], classes: ClassMap) -> Split:
    """`split` in the package's order; where the source has none, an empty one of its kind."""
    split = next(iter(splits.values())).subset([]) if split is None else split
    return replace(split, labels=classes.relabel(split.labels))
