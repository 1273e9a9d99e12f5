"""DataConfig: what an experiment says about its images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from resnetkit.data.balance import Sampling
from resnetkit.data.statistics import Normalization
from resnetkit.types import UserError


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Which images, how they are split, and what the network sees of them."""

    source: str = ""
    """Folder, manifest, parquet, archive folder, or a built-in name."""
    manifest: str | None = None
    """Manifest of `data check` or `data split` for this source: it decides splits, labels and
    exclusions."""
    fold: int | None = None
    """Which fold of the manifest validates; the others train."""
    validation_fraction: float = 0.1
    """Share of the training images held out for validation where the source has no such split."""
    test_fraction: float = 0.1
    """Share held out for testing where the source has neither a test nor a validation split."""
    split_seed: int = 0
    """Seed of both held-out splits; apart from the training seed, so that runs stay comparable."""
    shots: int | None = None
    """Learn from this many images of each class only, for studies with few labels. Drawn by their
    names from what is not for testing: those of a smaller number are among those of a larger."""
    shots_seed: int | None = None
    """Which images those are; by default the training seed's, so that the runs of a study differ in
    them. The test images follow from `split_seed` alone."""
    shots_validation: Literal["shots", "as-is"] = "shots"
    """Where `shots` take validation from: a share `validation_fraction` of themselves, which 0
    leaves out; or as without shots, be it thousands of labelled images."""
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
    2015, section 4.2); ImageNet's; or, when fine-tuning, those the weights were trained with."""
    storage: Literal["auto", "memory", "packed", "files"] = "auto"
    """memory: decoded once; packed: taken from a pack (`data pack`); files: decoded by workers;
    auto: memory for small equal images, else packed where there is a pack of the images as they
    are."""
    pack: str | None = None
    """Folder of the pack; by default the source's own in the user's cache."""
    batch_size: int = 128
    """Images per optimizer step."""
    sampling: Sampling = "as-is"
    """Images of an epoch: each once; or drawn so that every class comes equally often (balanced),
    or as often as the square root of its size."""
    workers: int | None = None
    """Decoding processes for stored files; by default one per core, at most 8."""

    def __post_init__(self) -> None:
        for name in ("validation_fraction", "test_fraction"):
            if not 0 <= getattr(self, name) < 1:
                raise UserError(f"data.{name} must be in [0, 1), got {getattr(self, name)}")
        for name in ("image_size", "resize", "batch_size", "shots"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UserError(f"data.{name} must be 1 or more, got {value}")
        if self.pack is not None and self.storage in ("memory", "files"):
            raise UserError(
                f"data.pack has no effect with data.storage {self.storage}: leave one of them out"
            )
        if self.fold is not None and self.fold < 0:
            raise UserError(f"data.fold must be 0 or more, got {self.fold}")
        if self.workers is not None and self.workers < 0:
            raise UserError(f"data.workers must be 0 or more, got {self.workers}")
        self._refuse_idle_shots()

    def _refuse_idle_shots(self) -> None:
        for name, default in (("shots_seed", None), ("shots_validation", "shots")):
            if self.shots is None and getattr(self, name) != default:
                raise UserError(
                    f"data.{name} {getattr(self, name)} has no effect without data.shots: leave it "
                    "out, or say how many images of each class to learn from"
                )
        if self.shots_seed is not None and self.shots_seed < 0:
            raise UserError(f"data.shots_seed must be 0 or more, got {self.shots_seed}")
        if self.shots is not None and self.fold is not None and self.shots_validation == "shots":
            raise UserError(
                f"data.fold {self.fold} names images to validate with, but data.shots {self.shots} "
                "takes them from its own: set data.shots_validation as-is to validate with the "
                "whole fold, or leave the fold out"
            )
