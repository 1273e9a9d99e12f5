"""All cores at work on the parts of a scan: threads, or processes where Python itself is busy.

Pillow decodes without Python's lock, so threads scale for photographs. For small images most of
the time is Python's own, and only processes use more than one core.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from types import ModuleType
from typing import TypeVar

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
        _script_hidden(),
        ProcessPoolExecutor(available_cores(), _context(), initializer=_start_worker) as executor,
    ):
        yield executor


WORKERS = {"threads": _threads, "processes": _processes}


def _context() -> BaseContext:
    """Workers come from a clean server process that has imported the scan once.

    Forking this process would copy the locks of its threads as they are, held or not.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")  # Windows
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["resnetkit.data.checks.scan_parts"])
    return context


@contextmanager
def _script_hidden() -> Iterator[None]:
    """Have workers leave the user's script alone, which they would otherwise import and run."""
    script = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = script


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends its workers itself
    parent = multiprocessing.parent_process()
    assert parent is not None
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(process: BaseProcess) -> None:
    """After kill -9 of the parent its workers would otherwise wait for work for ever."""
    process.join()
    os._exit(1)
