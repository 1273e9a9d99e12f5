"""Opening a source for a command: as it is, or as a manifest says, perhaps with a chosen fold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from resnetkit.data.balance import class_counts
from resnetkit.data.content import Progress
from resnetkit.data.formats.manifest import open_manifest
from resnetkit.data.manifest_table import file_digest, read_manifest_table
from resnetkit.data.overlay import Overlaid, apply_manifest, refuse_changed, show
from resnetkit.data.settings import DataConfig
from resnetkit.data.shots import take_shots, without_shots
from resnetkit.data.source_types import SPLIT_NAMES, Source, Split
from resnetkit.data.sources import check_source, is_manifest, load_source, place_of, prefix_of
from resnetkit.data.splits import concatenate, cut_source, describe_cut
from resnetkit.types import UserError


@dataclass(frozen=True, kw_only=True)
class DescribedSource:
    """A source as it was asked for, and the manifest that speaks for it."""

    location: str
    manifest: str | None = None
    some_classes: bool = False  # whether a package of more classes may be judged on it


@dataclass(frozen=True, kw_only=True, eq=False)
class Opened:
    """A source read, and the manifest that speaks for it where there is one."""

    source: Source
    overlaid: Overlaid | None

    @property
    def manifest_digest(self) -> str | None:
        """SHA-256 of the manifest's file."""
        return None if self.overlaid is None else self.overlaid.table.digest

    @property
    def checked(self) -> bool:
        """Whether the manifest says that all images, which are as they were then, were decoded."""
        return self.overlaid is not None and self.overlaid.table.checked

    def known_hashes(self, splits: Mapping[str, Split]) -> dict[str, np.ndarray]:
        """The manifest's hashes, uint8 [N,32], of those `splits` that are as the manifest says."""
        if self.overlaid is None or self.overlaid.table.sha256 is None:
            return {}
        hashes, rows = self.overlaid.table.sha256, self.overlaid.rows
        same = [name for name in splits if splits[name] is self.source.splits.get(name)]
        return {name: hashes[rows[name]] for name in same}


def open_source(config: DataConfig, splits: Sequence[str], progress: Progress) -> Opened:
    """The `splits` of `config.source`, as `config.manifest` has them where it is given.

    A single class will do: a package may learn it besides its own, or be judged on it. Raises
    UserError where the two do not fit each other, or images have changed since the manifest was
    written; see `apply_manifest` and `refuse_changed`.
    """
    direct = is_manifest(config.source)
    if config.manifest is None and not direct:
        if config.fold is not None:
            raise UserError(
                f"data.fold {config.fold} needs a manifest with a column fold; write one with "
                "`resnetkit data split SOURCE --folds 5` and give it as --data.manifest"
            )
        source = load_source(config.source, splits, least_classes=1)
        return Opened(source=source, overlaid=None)
    if config.manifest is None:
        overlaid = open_manifest(Path(config.source).expanduser(), splits, config.fold)
    else:
        table = read_manifest_table(Path(config.manifest).expanduser())
        whole = load_source(config.source, _present(config.source), least_classes=1)
        overlaid = apply_manifest(whole, table, config.manifest, config.fold)
    check_source(overlaid.source, least_classes=1)
    for name in splits:
        if name in overlaid.source.splits:
            refuse_changed(overlaid, name, progress)
    return Opened(source=overlaid.source, overlaid=overlaid)


def _present(location: str) -> tuple[str, ...]:
    """The splits there are, none of them read."""
    return load_source(location, (), least_classes=1).present


def find_split(
    config: DataConfig, name: str, progress: Progress
) -> tuple[Source, Split, str | None]:
    """The source, read no further than needed, its split `name`, and how that was cut if it was.

    With a manifest the split is as it says, and the cut describes what it left to training.
    """
    if config.manifest is None and config.fold is None:
        present = _present(config.source)
        if name == "all":
            source = open_source(config, present, progress).source
            return source, concatenate(list(source.splits.values())), None
        if name in present and name != "train":
            source = open_source(config, (name,), progress).source
            return source, source.splits[name], None
        wanted = ("train", "val")
    else:
        present, wanted = SPLIT_NAMES, SPLIT_NAMES if name in ("all", "test") else ("train", "val")
    source = open_source(config, wanted, progress).source
    if name == "all":
        return source, concatenate(list(source.splits.values())), None
    splits = source.splits
    if "train" in splits:
        fractions = (config.validation_fraction, config.test_fraction)
        splits = cut_source(source, *fractions, config.split_seed)
    cut = describe_cut(splits)
    own_validation = name == "val" and "val" in source.splits  # which shots leave unseen
    if config.shots is not None and name in ("train", "val") and not own_validation:
        splits = take_shots(source, splits, config)
    if name in splits and len(splits[name]):
        return source, splits[name], cut
    where, what = _blame(config)
    raise UserError(
        f"{where}: there is no {name} split; the {what} has {', '.join(source.present)}. "
        "Choose another with --split, or --split all"
    )


