"""What is asked of an explanation: by which methods, of which classes, looking where."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

from resnetkit.explanation.attribution import DEFAULT_SETTINGS, METHODS, find_method
from resnetkit.explanation.attribution_settings import AttributionSettings
from resnetkit.types import UserError


@dataclass(frozen=True, kw_only=True)
class ExplanationRequest:
    """By which methods to explain which classes, looking where.

    Without `targets` it is the predicted class; in a multi-label task each class predicted, or the
    likeliest where none is. `stage` is for the methods that look at feature maps, see `attribute`.

    Raises UserError for an unknown method, and for a stage or a setting that none of them reads.
    """

    methods: tuple[str, ...] = ("gradcam",)
    targets: tuple[str, ...] = ()
    stage: str | None = None
    settings: AttributionSettings = DEFAULT_SETTINGS
    device: str = "auto"

    def __post_init__(self) -> None:
        methods = [find_method(name) for name in self.methods]
        if not methods:
            raise UserError(f"method: needed one or more of {', '.join(METHODS)}, got none.")
        if self.stage is not None and not any(method.at_stage for method in methods):
            self._refuse("stage", [name for name, each in METHODS.items() if each.at_stage])
        read = {name for method in methods for name in method.reads} | {"batch_size"}
        for setting in fields(AttributionSettings):
            name = setting.name
            if name not in read and getattr(self.settings, name) != setting.default:
                self._refuse(name, [n for n, each in METHODS.items() if name in each.reads])

    def _refuse(self, setting: str, readers: Sequence[str]) -> None:
        raise UserError(
            f"{setting}: has no effect on {', '.join(self.methods)}; leave it out, or choose "
            f"{' or '.join(readers)}."
        )
