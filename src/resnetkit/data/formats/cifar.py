"""CIFAR-10 and CIFAR-100 as their authors publish them: binary or Python version, packed or not.

Krizhevsky 2009, https://www.cs.toronto.edu/~kriz/cifar.html
"""

from __future__ import annotations

import tarfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from resnetkit.data.formats.download import cache_folder, fetch
from resnetkit.data.formats.restricted_pickle import load_batch
from resnetkit.data.source_types import Source, Split
from resnetkit.types import UserError

URL = "https://www.cs.toronto.edu/~kriz/"
IMAGE_BYTES = 3 * 32 * 32


@dataclass(frozen=True, kw_only=True)
class Edition:
    """One published archive: what it is called and what it holds."""

    name: Literal["cifar10", "cifar100"]
    form: Literal["binary", "python"]
    archive: str
    md5: str
    folder: str
    train: tuple[str, ...]
    test: str
    names: str


EDITIONS = (  # binary first: it is the one downloaded, and the quicker to read
    Edition(
        name="cifar10",
        form="binary",
        archive="cifar-10-binary.tar.gz",
        md5="c32a1d4ab5d03f1284b67883e8d87530",
        folder="cifar-10-batches-bin",
        train=tuple(f"data_batch_{number}.bin" for number in range(1, 6)),
        test="test_batch.bin",
        names="batches.meta.txt",
    ),
    Edition(
        name="cifar10",
        form="python",
        archive="cifar-10-python.tar.gz",
        md5="c58f30108f718f92721af3b95e74349a",
        folder="cifar-10-batches-py",
        train=tuple(f"data_batch_{number}" for number in range(1, 6)),
        test="test_batch",
        names="batches.meta",
    ),
    Edition(
        name="cifar100",
        form="binary",
        archive="cifar-100-binary.tar.gz",
        md5="03b5dce01913d631647c71ecec9e9cb8",
        folder="cifar-100-binary",
        train=("train.bin",),
        test="test.bin",
        names="fine_label_names.txt",
    ),
    Edition(
        name="cifar100",
        form="python",
        archive="cifar-100-python.tar.gz",
        md5="eb9058c3a382ffc7106e4002c42a8d85",
        folder="cifar-100-python",
        train=("train",),
        test="test",
        names="meta",
    ),
)

Found = tuple[Edition, Path]  # and where it is: its folder or its .tar.gz


def load_cifar10(splits: Sequence[str]) -> Source:
    """Built-in `cifar10`: 32x32 RGB, 50,000 train and 10,000 test."""
    return _load_builtin("cifar10", splits)


def load_cifar100(splits: Sequence[str]) -> Source:
    """Built-in `cifar100` with its 100 fine labels: 32x32 RGB, 50,000 train and 10,000 test."""
    return _load_builtin("cifar100", splits)


def _load_builtin(name: str, splits: Sequence[str]) -> Source:
    """From the cache folder in any edition; else the binary edition is downloaded into it."""
    editions = [edition for edition in EDITIONS if edition.name == name]
    found = next(iter(_locate(cache_folder(), editions)), None)
    edition, place = found or (editions[0], cache_folder() / editions[0].archive)
    if place.name == edition.archive:
        fetch(URL + edition.archive, place, edition.md5)
    return replace(_read(edition, place, splits), location=name)


def find_cifar(location: Path) -> Found | None:
    """The CIFAR edition at `location`: an archive, the folder with one, or one unpacked.

    Raises `UserError` where both CIFAR-10 and CIFAR-100 are there.
    """
    if location.is_file():
        return next(((e, location) for e in EDITIONS if e.archive == location.name), None)
    found = _locate(location, EDITIONS)
    names = {edition.name for edition, _ in found}
    if len(names) > 1:
        places = ", ".join(place.name for _, place in found)
        raise UserError(f"{location}: it holds {places}; name the one to use: {location}/…")
    return found[0] if found else None


def is_cifar(location: Path) -> bool:
    """Whether `find_cifar` finds an edition."""
    return find_cifar(location) is not None


def load_cifar(location: Path, splits: Sequence[str]) -> Source:
    """Read the `splits` of what `find_cifar` finds; pickles are read without running them."""
    found = find_cifar(location)
    assert found is not None, location
    return _read(*found, splits)


def _locate(folder: Path, editions: Sequence[Edition]) -> list[Found]:
    found: list[Found] = []
    for edition in editions:
        if (folder / edition.folder).is_dir():
            found.append((edition, folder / edition.folder))
        elif (folder / edition.archive).is_file():
            found.append((edition, folder / edition.archive))
        elif all((folder / name).is_file() for name in (edition.train[0], edition.names)):
            found.append((edition, folder))
    return found


