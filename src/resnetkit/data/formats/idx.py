"""MNIST, Fashion-MNIST and whatever else comes in their IDX files (yann.lecun.com/exdb/mnist)."""

from __future__ import annotations

import gzip
import math
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from resnetkit.data.formats.download import cache_folder, fetch
from resnetkit.data.source_types import Source, Split
from resnetkit.types import UserError

STEMS = {"train": "train", "test": "t10k"}
UNSIGNED_BYTE = 8  # the type code of the IDX format
DIGIT_NAMES = tuple(str(digit) for digit in range(10))
FASHION_NAMES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
MNIST_URL = "https://ossci-datasets.s3.amazonaws.com/mnist/"  # the authors' own host is closed
MNIST_MD5 = {
    "train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
    "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
    "t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
    "t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
}
FASHION_URL = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
FASHION_MD5 = {
    "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
    "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
    "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
    "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
}


def load_mnist(splits: Sequence[str]) -> Source:
    """Built-in `mnist`: 28x28 grey digits, 60,000 train and 10,000 test."""
    folder = _fetch_all("mnist", MNIST_URL, MNIST_MD5, splits)
    return load_idx(folder, splits, DIGIT_NAMES, "mnist", tuple(STEMS))


def load_fashion_mnist(splits: Sequence[str]) -> Source:
    """Built-in `fashion-mnist`: 28x28 grey clothes (Xiao et al. 2017), 60,000 and 10,000."""
    folder = _fetch_all("fashion-mnist", FASHION_URL, FASHION_MD5, splits)
    return load_idx(folder, splits, FASHION_NAMES, "fashion-mnist", tuple(STEMS))


def _fetch_all(name: str, url: str, checksums: dict[str, str], splits: Sequence[str]) -> Path:
    folder = cache_folder() / name
    stems = tuple(stem for split, stem in STEMS.items() if split in splits)
    for file, md5 in checksums.items():
        if file.startswith(stems):
            fetch(url + file, folder / file, md5)
    return folder


def has_idx(folder: Path) -> bool:
    """Whether a folder holds IDX images under their official names."""
    return any(_find(folder, stem, "images") is not None for stem in STEMS.values())


def load_idx(
    folder: Path,
    splits: Sequence[str],
    class_names: tuple[str, ...] = DIGIT_NAMES,
    location: str | None = None,
    present: tuple[str, ...] | None = None,
) -> Source:
    """Read the `splits` from IDX files, gzipped or not, under their official names.

    IDX holds no class names: from a path they are the numbers 0..9, also for Fashion-MNIST.
    """
    found = tuple(name for name, stem in STEMS.items() if _find(folder, stem, "images"))
    present = found if present is None else present
    return Source(
        location=location or str(folder),
        class_names=class_names,
        splits={
            name: _read_split(folder, STEMS[name], len(class_names))
            for name in present
            if name in splits
        },
        present=present,
    )


def _read_split(folder: Path, stem: str, num_classes: int) -> Split:
    images_file, labels_file = _find(folder, stem, "images"), _find(folder, stem, "labels")
    if images_file is None or labels_file is None:
        lacking = "images-idx3" if images_file is None else "labels-idx1"
        raise UserError(f"{folder}: the file {stem}-{lacking}-ubyte (or .gz) is missing; add it.")
    images, labels = _read_idx(images_file, 3), _read_idx(labels_file, 1)
    if len(images) != len(labels):
        raise UserError(
            f"{folder}: {images_file.name} holds {len(images)} images, {labels_file.name} "
            f"{len(labels)} labels; they do not belong together."
        )
    if len(labels) and labels.max() >= num_classes:
        raise UserError(
            f"{labels_file}: needed are labels 0 to {num_classes - 1}; got {labels.max()}."
        )
    return Split(
        labels=labels.astype(np.int64),
        names=[f"{stem}[{i}]" for i in range(len(labels))],
        images=images[:, None],
    )


def _find(folder: Path, stem: str, kind: str) -> Path | None:
    dimensions = {"images": 3, "labels": 1}[kind]
    names = [f"{stem}-{kind}{dot}idx{dimensions}-ubyte" for dot in "-."]  # both are in use
    candidates = [folder / (name + ending) for name in names for ending in ("", ".gz")]
    return next((path for path in candidates if path.is_file()), None)


def _read_idx(path: Path, dimensions: int) -> np.ndarray:
    """Unsigned bytes of an IDX file: uint8 with `dimensions` axes."""
    content = path.read_bytes()
    if path.suffix == ".gz":
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error) as error:
            raise UserError(f"{path}: not a whole gzip file ({error}); copy it again.") from None
    start = 4 + 4 * dimensions
    if content[:4] != bytes((0, 0, UNSIGNED_BYTE, dimensions)) or len(content) < start:
        raise UserError(
            f"{path}: not an IDX file of unsigned bytes with {dimensions} dimension(s); "
            f"its first bytes are {content[:4].hex(' ') or 'missing'}."
        )
    shape = tuple(np.frombuffer(content[4:start], ">u4").tolist())
    if len(content) - start != math.prod(shape):
        raise UserError(
            f"{path}: the header promises {math.prod(shape)} bytes for shape {list(shape)}, "
            f"{len(content) - start} follow; the file is damaged, copy it again."
        )
    # Copied, because torch warns about arrays that cannot be written to.
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape).copy()
