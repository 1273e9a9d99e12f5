"""A folder of a million images: time and memory until it is listed, split, open and trained on.

python benchmarks/million.py --entries 1000000

The folder is made of hard links to a few hundred small pictures (1,000 classes; needs the inodes of
their folders only) and removed at the end. Each stage runs in a process of its own, whose peak
resident memory is stated beside that of the imports alone; for training it is summed over the
process and its decoding workers. Exits with 1 when the first step takes longer than a minute.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

GOAL_SECONDS = 60
PICTURES = 400  # a file may have 65,000 links on ext4
CLASSES = 1000
TRAINING = ["--data.image-size", "32", "--training.log-every-steps", "1"]


def make_folder(root: Path, entries: int) -> None:
    """`entries` names in CLASSES folders, each a link to one of PICTURES pictures of 32 x 32."""
    generator = np.random.default_rng(0)
    originals = []
    (root / "originals").mkdir(parents=True)
    for number in range(min(PICTURES, entries)):
        originals.append(root / "originals" / f"{number}.png")
        pixels = generator.integers(0, 256, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(originals[-1])
    for number in range(CLASSES):
        (root / "images" / f"class_{number:04d}").mkdir(parents=True)
    for number in range(entries):
        folder = f"{root}/images/class_{number % CLASSES:04d}"
        os.link(originals[number % len(originals)], f"{folder}/image_{number:07d}.png")


def run_stage(stage: str, folder: Path) -> None:
    """One stage in this process; prints its seconds and the peak memory as JSON."""
    from resnetkit.data.dataset import load_training_data
    from resnetkit.data.settings import DataConfig
    from resnetkit.data.source_types import SPLIT_NAMES
    from resnetkit.data.sources import load_source
    from resnetkit.data.split_plan import SplitPlan
    from resnetkit.data.splits import cut_source
    from resnetkit.data.splitting import split_source

    source, manifest = str(folder / "images"), folder / "m.parquet"

    def silent(what: str, done: int, total: int) -> None:
        """Progress that nobody watches."""

    stages: dict[str, Callable[[], object]] = {
        "list": lambda: load_source(source, SPLIT_NAMES),
        "list and split": lambda: cut_source(load_source(source, SPLIT_NAMES), 0.1, 0.1, 0),
        "open for training": lambda: load_training_data(DataConfig(source=source), 32, silent),
        "data split (reads every file)": lambda: split_source(
            source, manifest, SplitPlan(), progress=silent
        ),
        "open with its manifest": lambda: load_training_data(
            DataConfig(source=source, manifest=str(manifest)), 32, silent
        ),
    }
    imported, started, used = peak_megabytes(), time.perf_counter(), time.process_time()
    stages[stage]()
    figures = {
        "seconds": time.perf_counter() - started,
        "cpu": time.process_time() - used,
        "imports": imported,
        "peak": peak_megabytes(),
    }
    print(json.dumps(figures))


def peak_megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def time_first_step(folder: Path, settings: list[str]) -> dict[str, float]:
    """Seconds from the command to the first line of metrics.jsonl; memory of all processes."""
    run = folder / f"run{len(settings)}"
    command = [sys.executable, "-m", "resnetkit", "train", "digits", "--out", str(run)]
    command += ["--data", str(folder / "images"), *TRAINING, *settings]
    started = time.perf_counter()
    process = subprocess.Popen(command, start_new_session=True, stderr=subprocess.PIPE)
    peak = 0.0
    try:
        while not (run / "metrics.jsonl").exists() or not (run / "metrics.jsonl").read_bytes():
            if process.poll() is not None:
                assert process.stderr is not None
                raise SystemExit(f"training ended: {process.stderr.read().decode()[-2000:]}")
            peak = max(peak, group_megabytes(process.pid))
            time.sleep(0.2)
        return {"seconds": time.perf_counter() - started, "peak": peak}
    finally:
        with contextlib.suppress(ProcessLookupError):  # it has ended by itself
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def group_megabytes(group: int) -> float:
    """Proportional memory of the processes of a group: what they share is counted once."""
    total = 0
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and os.getpgid(int(entry.name)) == group:
                lines = (entry / "smaps_rollup").read_text().splitlines()
                total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
        except (OSError, ProcessLookupError):  # it has just ended
            continue
    return total / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument(
        "--folder", type=Path, help="where to make it; a temporary folder if not said"
    )
    parser.add_argument("--stage", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.stage:
        run_stage(asked.stage, asked.folder)
        return
    with tempfile.TemporaryDirectory(dir=asked.folder, prefix="million-") as temporary:
        folder = Path(temporary)
        started = time.perf_counter()
        make_folder(folder, asked.entries)
        print(
            f"made {asked.entries:,} entries in {time.perf_counter() - started:.0f} s", flush=True
        )
        stages = ["list", "list and split", "open for training"]
        stages += ["data split (reads every file)", "open with its manifest"]
        for stage in stages:
            command = [sys.executable, __file__, "--stage", stage, "--folder", str(folder)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            f = json.loads(done.stdout)
            print(
                f"{stage:32} {f['seconds']:6.1f} s ({f['cpu']:.1f} s of CPU), peak "
                f"{f['peak']:.0f} MiB ({f['imports']:.0f} MiB of it the imports)",
                flush=True,
            )
        manifest = ["--data.manifest", str(folder / "m.parquet")]
        first = {}
        for name, settings in (("folder", []), ("folder and manifest", manifest)):
            first[name] = time_first_step(folder, settings)
            print(
                f"first step from the {name:20} {first[name]['seconds']:6.1f} s after the command, "
                f"peak {first[name]['peak']:.0f} MiB with workers",
                flush=True,
            )
        print(f"load of the machine {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    sys.exit(int(first["folder"]["seconds"] > GOAL_SECONDS))


if __name__ == "__main__":
    main()
