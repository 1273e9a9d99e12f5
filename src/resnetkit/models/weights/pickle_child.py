"""The process that opens a pickle: it shuts itself in, then calls torch.load(weights_only=True).

Run as a script (see `pickles.py`): it imports torch, safetensors and the standard library, nothing
of resnetkit. A pickle can name functions to call; `weights_only` lets it name a few harmless ones,
our own list fewer still, and should both fail, the process cannot reach the network, start a
program, write outside its one folder, or take more memory and time than its limits.
"""

from __future__ import annotations

import ctypes
import io
import json
import os
import pickletools
import struct
import sys
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

if TYPE_CHECKING:
    from torch import Tensor

if sys.platform != "win32":
    import resource

Entry = tuple[tuple[str, ...], int | None]

ANSWER, TENSORS = "answer.json", "tensors.safetensors"

# What tensors, and the numbers and settings beside them, are rebuilt with. weights_only allows
# more: its functions for sparse, quantized and nested tensors trusted the file's indices in some
# releases (GHSA-63cw-57p8-fm3p), and `bytearray` takes any length.
ALLOWED = {
    "collections OrderedDict",
    "collections Counter",
    "torch Size",
    "torch device",
    "torch Tensor",
    "torch.nn.parameter Parameter",
    "torch._utils _rebuild_tensor",
    "torch._utils _rebuild_tensor_v2",
    "torch._utils _rebuild_parameter",
    *(f"torch {kind}Storage" for kind in ("Float", "Double", "Half", "BFloat16")),
    *(f"torch {kind}Storage" for kind in ("Long", "Int", "Short", "Char", "Byte", "Bool")),
    "torch.storage UntypedStorage",
    "torch.storage TypedStorage",
}
MOST_ENTRIES, MOST_LEVELS, LONGEST_NAME = 20_000, 3, 500

# Audit events of reading; everything else that these modules announce is refused.
READING = {"os.listdir", "os.scandir", "os.walk"}
REFUSED_MODULES = {"os", "socket", "subprocess", "shutil", "ctypes", "pty", "pathlib", "signal"}
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND

NEW_USER, NEW_NETWORK = 0x10000000, 0x40000000  # CLONE_NEWUSER, CLONE_NEWNET in linux/sched.h
DIE_WITH_PARENT, NO_NEW_PRIVILEGES = 1, 38  # PR_SET_* in linux/prctl.h


class Refusal(Exception):  # noqa: N818 - a verdict about the file
    """Why a file is not read: a word `pickles.py` has a sentence for, and the particulars."""


def main(path: str, folder: str, limits: Mapping[str, int]) -> None:
    """Read the pickle at `path`; leave the tensors and an answer (JSON) in `folder`."""
    with Path(path).open("rb") as stream, Path(folder, ANSWER).open("w") as answer:
        try:
            content: dict[str, Any] = {"entries": keep_tensors(path, stream, folder, limits)}
        except Refusal as refusal:
            kind, *details = refusal.args
            content = {"refused": kind, "detail": "".join(details)[:2000]}
        json.dump(content, answer)


def keep_tensors(
    path: str, stream: BinaryIO, folder: str, limits: Mapping[str, int]
) -> list[Entry]:
    """Look at the names, shut in, load, save the tensors as safetensors; all entries."""
    try:
        limit_memory(limits["memory_bytes"])
        is_archive = stream.read(4) == b"PK\x03\x04"
        stream.seek(0)
        refuse_programs(_archived_pickles(stream) if is_archive else [stream] * 5)
        limit_memory(None)
        # Only now, since it takes seconds, and memory of its own.
        from safetensors.torch import save_file

        shut_in(folder, limits)
        entries, tensors = collect(load(path, stream, is_archive), limits["file_bytes"])
        save_file(tensors, Path(folder, TENSORS))
    except Refusal:
        raise
    except MemoryError:
        raise Refusal("memory") from None
    except Exception as error:  # a damaged file raises anything
        # torch explains at length how to read unsafely before it says what it met.
        reason = str(error).rpartition("WeightsUnpickler error:")[2].strip().partition("\n")[0]
        if "allocate" in reason or "not enough memory" in reason:  # torch has no type for it
            raise Refusal("memory") from None
        raise Refusal("damaged", f"{type(error).__name__}: {reason}") from None
    return entries


