"""What a check can find, how bad it is, and what becomes of it; `kinds.KINDS` lists all kinds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Severity = Literal["unsafe", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("unsafe", "warning", "note")  # worst first


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of finding: `unsafe` stops the gate, a `warning` wants a look, a `note` informs."""

    severity: Severity
    title: str
    treatment: str  # what training does with such an image or folder, and what the user may do
    refused: bool = False  # training refuses the whole source: it is not the user's to allow


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing found: `names` are the images concerned, several where they belong together."""

    kind: str  # a key of KINDS
    names: tuple[str, ...]
    detail: str  # the particulars: reason, sizes, distance, the two labels
