"""CheckReport: what a check of a source found, and its verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from resnetkit.data.checks.findings import Finding


@dataclass(frozen=True, kw_only=True, eq=False)
class CheckReport:
    """What a check found; `findings` go from the unsafe kinds to the notes."""

    location: str
    class_names: tuple[str, ...]
    counts: Mapping[str, tuple[int, ...]]  # split -> images of each class
    images: Mapping[str, int]  # split -> images
    findings: Mapping[str, Sequence[Finding]]  # kind -> all of it
    allowed: tuple[str, ...]  # kinds that do not fail the check
    unsafe: tuple[str, ...]  # kinds found that make training unsafe and are not allowed
    excluded: int  # images that the manifest leaves out of training
    paths: Mapping[str, Path]  # "manifest", "quarantine", "report", "summary": those written

    @property
    def found_allowed(self) -> Mapping[str, int]:
        """Kinds that were found and did not fail the check because they were allowed: how often."""
        return {kind: len(self.findings[kind]) for kind in self.allowed if kind in self.findings}

    @property
    def passed(self) -> bool:
        """Whether training is safe as far as a check can know, or what it found was allowed."""
        return not self.unsafe
