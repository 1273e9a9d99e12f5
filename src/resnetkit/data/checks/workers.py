"""All cores at work on the parts of a scan: threads, or processes where Python itself is busy.

Pillow decodes without Python's lock, so threads scale for photographs. For small images most of
the time is Python's own, and only processes use more than one core.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import TypeVar

from resnetkit.data.processes import clean_server, script_hidden, start_worker
from resnetkit.data.threads import available_cores
from resnetkit.types import Interrupted

FEW_IMAGES = 20_000  # below, starting processes (some 2 s) costs more than they save
SMALL_BYTES = 20_000  # of an encoded image: larger ones are decoded for longer than Python runs

Task = TypeVar("Task")
Result = TypeVar("Result")


def pick_kind(images: int, mean_bytes: float) -> str:
    """Which of WORKERS suits so many images of such a size."""
    if available_cores() > 1 and images >= FEW_IMAGES and mean_bytes < SMALL_BYTES:
        return "processes"
    return "threads"


def map_in_order(
    work: Callable[[Task], Result], tasks: Iterable[Task], kind: str
) -> Iterator[tuple[Task, Result]]:
    """Every task with its result, in order, by one of WORKERS; few of them in memory at a time.

    Raises `Interrupted` when a worker process was ended from outside, for instance for want of
    memory.
    """
    waiting: deque[tuple[Task, Future[Result]]] = deque()
    with WORKERS[kind]() as executor, _ended(executor):
        for task in tasks:
            waiting.append((task, executor.submit(work, task)))
            if len(waiting) > 4 * available_cores():
                yield _first(waiting)
        while waiting:
            yield _first(waiting)


@contextmanager
def _ended(executor: Executor) -> Iterator[None]:
    try:
        yield
    except BrokenProcessPool:
        raise Interrupted(
            "A process that read images was ended from outside (perhaps the memory ran out). "
            "Run the same command again: it continues where it stopped."
        ) from None
    finally:
        executor.shutdown(wait=True, cancel_futures=True)  # Ctrl-C need not wait for the rest


def _first(waiting: deque[tuple[Task, Future[Result]]]) -> tuple[Task, Result]:
    task, future = waiting.popleft()
    return task, future.result()


@contextmanager
def _threads() -> Iterator[Executor]:
    with ThreadPoolExecutor(available_cores()) as executor:
        yield executor


@contextmanager
def _processes() -> Iterator[Executor]:
    with (
        script_hidden(),
        ProcessPoolExecutor(
            available_cores(), clean_server(PRELOADED), initializer=start_worker
        ) as executor,
    ):
        yield executor


PRELOADED = "resnetkit.data.checks.scan_parts"
WORKERS = {"threads": _threads, "processes": _processes}