def refuse_untrainable(config: DataConfig, opened: Opened) -> None:
    """UserError where nothing, or not every class, is there to train on, or a setting is idle.

    Of a source without a manifest, classes are looked at once its images have been read.
    """
    source, (where, what) = opened.source, _blame(config)
    if "train" not in source.splits:
        raise UserError(
            f"{where}: there are no images to train on; the {what} has only "
            f"{', '.join(source.present)}. "
            + (
                "Add a train split"
                if config.manifest is None
                else "Deal anew: resnetkit data split"
            )
        )
    if config.manifest is None:
        return
    _refuse_idle_settings(config, source.present)
    if source.task == "multi-label":
        return
    counts = class_counts(source.splits["train"].labels, len(source.class_names))
    lost = [name for name, count in zip(source.class_names, counts, strict=True) if not count]
    if lost:
        fold = "" if config.fold is None else f" when fold {config.fold} validates"
        raise UserError(
            f"{where}: the manifest leaves no training image of {len(lost)} class(es) of "
            f"{config.source}{fold}: {show(lost)}; every class needs at least one. Correct its "
            "splits, labels and exclusions, or deal anew: resnetkit data split"
        )


def _refuse_idle_settings(config: DataConfig, present: Sequence[str]) -> None:
    """UserError for a share to hold out, or its seed, where the manifest has dealt already.

    A share of 0 asks for nothing to be taken away, which is what happens.
    """
    of_shots = config.shots is not None and config.shots_validation == "shots"
    dealt = {
        "validation_fraction": "val" in present and not of_shots,
        "test_fraction": "val" in present or "test" in present,
        "split_seed": "val" in present and not of_shots,
    }
    for name, already in dealt.items():
        value = getattr(config, name)
        if already and value not in (0, getattr(DataConfig, name)):
            raise UserError(
                f"data.{name} {value} has no effect: {config.manifest} says which images are "
                f"{', '.join(present)}. Leave it out, or deal anew: resnetkit data split"
            )


def _blame(config: DataConfig) -> tuple[str, str]:
    """Whose splits they are: its path, and what it is."""
    if config.manifest is None:
        return config.source, "source"
    return config.manifest, "manifest"


def evaluation_config(
    trained: DataConfig, recorded: Mapping[str, Any], asked: str | DescribedSource, split: str
) -> tuple[DataConfig, str | None]:
    """How to read the images to judge a package on, and the cut that they must come from.

    `trained` and `recorded` ("cut" and "manifest") are what the package keeps of its training data.
    Its manifest holds for the training's own source, and for another place that has no split of
    this name itself; all images are judged as they are. Raises UserError where the manifest is
    gone or has changed, unless `asked` brings one: it must then leave the same images to training.
    """
    asked = DescribedSource(location=asked) if isinstance(asked, str) else asked
    here = is_same_place(trained.source, asked.location)
    cut: str | None = recorded.get("cut")
    kept = trained if here else without_shots(trained)
    config = replace(kept, source=asked.location, manifest=asked.manifest)
    if asked.manifest is not None:
        return (config, cut) if here else (replace(config, fold=None), None)
    as_it_is = replace(config, fold=config.fold if here and trained.manifest is None else None)
    if trained.manifest is None or split == "all":
        return as_it_is, cut
    if not here and split != "train" and split in _present(asked.location):
        return as_it_is, None
    manifest = Path(trained.manifest).expanduser()
    found = file_digest(manifest) if manifest.is_file() else None
    if found != recorded.get("manifest"):
        what = "is not there any more" if found is None else "has changed since"
        raise UserError(
            f"{trained.manifest}: the package was trained with this manifest, which {what}; it "
            f"says which images were kept for {split}. Give it with --manifest FILE, or judge on "
            "all images with --split all"
        )
    return replace(config, manifest=trained.manifest), cut


def is_same_place(one: str, other: str) -> bool:
    """Whether two locations are one: the same words, or paths of the same file or folder."""
    if one == other:
        return True
    first, second = place_of(one), place_of(other)
    if first is None or second is None or prefix_of(one) != prefix_of(other):
        return False
    return first.exists() and second.exists() and first.samefile(second)
