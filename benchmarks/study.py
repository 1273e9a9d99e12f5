"""What the studies of fine-tuning share: runs that are kept in a file, and tables of them.

A run is described by a job, a dictionary of plain values, and leaves a record, one line of
`results.jsonl`. A job whose record is there already is skipped, so a study that was stopped, or got
more seeds, continues with what is missing; two names for the same settings are one run. Every run
has a process of its own and empty caches (of features, of compiled code): none is faster because
another went before.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import multiprocessing
import os
import resource
import shlex
import shutil
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import yaml
from torch import nn

from resnetkit.config import digest
from resnetkit.data.seen import SeenWarning
from resnetkit.evaluation.metrics import wilson_interval
from resnetkit.jsonl import append_record, load_records
from resnetkit.runtime import environment

Job = dict[str, Any]
Record = dict[str, Any]
ASIDE = "aside"  # of a job: names and paths, which are no part of what it is


def run_jobs(
    jobs: Sequence[Job], run: Callable[[Job, Path], Record], out: Path, name: Callable[[Job], str]
) -> list[Record]:
    """The records of `jobs`, in order; `run` makes those that are missing, given an empty folder.

    `run` is a module's function, since it is called in another process.
    """
    out.mkdir(parents=True, exist_ok=True)
    results, work = out / "results.jsonl", out / "work"
    kept = {identify(record["job"]): record for record in load_records(results)}
    for number, job in enumerate(jobs, 1):
        key, start = identify(job), time.monotonic()
        if key not in kept:
            kept[key] = {"job": job, **run_alone(run, job, work)}
            append_record(results, kept[key])
        minutes = (time.monotonic() - start) / 60
        print(f"[{number}/{len(jobs)}] {name(job)}: {minutes:.1f} min", file=sys.stderr, flush=True)
    return [{**kept[identify(job)], "job": job} for job in jobs]


def identify(job: Job) -> str:
    """Equal jobs, equal texts, whatever they are called and wherever their files are."""
    return digest({key: value for key, value in job.items() if key != ASIDE})


def run_alone(run: Callable[[Job, Path], Record], job: Job, work: Path) -> Record:
    """`run` in a process of its own; whatever it wrote into its folder is deleted."""
    shutil.rmtree(work, ignore_errors=True)
    context = multiprocessing.get_context("spawn")
    try:
        with ProcessPoolExecutor(1, mp_context=context) as pool:
            return pool.submit(_measured, run, job, work).result()
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _measured(run: Callable[[Job, Path], Record], job: Job, work: Path) -> Record:
    """`run` with empty caches, and what its figures depend on besides."""
    warnings.simplefilter("ignore", SeenWarning)  # the defects hold one pair of equal files
    os.environ["RESNETKIT_CACHE"] = str(work / "cache")
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(work / "compiled")
    (work / "run").mkdir(parents=True)
    facts = {"environment": environment(), "load": os.getloadavg()[0], "started": time.time()}
    return {**run(job, work / "run"), "peak_mib": peak_mib(), **facts}


def peak_mib() -> float:
    """Peak memory of this process and of its largest child, in MiB."""
    ours = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    largest = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return round((ours + largest) / 1024, 1)


@dataclasses.dataclass
class Spent:
    """What a stretch of work took; the second is steadier where a machine does other work too."""

    seconds: float = 0.0
    processor_seconds: float = 0.0


@contextlib.contextmanager
def stopwatch() -> Iterator[Spent]:
    """Measure what happens inside, children that have ended included."""
    spent, start, before = Spent(), time.monotonic(), _processor_seconds()
    yield spent
    spent.seconds = time.monotonic() - start
    spent.processor_seconds = _processor_seconds() - before


def _processor_seconds() -> float:
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


@dataclasses.dataclass(frozen=True)
class Summary:
    """Several runs that differ in their seed, and so in their training images.

    `interval` is Wilson's of the mean, as if of one network on the test images: how far another
    draw of test images would move it. `spread` is the standard deviation over the seeds.
    """

    mean: float
    spread: float | None
    interval: tuple[float, float]
    minutes: float
    processor_minutes: float
    runs: int

    def cells(self) -> list[str]:
        """Accuracy, spread, interval, minutes, processor minutes and runs, for a table."""
        low, high = self.interval
        return [
            f"{100 * self.mean:.2f}",
            "–" if self.spread is None else f"{100 * self.spread:.2f}",
            f"{100 * low:.2f} to {100 * high:.2f}",
            f"{self.minutes:.2f}",
            f"{self.processor_minutes:.2f}",
            str(self.runs),
        ]


SUMMARY_HEADS = (
    "accuracy %",
    "± over seeds",
    "95 % interval",
    "minutes",
    "processor minutes",
    "runs",
)


def summarise(records: Sequence[Record]) -> Summary:
    """The summary of records with `correct`, `images`, `seconds` and `processor_seconds`."""
    shares = [record["correct"] / record["images"] for record in records]
    images = records[0]["images"]
    mean = statistics.mean(shares)
    return Summary(
        mean=mean,
        spread=statistics.stdev(shares) if len(shares) > 1 else None,
        interval=wilson_interval(round(mean * images), images),
        minutes=statistics.mean(record["seconds"] for record in records) / 60,
        processor_minutes=statistics.mean(record["processor_seconds"] for record in records) / 60,
        runs=len(records),
    )


def markdown(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def describe_origin(records: Sequence[Record]) -> str:
    """The command, and the commits, machines and versions that the records are of."""
    lines = [f"Command: `python {shlex.join(sys.argv)}`"]
    for name in ("commit", "cpu", "cores", "threads", "gpu", "python", "torch", "torchvision"):
        found = sorted({str(record["environment"].get(name)) for record in records})
        lines.append(f"{name}: {', '.join(found)}")
    loads = [record["load"] for record in records]
    lines.append(f"load of the machine when a run began: {min(loads):.1f} to {max(loads):.1f}")
    return "\n".join(f"- {line}" for line in lines)


def digest_weights(network: nn.Module) -> str:
    """Which weights they are, in a few letters."""
    state = hashlib.sha256()
    for value in network.state_dict().values():
        state.update(value.detach().cpu().contiguous().numpy().tobytes())
    return state.hexdigest()[:16]


def parse_settings(texts: Iterable[str]) -> dict[str, Any]:
    """KEY=VALUE as {KEY: VALUE}, values read as YAML."""
    pairs = (text.partition("=") for text in texts)
    return {key: yaml.safe_load(value) for key, _, value in pairs}
