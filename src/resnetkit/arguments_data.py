"""What a user can type after `resnetkit data` and a command."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from resnetkit.experiment import Experiment


@dataclass(frozen=True, kw_only=True)
class CheckArguments:
    """Look at every image of a source, changing nothing; exit code 1 when training is unsafe."""

    source: tyro.conf.Positional[str]
    """Images: see `resnetkit --help` for what SOURCE may be."""
    out: Path | None = None
    """Folder for the manifest, the quarantine list and the page; nothing is written without."""
    allow: tuple[str, ...] = ()
    """Kinds of findings that do not fail the check."""
    labels: bool = False
    """Look for wrong labels too, by a quick cross-validated training."""
    package: Path | None = None
    """Look for wrong labels by what this package predicts; it should not have seen the images."""
    minutes: float | None = None
    """Time for that training, at most; 10 by default."""


@dataclass(frozen=True, kw_only=True)
class SplitArguments:
    """Deal the images of a source to train, val and test, or to folds; kept as a manifest."""

    source: tyro.conf.Positional[str]
    """Images: see `resnetkit --help` for what SOURCE may be."""
    out: Path
    """The manifest to write, .parquet or .csv; training reads it with --data.manifest."""
    ratios: tuple[float, float, float] = (0.8, 0.1, 0.1)
    """Shares of train, val and test."""
    folds: int | None = None
    """Deal what is not for testing to this many folds."""
    seed: int = 0
    """Another seed, another split."""
    group_by: str | None = None
    """Keep together: "near-duplicates", or images with the same value in a column of --manifest."""
    deal_test_anew: bool = False
    """Deal a test split that the source comes with, too."""
    manifest: Path | None = None
    """Labels, exclusions and groups to go by, for instance of `data check`."""


@dataclass(frozen=True, kw_only=True)
class PackArguments:
    """Decode every image once into one file, which training then uses by itself."""

    source: tyro.conf.Positional[str]
    """Images: see `resnetkit --help` for what SOURCE may be."""
    out: Path | None = None
    """Folder of the pack; by default in the cache, where training finds it."""
    side: int = 256
    """Shorter side in pixels; at least data.resize of the training."""
    storage: Literal["raw", "jpeg"] = "raw"
    """raw: pixels, no decoding ever; jpeg: a fifth of the disk."""
    color_mode: Literal["auto", "RGB", "L"] = "auto"
    """auto: L when every image is grey, else RGB."""


@dataclass(frozen=True, kw_only=True)
class PreviewArguments:
    """Draw images exactly as a training will see them, and below as evaluation does: a PNG."""

    source: tyro.conf.Positional[str]
    """Images: see `resnetkit --help` for what SOURCE may be."""
    out: Path
    """The .png to write."""
    recipe: str = "folder"
    """Whose settings; each can be changed as for `resnetkit train`."""
    epoch: int = 1
    """Which pass over the images, from 1."""
    images: int = 16
    """How many, from the beginning of the epoch."""
    experiment: Annotated[Experiment, tyro.conf.arg(name="")]


@dataclass(frozen=True, kw_only=True)
class DoctorArguments:
    """Time every stage of a training, name the slowest, and say what to set about it."""

    source: tyro.conf.Positional[str]
    """Images: see `resnetkit --help` for what SOURCE may be."""
    recipe: str = "folder"
    """Whose settings; each can be changed as for `resnetkit train`."""
    seconds: float = 2.0
    """Time for each measurement."""
    experiment: Annotated[Experiment, tyro.conf.arg(name="")]
