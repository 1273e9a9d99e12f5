"""What the attribution methods can be told; the defaults are their papers'."""

from __future__ import annotations

import math
from dataclasses import dataclass

from resnetkit.types import UserError


@dataclass(frozen=True, kw_only=True)
class AttributionSettings:
    """Each setting is read by some methods only: `METHODS` says which.

    Raises UserError for values out of range.
    """

    integration_steps: int = 50
    """Steps from the mean colour to the image (integrated-gradients)."""
    noise_samples: int = 50
    """Noisy copies of each image to average over (smoothgrad)."""
    noise_level: float = 0.15
    """Standard deviation of the noise, as a share of the image's range (smoothgrad)."""
    occlusion_window: int | None = None
    """Side of the square that covers the image, in pixels; an eighth of its shorter side by
    default (occlusion)."""
    occlusion_stride: int | None = None
    """Pixels from one place of the square to the next; half its side by default (occlusion)."""
    batch_size: int = 64
    """Images per forward pass."""
    seed: int = 0
    """Of the noise (smoothgrad)."""

    def __post_init__(self) -> None:
        for name in ("integration_steps", "noise_samples", "batch_size"):
            self._check_count(name, getattr(self, name))
        for name in ("occlusion_window", "occlusion_stride"):
            if getattr(self, name) is not None:
                self._check_count(name, getattr(self, name))
        if not (math.isfinite(self.noise_level) and self.noise_level > 0):
            raise UserError(
                f"noise_level: needs a share of the image's range above 0, got {self.noise_level}; "
                "the paper recommends 0.1 to 0.2."
            )

    def _check_count(self, name: str, value: int) -> None:
        if value < 1:
            raise UserError(f"{name}: needs a whole number of at least 1, got {value}; correct it.")
