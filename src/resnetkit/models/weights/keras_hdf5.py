"""Keras' files: HDF5 of two layouts, alone or within the `.keras` archive, opened by a child.

Legacy `.h5` (whole models and weights): a group for each layer, in it datasets called as the
weights, "conv1_conv/kernel:0". Keras 3 (`.weights.h5`, and `model.weights.h5` in `.keras`): groups
called by class and number, "layers/conv2d_3/vars/0", with the layer's name as an attribute in later
releases (see `keras_order` for those before). Nested models nest both.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from resnetkit.models.weights import hdf5_child
from resnetkit.models.weights.shut_in import run_shut_in
from resnetkit.types import UserError

MEMORY_BYTES, MEMORY_PER_BYTE = 1 << 30, 4  # of the child, beyond its libraries
CPU_SECONDS, BYTES_PER_SECOND = 10, 20 << 20
WAIT_SECONDS = 120  # a busy machine can take long to start a process


@dataclass(frozen=True, kw_only=True, eq=False)
class KerasFile:
    """The arrays of a file by path and variable, and the model's config where there is one."""

    arrays: dict[tuple[str, str], np.ndarray]  # (layer's path, "kernel" or number) -> values
    names: dict[str, str]  # layer's path -> its name, where the file has it
    config: Any = field(default_factory=dict)  # of config.json or model_config


def read_keras_file(path: Path) -> KerasFile:
    """Read `.h5`, `.weights.h5` or `.keras`; nothing in the file is run.

    Raises UserError without h5py, for damaged files and others, for links out of the file, for
    virtual and external datasets, and for more values than any network here has.
    """
    if not path.is_file():
        raise UserError(f"{path}: a file of Keras' is needed there, got none; check the path.")
    if find_spec("h5py") is None:
        raise UserError(
            f"{path}: h5py is needed to read Keras' files, got no such package; install it with "
            "pip install 'resnetkit[keras]'."
        )
    try:
        return read_in_child(path)
    except hdf5_child.Refusal as refusal:
        came = "".join(letter if letter.isprintable() else "?" for letter in str(refusal))[:400]
        raise UserError(
            f"{path}: a whole model or weights saved by Keras (.h5, .weights.h5, .keras) are "
            f"needed, got {came}. If it was downloaded, download it again and compare its size; "
            "else save the model once more."
        ) from None


def read_in_child(path: Path) -> KerasFile:
    """What `hdf5_child.read` gives, from a process without network and with limits."""
    with tempfile.TemporaryDirectory(
        prefix="resnetkit-weights-", ignore_cleanup_errors=True
    ) as folder:
        answer = _ask_child(path.absolute(), Path(folder))
        if "refused" in answer:
            raise hdf5_child.Refusal(str(answer["refused"]))
        with np.load(Path(folder, hdf5_child.ARRAYS), allow_pickle=False) as kept:
            entries = enumerate(answer["entries"])
            arrays = {(layer, variable): kept[str(n)] for n, (layer, variable) in entries}
    return KerasFile(arrays=arrays, names=answer["names"], config=answer["config"])


def _ask_child(path: Path, folder: Path) -> dict[str, Any]:
    size = path.stat().st_size
    limits = {
        "memory_bytes": MEMORY_BYTES + MEMORY_PER_BYTE * size,
        "written_bytes": hdf5_child.MAX_BYTES + (64 << 20),
        "seconds": CPU_SECONDS + size // BYTES_PER_SECOND,
    }
    wait = WAIT_SECONDS + limits["seconds"]
    code = run_shut_in(hdf5_child.__file__, path, folder, limits, wait)
    if code is None:
        return {"refused": "a file whose reading does not end"}
    if code:
        return {"refused": f"a file that the HDF5 library loops over or dies of (exit code {code})"}
    return json.loads((folder / hdf5_child.ANSWER).read_text())
