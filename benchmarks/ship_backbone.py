"""Make the backbone that ships from a training run of recipe `tiny-imagenet-resnet18-slim`.

    python benchmarks/ship_backbone.py --run RUN --data ../shared/data/tiny-imagenet

The package of RUN is judged on the val images, its kernels are rounded to float16, it is judged
again, and written to `src/resnetkit/backbone/` if it fits 8 MB and loses no more than
`--tolerance` points. Golden logits and reference statistics are those of the rounded weights. The
golden images are drawn, not photographs: no image of the data is passed on. Refuses otherwise and
leaves what was there before. Prints a table of before and after.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from study import markdown
from torch import Tensor

from resnetkit.data.contract import InputContract
from resnetkit.data.opening import open_source
from resnetkit.data.settings import DataConfig
from resnetkit.evaluation.metrics import Metrics
from resnetkit.export.package import (
    GOLDEN,
    WEIGHTS,
    ModelPackage,
    golden_deviation,
    golden_outputs,
    load_package,
    load_seen,
    save_package,
)
from resnetkit.export.reference import reference_statistics
from resnetkit.export.starting import SHIPPED_FOLDER
from resnetkit.export.stored_weights import round_kernels
from resnetkit.pipeline_evaluation import evaluate
from resnetkit.runtime import environment
from resnetkit.types import CheckFailed

LIMIT_BYTES = 8_000_000
DATA = "Tiny-ImageNet (Stanford CS231n), half of it: photographs from ImageNet at 64 x 64 pixels"
LICENCE = (
    "The weights are part of resnetkit and under its licence, Apache 2.0. They were learnt from "
    "Tiny-ImageNet, whose photographs are ImageNet's: ImageNet does not own their copyright, and "
    "its terms of access allow their use for non-commercial research and education only. Whether "
    "such terms reach weights learnt from the images is not settled. Whoever uses these weights "
    "for anything else must judge this for himself, or start from others (--weights). No image of "
    "the data is in this folder."
)
SHARED_MODE = 0o644  # an installed package is read by other users too


def judge(folder: Path, data: str) -> Metrics:
    """How a package fares on the val images, which training only watched."""
    metrics = evaluate(folder, data, split="val").metrics
    assert isinstance(metrics, Metrics)
    return metrics


def draw_images(contract: InputContract, count: int = 8) -> Tensor:
    """Smooth patterns of colour, uint8 [count,C,H,W], the same on every machine."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randint(0, 256, (count, contract.channels, 6, 6), generator=generator)
    fine = F.interpolate(coarse.float(), contract.crop, mode="bilinear", align_corners=False)
    return fine.round().to(torch.uint8)


def describe(provenance: Mapping[str, Any], before: Metrics) -> dict[str, Any]:
    """`provenance` without the paths of the machine it was trained on, and with notes."""
    experiment, data = provenance["experiment"], provenance["data"]
    low, high = before.top1_interval
    weights = (
        "Kernels are stored as float16, norm layers and biases as float32; loaded, all are "
        f"float32. Before they were rounded the network had a top-1 accuracy of {before.top1:.2%} "
        f"({low:.2%} to {high:.2%}) on the same {before.images:,} images."
    )
    return {
        **provenance,
        "experiment": {**experiment, "data": {**experiment["data"], "source": "tiny-imagenet"}},
        "data": {**data, "source": DATA},
        "notes": {"Weights": weights, "Licence": LICENCE},
    }


def write(folder: Path, package: ModelPackage, original: Path, data: str) -> None:
    """Write the rounded package; it still knows which images it was trained on."""
    config = DataConfig(source=data)
    source = open_source(config, ("train",), lambda what, done, total: None).source
    save_package(
        folder,
        package,
        golden=golden_outputs(package, draw_images(package.contract)),
        reference=reference_statistics(package.model, source.splits["train"], package.contract),
        seen=load_seen(original),
        half=True,
    )
    for path in folder.iterdir():
        path.chmod(SHARED_MODE)


def check(folder: Path, package: ModelPackage) -> int:
    """Bytes of the package in `folder`, which loads as `package`, bit for bit; CheckFailed if not.

    Golden logits may differ in the last bits where another machine or build makes them.
    """
    loaded = load_package(folder)
    for name, value in package.model.state_dict().items():
        if not torch.equal(loaded.model.state_dict()[name], value):
            raise CheckFailed(f"{folder}: {name} is not what was written")
    stored = load_file(folder / WEIGHTS)
    if {value.dtype for value in stored.values() if value.ndim > 1} != {torch.float16}:
        raise CheckFailed(f"{folder}: {WEIGHTS} has kernels that are not float16")
    deviation = golden_deviation(folder, loaded)
    if deviation > 1e-4:
        raise CheckFailed(f"{folder}: logits differ from {GOLDEN} by {deviation:g}")
    size = sum(path.stat().st_size for path in folder.iterdir())
    if size > LIMIT_BYTES:
        raise CheckFailed(f"{folder}: has {size:,} bytes, may have {LIMIT_BYTES:,}")
    return size


def ship(asked: argparse.Namespace) -> None:
    """Round, judge, check, write, and print what came of it."""
    original = asked.run / "package"
    package = load_package(original)
    before = judge(original, asked.data)
    round_kernels(package.model)
    package = replace(package, provenance=describe(package.provenance, before))
    with tempfile.TemporaryDirectory() as temporary:
        trial = Path(temporary) / "backbone"
        write(trial, package, original, asked.data)
        check(trial, package)
        after = judge(trial, asked.data)
    if 100 * (before.top1 - after.top1) > asked.tolerance:
        raise CheckFailed(
            f"rounding costs {100 * (before.top1 - after.top1):.2f} points of top-1, may cost "
            f"{asked.tolerance:g}: nothing was written"
        )
    package = replace(package, metrics={"validation": after.headline()})
    write(asked.out, package, original, asked.data)
    size = check(asked.out, package)
    rows = [
        [what, f"{metrics.top1:.2%}", "{:.2%} to {:.2%}".format(*metrics.top1_interval)]
        for what, metrics in (("float32", before), ("kernels in float16", after))
    ]
    print(markdown(("weights", f"top-1 of {after.images:,}", "95 % interval"), rows))
    files = sorted(asked.out.iterdir())
    listed = ", ".join(f"{path.name} {path.stat().st_size:,}" for path in files)
    print(f"\n- {asked.out}: {size:,} bytes of {LIMIT_BYTES:,} ({listed})")
    print(f"- commit {environment()['commit']}; recipe {package.provenance['recipe']}")


def main() -> int:
    """Parse the command line and ship."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--data", default="../shared/data/tiny-imagenet")
    parser.add_argument("--out", type=Path, default=SHIPPED_FOLDER)
    parser.add_argument("--tolerance", type=float, default=0.2, help="points of top-1")
    try:
        ship(parser.parse_args())
    except CheckFailed as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
