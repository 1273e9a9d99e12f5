"""Worker processes: signals, deaths, and scripts that are not to be run again."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from resnetkit.data.contract import InputContract
from resnetkit.data.loader import Loader, LoaderConfig
from resnetkit.data.source_types import Split
from resnetkit.types import Interrupted, UserError

COUNT = 23
CONTRACT = InputContract(
    class_names=("a",), resize=10, crop=(10, 10), mean=(0.5,) * 3, std=(0.2,) * 3
)


@pytest.fixture
def split(tmp_path) -> Split:
    generator = np.random.default_rng(0)
    files = [tmp_path / f"{number}.png" for number in range(COUNT)]
    for file in files:
        pixels = generator.integers(0, 256, (10, 10, 3), dtype=np.uint8)
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, "PNG")
        file.write_bytes(stream.getvalue())
    labels = np.zeros(COUNT, np.int64)
    return Split(labels=labels, names=[file.name for file in files], encoded=files)


def build(split: Split, workers: int) -> Loader:
    return Loader(
        split,
        CONTRACT,
        LoaderConfig(batch_size=4, workers=workers, seed=3, shuffle=True, worker_kind="processes"),
    )


def images(loader: Loader, epoch: int) -> torch.Tensor:
    return torch.cat([batch.images for batch in loader.batches(epoch)])


def test_an_image_that_broke_during_training_is_named(split):
    (split.encoded[7]).write_bytes(b"")
    loader = build(split, 2)
    with pytest.raises(UserError, match=r"7\.png"):
        [batch for epoch in range(3) for batch in loader.batches(epoch)]
    # Held by the caught traceback, it would be collected late, which takes torch 10 seconds.
    loader._processes._decoder._iterator._shutdown_workers()


@pytest.mark.skipif(sys.platform == "win32", reason="no such signals there")
@pytest.mark.parametrize("attempt", range(4))
def test_ctrl_c_leaves_the_workers_to_the_trainer(split, attempt):
    loader = build(split, 2)
    batches = loader.batches(0)
    first = next(batches)  # the second worker may still be starting
    for worker in loader._processes._decoder._iterator._workers:
        os.kill(worker.pid, signal.SIGINT)
    read = torch.cat([batch.images for batch in (first, *batches)])
    assert torch.equal(read, images(build(split, 0), 0))


SCRIPT = """
import os, signal, sys
from pathlib import Path
import numpy as np, torch
from resnetkit.data.contract import InputContract
from resnetkit.data.loader import Loader, LoaderConfig
from resnetkit.data.source_types import Split
print("script runs")
split = Split(labels=np.zeros(4, np.int64), names=list("abcd"), encoded=[Path(sys.argv[1])] * 4)
contract = InputContract(
    class_names=("a",), resize=10, crop=(10, 10), mean=(0.5,) * 3, std=(1.0,) * 3
)
torch.nn.functional.conv2d(torch.randn(8, 3, 64, 64), torch.randn(8, 3, 3, 3))
config = LoaderConfig(
    batch_size=2, workers=2, seed=0, shuffle=True, worker_kind="processes"
)
loader = Loader(split, contract, config)
"""


def run_script(folder: Path, split: Split, ending: str) -> tuple[int, str, str]:
    script = folder / "script.py"
    script.write_text(SCRIPT + ending)
    command = [sys.executable, "-W", "error", script, split.encoded[0]]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout, done.stderr


def test_a_script_without_a_main_guard_is_run_once(split, tmp_path):
    result = run_script(tmp_path, split, "print(len(list(loader.batches(0))))")
    assert result == (0, "script runs\n2\n", "")


KILLED = """
batches = loader.batches(0)
next(batches)
print(*(worker.pid for worker in loader._processes._decoder._iterator._workers), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="looks in /proc")
def test_workers_end_with_a_trainer_that_is_killed(split, tmp_path):
    code, output, errors = run_script(tmp_path, split, KILLED)
    assert (code, errors) == (-signal.SIGKILL, "")
    workers = output.splitlines()[1].split()
    assert len(workers) == 2
    deadline = time.monotonic() + 20
    while any(Path(f"/proc/{pid}").exists() for pid in workers):
        assert time.monotonic() < deadline, "a worker outlives its trainer"
        time.sleep(0.05)


def test_a_worker_ended_from_outside_interrupts(split):
    """As `systemctl stop` or a job scheduler does, which signal every process."""
    loader = build(split, 1)
    next(loader.batches(0))
    (worker,) = loader._processes._decoder._iterator._workers
    os.kill(worker.pid, signal.SIGKILL)
    with pytest.raises(Interrupted, match="a decoding process was ended from outside"):
        [batch for epoch in range(50) for batch in loader.batches(epoch)]