def load(path: str, stream: BinaryIO, is_archive: bool) -> Any:
    """What the file holds."""
    import torch

    stream.seek(0)
    # Mapping needs a path, which another user's namespace may not be let through.
    mapped = is_archive and os.access(path, os.R_OK)
    return torch.load(
        path if mapped else stream, map_location="cpu", weights_only=True, mmap=mapped
    )


def _archived_pickles(stream: BinaryIO) -> list[io.BytesIO]:
    """The pickles of a checkpoint's zip, which must be as torch.save writes it: uncompressed."""
    with zipfile.ZipFile(stream) as archive:
        entries = archive.infolist()
        names = [entry.filename for entry in entries]
        if any(name.endswith("/constants.pkl") for name in names):
            raise Refusal("torchscript")
        if not any(name.endswith("/data.pkl") for name in names):
            raise Refusal("archive", ", ".join(names[:5]))
        claimed = sum(entry.file_size for entry in entries)
        size = os.fstat(stream.fileno()).st_size
        if claimed > size or any(entry.compress_type for entry in entries):
            raise Refusal("claims", f"{claimed:,} bytes in a file of {size:,}")
        return [io.BytesIO(archive.read(name)) for name in names if name.endswith(".pkl")]


def refuse_programs(pickles: Sequence[BinaryIO | io.BytesIO]) -> None:
    """Refusal for pickles that name anything but what tensors are made of; nothing is called.

    The older format is five pickles in a row in one file, of which the fourth holds the tensors.
    """
    for file in pickles:
        named, texts, memo, modern = set(), ["", ""], {}, False
        for code, argument, _ in pickletools.genops(file):
            if code.name in ("GLOBAL", "INST"):
                named.add(str(argument))
            elif code.name == "STACK_GLOBAL":
                modern = True
                named.add(" ".join(texts))
            elif code.name == "MEMOIZE":
                memo[len(memo)] = texts[-1]
            elif isinstance(argument, str) or code.name.endswith("BINGET"):
                texts = [texts[-1], str(memo.get(argument, argument))]
        if foreign := sorted(named - ALLOWED):
            listed = ", ".join(name.replace(" ", ".")[:80] for name in foreign[:5])
            raise Refusal("programs", listed)
        if modern:
            raise Refusal("protocol")


def collect(loaded: Any, file_bytes: int) -> tuple[list[Entry], dict[str, Tensor]]:
    """The tensors in a checkpoint's mappings, contiguous, and where each stood.

    An entry is the keys that lead to it and the number of its tensor, None for anything else; a
    tensor that stands in two places is kept once. Refusal where they are more than the file has
    bytes: a view can claim any size.
    """
    import torch

    if not isinstance(loaded, Mapping):
        raise Refusal("no-weights", f"a {type(loaded).__name__}")
    found = list(islice(_walk(loaded, ()), MOST_ENTRIES))
    if len(found) == MOST_ENTRIES:
        raise Refusal("claims", f"{MOST_ENTRIES:,} entries or more")
    entries: list[Entry] = []
    numbers: dict[tuple[Any, ...], int] = {}
    distinct: dict[int, Tensor] = {}
    for names, value in found:
        number = None
        if isinstance(value, torch.Tensor):
            _check_kind(names, value)
            place = (value.data_ptr(), value.dtype, value.shape, value.stride())
            number = numbers.setdefault(place, len(numbers))
            distinct[number] = value
        entries.append((names, number))
    claimed = sum(value.numel() * value.element_size() for value in distinct.values())
    if claimed > file_bytes:
        raise Refusal("claims", f"{claimed:,} bytes of weights in a file of {file_bytes:,}")
    copies = (
        (number, value.detach().clone(memory_format=torch.contiguous_format))
        for number, value in distinct.items()
    )
    return entries, {str(number): copy for number, copy in copies}


def _walk(mapping: Mapping[Any, Any], above: tuple[str, ...]) -> Iterator[tuple[Any, Any]]:
    """Keys and value of everything below `mapping`; of mappings by numbers (optimizers), nothing.

    Only a few levels: mappings that hold each other many times would never end.
    """
    for key, value in mapping.items():
        names = (*above, str(key)[:LONGEST_NAME] if isinstance(key, str | int) else "?")
        inner = isinstance(value, Mapping) and len(names) < MOST_LEVELS
        if inner and value and all(isinstance(name, str) for name in value):
            yield from _walk(value, names)
        else:
            yield names, value


