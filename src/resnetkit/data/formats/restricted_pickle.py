"""Reading the CIFAR authors' pickles without running what a pickle may contain.

Unpickling calls whatever function the file names. Here a file can name nothing but the few things
an array of bytes is made of, and even those are stand-ins that only keep what they are given.
"""

from __future__ import annotations

import io
import pickle
from typing import Any

import numpy as np

from resnetkit.types import UserError


class _Array:
    """Stands for `numpy.ndarray`: keeps shape, element type and raw bytes."""

    shape: tuple[int, ...] = ()
    element_type: Any = None
    content: Any = b""

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _version, self.shape, self.element_type, _fortran_order, self.content = state


class _ElementType:
    """Stands for `numpy.dtype`: keeps its code ("u1")."""

    def __init__(self, code: str | bytes, *_: Any) -> None:
        self.code = code.decode() if isinstance(code, bytes) else code

    def __setstate__(self, state: Any) -> None:
        """Byte order and alignment, which bytes do not have."""


def _new_array(*_: Any) -> _Array:
    return _Array()


def _encode(text: str, encoding: str | bytes = "latin1") -> bytes:
    return str(text).encode("latin1")  # how Python 3 writes bytes into a Python 2 pickle


_ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"): _new_array,
    ("numpy._core.multiarray", "_reconstruct"): _new_array,
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _ElementType,
    ("_codecs", "encode"): _encode,
}


class _RestrictedUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which no CIFAR file does")
        return _ALLOWED[module, name]


def load_batch(content: bytes, name: str) -> dict[str, Any]:
    """A pickled dictionary with text keys: "data" as uint8 [N,D], lists with text as str.

    Raises `UserError`, naming the file `name`, for anything but what the CIFAR authors wrote.
    """
    try:
        found = _RestrictedUnpickler(io.BytesIO(content), encoding="bytes").load()
        return {_text(key): _plain(value) for key, value in found.items()}
    except Exception as error:  # a damaged pickle raises anything
        reason = str(error) or type(error).__name__
    raise UserError(
        f"{name}: not a CIFAR batch as published ({reason}); download the archive again, "
        "or use the binary version."
    )


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_text(item) for item in value]
    if not isinstance(value, _Array):
        return _text(value)
    code = getattr(value.element_type, "code", None)
    if code != "u1" or not isinstance(value.content, bytes):
        raise ValueError(f"its array is of type {code}, needed are unsigned bytes (u1)")
    return np.frombuffer(value.content, np.uint8).reshape(value.shape)


def _text(value: Any) -> Any:
    return value.decode("utf-8") if isinstance(value, bytes) else value
