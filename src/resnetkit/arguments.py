"""What a user can type after a command; training takes `experiment.RunRequest`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro


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
class ImportArguments:
    """Turn weights of another library into a model package."""

    weights: tyro.conf.Positional[str]
    """A file (.safetensors, .pth, .pt, .bin, .caffemodel, .h5, .keras), a Hugging Face folder, or
    torchvision:NAME, timm:NAME, hf:NAME."""
    out: Path
    """Folder for the model package."""
    model: str | None = None
    """Name of the network, see `resnetkit models`; read off the weights where they tell."""
    classes: str | None = None
    """Text file with one class name a line, in the head's order; or: imagenet."""
    mean: Path | None = None
    """Mean image (.binaryproto) of a .caffemodel."""


@dataclass(frozen=True, kw_only=True)
class NameArguments:
    """List what there is, or one of it in detail."""

    name: tyro.conf.Positional[str | None] = None
    """Which one; all by default."""
