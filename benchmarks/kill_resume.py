"""Kill -9 a training at random moments, resume it, compare the final weights bit for bit.

python benchmarks/kill_resume.py --kills 30

For 0 and for 2 decoding workers, runs on a folder of small pictures are killed (the whole process
group, SIGKILL) while starting, between steps, inside checkpoint writes and while the package is
written, resumed after every kill, and finished. The SHA-256 of package/model.safetensors must be
that of a run nobody touched. Exits with 1 when it is not.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

KILLS_PER_RUN = 5  # then the run is finished and compared
STEPS = 60
WRITES = {"checkpoint": "checkpoints/.step-*.tmp-*", "package": ".package.tmp-*"}
SETTINGS = [  # random crops in the workers, dropout, average: all that must be continued exactly
    *("--data.image-size", "16", "--data.storage", "files", "--data.batch-size", "16"),
    *("--augment.resized-crop-scale", "0.5", "1.0", "--augment.horizontal-flip"),
    *("--model.dropout", "0.1", "--training.epochs", "None", "--training.steps", str(STEPS)),
    *("--training.log-every-steps", "1", "--training.checkpoint-seconds", "0.1"),
]


@dataclass(frozen=True, kw_only=True)
class Kill:
    """A planned kill: at start-up, in a step, inside a checkpoint write or a package write."""

    kind: str
    step: int = 0  # not before this step
    delay: float = 0.0  # seconds after that


@dataclass(frozen=True, kw_only=True)
class Struck:
    """What a kill met."""

    workers: int
    kill: Kill
    seconds: float  # since the process was started
    step: int  # last one in metrics.jsonl
    inside_write: bool  # a temporary folder was left behind
    resumes_at: int  # the newest checkpoint that was complete; 0 is a new start


def draw_pictures(folder: Path, count: int = 30) -> Path:
    """Three classes of noisy JPEG pictures, 40 to 60 pixels a side."""
    generator = np.random.default_rng(0)
    for index, name in enumerate(("blue", "green", "red")):
        (folder / name).mkdir(parents=True)
        for number in range(count):
            size = (*generator.integers(40, 60, 2).tolist(), 3)
            pixels = generator.integers(0, 180, size)
            pixels[..., 2 - index] += 60
            Image.fromarray(pixels.astype(np.uint8)).save(folder / name / f"{number:03d}.jpg")
    return folder


def start(source: Path, run: Path, workers: int, log: Path) -> subprocess.Popen[bytes]:
    """Start or resume the training in `run`, in a process group of its own."""
    command = [sys.executable, "-m", "resnetkit", "train", "digits", "--resume"]
    command += ["--data", str(source), "--out", str(run), "--data.workers", str(workers), *SETTINGS]
    with log.open("ab") as file:
        return subprocess.Popen(
            command,
            stdout=file,
            stderr=file,
            start_new_session=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )


def finish(source: Path, run: Path, workers: int) -> str:
    """Train to the end; the SHA-256 of the package's weights."""
    log = run.with_suffix(".log")
    code = start(source, run, workers, log).wait(timeout=1200)
    text = log.read_text()
    assert code == 0, text[-3000:]
    assert "damaged" not in text, text  # a killed write must never look like a checkpoint
    return hash_weights(run)


def hash_weights(run: Path) -> str:
    """SHA-256 of the weights in the run's package."""
    return hashlib.sha256((run / "package" / "model.safetensors").read_bytes()).hexdigest()


def last_step(run: Path) -> int:
    """The last step that metrics.jsonl knows of; 0 before the first."""
    path = run / "metrics.jsonl"
    lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
    return json.loads(lines[-1])["step"] if lines else 0


def identity(run: Path) -> int | None:
    """Which file metrics.jsonl is, None when there is none."""
    path = run / "metrics.jsonl"
    return path.stat().st_ino if path.exists() else None


def temporaries(run: Path, kind: str) -> list[Path]:
    """Temporary folders of one kind of write, those of processes killed earlier among them."""
    return list(run.glob(WRITES[kind]))


