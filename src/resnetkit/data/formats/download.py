"""Fetching a published file once, checked against its published checksum."""

from __future__ import annotations

import hashlib
import http.client
import os
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from resnetkit.types import UserError

CACHE_VARIABLE = "RESNETKIT_DATA"
TIMEOUT_SECONDS = 30
CHUNK_BYTES = 1 << 20


def cache_folder() -> Path:
    """Where downloads are kept: $RESNETKIT_DATA, or ~/.cache/resnetkit."""
    return Path(os.environ.get(CACHE_VARIABLE) or "~/.cache/resnetkit").expanduser()


def fetch(url: str, path: Path, md5: str) -> Path:
    """The file at `path`, downloaded from `url` if it is not there; always checked.

    MD5 is what the data sets' authors publish; it guards against damage. The file appears whole
    or not at all. Raises `UserError` without a network, saying where to put the file, and for a
    file that is not the published one.
    """
    if not path.exists():
        _download(url, path, md5)
    elif (found := _md5(path)) != md5:
        raise UserError(
            f"{path}: not the published file: its MD5 is {found}, needed is {md5}. "
            "Remove it, and it will be downloaded again."
        )
    return path


def _download(url: str, path: Path, md5: str) -> None:
    print(f"downloading {url} to {path} (once)", file=sys.stderr)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _check_download(url, _copy(url, temporary), md5)
        temporary.replace(path)
    except (OSError, http.client.HTTPException) as error:  # URLError and timeouts are OSErrors
        raise UserError(
            f"Could not download {url} to {path}: {getattr(error, 'reason', None) or error}. "
            f"Without a network, put the file there yourself (MD5 {md5}), or set {CACHE_VARIABLE} "
            "to the folder that has it."
        ) from None
    finally:
        temporary.unlink(missing_ok=True)


def _copy(url: str, path: Path) -> str:
    """Write what `url` answers to `path` and to the disk; its MD5."""
    state = hashlib.md5(usedforsecurity=False)
    with urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS) as answer, path.open("wb") as file:
        for chunk in _chunks(answer):
            state.update(chunk)
            file.write(chunk)
        file.flush()
        os.fsync(file.fileno())
    return state.hexdigest()


def _check_download(url: str, found: str, md5: str) -> None:
    if found != md5:
        raise UserError(
            f"What {url} gave is not the published file: its MD5 is {found}, needed is {md5}. "
            "The download was cut or altered on the way; try again."
        )


def _md5(path: Path) -> str:
    state = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        for chunk in _chunks(file):
            state.update(chunk)
    return state.hexdigest()


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    return iter(lambda: file.read(CHUNK_BYTES), b"")
