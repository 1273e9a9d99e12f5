import errno
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch

from resnetkit import runtime
from resnetkit.runtime import (
    DamagedFolder,
    commit_folder,
    environment,
    pick_device,
    recover_folder,
    reuse_freed_memory,
    sweep_temporaries,
    verify_folder,
    write_file_atomically,
)
from resnetkit.types import UserError


def writer(text):
    def write(folder):
        (folder / "a.txt").write_text(text)
        (folder / "deep").mkdir()
        (folder / "deep/b.bin").write_bytes(text.encode() * 1000)

    return write


def content(folder):
    verify_folder(folder)
    return (folder / "a.txt").read_text()


def names(parent):
    return sorted(path.name for path in parent.iterdir())


@pytest.mark.parametrize("can_swap", [True, False])
def test_commit_writes_then_replaces(tmp_path, monkeypatch, can_swap):
    if not can_swap:
        monkeypatch.setattr(runtime, "_swap", lambda one, other: False)
    for text in ("first", "second"):
        commit_folder(tmp_path / "new/package", writer(text))
        assert content(tmp_path / "new/package") == text
        assert names(tmp_path / "new") == ["package"]


@pytest.mark.skipif(sys.platform != "linux", reason="renameat2 is a Linux call")
def test_swap_is_used_where_there_is_one(tmp_path):
    commit_folder(tmp_path / "one", writer("one"))
    commit_folder(tmp_path / "two", writer("two"))
    assert runtime._swap(tmp_path / "one", tmp_path / "two")
    assert content(tmp_path / "one") == "two"


def test_a_folder_reached_through_a_link_is_replaced_behind_it(tmp_path):
    commit_folder(tmp_path / "real", writer("old"))
    (tmp_path / "link").symlink_to(tmp_path / "real")
    commit_folder(tmp_path / "link", writer("new"))
    assert (tmp_path / "link").is_symlink()
    assert content(tmp_path / "real") == "new"


@pytest.mark.parametrize("there_before", [True, False])
@pytest.mark.parametrize("error", [RuntimeError("bug"), KeyboardInterrupt()])
def test_an_exception_in_write_changes_nothing(tmp_path, there_before, error):
    if there_before:
        commit_folder(tmp_path / "package", writer("old"))

    def write(folder):
        writer("new")(folder)
        raise error

    with pytest.raises(type(error)):
        commit_folder(tmp_path / "package", write)
    assert names(tmp_path) == (["package"] if there_before else [])
    assert not there_before or content(tmp_path / "package") == "old"


def count_calls(monkeypatch, module, name):
    """Replace module.name by a version that counts and fails with "no space" at one call."""
    real, state = getattr(module, name), {"calls": 0, "fail_at": None}

    def counted(*args, **kwargs):
        state["calls"] += 1
        if state["calls"] == state["fail_at"]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(*args, **kwargs)

    monkeypatch.setattr(module, name, counted)
    return state


@pytest.mark.parametrize("can_swap", [True, False])
@pytest.mark.parametrize(
    ("module", "name"), [(os, "fsync"), (Path, "rename"), (Path, "write_text"), (Path, "mkdir")]
)
def test_a_full_disk_at_any_step_leaves_old_or_new_whole(
    tmp_path, monkeypatch, module, name, can_swap
):
    final = tmp_path / "package"
    commit_folder(final, writer("old"))
    if not can_swap:
        monkeypatch.setattr(runtime, "_swap", lambda one, other: False)
    state = count_calls(monkeypatch, module, name)
    commit_folder(final, writer("old"))
    steps = state["calls"]
    for step in range(1, steps + 1):
        state.update(calls=0, fail_at=step)
        with pytest.raises(OSError, match="No space left"):
            commit_folder(final, writer("new"))
        state["fail_at"] = None
        assert content(final) in ("old", "new")
        assert names(tmp_path) == ["package"]
    assert steps > 0 or (name == "rename" and can_swap)


def test_a_real_full_disk_keeps_the_old_package(tmp_path):
    commit_folder(tmp_path / "package", writer("old"))

    def write(folder):
        with Path("/dev/full").open("w") as file:
            file.write("x")

    with pytest.raises(OSError, match="No space left"):
        commit_folder(tmp_path / "package", write)
    assert content(tmp_path / "package") == "old"


