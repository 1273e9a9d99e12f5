"""From a source to splits that are ready for training, and the input contract they share."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from resnetkit.data.balance import class_counts
from resnetkit.data.checks.findings import Finding
from resnetkit.data.checks.quick import quick_check
from resnetkit.data.class_map import ClassMap, match_classes, show_names
from resnetkit.data.contract import InputContract, check_task
from resnetkit.data.find_pack import PackChoice, choose_pack
from resnetkit.data.input_choice import build_contract, resolve_input
from resnetkit.data.opening import find_split, open_source, refuse_untrainable
from resnetkit.data.past import DealtSource, Past
from resnetkit.data.seen import Seen, note_seen, refuse_seen
from resnetkit.data.settings import DataConfig
from resnetkit.data.shots import take_shots
from resnetkit.data.soundness import look_over
from resnetkit.data.sources import Source, Split
from resnetkit.data.splits import cut_source, describe_cut
from resnetkit.data.statistics import with_statistics
from resnetkit.data.transforms import (
    decode_split,
    load_contract_image,
)
from resnetkit.types import UserError

Progress = Callable[[str, int, int], None]  # what, done, total


@dataclass(frozen=True, kw_only=True)
class TrainingData:
    """Training and validation images with their contract, every choice in `config` resolved."""

    config: DataConfig
    contract: InputContract
    train: Split
    validation: Split | None
    test_images: int | None  # counted, not read; None when unknown until evaluation
    skipped: tuple[str, ...]
    digest: str
    cut: str  # which images are held out, see `describe_cut`
    manifest: str | None  # SHA-256 of the manifest that said so
    unchecked: int  # images that were not decoded beforehand, see `look_over`
    findings: tuple[Finding, ...] = ()  # of the cheap part of the gate
    pack: str = ""  # one line on the pack that is used, or why none is; empty without any
    seen: Seen | None = None  # by which a package knows what it was trained on


def load_training_data(
    config: DataConfig, image_size: int, progress: Progress, weights: InputContract | None = None
) -> TrainingData:
    """Read, check, split and, where it fits, decode the training and validation images.

    `image_size` is the network's own input side; `weights` the contract of those that are
    fine-tuned. Raises UserError for everything that makes the
    data unfit: see `load_source`, and unreadable images unless `config.skip_unreadable`.
    """
    if config.normalization == "weights" and weights is None:
        raise UserError(
            "data.normalization weights needs weights to fine-tune: choose dataset, pixel or "
            "imagenet for a network that starts afresh"
        )
    opened = open_source(config, ("train", "val"), progress)
    source = opened.source
    refuse_untrainable(config, opened)
    whole = cut_source(source, config.validation_fraction, config.test_fraction, config.split_seed)
    splits = whole if config.shots is None else take_shots(source, whole, config)
    # What the images are like is a fact of them all: few shots of a seed must not change it.
    asked, config = config, resolve_input(config, whole["train"], image_size, weights)
    contract = build_contract(config, source, weights)
    config, choice = _choose_pack(asked, config, contract, splits)
    train, validation = choice.splits["train"], choice.splits["val"]
    skipped, unchecked = [], 0
    if config.storage == "memory":
        train, skipped = _decode(train, contract, progress)
        validation, also_skipped = _decode(validation, contract, progress)
        skipped += also_skipped
    else:
        train, skipped, unchecked = _check(train, config, opened.checked, progress)
        validation, also_skipped, also_unchecked = _check(
            validation, config, opened.checked, progress
        )
        skipped, unchecked = skipped + also_skipped, unchecked + also_unchecked
    if skipped and not config.skip_unreadable:
        remedy = "Repair or remove them, or train without them with --data.skip_unreadable"
        raise UserError(_unreadable_message(skipped, remedy))
    refuse_lost_classes(train, source)
    contract = with_statistics(contract, config.normalization, train)
    seen = note_seen(splits, opened.known_hashes(splits), progress)
    digests = [train.digest(), validation.digest(), opened.manifest_digest or ""]
    digests += [] if choice.pack is None else [choice.pack.identity]
    return TrainingData(
        config=config,
        contract=contract,
        train=train,
        validation=validation if len(validation) else None,
        test_images=len(splits["test"]) if "test" in splits else None,
        skipped=tuple(skipped),
        cut=describe_cut(whole),
        manifest=opened.manifest_digest,
        unchecked=unchecked,
        findings=tuple(quick_check(source)),
        pack=choice.note,
        seen=seen,
        digest=hashlib.sha256("".join(digests).encode()).hexdigest(),
    )


def load_evaluation_split(
    dealings: Sequence[DealtSource],
    name: str,
    past: Past,
    progress: Progress,
    *,
    some_classes: bool = False,
    strictly: bool = False,
) -> Split:
    """One split to judge a network on: train, val, test or all, cut as training cut it.

    The first of `dealings` by which that can be done is taken, see `find_dealings`. Labels are
    numbers in the package's order, whatever the source's. With `some_classes`, or for a package
    that learned on, classes may be missing. `past` says which images it has seen; with `strictly`
    none of training may be among all either.

    Raises UserError when the source has no such split, when it would be cut otherwise than then,
    when images the network was trained on would count as unseen (see `refuse_seen`), when it has
    other classes than the package (see `match_classes`), or images that cannot be read (with
    `skip_unreadable` a warning).
    """
    contract = past.contract
    config, source, split, as_cut = _find_as_cut(dealings, name, progress)
    check_task(contract, source.task, config.source)
    some = some_classes or past.learned_on
    classes = match_classes(contract.class_names, source.class_names, config.source, some=some)
    if not as_cut:
        raise _cut_otherwise(config.source, name)
    if classes.missing:
        warnings.warn(_missing_message(classes, config.source), stacklevel=2)
    split = replace(split, labels=classes.relabel(split.labels))
    if past.seen is not None:
        refuse_seen(past.seen, split, name, config.source, progress, strictly=strictly)
    if split.images is not None:
        return replace(split, images=_fit_arrays(split.images, contract))
    folder = None if config.pack is None else Path(config.pack)
    split = choose_pack({"judged": split}, config.source, contract, folder).splits["judged"]
    split, skipped, _ = _check(split, config, False, progress)
    if skipped and not config.skip_unreadable:
        raise UserError(_unreadable_message(skipped, "Repair or remove them"))
    if skipped:
        warnings.warn(_unreadable_message(skipped, "They were left out"), stacklevel=2)
    return split


def _find_as_cut(
    dealings: Sequence[DealtSource], name: str, progress: Progress
) -> tuple[DataConfig, Source, Split, bool]:
    """The split `name` by the first dealing that gives the cut it must, how it was read, and True.

    Where none does, by the likeliest one, and False.
    """
    likeliest = None
    for dealing in dealings:
        source, split, cut_here = find_split(dealing.config, name, progress)
        if cut_here is None or dealing.cut is None or cut_here == dealing.cut:
            return dealing.config, source, split, True
        likeliest = likeliest or (dealing.config, source, split, False)
    assert likeliest is not None, "no way to deal the source"
    return likeliest


def _cut_otherwise(location: str, name: str) -> UserError:
    return UserError(
        f"{location}: not the pictures this package was trained on, or some were added, removed or "
        f"renamed since: its {name} split cannot be told from the training pictures. Judge on all "
        "of it with --split all, or give the source a test/ folder"
    )


def _missing_message(classes: ClassMap, location: str) -> str:
    return (
        f"{location}: it has no images of {len(classes.missing)} of the package's {classes.old} "
        f"classes: {show_names(classes.missing)}; the figures say nothing of them"
    )


def refuse_lost_classes(train: Split, source: Source) -> None:
    """UserError when a class has no training image, for instance because none could be read.

    Only a warning for a multi-label source: its classes are often a fixed list, of which a few
    hundred images show not all, and the network learns that those are absent.
    """
    counts = class_counts(train.labels, len(source.class_names))
    lost = [name for name, count in zip(source.class_names, counts, strict=True) if not count]
    if lost and source.task == "multi-label":
        warnings.warn(
            f"{source.location}: no training image shows {', '.join(lost[:10])}"
            f"{' …' if lost[10:] else ''}; the network will never name them",
            stacklevel=2,
        )
    elif lost:
        raise UserError(
            f"{source.location}: no readable training image of class {', '.join(lost)}; every "
            "class needs at least one. Add images, or remove the class"
        )


def _decode(split: Split, contract: InputContract, progress: Progress) -> tuple[Split, list[str]]:
    """The split as one array of what the network sees, without its unreadable images."""
    if split.images is not None:
        return replace(split, images=_fit_arrays(split.images, contract)), []
    images, failures = decode_split(
        split, contract, progress=lambda done: progress("decoding", done, len(split))
    )
    good = _without(len(split), failures)
    kept = split if not failures else split.subset(good)
    images = images if not failures else images[good]
    return replace(kept, images=images, encoded=None), [message for _, message in failures]


def _choose_pack(
    asked: DataConfig, config: DataConfig, contract: InputContract, splits: Mapping[str, Split]
) -> tuple[DataConfig, PackChoice]:
    """`config` and the splits to train on and to validate with, from a pack where there is one."""
    needed = {name: splits[name] for name in ("train", "val")}
    if config.storage == "memory" or asked.storage == "files":
        return config, PackChoice(splits=needed, pack=None, note="")
    folder = None if config.pack is None else Path(config.pack)
    choice = choose_pack(needed, config.source, contract, folder)
    if choice.pack is None and config.storage == "packed":
        raise UserError(
            f"{config.source}: data.storage packed needs a pack of these images, but "
            f"{choice.note or 'there is none'}. Make one: resnetkit data pack {config.source} "
            f"--side {contract.resize}"
        )
    return replace(config, storage="files" if choice.pack is None else "packed"), choice


def _check(
    split: Split, config: DataConfig, checked: bool, progress: Progress
) -> tuple[Split, list[str], int]:
    """The split without images found unreadable, what was wrong, and how many were not looked at.

    Whoever wants unreadable images left out wants all of them found. Of a pack they are known, and
    need not be looked for where a manifest says they were `checked`.
    """
    if split.packed is not None:
        failures = split.packed.problems()
        kept = split if not failures else split.subset(_without(len(split), failures))
        return kept, [message for _, message in failures], 0
    if checked:
        return split, [], 0
    found = look_over(
        split,
        whole=config.skip_unreadable,
        progress=lambda done: progress("checking images", done, len(split)),
    )
    failures = found.failures
    kept = split if not failures else split.subset(_without(len(split), failures))
    return kept, [message for _, message in failures], found.unchecked


def _without(count: int, failures: list[tuple[int, str]]) -> np.ndarray:
    return np.setdiff1d(np.arange(count), [index for index, _ in failures])


def _fit_arrays(images: np.ndarray, contract: InputContract) -> np.ndarray:
    """Decoded images [N,C,H,W] under the contract; unchanged where they fit already."""
    if images.shape[1:] == (contract.channels, *contract.crop):
        return images
    fitted = [load_contract_image(image.transpose(1, 2, 0), contract) for image in images]
    return np.stack(fitted) if fitted else np.empty((0, contract.channels, *contract.crop), "u1")


def _unreadable_message(messages: list[str], remedy: str) -> str:
    listed = "\n  ".join(messages[:10]) + ("\n  ..." if len(messages) > 10 else "")
    return f"{len(messages)} unreadable image(s):\n  {listed}\n{remedy}"