def _check_kind(names: tuple[str, ...], tensor: Tensor) -> None:
    if str(tensor.layout) != "torch.strided" or tensor.is_quantized or tensor.device.type != "cpu":
        raise Refusal("tensors", f"{'.'.join(names)[:100]} is {tensor.layout} on {tensor.device}")


def shut_in(folder: str, limits: Mapping[str, int]) -> None:
    """Give up, for good, what reading a file does not need; each layer as far as the system has it.

    The kernel's layers come first, since they need what the audit hook refuses.
    """
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        libc.prctl(DIE_WITH_PARENT, 9, 0, 0, 0)
        if libc.unshare(NEW_USER | NEW_NETWORK):  # refused where user namespaces are switched off
            libc.unshare(NEW_NETWORK)
        libc.prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0)
        _write_only_in(libc, folder)
    _limit_resources(limits)
    sys.addaudithook(_refuse_event)


def _write_only_in(libc: ctypes.CDLL, folder: str) -> None:
    """Landlock: no program starts, no TCP, nothing is written, removed or made outside `folder`.

    https://docs.kernel.org/userspace-api/landlock.html, TCP from its version 4 on. Containers that
    forbid namespaces have it, too; a kernel without it says no.
    """
    create, add, restrict = 444, 445, 446  # the same on every processor
    execute, write, remove_file, make_file = 1 << 0, 1 << 1, 1 << 5, 1 << 8
    all_changes = execute | write | sum(1 << bit for bit in range(4, 13))
    handled = struct.pack("=QQ", all_changes, 0b11)  # the second: binding and connecting by TCP
    handled = handled[: 16 if libc.syscall(create, None, 0, 1) >= 4 else 8]  # by kernel's version
    rules = libc.syscall(create, handled, len(handled), 0)
    if rules < 0:
        return
    beneath = os.open(folder, os.O_RDONLY)
    rule = struct.pack("=Qi", write | remove_file | make_file, beneath)
    if libc.syscall(add, rules, 1, rule, 0) == 0:
        libc.syscall(restrict, rules, 0)
    os.close(beneath)
    os.close(rules)


def _limit_resources(limits: Mapping[str, int]) -> None:
    """Memory and time beyond what importing torch took; files, processes, sizes of files."""
    if sys.platform == "win32":
        return  # has none of these
    used = resource.getrusage(resource.RUSAGE_SELF)
    seconds = int(used.ru_utime + used.ru_stime) + limits["seconds"]
    bounds = {
        resource.RLIMIT_CPU: seconds,
        resource.RLIMIT_FSIZE: limits["written_bytes"],
        resource.RLIMIT_NOFILE: 64,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NPROC: 0,
    }
    limit_memory(limits["memory_bytes"], for_good=True)
    for kind, bound in bounds.items():
        _, most = resource.getrlimit(kind)
        bound = bound if most == resource.RLIM_INFINITY else min(bound, most)
        # At the hard limit of time the kernel kills without saying why, so that one stays.
        resource.setrlimit(kind, (bound, most if kind == resource.RLIMIT_CPU else bound))


def limit_memory(more_bytes: int | None, *, for_good: bool = False) -> None:
    """Let this process map so much more than now; None takes a limit back that is not for good.

    Only Linux holds to it, and says how much is mapped.
    """
    if sys.platform != "linux":
        return
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    if more_bytes is None:
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
        return
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    bound = pages * resource.getpagesize() + more_bytes
    bound = bound if most == resource.RLIM_INFINITY else min(bound, most)
    resource.setrlimit(resource.RLIMIT_AS, (bound, bound if for_good else most))


def _refuse_event(event: str, arguments: tuple[Any, ...]) -> None:
    """Python's own announcement of what it is about to do: PEP 578."""
    if event == "open":
        _, mode, flags = arguments
        if (isinstance(flags, int) and flags & WRITING) or set(str(mode or "")) & set("wax+"):
            raise PermissionError(f"a weights file wanted to write: {arguments[0]!r}")
    elif event.partition(".")[0] in REFUSED_MODULES and event not in READING:
        raise PermissionError(f"a weights file wanted to do this: {event}")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], json.loads(sys.argv[3]))
