"""A child process that reads one file of a stranger's: started here, shut in by its own script."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

# Nothing else is handed on: not the tokens and keys that environments hold.
VARIABLES = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT", "TMPDIR")
ALONE = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "CUDA_VISIBLE_DEVICES": "",
}


def run_shut_in(
    script: str, path: Path, folder: Path, limits: Mapping[str, int], wait_seconds: float
) -> int | None:
    """Have `script` read `path` and answer into `folder`: its exit code, None if it did not end.

    `limits` are for the script, which sets them on itself; `wait_seconds` are the clock's.
    """
    environment = {name: os.environ[name] for name in VARIABLES if name in os.environ}
    # By its path and with -P: the folder it lies in has modules named like libraries (keras).
    command = [sys.executable, "-P", script, str(path), str(folder), json.dumps(limits)]
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env=environment | ALONE,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=wait_seconds,
        )
    except subprocess.TimeoutExpired:
        return None
    return done.returncode
