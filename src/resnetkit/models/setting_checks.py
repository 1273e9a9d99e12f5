"""What architecture configs check about themselves: choices, rates and counts."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from resnetkit.types import UserError


def check_choice(setting: str, value: str, choices: Iterable[str]) -> None:
    """Refuse a value that is not among the choices, suggesting the nearest one."""
    choices = list(choices)
    if value in choices:
        return
    raise UserError(
        f"{setting}: needs one of {', '.join(choices)}, got {value!r}; "
        f"did you mean {nearest_name(value, choices)!r}?"
    )


def nearest_name(name: str, known: Iterable[str]) -> str:
    """The known name that looks most like `name`."""
    return difflib.get_close_matches(name, list(known), n=1, cutoff=0.0)[0]


def check_rate(setting: str, value: float) -> None:
    """Refuse a probability of dropping that is not in [0, 1)."""
    if not 0 <= value < 1:
        raise UserError(
            f"{setting}: needs a probability from 0 up to, not including, 1, got {value}; "
            "0 turns it off."
        )


def check_positive(setting: str, *values: int) -> None:
    """Refuse counts below 1, and an empty list of them."""
    if not values or min(values) < 1:
        raise UserError(
            f"{setting}: needs whole numbers of at least 1, got {list(values)}; correct it."
        )
