"""A network as parts in forward order: what is frozen, cached, swapped or trained at its own rate.

`network.parts()` names them: stem, stage1, ..., head. Run one after the other, the modules of all
parts are the network's `forward`, and each parameter and buffer lies in exactly one part.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from torch import Tensor, nn

Parts = Mapping[str, tuple[nn.Module, ...]]


def run_until(parts: Parts, part: str, images: Tensor) -> Tensor:
    """What enters `part` when `images` [N,C,H,W] enter the first one."""
    names = list(parts)
    return _run(parts, names[: _position(names, part)], images)


def run_from(parts: Parts, part: str, x: Tensor) -> Tensor:
    """What leaves the last part when `x` enters `part`."""
    names = list(parts)
    return _run(parts, names[_position(names, part) :], x)


def _position(names: list[str], part: str) -> int:
    assert part in names, f"{part!r} is none of the network's parts: {', '.join(names)}"
    return names.index(part)


def _run(parts: Parts, names: Iterable[str], x: Tensor) -> Tensor:
    for name in names:
        for module in parts[name]:
            x = module(x)
    return x
