"""Ctrl-C as a request: finish the step and write a checkpoint; a second one stops at once."""

from __future__ import annotations

import signal
from types import FrameType


class StopRequest:
    """Catches SIGINT and SIGTERM while entered; calling it says whether one came."""

    def __init__(self) -> None:
        self._requested = False
        self._previous: dict[int, object] = {}

    def __enter__(self) -> StopRequest:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._previous[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # pyright: ignore[reportArgumentType]

    def __call__(self) -> bool:
        """Whether a signal came."""
        return self._requested

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._requested:
            raise KeyboardInterrupt
        self._requested = True
