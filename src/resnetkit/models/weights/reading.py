"""Weights from where they lie: a name, a file or a folder becomes `ForeignWeights`.

Start with `read_source`. Names are looked up in `names.py`; pickles are opened by `pickles.py`;
what an entry means is known in `convert.py`, `caffe.py` and `keras.py`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file

from resnetkit.models.setting_checks import nearest_name
from resnetkit.models.weights.convert import convert_state
from resnetkit.models.weights.foreign import ForeignWeights
from resnetkit.models.weights.names import FINDERS, HUB_FILES, WeightsFile, find_huggingface
from resnetkit.models.weights.pickles import read_pickle
from resnetkit.models.weights.proof import prove_equal
from resnetkit.models.zoo import MODELS, find_entry
from resnetkit.types import UserError

PICKLES = (".pth", ".pt", ".bin", ".tar", ".ckpt", ".th")
LARGEST_HEADER = 16 << 20  # bytes of names and shapes: a ResNet-1001 has half a megabyte
NAMES = "torchvision:NAME, timm:NAME, hf:NAME"

NOT_WEIGHTS = {  # how a file begins -> what it is then
    b"version https://git-lfs": "a Git LFS pointer, not the file it points to: run `git lfs pull`",
    b"<!doctype": "a web page, perhaps an error page or a login: download the file itself",
    b"<html": "a web page, perhaps an error page or a login: download the file itself",
    b"<?xml": "an XML answer, usually of a server that refuses: download the file again",
    b"{": "JSON, perhaps an answer of a server that refuses: download the file again",
    b"\x1f\x8b": "compressed with gzip: unpack it",
    b"7z\xbc\xaf": "compressed with 7-Zip: unpack it",
    b"bzh": "compressed with bzip2: unpack it",
}


PROOF_SIZE = 64  # pixels: what a network computes shows at any size


@dataclass(frozen=True, kw_only=True, eq=False)
class WeightsSource:
    """Weights read, and the file they were in with the SHA-256 (hex) of its bytes."""

    foreign: ForeignWeights
    path: Path
    sha256: str


def read_source(
    location: str,
    model: str | None = None,
    *,
    mean: Path | None = None,
    allow_headless: bool = False,
) -> WeightsSource:
    """The weights at `location`: a name of torchvision, timm or the hub, a file, or a folder.

    `model` is a name of our zoo where the entries do not tell; `mean` is the mean image of a
    .caffemodel; `allow_headless` accepts weights without a classifier.
    Raises UserError for what is not there, cannot be read, or does not fit.
    """
    if model is not None:
        find_entry(model)  # a name that is none is said before anything is downloaded
    file = find_weights(location)
    suffix = file.path.suffix.lower()
    if mean is not None and suffix != ".caffemodel":
        raise UserError(
            f"--mean {mean}: only the authors' .caffemodel files have a mean image beside them; "
            f"{location} has its normalisation with it or a usual one. Leave --mean out."
        )
    refuse_other_files(file.path)
    with file.path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    if suffix in CONVERTING:
        foreign = CONVERTING[suffix](file.path, model, mean, allow_headless)
    else:
        read: Callable[[Path], dict[str, Any]] = READERS[suffix]
        raw = read(file.path)
        foreign = convert_state(
            raw,
            model=model,
            origin=file.origin,
            layout=file.layout,
            config=file.config,
            allow_headless=allow_headless,
        )
        if file.build_library_network is not None and foreign.has_head:
            library = file.build_library_network().eval()
            library.load_state_dict(raw)
            prove_equal(foreign, library, PROOF_SIZE)
    foreign = replace(
        foreign,
        preprocessing=file.preprocessing or foreign.preprocessing,
        class_names=foreign.class_names or _fitting(file.class_names, foreign),
    )
    return WeightsSource(foreign=foreign, path=file.path, sha256=digest)


def _fitting(names: tuple[str, ...] | None, foreign: ForeignWeights) -> tuple[str, ...] | None:
    return names if names and len(names) == foreign.architecture.num_classes else None


def find_weights(location: str) -> WeightsFile:
    """The file that `location` stands for, and what its library says of it."""
    prefix, colon, name = location.partition(":")
    if colon and prefix in FINDERS:
        if not name.strip():
            raise UserError(
                f"{location}: a name is needed after the colon, as in {prefix}:resnet50."
            )
        return FINDERS[prefix](name)
    path = Path(location).expanduser()
    beside = path.name in HUB_FILES and (path.parent / "config.json").is_file()
    if path.is_dir() or (beside and path.is_file()):
        # What config.json says (strides, activation) cannot be seen in the weights.
        return find_huggingface(str(path.parent if beside else path))
    if not path.exists():
        raise UserError(f"{location}: there is no such file or folder.{_suggestion(location)}")
    if not path.is_file():
        raise UserError(f"{location}: needed is a file of weights, got a device or a pipe.")
    suffix = path.suffix.lower()
    known = (*READERS, *CONVERTING)
    if suffix not in known:
        raise UserError(
            f"{location}: needed is a file of weights, ending with {', '.join(known)}; got "
            f"{suffix or 'no ending'}. Rename it if it is one of these, or give {NAMES}."
        )
    return WeightsFile(path=path, origin=location)


def _suggestion(location: str) -> str:
    """What a name without its library may have meant."""
    plain = location.partition(".")[0]
    if "/" not in location and plain.replace("_", "-") in MODELS:
        name = plain.replace("-", "_")
        return f" For weights of this network by name, give torchvision:{name} or timm:{name}."
    prefix = location.partition(":")[0]
    if ":" in location and "/" not in prefix:
        nearest = nearest_name(prefix, FINDERS)
        return f" {prefix!r} is no library known here; did you mean {nearest!r}? Give {NAMES}."
    if location.count("/") == 1 and not location.startswith((".", "~", "/")):
        return f" For weights of the Hugging Face hub, give hf:{location}."
    return f" Give a file, a folder, or {NAMES}."


def refuse_other_files(path: Path) -> None:
    """UserError for what downloads leave in a file's place: pages, pointers, nothing."""
    with path.open("rb") as file:
        beginning = file.read(512)
    if not beginning:
        raise UserError(f"{path}: this file is empty; download it again.")
    start = beginning.lstrip().lower()
    for sign, what in NOT_WEIGHTS.items():
        if start.startswith(sign):
            raise UserError(f"{path}: needed are weights, got {what}.")
    if beginning[257:262] == b"ustar":
        raise UserError(f"{path}: needed are weights, got a tar archive of files: unpack it.")


