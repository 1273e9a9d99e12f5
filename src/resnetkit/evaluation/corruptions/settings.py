"""CorruptionConfig: what is done to the pictures, and with which randomness."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from resnetkit.config import suggest
from resnetkit.evaluation.corruptions.catalogue import CORRUPTIONS, Corruption
from resnetkit.evaluation.corruptions.frost import frost_from, load_textures
from resnetkit.evaluation.corruptions.severities import SEVERITIES
from resnetkit.types import UserError


@dataclass(frozen=True, kw_only=True)
class CorruptionConfig:
    """What is done to the pictures."""

    names: tuple[str, ...] = tuple(CORRUPTIONS)
    """Which corruptions; the published mean is over all 15."""
    images: int | None = None
    """Images to corrupt, drawn with the shares of the classes (`draw_subset`); all by default."""
    seed: int = 0
    """Of the images drawn and of everything random in the corruptions."""
    frost_textures: str | None = None
    """Folder with the photographs of frost that the published sets used; made ones by default."""

    def __post_init__(self) -> None:
        for name in self.names:
            if name not in CORRUPTIONS:
                hint = suggest(name, CORRUPTIONS) or "."
                known = ", ".join(CORRUPTIONS)
                raise UserError(f"unknown corruption {name!r}{hint} Known: {known}")
        if not self.names or len(set(self.names)) < len(self.names):
            raise UserError(
                f"corruptions: needed one or more different names, got {list(self.names)}"
            )
        if self.images is not None and self.images < 1:
            raise UserError(f"corruptions.images must be 1 or more, got {self.images}")
        if not 0 <= self.seed < 2**63:
            raise UserError(f"corruptions.seed must be in [0, 2^63), got {self.seed}")

    def pictures_for(self, images: int) -> int:
        """Pictures that `measure_corruptions` has judged when it is done, the clean ones too."""
        return images * (1 + len(self.names) * len(SEVERITIES))

    def corruptions(self) -> dict[str, Corruption]:
        """The corruptions by name; raises UserError where the photographs cannot be read."""
        chosen = {name: CORRUPTIONS[name] for name in self.names}
        if self.frost_textures is not None and "frost" in chosen:
            chosen["frost"] = frost_from(load_textures(Path(self.frost_textures)))
        return chosen