def _read(edition: Edition, place: Path, splits: Sequence[str]) -> Source:
    batches = {"train": edition.train, "test": (edition.test,)}
    wanted = {name: files for name, files in batches.items() if name in splits}
    members = _read_members(place, [edition.names, *(f for fs in wanted.values() for f in fs)])
    class_names = _read_class_names(edition, members[edition.names], place)
    parsed = {
        name: [_parse(edition, members[file], f"{place}/{file}") for file in files]
        for name, files in wanted.items()
    }
    return Source(
        location=str(place),
        class_names=class_names,
        splits={
            name: _build_split(wanted[name], parts, len(class_names), place)
            for name, parts in parsed.items()
        },
        present=tuple(batches),
    )


def _build_split(
    files: tuple[str, ...],
    parts: list[tuple[np.ndarray, np.ndarray]],
    num_classes: int,
    place: Path,
) -> Split:
    labels = np.concatenate([labels for _, labels in parts]).astype(np.int64)
    if len(labels) and not 0 <= labels.min() <= labels.max() < num_classes:
        raise UserError(
            f"{place}: labels reach from {labels.min()} to {labels.max()}, needed are 0 to "
            f"{num_classes - 1}; the files are damaged, download them again."
        )
    return Split(
        labels=labels,
        names=[
            f"{file}[{row}]"
            for file, (images, _) in zip(files, parts, strict=True)
            for row in range(len(images))
        ],
        images=np.concatenate([images for images, _ in parts]),
    )


def _parse(edition: Edition, content: bytes, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 [N,3,32,32] and labels [N] of one batch file."""
    if edition.form == "binary":
        return _parse_binary(content, 1 if edition.name == "cifar10" else 2, name)
    batch = load_batch(content, name)
    pixels, labels = batch.get("data"), batch.get("fine_labels", batch.get("labels"))
    if not (
        isinstance(pixels, np.ndarray)
        and isinstance(labels, list)
        and all(isinstance(label, int) for label in labels)
    ):
        raise UserError(
            f"{name}: needed are data and whole-number labels; got "
            f"{', '.join(map(str, batch)) or 'nothing'}."
        )
    if pixels.shape != (len(labels), IMAGE_BYTES):
        raise UserError(
            f"{name}: needed are {len(labels)} rows of {IMAGE_BYTES} bytes, one for each label; "
            f"got {list(pixels.shape)}. Download the archive again."
        )
    return pixels.reshape(-1, 3, 32, 32), np.asarray(labels)


def _parse_binary(content: bytes, label_bytes: int, name: str) -> tuple[np.ndarray, np.ndarray]:
    record = label_bytes + IMAGE_BYTES
    if not content or len(content) % record:
        raise UserError(
            f"{name}: needed is a whole number of records of {record} bytes; got {len(content)} "
            "bytes. The file is cut or damaged, download it again."
        )
    records = np.frombuffer(content, np.uint8).reshape(-1, record)
    images = records[:, label_bytes:].reshape(-1, 3, 32, 32)
    return images, records[:, label_bytes - 1]  # of CIFAR-100's two labels the second is the fine


def _read_class_names(edition: Edition, content: bytes, place: Path) -> tuple[str, ...]:
    if edition.form == "binary":
        return tuple(content.decode().split())
    meta = load_batch(content, f"{place}/{edition.names}")
    names = meta.get("fine_label_names", meta.get("label_names"))
    if not isinstance(names, list):
        raise UserError(f"{place}/{edition.names}: it holds no label names; download it again.")
    return tuple(names)


def _read_members(place: Path, names: Sequence[str]) -> dict[str, bytes]:
    """The files called `names`, from a folder or a .tar.gz, which is not unpacked to the disk."""
    members = _read_packed(place, names) if place.is_file() else _read_unpacked(place, names)
    missing = [name for name in names if name not in members]
    if missing:
        raise UserError(
            f"{place}: the file(s) {', '.join(missing)} are missing; download the archive again."
        )
    return members


def _read_unpacked(folder: Path, names: Sequence[str]) -> dict[str, bytes]:
    files = {name: folder / name for name in names}
    return {name: file.read_bytes() for name, file in files.items() if file.is_file()}


def _read_packed(archive: Path, names: Sequence[str]) -> dict[str, bytes]:
    try:
        with tarfile.open(archive, "r|gz") as tar:
            return dict(_members(tar, names))
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise UserError(
            f"{archive}: not a whole .tar.gz archive ({error}); download it again."
        ) from None


def _members(tar: tarfile.TarFile, names: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    for member in tar:
        name = Path(member.name).name
        file = tar.extractfile(member) if name in names and member.isfile() else None
        if file is not None:
            yield name, file.read()