def strike(
    process: subprocess.Popen[bytes], run: Path, kill: Kill, workers: int, before: int | None
) -> Struck | None:
    """Kill the process group when the moment has come; None when it ended before.

    `before` is the identity of metrics.jsonl when the process was started.
    """
    began = time.monotonic()

    def wait(ready: Callable[[], bool], pause: float) -> None:
        while not ready() and process.poll() is None:
            time.sleep(pause)

    def is_writing() -> bool:
        return any(f"tmp-{process.pid}" in path.name for path in temporaries(run, kill.kind))

    if kill.kind != "start-up":
        # A resumed run first replaces metrics.jsonl by a new file, cut to its checkpoint.
        wait(lambda: identity(run) not in (before, None) and last_step(run) >= kill.step, 0.001)
    time.sleep(kill.delay)
    if kill.kind in WRITES:
        wait(is_writing, 0.0)
    if process.poll() is not None:
        return None
    seconds = time.monotonic() - began
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return Struck(
        workers=workers,
        kill=kill,
        seconds=seconds,
        step=last_step(run),
        inside_write=any(
            f"tmp-{process.pid}" in path.name for kind in WRITES for path in temporaries(run, kind)
        ),
        resumes_at=max([int(path.name[5:]) for path in run.glob("checkpoints/step-*")], default=0),
    )


def plan_kills(count: int, seed: int) -> list[Kill]:
    """`count` kills, at least a third of them inside a checkpoint write, in order of the run."""
    generator = random.Random(seed)
    kinds = ["checkpoint"] * math.ceil(0.4 * count)
    kinds += ["package"] * math.ceil(count / 15) + ["start-up"] * (count // 15)
    kinds = (kinds + ["step"] * count)[:count]
    generator.shuffle(kinds)
    kills = []
    for kind in kinds:
        step = STEPS if kind == "package" else generator.randrange(1, STEPS - 4)
        delay = generator.uniform(0, 2.0 if kind == "start-up" else 0.02)
        kills.append(Kill(kind=kind, step=step, delay=0.0 if kind == "package" else delay))
    return kills


def kill_and_resume(
    source: Path, folder: Path, kills: Sequence[Kill], workers: int
) -> tuple[list[Struck], list[str]]:
    """Carry out the kills on as few runs as needed; what they met, and each run's final hash."""
    struck: list[Struck] = []
    hashes: list[str] = []
    waiting = list(kills)
    for number in range(10 * len(kills)):
        if not waiting:
            return struck, hashes
        run = folder / f"workers-{workers}-run-{number}"
        batch = sorted(waiting[:KILLS_PER_RUN], key=lambda kill: kill.step)
        for kill in batch:
            before = identity(run)
            process = start(source, run, workers, run.with_suffix(".log"))
            met = strike(process, run, kill, workers, before)
            if met is None:
                break  # it was faster: the kills that are left get a new run
            struck.append(met)
            waiting.remove(kill)
        hashes.append(finish(source, run, workers))
    raise RuntimeError(f"{len(waiting)} kills never met their moment: {waiting}")


def show(row: Struck) -> None:
    """One line of the table."""
    inside = "yes" if row.inside_write else "no"
    print(
        f"{row.workers:7}  {row.kill.kind:10}  {row.seconds:7.2f}  {row.step:7}  {inside:14}  "
        f"{row.resumes_at:10}",
        flush=True,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=30, help="kills per worker count")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = draw_pictures(folder / "pictures")
        wanted = finish(source, folder / "undisturbed", 0)
        print(f"undisturbed run: {STEPS} steps, SHA-256 {wanted}\n")
        print("workers  kill        after s  at step  inside a write  resumes at")
        failed, struck = 0, []
        for workers in (0, 2):
            kills = plan_kills(asked.kills, asked.seed + workers)
            met, hashes = kill_and_resume(source, folder, kills, workers)
            for row in met:
                show(row)
            equal = sum(found == wanted for found in hashes)
            print(f"{workers:7}  {equal} of {len(hashes)} finished runs: the undisturbed bits\n")
            failed += len(hashes) - equal
            struck += met
    inside = sum(row.inside_write for row in struck)
    verdict = "FAILED: other bits" if failed else "the same bits every time"
    print(f"{len(struck)} kills, {inside} of them inside a write, 0 and 2 workers: {verdict}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
