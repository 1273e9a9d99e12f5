"""The machine underneath: atomic folders and files, the device, the memory allocator, the facts.

A folder written here is whole or absent: it is built beside its final place, flushed to the disk,
given `manifest.json` (size and SHA-256 of every file) last, and put in place by one rename.
"""

from __future__ import annotations

import contextlib
import ctypes
import glob
import hashlib
import importlib.metadata
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from resnetkit.types import UserError

if sys.platform != "win32":
    import fcntl

MANIFEST = "manifest.json"


class DamagedFolder(UserError):  # noqa: N818 - a state of the folder, as callers read it
    """A folder whose files are not the ones its manifest promises."""


def commit_folder(final: Path, write: Callable[[Path], None]) -> None:
    """Have `write` fill a temporary folder, then put it at `final` in one step.

    Whatever happens before (an exception, a full disk, kill -9, power loss) leaves `final` as it
    was. A folder already there is swapped with the new one in one system call (renameat2), then
    deleted: there is no moment without a complete one. Where the file system cannot swap, the old
    one moves to `.<name>.old-<pid>` first; after a kill just then `recover_folder` brings it back.

    Raises:
        UserError: `final` holds files that no manifest lists: they are not ours to delete.
        Exception: whatever `write` or the disk raises; the temporary folder is gone by then.
    """
    final = Path(os.path.realpath(final))
    refuse_foreign_files(final)
    final.parent.mkdir(parents=True, exist_ok=True)
    recover_folder(final)
    temporary = final.with_name(f".{final.name}.tmp-{os.getpid()}")
    _remove(temporary)  # of a dead process that had our number: usual in containers
    temporary.mkdir()
    try:
        with held(temporary):
            write(temporary)
            _seal(temporary)
            _put_in_place(temporary, final)
    finally:
        _remove(temporary)


def verify_folder(folder: Path, unchecked: tuple[str, ...] = ()) -> None:
    """Compare every file with the manifest; hidden files (.DS_Store, .git) are nobody's business.

    `unchecked` names files that may be edited or deleted, such as a model card. Raises
    DamagedFolder naming the file that is missing, unexpected, or of another size or content.
    """
    listed = _load_manifest(folder)
    found = {name for name in _file_names(folder) if not name.startswith(".")}
    for name in sorted(found - set(listed) - {MANIFEST}):
        raise _damaged(folder, f"unexpected file {name}, which {MANIFEST} does not list")
    for name in sorted(set(listed) - set(unchecked)):
        if not (folder / name).is_file():
            raise _damaged(folder, f"{name} is missing")
        if (found_facts := _facts(folder / name)) != listed[name]:
            raise _damaged(folder, f"{name} needs {listed[name]}, has {found_facts}")


def recover_folder(final: Path) -> None:
    """Bring back a complete folder that a killed `commit_folder` had just moved aside."""
    for aside in list(final.parent.glob(glob.escape(f".{final.name}.old-") + "[0-9]*")):
        with held(aside) as abandoned:
            if abandoned and not final.exists() and (aside / MANIFEST).is_file():
                aside.rename(final)
                _flush(final.parent)


def sweep_temporaries(parent: Path, name: str = "*") -> None:
    """Remove what killed writers of `name` left in `parent`; what a living one writes stays.

    A living writer holds a lock on its temporary folder, which the system drops when it dies:
    process numbers would not do, since containers give the same ones again.
    """
    for aside in list(parent.glob(f".{name}.old-[0-9]*")):
        recover_folder(parent / aside.name[1:].rpartition(".old-")[0])
    for leftover in [*parent.glob(f".{name}.tmp-[0-9]*"), *parent.glob(f".{name}.old-[0-9]*")]:
        with held(leftover) as abandoned:
            if abandoned:
                _remove(leftover)


def write_file_atomically(path: Path, data: bytes | str) -> None:
    """Write a whole file or none (UTF-8 for text)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp-{os.getpid()}")
    try:
        temporary.touch()
        with held(temporary):
            temporary.write_bytes(data.encode() if isinstance(data, str) else data)
            _flush(temporary)
            temporary.replace(path)
        _flush(path.parent)
    except OSError as error:
        if error.errno is not None and error.filename is None:  # a full disk does not say where
            error.filename = str(path)
        raise
    finally:
        _remove(temporary)


def pick_device(name: str) -> torch.device:
    """The device for "auto" (the fastest here), "cpu", "cuda", "cuda:<number>" or "mps".

    Raises UserError when the name is none of these, or this machine has no such device.
    """
    gpus = [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    apple = ["mps"] if torch.backends.mps.is_available() else []
    available = [*(["cuda"] if gpus else []), *apple, "cpu", *gpus]
    if name == "auto":
        name = available[0]
    if name not in available:
        raise UserError(
            f"Device: needed one that this machine has ({', '.join(available)}) or auto; "
            f"got {name!r}. Choose one of these."
        )
    return torch.device(name)


def reuse_freed_memory() -> bool:
    """Tell glibc to keep freed memory, so that each step's activations land on mapped pages.

    By default large blocks go back to the system at once and every step page-faults them in
    again. Returns whether the allocator accepted it; other systems and allocators are left alone.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    mmap_threshold, trim_threshold = -3, -1  # M_MMAP_THRESHOLD, M_TRIM_THRESHOLD in malloc.h
    # Some glibc releases refuse thresholds above 32 MiB.
    accepted = mallopt(mmap_threshold, 1 << 30) or mallopt(mmap_threshold, 32 << 20)
    return bool(accepted and mallopt(trim_threshold, 2**31 - 1))


