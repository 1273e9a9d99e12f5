"""AugmentConfig: which augmentations training applies."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal

from resnetkit.types import UserError

WITH_SETTINGS = ("randaugment", "augmix")  # policies whose settings begin with their name
LARGEST_SEVERITY = 10


@dataclass(frozen=True, kw_only=True)
class AugmentConfig:
    """Which augmentations training applies; the defaults apply none."""

    pad_crop: int = 0
    """Pad this many pixels on every side, then crop back at a random place."""
    horizontal_flip: bool = False
    """Mirror half of the images."""
    alternate_flips: bool = False
    """Mirror each image in every other epoch, instead of by chance: none is seen twice in a row
    the same way round (Jordan 2024, "94% on CIFAR-10 in 3.29 seconds", section 3.6)."""
    resized_crop_scale: tuple[float, float] | None = None
    """Share of the area that a random resized crop keeps, e.g. 0.08 1.0 (Inception crop)."""
    color_jitter: float = 0.0
    """Strength of random brightness, contrast and saturation, 0 to 1."""
    policy: Literal["none", "randaugment", "trivialaugment", "augmix"] = "none"
    """A published policy of image operations."""
    randaugment_operations: int = 2
    """Operations an image gets under RandAugment."""
    randaugment_magnitude: int = 9
    """Strength under RandAugment, 0 to 30."""
    augmix_severity: int = 3
    """Largest strength of an operation under AugMix, 1 to 10."""
    augmix_width: int = 3
    """Chains of operations that AugMix mixes."""
    augmix_depth: int | None = None
    """Operations in a chain; 1 to 3 by chance by default."""
    augmix_alpha: float = 1.0
    """Alpha of the Dirichlet and Beta distributions by which AugMix mixes."""
    cutout: int = 0
    """Side of a square hole in pixels."""
    mixup_alpha: float = 0.0
    """Beta(alpha, alpha) of mixup; 0 is off."""
    cutmix_alpha: float = 0.0
    """Beta(alpha, alpha) of CutMix; 0 is off. With mixup on too, each batch gets one of them."""
    early_size: int | None = None
    """Side of the images in the early epochs: smaller ones cost less (Howard 2018)."""
    early_share: float | None = None
    """Share of all epochs trained at `early_size`."""

    def __post_init__(self) -> None:
        for name in ("pad_crop", "cutout", "mixup_alpha", "cutmix_alpha", "color_jitter"):
            if getattr(self, name) < 0:
                raise UserError(f"augment.{name} must be 0 or more, got {getattr(self, name)}")
        if self.color_jitter > 1:
            raise UserError(f"augment.color_jitter must be at most 1, got {self.color_jitter}")
        if not 0 <= self.randaugment_magnitude <= 30:
            raise UserError(
                "augment.randaugment_magnitude must be between 0 and 30, "
                f"got {self.randaugment_magnitude}"
            )
        counts = ("randaugment_operations", "early_size", "augmix_width", "augmix_depth")
        for name in counts:
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UserError(f"augment.{name} must be 1 or more, got {value}")
        if not 1 <= self.augmix_severity <= LARGEST_SEVERITY:
            raise UserError(
                f"augment.augmix_severity must be between 1 and {LARGEST_SEVERITY}, "
                f"got {self.augmix_severity}"
            )
        if self.augmix_alpha <= 0:
            raise UserError(f"augment.augmix_alpha must be above 0, got {self.augmix_alpha}")
        self._refuse_idle_policy_settings()
        if self.alternate_flips and not self.horizontal_flip:
            raise UserError("augment.alternate_flips needs augment.horizontal_flip")
        if self.early_share is not None and not 0 < self.early_share <= 1:
            raise UserError(f"augment.early_share must be in (0, 1], got {self.early_share}")
        if (self.early_size is None) != (self.early_share is None):
            raise UserError(
                "augment.early_size and augment.early_share only act together: give both"
            )
        scale = self.resized_crop_scale
        if scale is not None and not 0 < scale[0] <= scale[1] <= 1:
            raise UserError(
                "augment.resized_crop_scale needs 0 < smallest <= largest <= 1, "
                f"got {scale[0]} {scale[1]}"
            )

    def _refuse_idle_policy_settings(self) -> None:
        for field in fields(self):
            policy, changed = field.name.split("_")[0], getattr(self, field.name) != field.default
            if policy in WITH_SETTINGS and policy != self.policy and changed:
                raise UserError(
                    f"augment.{field.name} has no effect with augment.policy {self.policy}: "
                    f"leave it out, or set augment.policy to {policy}"
                )
