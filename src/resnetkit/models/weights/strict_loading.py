"""Weights under our keys, compared with a network entry by entry before anything is loaded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from torch import Tensor

SHOWN = 5  # names of each kind in a message; a wrong architecture has hundreds
COUNTER = "num_batches_tracked"  # only BatchNorm without momentum reads it; older files lack it


def describe_problems(own: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> str:
    """What of `state` does not fit a network's `own` entries, "" if all does; counters may miss."""
    needed = {name for name in own if not name.endswith(COUNTER)}
    problems = {
        "missing": sorted(needed - state.keys()),
        "unexpected": sorted(state.keys() - own.keys()),
        "of another shape": [
            f"{name} {list(state[name].shape)} for {list(own[name].shape)}"
            for name in own
            if name in state and state[name].shape != own[name].shape
        ],
    }
    return "; ".join(
        f"{len(names)} {what}: {shorten(names)}" for what, names in problems.items() if names
    )


def shorten(names: Iterable[str]) -> str:
    """The first few names, and how many more there are."""
    names = list(names)
    rest = [f"and {len(names) - SHOWN} more"] if len(names) > SHOWN else []
    return ", ".join(names[:SHOWN] + rest)