def environment() -> dict[str, Any]:
    """The facts a result depends on: versions, commit, machine; JSON-safe, unknown ones None."""
    packages = ("resnetkit", "torchvision", "numpy", "pillow")
    return {
        **{name: importlib.metadata.version(name) for name in packages},
        "torch": str(torch.__version__),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "commit": _git_commit(),
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def refuse_foreign_files(final: Path) -> None:
    """UserError where `commit_folder` could not put a folder: on a file, or on others' files."""
    if final.is_file():
        raise UserError(f"{final}: needed a folder to write, found a file; choose another place.")
    known = {MANIFEST, *_load_manifest(final)} if (final / MANIFEST).is_file() else set()
    foreign = [name for name in _file_names(final) if name not in known and name[0] != "."]
    if foreign:
        raise UserError(
            f"{final}: needed a new folder or one written by resnetkit, found {foreign[0]} "
            f"in it, which {MANIFEST} does not list; choose another place or move it away."
        )


def _seal(folder: Path) -> None:
    """Flush everything to the disk and write the manifest as the last file."""
    files: dict[str, dict[str, Any]] = {}
    for name in _file_names(folder):
        _flush(folder / name)
        files[name] = _facts(folder / name)
    (folder / MANIFEST).write_text(json.dumps({"format": 1, "files": files}, indent=2) + "\n")
    _flush(folder / MANIFEST)
    for path in (*filter(Path.is_dir, folder.rglob("*")), folder):
        _flush(path)


def _put_in_place(temporary: Path, final: Path) -> None:
    """Rename to `final`; after a swap the old folder lies under the temporary name."""
    if not final.exists():
        temporary.rename(final)
    elif not _swap(temporary, final):
        aside = final.with_name(f".{final.name}.old-{os.getpid()}")
        _remove(aside)
        try:
            with held(final):
                final.rename(aside)
                temporary.rename(final)
        finally:
            recover_folder(final)  # the second rename failed
        _remove(aside)
    _flush(final.parent)


def _swap(one: Path, other: Path) -> bool:
    """Exchange two folders in one step; False where the system or file system cannot."""
    rename = getattr(ctypes.CDLL(None), "renameat2", None) if sys.platform == "linux" else None
    here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE in linux/fs.h
    return rename is not None and not rename(
        here, os.fsencode(one), here, os.fsencode(other), exchange
    )


@contextlib.contextmanager
def held(path: Path) -> Iterator[bool]:
    """Hold the lock that tells `sweep_temporaries` that a living process is at work here.

    Gives False where another one has it, or where there are no such locks (Windows, some network
    disks): leftovers then stay until their name is used again.
    """
    if sys.platform == "win32":
        yield False
        return
    descriptor = os.open(path, os.O_RDONLY)
    locked = False
    with contextlib.suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        locked = True
    try:
        yield locked
    finally:
        os.close(descriptor)


def _load_manifest(folder: Path) -> dict[str, dict[str, Any]]:
    if not (folder / MANIFEST).is_file():
        raise _damaged(folder, f"{MANIFEST} is missing")
    try:
        return dict(json.loads((folder / MANIFEST).read_bytes())["files"])
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged(folder, f"{MANIFEST} is not a manifest ({error!r})") from error


def _damaged(folder: Path, what: str) -> DamagedFolder:
    return DamagedFolder(f"{folder}: {what}. Fetch it again, or delete it and write it again.")


def _file_names(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def _facts(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"bytes": path.stat().st_size, "sha256": digest}


def _flush(path: Path) -> None:
    """Have the system write a file, or a folder's list of names, to the disk."""
    if sys.platform == "win32":
        return  # cannot open folders, nor flush a file opened to be read
    with contextlib.ExitStack() as stack:
        descriptor = os.open(path, os.O_RDONLY)
        stack.callback(os.close, descriptor)
        os.fsync(descriptor)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _git_commit() -> str | None:
    """Commit of the checkout this file is in, with "-dirty" when it was changed since."""
    root = Path(__file__).resolve().parents[2]  # of a checkout; something else when installed
    if not (root / ".git").exists() or not (root / "src").is_dir() or not shutil.which("git"):
        return None
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    return done.stdout.strip() or None


def _cpu_name() -> str:
    cpuinfo = Path("/proc/cpuinfo").read_text() if sys.platform == "linux" else ""
    match = re.search(r"^model name\s*: (.+)$", cpuinfo, re.MULTILINE)
    return match[1] if match else platform.processor() or platform.machine()
