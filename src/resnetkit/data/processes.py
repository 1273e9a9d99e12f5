"""Worker processes that are started cleanly, leave Ctrl-C to their parent and end with it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import forkserver, resource_tracker
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from types import ModuleType


def clean_server(preload: str) -> BaseContext:
    """How workers start: from a clean server process that has imported `preload` once.

    Forking the training process itself would copy the locks of its threads (OpenMP, TensorBoard,
    progress bar) as they are, held or not, and with them possible deadlocks; Python 3.12 warns of
    it. The server costs about 1.5 s once, then a worker 0.05 s; `spawn` would cost 2.7 s each time.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")  # Windows
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([preload])
    # Ctrl-C reaches every process of a terminal, but the trainer still finishes its step: the
    # server is born with it blocked, and its workers after it. (Not SIGTERM: Python ends them so.)
    resource_tracker.ensure_running()  # first, because it would unblock it
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    forkserver.ensure_running()
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return context


@contextmanager
def script_hidden() -> Iterator[None]:
    """Have workers started inside leave the user's script alone.

    They need nothing of it, but would import it: a script without `if __name__ == "__main__"`
    would start to train once more in each of them.
    """
    script = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = script


def start_worker(number: int = 0) -> None:
    """Have this worker leave Ctrl-C to its parent, and end with it."""
    # For a worker of a server that another library had started, and on Windows.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # A pool has a worker end with its parent process; but that is the server, which in turn
    # lives as long as its workers: after kill -9 of the trainer they would stay for ever.
    trainer = multiprocessing.parent_process()
    assert trainer is not None
    threading.Thread(target=_end_with, args=(trainer,), daemon=True).start()


def _end_with(process: BaseProcess) -> None:
    process.join()
    os._exit(1)
