"""Defects of a part of a source: training is refused because of one, the data gate lists them all.

Every format refuses what would train a wrong network. `data check` looks at the rest all the same;
the formats' one signature has no place to say so, hence a context.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from resnetkit.types import UserError

_collected: ContextVar[list[UserError] | None] = ContextVar("collected defects", default=None)


def report_defect(error: UserError) -> None:
    """Raise `error`, or note it inside `collecting_defects`; the caller goes on without the part.

    Only for defects after which what remains means what it meant before.
    """
    collected = _collected.get()
    if collected is None:
        raise error
    collected.append(error)


@contextmanager
def collecting_defects() -> Iterator[list[UserError]]:
    """The defects that `report_defect` is told of inside, in place of an exception."""
    found: list[UserError] = []
    token = _collected.set(found)
    try:
        yield found
    finally:
        _collected.reset(token)