KILLED_WRITER = """
import os, signal, sys
from pathlib import Path
from resnetkit import runtime
step, can_swap, final = int(sys.argv[1]), sys.argv[2] == "swap", Path(sys.argv[3])
calls = 0
def dying(real):
    def call(*args, **kwargs):
        global calls
        calls += 1
        if calls == step:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*args, **kwargs)
    return call
if not can_swap:
    runtime._swap = lambda one, other: False
for name in ("_flush", "_swap", "_remove", "held", "_facts"):
    setattr(runtime, name, dying(getattr(runtime, name)))
Path.rename, Path.mkdir = dying(Path.rename), dying(Path.mkdir)
def write(folder):
    (folder / "a.txt").write_text("new")
    (folder / "b.bin").write_bytes(bytes(1000))
runtime.commit_folder(final, write)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
@pytest.mark.parametrize("can_swap", ["swap", "aside"])
def test_kill_at_any_step_leaves_a_whole_folder_and_nothing_else_after_a_sweep(tmp_path, can_swap):
    # One process forks a child for every step: starting Python with torch for each takes seconds.
    driver = f"""
        import os, sys
        source = {KILLED_WRITER!r}
        from resnetkit import runtime
        step = 0
        while True:
            step += 1
            folder = sys.argv[2] + "/" + str(step)
            def old(target):
                (target / "a.txt").write_text("old")
            runtime.commit_folder(__import__("pathlib").Path(folder, "package"), old)
            child = os.fork()
            if child == 0:
                sys.argv = ["x", str(step), sys.argv[1], folder + "/package"]
                exec(source, {{}})
                os._exit(0)
            _, status = os.waitpid(child, 0)
            if os.WIFEXITED(status):
                assert status == 0
                break
        print(step)
    """
    command = [sys.executable, "-c", textwrap.dedent(driver), can_swap, str(tmp_path)]
    steps = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert steps > 10
    seen = set()
    for step in range(1, steps + 1):
        sweep_temporaries(tmp_path / str(step))
        assert names(tmp_path / str(step)) == ["package"], step
        seen.add(content(tmp_path / str(step) / "package"))
    assert seen == {"old", "new"}


def test_recover_brings_back_what_a_killed_writer_moved_aside(tmp_path):
    commit_folder(tmp_path / "package", writer("old"))
    (tmp_path / "package").rename(tmp_path / ".package.old-123")
    recover_folder(tmp_path / "package")
    assert content(tmp_path / "package") == "old"
    recover_folder(tmp_path / "absent/package")


def test_sweep_spares_living_writers_and_the_users_files(tmp_path):
    for name in (".keep", ".x.tmp-y", "x.tmp-1"):
        (tmp_path / name).mkdir()
    (tmp_path / ".dead.tmp-1").mkdir()
    (tmp_path / ".file.tmp-1").write_text("")
    code = "import os, sys, time; from resnetkit import runtime; from pathlib import Path;"
    code += "runtime.commit_folder(Path(sys.argv[1]), lambda _: (print(1, flush=True), input()))"
    command = [sys.executable, "-c", code, str(tmp_path / "living")]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with process:
        assert process.stdout is not None
        process.stdout.readline()
        living = f".living.tmp-{process.pid}"
        sweep_temporaries(tmp_path)
        assert names(tmp_path) == sorted([".keep", ".x.tmp-y", living, "x.tmp-1"])
        process.send_signal(signal.SIGKILL)
    sweep_temporaries(tmp_path)
    assert living not in names(tmp_path)
    sweep_temporaries(tmp_path / "absent")


def test_foreign_files_are_never_replaced(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match=r"mine: needed a new folder.*found thesis\.txt"):
        commit_folder(tmp_path / "mine", writer("new"))
    commit_folder(tmp_path / "package", writer("old"))
    (tmp_path / "package/notes.txt").write_text("mine")
    with pytest.raises(UserError, match=r"found notes\.txt"):
        commit_folder(tmp_path / "package", writer("new"))
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="needed a folder to write, found a file"):
        commit_folder(tmp_path / "file", writer("new"))
    (tmp_path / "empty").mkdir()
    commit_folder(tmp_path / "empty", writer("new"))


def truncate(folder):
    (folder / "deep/b.bin").write_bytes(b"x")


def flip(folder):
    data = bytearray((folder / "deep/b.bin").read_bytes())
    data[7] ^= 1
    (folder / "deep/b.bin").write_bytes(data)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "a.txt").unlink(), r"a\.txt is missing"),
        (truncate, r"deep/b\.bin needs .*4000.* has .*'bytes': 1,"),
        (flip, r"deep/b\.bin needs .*sha256.* has .*sha256"),
        (lambda folder: (folder / "c").write_text(""), r"unexpected file c"),
        (lambda folder: (folder / "manifest.json").unlink(), r"manifest\.json is missing"),
        (lambda folder: (folder / "manifest.json").write_text("{"), r"not a manifest"),
        (lambda folder: (folder / "manifest.json").write_text("[]"), r"not a manifest"),
        (
            lambda folder: (folder / "manifest.json").write_text('{"files": {"a.txt": 3}}'),
            r"unexpected file deep/b\.bin",
        ),
    ],
)
def test_verify_names_the_damage(tmp_path, damage, message):
    commit_folder(tmp_path / "package", writer("text"))
    verify_folder(tmp_path / "package")
    damage(tmp_path / "package")
    with pytest.raises(DamagedFolder, match=message):
        verify_folder(tmp_path / "package")


def test_verify_allows_hidden_files_and_unchecked_ones(tmp_path):
    commit_folder(tmp_path / "package", writer("text"))
    (tmp_path / "package/.DS_Store").write_text("finder")
    (tmp_path / "package/a.txt").write_text("edited")
    verify_folder(tmp_path / "package", unchecked=("a.txt",))
    with pytest.raises(DamagedFolder):
        verify_folder(tmp_path / "package")


def test_write_file_atomically_is_all_or_nothing(tmp_path, monkeypatch):
    path = tmp_path / "new/file.txt"
    write_file_atomically(path, "grüß")
    assert path.read_bytes() == "grüß".encode()
    monkeypatch.setattr(os, "fsync", lambda descriptor: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError, match="full"):
        write_file_atomically(path, b"longer than before")
    assert path.read_bytes() == "grüß".encode()
    assert names(path.parent) == ["file.txt"]


def test_pick_device(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert pick_device("auto") == pick_device("cpu") == torch.device("cpu")
    for name in ("cuda", "cuda:0", "mps", "tpu"):
        with pytest.raises(UserError, match=rf"this machine has \(cpu\) or auto; got '{name}'"):
            pick_device(name)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert pick_device("auto") == torch.device("cuda")
    assert pick_device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(UserError, match=r"cuda, cpu, cuda:0, cuda:1"):
        pick_device("cuda:2")


def test_environment_is_json_safe_and_names_the_versions():
    facts = environment()
    assert facts["torch"] == torch.__version__
    assert facts["python"] == ".".join(map(str, sys.version_info[:3]))
    assert facts["threads"] == torch.get_num_threads()
    assert all(value is None or isinstance(value, str | int) for value in facts.values())
    assert facts["commit"] is None or len(facts["commit"].removesuffix("-dirty")) == 40


def test_no_commit_outside_a_checkout(tmp_path, monkeypatch):
    monkeypatch.setattr(runtime, "__file__", str(tmp_path / "lib/resnetkit/runtime.py"))
    assert runtime._git_commit() is None


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
def test_reuse_freed_memory_saves_page_faults():
    # In a process of its own: the setting cannot be taken back.
    code = """
import resource, sys, torch
from resnetkit.runtime import reuse_freed_memory
if sys.argv[1] == "yes":
    assert reuse_freed_memory()
for _ in range(30):
    torch.ones(40, 1 << 18).sum()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
"""
    faults = {}
    for answer in ("no", "yes"):
        command = [sys.executable, "-c", code, answer]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        faults[answer] = int(done.stdout)
    assert faults["yes"] < faults["no"] / 2


def test_reuse_freed_memory_leaves_other_allocators_alone(monkeypatch):
    monkeypatch.setattr(runtime.platform, "libc_ver", lambda: ("", ""))
    assert reuse_freed_memory() is False
