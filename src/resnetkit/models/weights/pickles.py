"""Pickled weights (.pth, .pt, .bin, .tar, .ckpt, .th) as torch.save writes them, opened by a child.

A pickle is a program. It is run by a process that can do nothing but read it and write tensors
into one folder (`pickle_child.py`); what comes back here is safetensors and a line of JSON.
"""

from __future__ import annotations

import json
import signal
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from resnetkit.models.weights import pickle_child
from resnetkit.models.weights.shut_in import run_shut_in
from resnetkit.types import UserError

# The child's memory beyond what torch itself maps: the file, its tensors, their copies, and more.
MEMORY_BYTES, MEMORY_PER_BYTE = 256 << 20, 4
CPU_SECONDS, BYTES_PER_SECOND = 30, 20 << 20
WAIT_SECONDS = 300  # torch's import counts here, which a busy machine can take minutes for
MOST_ANSWER_BYTES = 16 << 20

SAFER = "or ask for a .safetensors file, which cannot hold programs"
RESAVE = (
    "Whoever made the file, and trusts it, can save the weights alone, with these lines of Python:"
    '\n  import torch; it = torch.load("{name}", map_location="cpu", weights_only=False)'
    '\n  it = it.get("state_dict", it.get("model", it)) if isinstance(it, dict) else it'
    '\n  torch.save(it.state_dict() if hasattr(it, "state_dict") else it, "weights.pth")\n'
    f"{SAFER}"
)
AGAIN = "The download may be incomplete or damaged; fetch it again and compare sizes"
REASONS = {  # by the child's word for it: what came, and what to do
    "programs": "needed are tensors only; it holds more than weights and would call {detail}, "
    f"which was not done. {RESAVE}",
    "torchscript": "it is a TorchScript archive, which holds a program. Save the weights alone: "
    f'torch.save(torch.jit.load("{{name}}").state_dict(), "weights.pth"), {SAFER}',
    "protocol": "it was saved with a newer pickle protocol than torch.save's own. Save it again "
    f"with torch.save(state, path), {SAFER}",
    "archive": "it is a zip without the entry that torch.save writes; it has {detail}. If the "
    "weights are packed inside, unpack them",
    "claims": "it claims {detail}, which torch.save never does. It is damaged or was made to "
    f"fill memory; {SAFER}",
    "memory": "reading it would take far more memory than its size explains. It is damaged or was "
    f"made to fill memory; {SAFER}",
    "no-weights": "needed are tensors by name (a state dict); it holds {detail}. Give the file of "
    "the model's weights",
    "tensors": "needed are ordinary (dense, not quantized) tensors; {detail}. Export the weights "
    "from the original, unquantized network",
    "damaged": f"it cannot be read as torch.save writes it ({{detail}}). {AGAIN}",
    "time": "reading it took far longer than its size explains, and was stopped. It is damaged or "
    f"was made to hang; {SAFER}",
    "crash": f"the process that read it died ({{detail}}): the file is damaged, or the machine's "
    f"memory is full. {AGAIN}",
}


def read_pickle(path: Path) -> dict[str, Any]:
    """What a checkpoint holds, run by nobody: tensors by name, in mappings where it has them.

    Everything else (an optimizer's state, settings, counters) is None: only its name is kept.
    Raises UserError saying why it is refused: it names functions, claims more memory than it has
    bytes, hangs, is cut off, or is no checkpoint.
    """
    with tempfile.TemporaryDirectory(
        prefix="resnetkit-weights-", ignore_cleanup_errors=True
    ) as folder:
        answer = _ask_child(path.absolute(), Path(folder))
        if "refused" in answer:
            raise _refusal(path, str(answer["refused"]), str(answer.get("detail", "")))
        try:
            tensors = load_file(Path(folder) / pickle_child.TENSORS)  # mapped: outlives its folder
            return _rebuild(answer["entries"], tensors)
        except (SafetensorError, OSError, LookupError, TypeError, ValueError) as error:
            raise _refusal(path, "crash", f"{type(error).__name__}: {error}") from error


def _rebuild(entries: Any, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """The mappings of a checkpoint, from the keys that lead to each of its entries."""
    checkpoint: dict[str, Any] = {}
    for names, number in entries:
        mapping = checkpoint
        for name in names[:-1]:
            mapping = mapping.setdefault(str(name), {})
        mapping[str(names[-1])] = None if number is None else tensors[str(number)]
    return checkpoint


def _ask_child(path: Path, folder: Path) -> dict[str, Any]:
    size = path.stat().st_size
    limits = {
        "file_bytes": size,
        "memory_bytes": MEMORY_BYTES + MEMORY_PER_BYTE * size,
        "written_bytes": MOST_ANSWER_BYTES + 2 * size,
        "seconds": CPU_SECONDS + size // BYTES_PER_SECOND,
    }
    wait = WAIT_SECONDS + limits["seconds"]
    code = run_shut_in(pickle_child.__file__, path, folder, limits, wait)
    if code is None:
        return {"refused": "time"}
    if code:
        return _describe_death(code)
    try:
        with (folder / pickle_child.ANSWER).open("rb") as file:
            answer = json.loads(file.read(MOST_ANSWER_BYTES))
    except (OSError, ValueError, RecursionError) as error:
        return {"refused": "crash", "detail": str(error)}
    return answer if isinstance(answer, dict) else {"refused": "crash", "detail": "no answer"}


def _describe_death(code: int) -> dict[str, Any]:
    if sys.platform != "win32" and code == -signal.SIGXCPU:
        return {"refused": "time"}
    if sys.platform != "win32" and code == -signal.SIGXFSZ:
        return {"refused": "memory"}
    reason = f"exit code {code}" if code > 0 else signal.Signals(-code).name
    return {"refused": "crash", "detail": reason}


def _refusal(path: Path, kind: str, detail: str) -> UserError:
    shown = "".join(letter if letter.isprintable() else "?" for letter in detail)[:400]
    reason = REASONS.get(kind, REASONS["crash"]).format(name=path.name, detail=shown)
    return UserError(f"{path}: {reason}.")
