"""Asking a network for gradients without leaving a trace in it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def undisturbed(network: nn.Module) -> Iterator[None]:
    """Inside, `network` is in evaluation mode and all is computed in float32, gradients allowed.

    Afterwards, also after an exception, every module is in the mode it was in. It holds whatever
    the caller is in: `torch.inference_mode`, `no_grad` or an autocast.
    """
    modes = [(module, module.training) for module in network.modules()]
    device = next(network.parameters()).device
    # TensorFloat-32 would make the maps depend on the batch size, as it does the logits.
    exact = torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False)
    try:
        network.eval()
        with (
            torch.inference_mode(False),
            torch.enable_grad(),
            torch.autocast(device.type, enabled=False),
            exact,
        ):
            yield
    finally:
        for module, training in modes:
            module.training = training
