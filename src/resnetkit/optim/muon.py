"""Muon: momentum whose update of a convolution is made orthogonal before it is applied."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

# Jordan et al. 2024, "Muon": a quintic that takes singular values of (0, 1] to about 1 quickly.
QUINTIC = (3.4445, -4.7750, 2.0315)
ITERATIONS = 3  # enough for training small networks, as in airbench94_muon


class Muon(torch.optim.Optimizer):
    """Muon for groups marked `orthogonal`, SGD with Nesterov momentum for all others.

    An orthogonal update changes all directions of a kernel equally, where SGD follows the few
    strongest ones. A kernel, seen as a matrix [out, in*h*w], is held at norm sqrt(out): the norm
    layer behind it undoes its scale, so the rate is the relative change a step makes. Jordan et al.
    2024, https://kellerjordan.github.io/posts/muon/.
    """

    def __init__(self, groups: list[dict[str, Any]], lr: float, momentum: float) -> None:
        super().__init__(groups, {"lr": lr, "momentum": momentum, "weight_decay": 0.0})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:
        """Update every parameter that has a gradient; a `closure` is not supported."""
        assert closure is None
        for group in self.param_groups:
            update = _orthogonal_step if group.get("orthogonal") else _nesterov_step
            for parameter in group["params"]:
                if parameter.grad is not None:
                    update(parameter, self._with_momentum(parameter, group), group["lr"])

    def _with_momentum(self, parameter: Tensor, group: dict[str, Any]) -> Tensor:
        """The gradient (with weight decay) under Nesterov momentum."""
        gradient = parameter.grad
        assert gradient is not None
        if group["weight_decay"]:
            gradient = gradient.add(parameter, alpha=group["weight_decay"])
        state = self.state[parameter]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(parameter)
        buffer = state["momentum_buffer"].mul_(group["momentum"]).add_(gradient)
        return gradient.add(buffer, alpha=group["momentum"])


def orthogonalise(matrix: Tensor) -> Tensor:
    """The nearest semi-orthogonal matrix, roughly: singular values of [R,C] pushed towards 1."""
    a, b, c = QUINTIC
    x = matrix / (matrix.norm() + 1e-7)
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    for _ in range(ITERATIONS):  # Newton-Schulz
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if tall else x


def kernels(model: nn.Module) -> list[Tensor]:
    """Weights of convolutions without a bias: those that a norm layer follows."""
    return [
        module.weight
        for module in model.modules()
        if isinstance(module, nn.Conv2d) and module.bias is None and module.weight.requires_grad
    ]


def _nesterov_step(parameter: Tensor, direction: Tensor, rate: float) -> None:
    parameter.add_(direction, alpha=-rate)


def _orthogonal_step(kernel: Tensor, direction: Tensor, rate: float) -> None:
    rows = len(kernel)
    update = orthogonalise(direction.reshape(rows, -1)).view(direction.shape)
    kernel.mul_(rows**0.5 / kernel.norm())
    kernel.add_(update, alpha=-rate * max(1.0, rows / kernel[0].numel()) ** 0.5)
