"""Checkpoints wrap a network's weights: find the tensors, and strip what stands before their names.

What is read of a checkpoint is decided by two short lists, and said in the notes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from resnetkit.models.weights.strict_loading import shorten
from resnetkit.types import UserError

# In this order: averaged weights are what a training run reports the accuracy of, as timm reads it.
WRAPPERS = (
    "state_dict_ema",
    "model_ema",
    "ema_state_dict",
    "ema",
    "state_dict",
    "model_state_dict",
    "model",
    "module",
    "network",
    "net",
    "weights",
)
# Put before every name by DataParallel, torch.compile and classes that hold the network.
PREFIXES = ("module.", "_orig_mod.", "model.", "network.", "net.", "backbone.")


@dataclass(frozen=True, kw_only=True, eq=False)
class Unwrapped:
    """The tensors of a checkpoint, and how they were found."""

    tensors: dict[str, Tensor]  # by name without prefixes
    source_names: dict[str, str]  # name without prefixes -> as it stands in the checkpoint
    notes: tuple[str, ...]


def unwrap(raw: Mapping[str, object], origin: str) -> Unwrapped:
    """The state dict in a checkpoint, from under the first of `WRAPPERS` that holds a mapping.

    Raises UserError if there is no tensor, or two of one name once a prefix is gone.
    """
    inner, path = raw, []
    while wrapper := _wrapper(inner):
        path.append(wrapper)
        inner = inner[wrapper]
        assert isinstance(inner, Mapping)
    names = {str(name): str(name) for name, value in inner.items() if isinstance(value, Tensor)}
    if not names:
        raise UserError(
            f"{origin}: a state dict is needed (names with tensors, alone or under "
            f"{', '.join(WRAPPERS)}), got a mapping with "
            f"{shorten(map(str, raw)) or 'nothing'} in it; save `network.state_dict()`."
        )
    notes = [_wrapper_note(raw, path)] if path else []
    if others := [str(name) for name in inner if str(name) not in names]:
        notes.append(f"Left out, as they are no tensors: {shorten(others)}.")
    while prefix := _prefix(names):
        names = _strip(names, prefix, origin)
        notes.append(f"The prefix {prefix!r} was removed.")
    tensors = {short: inner[name] for short, name in names.items()}
    return Unwrapped(
        tensors={name: tensor for name, tensor in tensors.items() if isinstance(tensor, Tensor)},
        source_names=names,
        notes=tuple(notes),
    )


def _wrapper(mapping: Mapping[str, object]) -> str | None:
    return next((name for name in WRAPPERS if _holds_tensors(mapping.get(name))), None)


def _holds_tensors(value: object) -> bool:
    """Whether tensors, or mappings that may have some, are in it; not so in a model's settings."""
    return isinstance(value, Mapping) and any(
        isinstance(entry, Tensor | Mapping) for entry in value.values()
    )


def _wrapper_note(raw: Mapping[str, object], path: list[str]) -> str:
    others = sorted(str(name) for name in raw if name != path[0])
    beside = f" (beside it: {shorten(others)})" if others else ""
    return f"The weights are those under {' / '.join(map(repr, path))}{beside}."


def _prefix(names: Mapping[str, str]) -> str | None:
    """The prefix that most names have; the rest are counters and heads of another part."""
    for prefix in PREFIXES:
        if 2 * sum(name.startswith(prefix) for name in names) > len(names):
            return prefix
    return None


def _strip(names: Mapping[str, str], prefix: str, origin: str) -> dict[str, str]:
    stripped: dict[str, str] = {}
    for name, source in names.items():
        short = name.removeprefix(prefix)
        if short in stripped:
            raise UserError(
                f"{origin}: one entry of each name is needed, got {short} with and without "
                f"{prefix!r} before it; save the network alone."
            )
        stripped[short] = source
    return stripped
