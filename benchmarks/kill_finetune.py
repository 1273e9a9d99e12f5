"""Kill -9 fine-tunings in each of their phases, resume them, compare the final weights bit for bit.

python benchmarks/kill_finetune.py --rounds 1

lp-ft and gradual, each with a head that is solved for (L-BFGS) and one that is trained by steps:
in a round every phase is killed once (SIGKILL) at a random moment, the run resumed after each kill
and then finished. The SHA-256 of package/model.safetensors must be that of a run nobody touched.
Exits with 1 when it is not. A checkpoint follows every step, so that many kills meet a write.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from kill_resume import hash_weights, identity, last_step

PROBE_DELAY = 0.6  # seconds after the plan was written, at most: while the head is solved for
STEP_DELAY = 0.02
VARIANTS = [
    ("lp-ft", "lbfgs", 2.0),
    ("lp-ft", "sgd", 3.0),
    ("gradual", "lbfgs", 3.0),
    ("gradual", "sgd", 4.0),
]
START = [  # a package to begin with
    *("--data", "digits", "--data.shots", "20", "--data.batch-size", "32"),
    *("--training.epochs", "3"),
]
SETTINGS = [
    *("--data", "digits", "--shots", "12", "--data.batch-size", "16"),
    *("--training.log-every-steps", "1", "--training.checkpoint-seconds", "0"),
    *("--training.ema-decay", "0.9", "--execution.compile", "no"),
    *("--execution.precision", "float32", "--execution.memory-order", "channels_last"),
]


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A way to fine-tune, and the folder in which it is tried."""

    strategy: str
    probe: str
    epochs: float
    weights: Path
    folder: Path

    @property
    def name(self) -> str:
        """Strategy and solver."""
        return f"{self.strategy} {self.probe}"


@dataclass(frozen=True, kw_only=True)
class Phase:
    """A phase of a finished run: its folder's name, and its steps in the whole run."""

    name: str
    first: int  # the last step before it
    last: int


@dataclass(frozen=True, kw_only=True)
class Struck:
    """What a kill met: the phase meant, the last step logged, and what the run goes on from."""

    phase: str
    step: int
    inside_write: bool
    resumes_at: str


def call(arguments: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
    """Start a command of resnetkit on one thread, in a process group of its own."""
    with log.open("ab") as file:
        return subprocess.Popen(
            [sys.executable, "-m", "resnetkit", *arguments],
            stdout=file,
            stderr=file,
            start_new_session=True,
            env={
                **os.environ,
                "OMP_NUM_THREADS": "1",
                "RESNETKIT_CACHE": str(log.with_suffix(".cache")),
            },
        )


def train_start(folder: Path) -> Path:
    """A package that the fine-tunings begin with."""
    log = folder / "start.log"
    code = call(["train", "digits", *START, "--out", str(folder / "start")], log).wait(1200)
    assert code == 0, log.read_text()[-3000:]
    return folder / "start" / "package"


def start(variant: Variant, run: Path) -> subprocess.Popen[bytes]:
    """Begin or resume the fine-tuning in `run`."""
    own = ["--strategy", variant.strategy, "--finetuning.probe", variant.probe]
    own += ["--training.epochs", str(variant.epochs), "--weights", str(variant.weights)]
    command = ["finetune", "--resume", "--out", str(run), *SETTINGS, *own]
    return call(command, run.with_suffix(".log"))


def finish(variant: Variant, run: Path) -> str:
    """Fine-tune to the end; the SHA-256 of the package's weights."""
    code, text = start(variant, run).wait(1200), run.with_suffix(".log").read_text()
    assert code == 0, text[-3000:]
    assert "damaged" not in text, text  # a killed write must never look like a checkpoint
    return hash_weights(run)


def phases_of(run: Path) -> list[Phase]:
    """The phases of a finished run."""
    folders = sorted((run / "checkpoints").iterdir())
    ends = [0]
    for folder in folders:
        ends.append(ends[-1] + max(int(path.name[5:]) for path in folder.glob("step-*")))
    return [
        Phase(name=folder.name, first=first, last=last)
        for folder, (first, last) in zip(folders, pairwise(ends), strict=True)
    ]


def strike(variant: Variant, run: Path, phase: Phase, generator: random.Random) -> Struck | None:
    """Resume `run` and kill it at a random moment of `phase`; None when it ended before."""
    metrics, plan = identity(run), file_identity(run / "plan.yaml")
    step = generator.randrange(phase.first + 1, max(phase.last - 1, phase.first + 2))
    process = start(variant, run)

    def wait(ready: Callable[[], bool]) -> None:
        while not ready() and process.poll() is None:
            time.sleep(0.001)

    if phase.first == phase.last:  # no step tells how far it is
        wait(lambda: file_identity(run / "plan.yaml") not in (plan, None))
        time.sleep(generator.uniform(0, PROBE_DELAY))
    else:  # a resumed run first cuts metrics.jsonl to its checkpoint
        wait(lambda: identity(run) not in (metrics, None) and last_step(run) >= step)
        time.sleep(generator.uniform(0, STEP_DELAY))
    if process.poll() is not None:
        return None
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    complete = sorted(run.glob("checkpoints/*/step-*"))
    return Struck(
        phase=phase.name,
        step=last_step(run),
        inside_write=any(run.glob(f"checkpoints/*/.step-*.tmp-{process.pid}*")),
        resumes_at="/".join(complete[-1].parts[-2:]) if complete else "a new start",
    )


def file_identity(path: Path) -> int | None:
    """Which file this is: it is replaced as a whole; None when there is none."""
    return path.stat().st_ino if path.exists() else None


def kill_each_phase(
    variant: Variant, number: int, phases: Sequence[Phase], seed: int
) -> tuple[list[Struck], str]:
    """A run that is killed once in each phase and then finished: what was met, and its hash."""
    generator, run = random.Random(seed), variant.folder / f"{variant.name} {number}"
    met = [strike(variant, run, phase, generator) for phase in phases]
    return [row for row in met if row is not None], finish(variant, run)


def show(met: Sequence[Struck]) -> None:
    """A line for each kill."""
    for row in met:
        inside = ", inside a checkpoint write" if row.inside_write else ""
        goes_on = f"goes on from {row.resumes_at}"
        print(f"  killed in {row.phase} after step {row.step}{inside}; {goes_on}")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="12 kills each")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args(arguments)
    kills = equal = runs = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        weights = train_start(folder)
        for strategy, probe, epochs in VARIANTS:
            variant = Variant(
                strategy=strategy, probe=probe, epochs=epochs, weights=weights, folder=folder
            )
            undisturbed = folder / f"{variant.name} undisturbed"
            wanted, phases = finish(variant, undisturbed), phases_of(undisturbed)
            print(f"{variant.name}: undisturbed SHA-256 {wanted}", flush=True)
            for number in range(asked.rounds):
                met, found = kill_each_phase(variant, number, phases, asked.seed + number)
                show(met)
                same = found == wanted
                print(f"  finished: {'the same bits' if same else 'OTHER BITS'}", flush=True)
                kills, equal, runs = kills + len(met), equal + same, runs + 1
    print(f"{kills} kills, {equal} of {runs} finished runs with the undisturbed bits")
    return 0 if equal == runs else 1


if __name__ == "__main__":
    sys.exit(main())
