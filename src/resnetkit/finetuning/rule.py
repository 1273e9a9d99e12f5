"""The rule behind the defaults: from a few facts to every setting of a fine-tuning run.

In the spirit of BiT's HyperRule (Kolesnikov et al. 2020 arXiv:1912.11370, section 3.3): length,
resolution and MixUp follow from the size of the data and of its images. What a user has set is
never touched, and what follows from it is chosen to fit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from resnetkit.finetuning.defaults import GROUPS
from resnetkit.finetuning.facts import Backbone, DataFacts


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Settings by dotted name, a reason in words for each group, and what they were chosen by.

    `given` are the user's own; `settings` holds none of them.
    """

    settings: dict[str, Any]
    reasons: tuple[str, ...]
    facts: DataFacts
    backbone: Backbone
    given: dict[str, Any] = field(default_factory=dict)

    @property
    def all_settings(self) -> dict[str, Any]:
        """The chosen and the given settings."""
        return {**self.settings, **self.given}


def choose_settings(
    facts: DataFacts, backbone: Backbone, given: Mapping[str, Any] | None = None
) -> Choice:
    """The settings of a run for images of `facts`, from the weights of `backbone`.

    `given` are the user's settings by dotted name: they win, and what depends on them follows. The
    result is for an experiment of default settings, which takes both with `apply_settings`.
    """
    own = {name: value for name, value in (given or {}).items() if not _is_open(name, value)}
    settings: dict[str, Any] = {}
    reasons = []
    for group in GROUPS:
        chosen, reason = group(facts, backbone, {**settings, **own})
        chosen = {name: value for name, value in chosen.items() if name not in own}
        settings |= chosen
        if chosen and reason:
            reasons.append(reason)
    return Choice(
        settings=settings, reasons=tuple(reasons), facts=facts, backbone=backbone, given=own
    )


def _is_open(name: str, value: object) -> bool:
    return (name, value) in (("finetuning.strategy", "auto"), ("training.epochs", None))
