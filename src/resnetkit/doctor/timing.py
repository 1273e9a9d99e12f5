"""Stopwatches: repeated work, a stream of batches, and the system's file cache made visible."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median

FEWEST, MOST = 2, 200  # timed rounds
WINDOWS = 5  # parts a stream is cut into, for its spread


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Seconds an image takes: the median of `rounds` rounds, the fastest and the slowest."""

    seconds: float
    fastest: float
    slowest: float
    rounds: int

    @property
    def images_per_second(self) -> float:
        """The median as a rate."""
        return 1 / self.seconds


def summarise(seconds: Sequence[float]) -> Timing:
    """The timing of rounds that took `seconds` per image each."""
    # A clock may not have moved during a very short round, and rates divide by it.
    at_least = [max(value, 1e-9) for value in seconds]
    return Timing(
        seconds=median(at_least),
        fastest=min(at_least),
        slowest=max(at_least),
        rounds=len(at_least),
    )


def time_rounds(work: Callable[[], int], budget_seconds: float) -> Timing:
    """Time `work`, which returns how many images it handled, until the budget is spent.

    One round goes first and does not count.
    """
    work()
    seconds: list[float] = []
    end = time.perf_counter() + budget_seconds
    while len(seconds) < FEWEST or (time.perf_counter() < end and len(seconds) < MOST):
        seconds.append(time_once(work))
    return summarise(seconds)


def time_once(work: Callable[[], int]) -> float:
    """Seconds per image of one round of `work`, which returns how many images it handled."""
    start = time.perf_counter()
    images = work()
    return (time.perf_counter() - start) / images


def time_stream(sizes: Iterable[int], budget_seconds: float, skipped: int) -> Timing:
    """Time a stream of batches, each given as its number of images, as they arrive.

    The first `skipped` do not count: they start processes, or were made ahead while those started.
    """
    arrivals, images = [], []
    end = float("inf")
    for number, size in enumerate(sizes):
        now = time.perf_counter()
        if number < skipped:
            continue
        arrivals.append(now)
        images.append(size)
        end = min(end, now + budget_seconds)
        if now >= end and len(arrivals) > FEWEST:
            break
    return summarise(_window_seconds(arrivals, images))


def _window_seconds(arrivals: Sequence[float], images: Sequence[int]) -> list[float]:
    """Seconds per image in each of a few parts of the stream, of about equally many batches."""
    assert len(arrivals) > 1, "a stream needs two batches to be timed"
    windows = min(WINDOWS, len(arrivals) - 1)
    ends = [round(part * (len(arrivals) - 1) / windows) for part in range(windows + 1)]
    return [
        (arrivals[end] - arrivals[start]) / sum(images[start + 1 : end + 1])
        for start, end in pairwise(ends)
    ]


def drop_from_cache(paths: Iterable[Path]) -> bool:
    """Ask the system to forget the content of files; whether it did, as far as it can be asked.

    Memory file systems keep theirs, and below a virtual machine or a network disk is another cache
    that nobody here can empty: a cold reading is at best as cold as this machine can make it.
    """
    if not hasattr(os, "posix_fadvise"):
        return False
    some_are_left = False
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            some_are_left |= _first_page_is_cached(descriptor)
        finally:
            os.close(descriptor)
    return not some_are_left


def _first_page_is_cached(descriptor: int) -> bool:
    """True also where the system does not say."""
    if not hasattr(os, "preadv") or not hasattr(os, "RWF_NOWAIT"):
        return True
    try:
        os.preadv(descriptor, [bytearray(1)], 0, os.RWF_NOWAIT)
    except BlockingIOError:
        return False
    except OSError:  # not every file system answers
        return True
    return True


def free_memory_bytes() -> int | None:
    """Memory the system could still use as file cache; None where it does not say."""
    meminfo = Path("/proc/meminfo")
    if not meminfo.exists():
        return None
    lines = meminfo.read_text().splitlines()
    kibibytes = next((line.split()[1] for line in lines if line.startswith("MemAvailable:")), None)
    return None if kibibytes is None else 1024 * int(kibibytes)
