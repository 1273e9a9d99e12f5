"""The paper's Table 6 beside our runs.

    python benchmarks/table6.py --data CIFAR10 --depths 20 56 --seeds 0 1

Trains `cifar10-resnet<depth>` once per seed, several at a time, evaluates the last weights on the
test split and prints our errors beside the published one. Call it again to continue where it was
stopped: every run resumes exactly.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

PUBLISHED_ERROR = {20: 8.75, 32: 7.51, 44: 7.17, 56: 6.97, 110: 6.43}  # He et al. 2015, Table 6


def resnetkit(*arguments: str) -> dict[str, object]:
    """The JSON a resnetkit command prints; its notes go to stderr."""
    command = [sys.executable, "-m", "resnetkit", *arguments, "--json"]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def run(depth: int, seed: int, data: str, folder: Path) -> tuple[int, float, float]:
    """(depth, test error in per cent, images per second) of one training run."""
    out = folder / f"resnet{depth}-seed{seed}"
    if not (out / "package").exists():
        resnetkit(
            "train",
            f"cifar10-resnet{depth}",
            "--data",
            data,
            "--out",
            str(out),
            "--resume",
            "--training.seed",
            str(seed),
        )
    test = resnetkit("evaluate", str(out / "package"), "--data", data)
    lines = (out / "metrics.jsonl").read_text().splitlines()
    speeds = [json.loads(line).get("images_per_second") for line in lines]
    speed = statistics.median(value for value in speeds if value is not None)
    error = 100 * (1 - float(str(test["top1"])))
    print(
        f"ResNet-{depth} seed {seed}: test error {error:.2f} %, {speed:,.0f} images/s", flush=True
    )
    return depth, error, speed


def main() -> None:
    """Run all depths and seeds and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True)
    parser.add_argument("--depths", type=int, nargs="+", default=[20, 56])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--out", type=Path, default=Path("runs/table6"))
    parser.add_argument("--at-once", type=int, default=1, help="runs trained at the same time")
    asked = parser.parse_args()
    jobs = [(depth, seed, asked.data, asked.out) for depth in asked.depths for seed in asked.seeds]
    with ThreadPoolExecutor(asked.at_once) as pool:
        results = list(pool.map(lambda job: run(*job), jobs))
    for depth in asked.depths:
        errors = [error for done, error, _ in results if done == depth]
        spread = f" ± {statistics.stdev(errors):.2f}" if len(errors) > 1 else ""
        print(
            f"ResNet-{depth}: {statistics.mean(errors):.2f}{spread} % over {len(errors)} seeds, "
            f"published {PUBLISHED_ERROR[depth]:.2f} %"
        )


if __name__ == "__main__":
    main()
