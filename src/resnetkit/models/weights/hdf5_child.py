"""The process that opens HDF5 files: it shuts itself in as `pickle_child` does, then reads arrays.

Run as a script (see `keras_hdf5.py`): it imports numpy, h5py and the standard library, nothing of
resnetkit. The HDF5 library is C that trusts what it reads: a damaged file can make it loop or
crash, and a made-up one may do more. Here that ends this process, at its limit of time or memory.
"""

from __future__ import annotations

import io
import json
import math
import sys
import zipfile
from collections.abc import Iterator, Mapping
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

ANSWER, ARRAYS = "answer.json", "arrays.npz"
MAX_BYTES = 2**31  # of all values together; a ResNet-152 has 2**28
MAX_ENTRIES = 50_000
MAX_DEPTH = 16  # of groups
WEIGHTS_MEMBER, CONFIG_MEMBER = "model.weights.h5", "config.json"
ELSEWHERE = ("optimizer", "optimizer_weights", "seed_generator")  # groups without weights of layers
# What zipfile, json and h5py raise for files that are cut off or changed.
DAMAGED = (zipfile.BadZipFile, EOFError, OSError, RuntimeError, KeyError, ValueError, TypeError)

Arrays = dict[tuple[str, str], np.ndarray]  # (layer's path, variable) -> values


class Refusal(Exception):  # noqa: N818 - a verdict about the file
    """What came instead of what was needed."""


def main(path: str, folder: str, limits: Mapping[str, int]) -> None:
    """Read the file at `path`; leave the arrays and an answer (JSON) in `folder`."""
    import h5py  # noqa: F401 - libraries are loaded before the door is shut

    # Loaded by its path: the folder has modules that are called like libraries.
    spec = spec_from_file_location("pickle_child", Path(__file__).with_name("pickle_child.py"))
    assert spec is not None
    assert spec.loader is not None
    child = module_from_spec(spec)
    spec.loader.exec_module(child)
    content: dict[str, Any]
    with Path(folder, ARRAYS).open("wb") as kept, Path(folder, ANSWER).open("w") as answer:
        child.shut_in(folder, limits)
        try:
            arrays, names, config = read(Path(path))
            numbered = {str(number): array for number, array in enumerate(arrays.values())}
            np.savez(kept, **numbered)  # type: ignore[arg-type]
            content = {"entries": list(arrays), "names": names, "config": config}
        except Refusal as refusal:
            content = {"refused": str(refusal)}
        except MemoryError:
            content = {"refused": "values that take far more memory than the file's size explains"}
        json.dump(content, answer)


def read(path: Path) -> tuple[Arrays, dict[str, str], Any]:
    """Arrays, the layers' names where the file has them, and the model's config or {}.

    Raises Refusal for damaged files and others, for links out of the file, for virtual and external
    datasets, and for more values than any network here has.
    """
    try:
        if not zipfile.is_zipfile(path):
            with path.open("rb") as file:
                return _read_hdf5(file, {})
        with zipfile.ZipFile(path) as archive:
            config = json.loads(_member(archive, CONFIG_MEMBER))
            return _read_hdf5(io.BytesIO(_member(archive, WEIGHTS_MEMBER)), config)
    except DAMAGED as error:
        raise Refusal(f"a damaged file, or one of another kind ({error})") from None


def _member(archive: zipfile.ZipFile, name: str) -> bytes:
    if name not in archive.namelist():
        raise Refusal(f"an archive without {name}")
    size = archive.getinfo(name).file_size
    if size > MAX_BYTES:
        raise Refusal(f"an archive whose {name} has {size:,} bytes")
    return archive.read(name)


def _read_hdf5(file: BinaryIO, config: Any) -> tuple[Arrays, dict[str, str], Any]:
    import h5py

    arrays: Arrays = {}
    names: dict[str, str] = {}
    total = 0
    with h5py.File(file, "r") as root:
        for group, name, dataset in _datasets(root, "", 0, set()):
            total += _checked_size(dataset, name)
            if total > MAX_BYTES or len(arrays) == MAX_ENTRIES:
                raise Refusal("more values than any network here has")
            layer, variable = _place(name)
            arrays[layer, variable] = np.asarray(dataset[()])
            if isinstance(label := group.attrs.get("name"), str):
                names[layer] = label
        config = config or _stored_config(root)
    return arrays, names, config


def _stored_config(root: Any) -> Any:
    text = root.attrs.get("model_config")
    if text is None:
        return {}
    return json.loads(text.decode() if isinstance(text, bytes) else str(text))


def _datasets(
    group: Any, prefix: str, depth: int, seen: set[int]
) -> Iterator[tuple[Any, str, Any]]:
    """Each dataset with its group and its name from the root on; links out are refused."""
    import h5py
    from h5py import h5o  # type: ignore[attr-defined]

    address = h5o.get_info(group.id).addr
    if depth > MAX_DEPTH or address in seen:  # hard links can make circles
        raise Refusal(f"a group in two places, or more than {MAX_DEPTH} levels, at {prefix}")
    seen.add(address)
    for key in group:
        name = f"{prefix}{key}"
        if not isinstance(group.get(key, getlink=True), h5py.HardLink):
            raise Refusal(f"a link to elsewhere at {name}")
        child = group[key]
        if isinstance(child, h5py.Dataset):
            yield group, name, child
        elif isinstance(child, h5py.Group) and key not in ELSEWHERE:
            yield from _datasets(child, f"{name}/", depth + 1, seen)


def _checked_size(dataset: Any, name: str) -> int:
    """Bytes the values will take. Only numbers that lie in this very file are read."""
    if getattr(dataset, "is_virtual", True) or dataset.external:
        raise Refusal(f"values that lie in another file at {name}")
    if dataset.shape is None or dataset.dtype.kind not in "fiu":
        raise Refusal(f"{dataset.dtype} values at {name}, where numbers belong")
    return math.prod(dataset.shape) * dataset.dtype.itemsize


def _place(name: str) -> tuple[str, str]:
    """Path of the layer, and the variable: "kernel" of "…/kernel:0", "0" of "…/vars/0"."""
    layer, _, variable = name.rpartition("/")
    return layer.removesuffix("/vars"), variable.partition(":")[0]


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], json.loads(sys.argv[3]))
