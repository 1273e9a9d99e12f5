"""Weights that come from elsewhere: checked key by key before anything is loaded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from torch import Tensor, nn

from resnetkit.types import UserError

SHOWN = 5  # names of each kind in a message; a wrong architecture has hundreds


def load_torchvision_state(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Load a torchvision ResNet's state dict; ours has the same keys, so the way back needs none.

    Raises UserError naming missing, unexpected and mismatched entries; nothing is loaded then.
    """
    own = model.state_dict()
    # A counter that only BatchNorm without momentum reads; older checkpoints lack it.
    needed = {name for name in own if not name.endswith("num_batches_tracked")}
    problems = {
        "missing": sorted(needed - state.keys()),
        "unexpected": sorted(state.keys() - own.keys()),
        "of another shape": [
            f"{name} {list(state[name].shape)} for {list(own[name].shape)}"
            for name in own
            if name in state and state[name].shape != own[name].shape
        ],
    }
    found = [f"{len(names)} {what}: {_shorten(names)}" for what, names in problems.items() if names]
    if found:
        raise UserError(
            "torchvision weights: entries equal to the network's are needed, got "
            f"{'; '.join(found)}. Build the network these weights were saved from, or reset its "
            "head after loading."
        )
    model.load_state_dict(state)


def _shorten(names: Iterable[str]) -> str:
    names = list(names)
    rest = [f"and {len(names) - SHOWN} more"] if len(names) > SHOWN else []
    return ", ".join(names[:SHOWN] + rest)
