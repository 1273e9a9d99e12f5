"""Killed, interrupted and out of disk: the resumed run ends with the undisturbed run's bits."""

import contextlib
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from resnetkit.cli import main
from resnetkit.runtime import verify_folder

SCRIPT = Path(__file__).parent.parent / "benchmarks" / "kill_resume.py"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="no process groups"),
]


@pytest.fixture(scope="module")
def harness():
    """The benchmark of the same name, which kills more often."""
    spec = importlib.util.spec_from_file_location("kill_resume", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look there
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


@pytest.fixture(scope="module")
def source(harness, tmp_path_factory):
    return harness.draw_pictures(tmp_path_factory.mktemp("kill") / "pictures")


@pytest.fixture(scope="module")
def undisturbed(harness, source, tmp_path_factory):
    """SHA-256 of the weights of a run that nobody touched."""
    return harness.finish(source, tmp_path_factory.mktemp("undisturbed") / "run", 0)


def test_a_killed_run_resumes_to_the_same_bits(harness, source, undisturbed, tmp_path):
    plans = {0: harness.plan_kills(4, seed=0), 2: harness.plan_kills(3, seed=2)}
    with ThreadPoolExecutor() as threads:
        started = [
            threads.submit(harness.kill_and_resume, source, tmp_path, kills, workers)
            for workers, kills in plans.items()
        ]
    outcomes = [outcome.result() for outcome in started]
    struck = [row for met, _ in outcomes for row in met]
    assert len(struck) == 7
    assert sum(row.inside_write for row in struck) >= 3
    assert {found for _, hashes in outcomes for found in hashes} == {undisturbed}


def test_the_benchmark_plans_at_least_a_third_inside_checkpoint_writes(harness):
    for count in (1, 4, 30):
        kinds = [kill.kind for kill in harness.plan_kills(count, seed=0)]
        assert len(kinds) == count
        assert 3 * kinds.count("checkpoint") >= count
    assert set(kinds) == {"checkpoint", "package", "start-up", "step"}


@pytest.mark.parametrize(("number", "workers"), [(signal.SIGINT, 2), (signal.SIGTERM, 0)])
def test_a_stopped_run_leaves_a_checkpoint_of_its_last_step(
    harness, source, undisturbed, tmp_path, number, workers
):
    run, log = tmp_path / "run", tmp_path / "run.log"
    process = harness.start(source, run, workers, log)
    while harness.last_step(run) < 5 and process.poll() is None:
        time.sleep(0.002)
    os.killpg(process.pid, number)  # as a terminal does: workers get it too
    assert process.wait(timeout=60) == 130, log.read_text()
    said = " ".join(log.read_text().split())
    stopped = re.search(r"stopped at step (\d+) of 60\. Continue with the same command", said)
    assert stopped, said
    assert "--resume" in said
    assert "Traceback" not in said
    newest = max(path.name for path in (run / "checkpoints").glob("step-*"))
    assert newest == f"step-{int(stopped[1]):09d}"
    assert harness.finish(source, run, workers) == undisturbed


# --- a full disk ---


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 13 MB, where two checkpoints of these runs fit and a third does not."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("mounting a small file system needs Linux and root")
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=13m", "tmpfs", str(disk)]
    mounted = subprocess.run(command, capture_output=True, text=True)
    if mounted.returncode:
        assert os.environ.get("CI") != "true", f"CI must not skip this: {mounted.stderr}"
        pytest.skip(f"this machine mounts no tmpfs: {mounted.stderr}")
    yield disk
    # Lazy: the event file of a writer that met the full disk may still be open.
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def checkpoints(run):
    """Name and bytes of every complete checkpoint, each verified."""
    found = sorted((run / "checkpoints").glob("step-*"))
    for folder in found:
        verify_folder(folder)
    return {path: path.read_bytes() for folder in found for path in folder.iterdir()}


def fill(path):
    """Use up the disk to its last byte."""
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))


def fail(capsys, arguments):
    """The message of a run that is to fail for lack of space."""
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    captured = capsys.readouterr()
    message = " ".join(captured.err.split())
    assert stopped.value.code == 2
    assert captured.out == ""
    assert message.count("resnetkit: ") == 1
    assert "No space left on device" in message
    assert "what was complete before is still there" in message
    assert "--resume" in message
    return message


@pytest.mark.usefixtures("one_thread")
def test_a_disk_that_fills_up_loses_nothing(pictures, small_disk, tmp_path, capsys):
    def command(run):
        start = ["train", "digits", "--data", str(pictures), "--out", str(run)]
        size = ["--data.image-size", "12", "--data.batch-size", "8", "--training.epochs", "4"]
        return [*start, *size, "--training.checkpoint-seconds", "0"]

    main(command(tmp_path / "undisturbed"))
    wanted = (tmp_path / "undisturbed" / "package" / "model.safetensors").read_bytes()
    capsys.readouterr()

    run = small_disk / "run"
    fail(capsys, command(run))  # inside a checkpoint
    before = checkpoints(run)
    assert len({path.parent for path in before}) == 2
    assert not list(run.rglob(".*tmp*"))
    settings = (run / "config.yaml").read_bytes()

    fill(small_disk / "junk")
    fail(capsys, [*command(run), "--resume"])  # before the first step
    assert checkpoints(run) == before
    assert (run / "config.yaml").read_bytes() == settings

    (small_disk / "junk").unlink()
    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    main([*command(run), "--resume"])
    assert (run / "package" / "model.safetensors").read_bytes() == wanted
    shutil.rmtree(run)
