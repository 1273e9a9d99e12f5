"""Weights as a package stores them: float32, or kernels in half the bytes.

Only kernels and matrices are halved, which are nearly all of a network. Vectors (norm layers with
their statistics, biases) stay exact: a running variance may be too small or large for float16.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from resnetkit.types import UserError


def plain_tensors(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Contiguous copies on the CPU without shared memory, as safetensors needs them."""
    return {
        name: value.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, value in tensors.items()
    }


def round_kernels(network: nn.Module) -> None:
    """Round the kernels of `network`, in place, to what float16 holds; they stay float32.

    Raises UserError, before anything is changed, where a value is beyond float16.
    """
    kernels = {name: value for name, value in network.state_dict().items() if _is_kernel(value)}
    for name, value in kernels.items():
        largest = float(value.abs().max())
        if not largest <= torch.finfo(torch.float16).max:
            raise UserError(
                f"{name} has a value of {largest:g}, float16 holds at most "
                f"{torch.finfo(torch.float16).max:g}: store these weights as float32"
            )
    for value in kernels.values():
        value.copy_(value.half())


def halve_kernels(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`state` with its kernels as float16, which `round_kernels` has made them fit exactly."""
    halved = {name: value.half() if _is_kernel(value) else value for name, value in state.items()}
    for name, value in halved.items():
        assert torch.equal(value.to(state[name].dtype), state[name]), f"{name} was not rounded"
    return halved


def refuse_non_finite(state: Mapping[str, Tensor], where: str) -> None:
    """UserError, which `where` begins, when a weight is NaN or infinite."""
    for name, value in state.items():
        if not bool(value.isfinite().all()):
            raise UserError(
                f"{where} needs finite weights, {name} has NaN or infinity: training diverged. "
                "Train again with a lower learning rate."
            )


def _is_kernel(value: Tensor) -> bool:
    return value.ndim >= 2 and value.dtype == torch.float32
