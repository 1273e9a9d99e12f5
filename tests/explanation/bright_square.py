"""A task whose evidence is known: a square in noise, whose brightness alone decides the class."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from resnetkit.explanation.examples import Examples
from resnetkit.models.lenet import LeNetConfig
from resnetkit.models.zoo import Network, build_model

SIDE, SQUARE, PATCH = 24, 8, 3


def draw(count: int, seed: int, noise: float = 0.3) -> tuple[Tensor, Tensor, np.ndarray]:
    """Images [N,1,SIDE,SIDE], classes (0 dark, 1 bright) and the corners of the square [N,4]."""
    generator = np.random.default_rng(seed)
    images = generator.normal(0, noise, (count, 1, SIDE, SIDE)).astype(np.float32)
    classes = np.arange(count) % 2
    lefts, tops = generator.integers(1, SIDE - SQUARE, (2, count))
    for row, (left, top) in enumerate(zip(lefts, tops, strict=True)):
        images[row, 0, top : top + SQUARE, left : left + SQUARE] += 2.0 * (2 * classes[row] - 1)
    corners = np.stack([lefts, tops, lefts + SQUARE, tops + SQUARE], axis=1).astype(np.float64)
    return torch.from_numpy(images), torch.from_numpy(classes), corners


@cache
def trained() -> Network:
    """A LeNet that tells bright squares from dark ones; not to be changed."""
    network = build_model(LeNetConfig(in_channels=1, num_classes=2), seed=0)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9)
    for step in range(40):
        images, classes, _ = draw(32, 1000 + step)
        optimizer.zero_grad()
        F.cross_entropy(network(images), classes).backward()
        optimizer.step()
    return network.eval()


def examples(count: int = 32, seed: int = 1) -> tuple[Examples, np.ndarray]:
    """Pictures with their true classes, and the squares' corners [N,4]."""
    images, classes, corners = draw(count, seed)
    return Examples(images=images, targets=classes, numbers=np.arange(count)), corners


def faithful(network: Network):
    """How the logits' difference falls when a patch is covered: by the network's own answers."""

    def attribute(images: Tensor, targets: Tensor) -> Tensor:
        with torch.no_grad():
            whole = margin(network(images), targets)
            maps = torch.zeros(len(images), SIDE, SIDE)
            for top in range(0, SIDE, PATCH):
                for left in range(0, SIDE, PATCH):
                    covered = images.clone()
                    covered[:, :, top : top + PATCH, left : left + PATCH] = 0
                    fall = whole - margin(network(covered), targets)
                    maps[:, top : top + PATCH, left : left + PATCH] = fall[:, None, None]
        return maps

    return attribute


def margin(logits: Tensor, targets: Tensor) -> Tensor:
    """The target's logit above the other's: [N]."""
    return logits.gather(1, targets[:, None])[:, 0] - logits.gather(1, 1 - targets[:, None])[:, 0]


def edges(_network: Network):
    """A map that looks fine and ignores the weights: how far each pixel is from the mean."""

    def attribute(images: Tensor, _targets: Tensor) -> Tensor:
        smooth = F.avg_pool2d(F.pad(images, (2, 2, 2, 2), mode="reflect"), 5, stride=1)
        return smooth[:, 0].abs()

    return attribute


def noise(network: Network):
    """Another map at every call, whatever the picture."""
    weights = float(sum(value.double().abs().sum() for value in network.state_dict().values()))
    generator = torch.Generator().manual_seed(int(weights * 1e6) % 2**31)

    def attribute(images: Tensor, _targets: Tensor) -> Tensor:
        return torch.rand(len(images), SIDE, SIDE, generator=generator)

    return attribute
