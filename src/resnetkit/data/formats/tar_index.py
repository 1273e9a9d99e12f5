"""The index of a WebDataset archive, made once and kept in the cache folder."""

from __future__ import annotations

import contextlib
import hashlib
import io
import zipfile
from pathlib import Path

import numpy as np

from resnetkit.data.columns import TextColumn, pack_texts
from resnetkit.data.formats.download import cache_folder
from resnetkit.data.formats.tar_samples import TarSamples, read_samples
from resnetkit.runtime import write_file_atomically

VERSION = 1  # of what is stored; another number, and every archive is indexed anew


def index_archive(path: Path) -> TarSamples:
    """`read_samples`, or what it found before in this file of this size and time of change.

    An archive of a million samples has two million headers to read: once, not at each start.
    """
    status = path.stat()
    identity = f"{VERSION} {path.resolve()} {status.st_size} {status.st_mtime_ns}"
    digest = hashlib.sha256(identity.encode("utf-8", "surrogateescape")).hexdigest()[:32]
    stored = cache_folder() / "tar-index" / f"{digest}.npz"
    # A damaged index, or one that may not be read, is made anew.
    with contextlib.suppress(OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return _load(stored)
    samples = read_samples(path)
    with contextlib.suppress(OSError):  # a cache folder that may not be written costs time only
        write_file_atomically(stored, _dump(samples))
    return samples


def _dump(samples: TarSamples) -> bytes:
    columns = {"offsets": samples.offsets, "sizes": samples.sizes}
    texts = {"names": samples.names, "labels": samples.labels}
    if samples.class_names is not None:
        texts["classes"] = pack_texts(samples.class_names)
    for name, column in texts.items():
        encoded = list(column.encoded())
        columns[name] = np.frombuffer(b"".join(encoded), np.uint8)
        columns[f"{name}_lengths"] = np.fromiter(map(len, encoded), np.int64, len(encoded))
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **columns)
    return buffer.getvalue()


def _load(path: Path) -> TarSamples:
    with path.open("rb") as file, np.load(file, allow_pickle=False) as columns:
        return TarSamples(
            names=_text_column(columns, "names"),
            offsets=columns["offsets"],
            sizes=columns["sizes"],
            labels=_text_column(columns, "labels"),
            class_names=tuple(_text_column(columns, "classes")) if "classes" in columns else None,
        )


def _text_column(columns: np.lib.npyio.NpzFile, name: str) -> TextColumn:
    stops = np.cumsum(columns[f"{name}_lengths"])
    return TextColumn(columns[name].tobytes(), stops - columns[f"{name}_lengths"], stops)
