"""Grad-CAM for 100 images against the pytorch-grad-cam package: same run, weights, images, maps.

    PEER/bin/python benchmarks/gradcam_speed.py [--package PACKAGE --data SOURCE]

The peer is used as its README has it: an object made once, which is called with images and targets
and gives maps from 0 to 1. Ours are scaled in the same way, so that both sides end alike, in NumPy
at the images' size. The sides take turns; every batch size of `--batch-sizes` is tried for both,
and the best median of each counts. `correlation` is that of the two maps of an image, the lowest of
all; where either side finds no evidence at all (a map of zeros) there is nothing to correlate.

Without --package, networks of the zoo with weights drawn from a seed look at noise. The peer needs
an environment of its own that sees this one's torch:

    python -m venv PEER
    python -c 'import torch, pathlib; print(pathlib.Path(torch.__file__).parents[1])' \
        > PEER/lib/python3.11/site-packages/ours.pth
    PEER/bin/pip install --no-deps grad-cam==1.5.7 ttach opencv-python-headless
    export PYTHONPATH=src
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import statistics
import time
from collections.abc import Callable
from itertools import product
from pathlib import Path

import numpy as np
import torch
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor, nn

from resnetkit.data.contract import normalise
from resnetkit.data.sources import load_source
from resnetkit.data.transforms import decode_split
from resnetkit.explanation.attribution import attribute
from resnetkit.explanation.attribution_settings import AttributionSettings
from resnetkit.export.package import load_package
from resnetkit.models.resnet import ResNet
from resnetkit.models.zoo import build_model, find_entry
from resnetkit.runtime import environment

IMAGES = 100
NETWORKS = ("cifar-resnet20", "resnet18", "resnet50")
Maps = Callable[[], np.ndarray]  # [N,H,W]


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("--package", type=Path)
    options.add_argument("--data", help="where the package's images are, its test split")
    options.add_argument("--networks", nargs="*", default=NETWORKS)
    options.add_argument("--batch-sizes", nargs="*", type=int, default=[25, 100])
    options.add_argument("--turns", type=int, default=5)
    options.add_argument("--threads", type=int, default=torch.get_num_threads())
    asked = options.parse_args()
    torch.set_num_threads(asked.threads)
    if asked.package is not None:
        rows = [compare(str(asked.package), *from_package(asked.package, asked.data), asked)]
    else:
        rows = [compare(name, *from_zoo(name), asked) for name in asked.networks]
    peer = {"grad-cam": importlib.metadata.version("grad-cam")}
    print(json.dumps({"rows": rows, **environment(), **peer}, indent=1))


def from_zoo(name: str) -> tuple[ResNet, Tensor]:
    """A network with seeded weights, and noise of the size it was made for."""
    entry = find_entry(name)
    network = build_model(entry.architecture, seed=0).eval()
    assert isinstance(network, ResNet)
    side = entry.image_size
    images = torch.randn(IMAGES, 3, side, side, generator=torch.Generator().manual_seed(0))
    return network, images


def from_package(folder: Path, source: str) -> tuple[ResNet, Tensor]:
    """A package's network, and the first images of the source's test split as it takes them."""
    package = load_package(folder)
    assert isinstance(package.model, ResNet)
    split = load_source(source, ("test",)).splits["test"]
    pixels, _ = decode_split(split, package.contract, indices=range(IMAGES))
    return package.model, normalise(torch.from_numpy(pixels), package.contract)


def compare(
    name: str, network: ResNet, images: Tensor, asked: argparse.Namespace
) -> dict[str, object]:
    """Seconds of both sides for all images, how often ours is as fast, and how alike the maps."""
    with torch.no_grad():
        targets = network(images).argmax(1)
    peer = GradCAM(model=network, target_layers=[last_layer(network)])
    sides: dict[str, dict[int, Maps]] = {
        "ours": {n: lambda n=n: ours(network, images, targets, n) for n in asked.batch_sizes},
        "grad-cam": {n: lambda n=n: theirs(peer, images, targets, n) for n in asked.batch_sizes},
    }
    seconds: dict[str, dict[int, list[float]]] = {
        side: {size: [] for size in asked.batch_sizes} for side in sides
    }
    for turn, size, side in product(range(asked.turns + 1), asked.batch_sizes, sides):
        started = time.perf_counter()
        sides[side][size]()
        if turn:  # the first warms up
            seconds[side][size].append(time.perf_counter() - started)
    size = asked.batch_sizes[0]
    best = {
        side: min(statistics.median(times) for times in by_size.values())
        for side, by_size in seconds.items()
    }
    return {
        "network": name,
        "image": list(images.shape[1:]),
        "seconds": best,
        "times_as_fast": best["grad-cam"] / best["ours"],
        **agreement(sides["ours"][size](), sides["grad-cam"][size]()),
        "all_seconds": seconds,
    }


def last_layer(network: ResNet) -> nn.Module:
    """Where the peer is to look: behind the last addition, norm and activation."""
    preactivation = network.config.block.preactivation
    return network.final_activation if preactivation else network.stages()[-1]


def ours(network: ResNet, images: Tensor, targets: Tensor, batch_size: int) -> np.ndarray:
    """Maps from 0 to 1."""
    settings = AttributionSettings(batch_size=batch_size)
    maps = attribute(network, images, targets, "gradcam", settings=settings).maps
    return (maps / maps.amax((1, 2), keepdim=True).clamp(min=1e-7)).numpy()


def theirs(peer: GradCAM, images: Tensor, targets: Tensor, batch_size: int) -> np.ndarray:
    """The same by the peer."""
    classes = [ClassifierOutputTarget(int(target)) for target in targets]
    starts = range(0, len(images), batch_size)
    return np.concatenate(
        [
            peer(
                input_tensor=images[start : start + batch_size],
                targets=classes[start:][:batch_size],
            )
            for start in starts
        ]
    )


def agreement(one: np.ndarray, other: np.ndarray) -> dict[str, object]:
    """The lowest correlation of two maps of an image, and how many images have evidence."""
    rows = [row for row in range(len(one)) if one[row].std() > 0 and other[row].std() > 0]
    pairs = [np.corrcoef(one[row].ravel(), other[row].ravel())[0, 1] for row in rows]
    return {
        "correlation": float(min(pairs)),
        "images_compared": len(rows),
        "empty": {
            "ours": int((one.max((1, 2)) <= 0).sum()),
            "grad-cam": int((other.max((1, 2)) <= 0).sum()),
        },
    }


if __name__ == "__main__":
    main()
