"""What a user can type after a command; training takes `experiment.RunRequest`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro


@dataclass(frozen=True, kw_only=True)
class EvaluateArguments:
    """Judge a package on images it has not seen."""

    package: tyro.conf.Positional[Path]
    """Model-package folder."""
    data: str
    """Images with labels: see `resnetkit --help` for what SOURCE may be."""
    split: Literal["test", "val", "train", "all"] = "test"
    """Which images; a held-out split is cut as training cut it."""
    manifest: str | None = None
    """Manifest that says which images these are; by default the one of the training."""
    out: Path | None = None
    """Folder for metrics.json and report.html."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1 or mps."""


@dataclass(frozen=True, kw_only=True)
class PredictArguments:
    """Label images with a package."""

    package: tyro.conf.Positional[Path]
    """Model-package folder."""
    images: tyro.conf.Positional[tuple[Path, ...]]
    """Image files, or folders of them."""
    out: Path | None = None
    """Write a .csv, .jsonl or .parquet file instead of a table."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1 or mps."""
    batch_size: int = 64
    """Images per forward pass."""


@dataclass(frozen=True, kw_only=True)
class NameArguments:
    """List what there is, or one of it in detail."""

    name: tyro.conf.Positional[str | None] = None
    """Which one; all by default."""
