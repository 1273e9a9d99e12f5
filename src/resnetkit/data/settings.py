"""DataConfig: what an experiment says about its images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from resnetkit.data.statistics import Normalization
from resnetkit.types import UserError


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Which images, how they are split, and what the network sees of them."""

    source: str = ""
    """Folder, manifest, parquet, archive folder, or a built-in name."""
    validation_fraction: float = 0.1
    """Share of the training images held out for validation where the source has no such split."""
    test_fraction: float = 0.1
    """Share held out for testing where the source has neither a test nor a validation split."""
    split_seed: int = 0
    """Seed of both held-out splits; apart from the training seed, so that runs stay comparable."""
    skip_unreadable: bool = False
    """Leave unreadable images out and list them, instead of stopping."""
    image_size: int | None = None
    """Side of the network's input in pixels; the network's own by default."""
    resize: int | None = None
    """Shorter side before the centre crop at evaluation; derived from image_size by default."""
    color_mode: Literal["auto", "RGB", "L"] = "auto"
    """auto: L when every image is grey, else RGB."""
    normalization: Normalization = "dataset"
    """Mean and deviation of the training images per channel; the mean of every pixel (He et al.
    2015, section 4.2); or ImageNet's."""
    storage: Literal["auto", "memory", "files"] = "auto"
    """memory: decoded once; files: decoded by workers; auto: memory for small equal images."""
    batch_size: int = 128
    """Images per optimizer step."""
    workers: int | None = None
    """Decoding processes for stored files; by default one per core, at most 8."""

    def __post_init__(self) -> None:
        for name in ("validation_fraction", "test_fraction"):
            if not 0 <= getattr(self, name) < 1:
                raise UserError(f"data.{name} must be in [0, 1), got {getattr(self, name)}")
        for name in ("image_size", "resize", "batch_size"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UserError(f"data.{name} must be 1 or more, got {value}")
        if self.workers is not None and self.workers < 0:
            raise UserError(f"data.workers must be 0 or more, got {self.workers}")