def read_safetensors(path: Path) -> dict[str, Any]:
    """Tensors by name, mapped from the file.

    Raises UserError for a header that is damaged or too large, and for a file that was cut off.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        header = int.from_bytes(file.read(8), "little")
    if size < 8 or header > LARGEST_HEADER or header + 8 > size:
        raise UserError(
            f"{path}: needed is a safetensors file, whose first 8 bytes give the length of its "
            f"header (up to {LARGEST_HEADER:,}); they say {header:,} in a file of {size:,} bytes. "
            "The download may be incomplete, or this is another format; fetch it again."
        )
    try:
        return dict(load_file(path))
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(
            f"{path}: cannot be read as safetensors ({error}). The download may be incomplete or "
            "damaged; fetch it again and compare sizes."
        ) from error


def _from_caffe(
    path: Path, model: str | None, mean: Path | None, allow_headless: bool
) -> ForeignWeights:
    from resnetkit.models.weights.caffe import read_caffe

    return read_caffe(path, mean=mean, model=model, allow_headless=allow_headless)


def _from_keras(
    path: Path, model: str | None, _: Path | None, allow_headless: bool
) -> ForeignWeights:
    from resnetkit.models.weights.keras import read_keras

    return read_keras(path, model=model, allow_headless=allow_headless)


READERS: dict[str, Callable[[Path], dict[str, Any]]] = {
    ".safetensors": read_safetensors,
    **dict.fromkeys(PICKLES, read_pickle),
}
Converting = Callable[[Path, str | None, Path | None, bool], ForeignWeights]
CONVERTING: dict[str, Converting] = {
    ".caffemodel": _from_caffe,
    **dict.fromkeys((".h5", ".hdf5", ".keras"), _from_keras),
}
