"""The samples of one WebDataset archive: files with one key, as "cat/0001.jpg" and "cat/0001.cls".

Format: https://github.com/webdataset/webdataset, "The WebDataset Format"
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from resnetkit.data.columns import TextColumn, pack_texts
from resnetkit.data.formats.folder import EXTENSIONS
from resnetkit.data.formats.tar_archive import TarMember, read_members
from resnetkit.types import UserError

CLASSES = "classes.txt"
LABEL_ENDINGS = (".cls", ".json", ".txt")  # in order of preference; .txt may be a caption
JSON_KEYS = ("label", "cls", "class")
LARGEST_LABEL_BYTES = 1 << 20
LONGEST_CLASS_NAME = 200


@dataclass(frozen=True, kw_only=True, eq=False)
class TarSamples:
    """The N samples of an archive, in its order, by columns."""

    names: TextColumn  # [N] of the image's member
    offsets: np.ndarray  # [N] int64
    sizes: np.ndarray  # [N] int64
    labels: TextColumn  # [N] number or name
    class_names: tuple[str, ...] | None  # from a classes.txt in the archive


@dataclass(slots=True)
class _Sample:
    image: TarMember | None = None
    labels: dict[str, TarMember] = field(default_factory=dict)  # by ending


def read_samples(path: Path) -> TarSamples:
    """Index an archive: headers and labels are read, images are not.

    Raises `UserError` for samples without an image or a label, with two images, or whose labels
    are kept otherwise than those of the first sample, and what `read_members` refuses.
    """
    samples, classes = _group(path)
    if not samples:
        raise UserError(
            f"{path}: there are no images in this archive; needed are key.jpg (or .png, …) and "
            f"key{' or key'.join(LABEL_ENDINGS)} for each sample."
        )
    kind = _label_ending(path, samples)
    images = [sample.image for sample in samples.values() if sample.image]
    with path.open("rb") as archive:
        labels = pack_texts(_labels(path, archive, samples, kind))
        listed = _read(archive, classes) if classes else None
    return TarSamples(
        names=pack_texts(member.name for member in images),
        offsets=np.array([member.offset for member in images], np.int64),
        sizes=np.array([member.size for member in images], np.int64),
        labels=labels,
        class_names=None if listed is None else parse_classes(f"{path}/{CLASSES}", listed),
    )


def parse_classes(where: str, content: bytes) -> tuple[str, ...]:
    """The class names in a classes.txt: one on each line, in the order of their numbers."""
    try:
        return tuple(line.strip() for line in content.decode("utf-8-sig").rstrip().split("\n"))
    except UnicodeDecodeError:
        raise UserError(f"{where}: not text in UTF-8; needed is one class name a line.") from None


def _group(path: Path) -> tuple[dict[str, _Sample], TarMember | None]:
    """Samples by their keys, and the list of classes if there is one; other files are nobody's."""
    samples: dict[str, _Sample] = {}
    classes: TarMember | None = None
    for member in read_members(path):
        folder, slash, name = member.name.rpartition("/")
        stem, _dot, rest = name.partition(".")  # all behind the first dot is the ending
        ending = f".{rest.lower().rpartition('.')[2]}"
        if name == CLASSES:
            classes = member
        elif stem and (ending in EXTENSIONS or ending in LABEL_ENDINGS):
            _add(path, samples.setdefault(folder + slash + stem, _Sample()), member, ending)
    return samples, classes


def _add(path: Path, sample: _Sample, member: TarMember, ending: str) -> None:
    before = sample.labels.get(ending) if ending in LABEL_ENDINGS else sample.image
    if before is not None:
        raise UserError(
            f"{path}: {before.name!r} and {member.name!r} are both the "
            f"{'label' if ending in LABEL_ENDINGS else 'image'} of one sample (what they have in "
            "common before the first dot is its key); give each sample a key of its own."
        )
    if ending in LABEL_ENDINGS:
        sample.labels[ending] = member
    else:
        sample.image = member


def _label_ending(path: Path, samples: dict[str, _Sample]) -> str:
    """Where the first sample keeps its label; all others must too, and have an image."""
    key, first = next(iter(samples.items()))
    kind = next((ending for ending in LABEL_ENDINGS if ending in first.labels), None)
    if kind is None:
        raise UserError(
            f"{path}: the sample {key!r} has no label; needed is {key}"
            f"{' or '.join(LABEL_ENDINGS)} beside its image."
        )
    for key, sample in samples.items():
        if sample.image is None:
            raise UserError(f"{path}: the sample {key!r} has a label but no image.")
        if kind not in sample.labels:
            raise UserError(
                f"{path}: the sample {key!r} has no {key}{kind}, where the first sample has its "
                "label; every sample needs one, in the same kind of file."
            )
    return kind


def _labels(path: Path, archive: BinaryIO, samples: dict[str, _Sample], kind: str) -> Iterator[str]:
    for sample in samples.values():
        member = sample.labels[kind]
        if member.size > LARGEST_LABEL_BYTES:
            raise UserError(f"{path}: {member.name!r} has {member.size} bytes and is no label.")
        yield _parse_label(f"{path}/{member.name}", _read(archive, member), kind)


def _read(archive: BinaryIO, member: TarMember) -> bytes:
    archive.seek(member.offset)
    return archive.read(member.size)


def _parse_label(where: str, content: bytes, kind: str) -> str:
    try:
        value = json.loads(content) if kind == ".json" else content.decode("utf-8-sig").strip()
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where}: broken ({error}); needed is a label.") from None
    if kind == ".json":
        value = _json_label(where, value)
    text = str(value)
    if text.isdecimal():
        return str(int(text))  # "007" is class 7
    if not text or not text.isprintable() or len(text) > LONGEST_CLASS_NAME:
        raise UserError(f"{where}: needed is the number or the name of a class; got {text[:50]!r}.")
    return text


def _json_label(where: str, value: Any) -> int | str:
    found = [value[key] for key in JSON_KEYS if key in value] if isinstance(value, dict) else []
    if not found or not isinstance(found[0], int | str) or isinstance(found[0], bool):
        raise UserError(
            f"{where}: needed is an object with the number or name of a class as "
            f"{' or '.join(map(repr, JSON_KEYS))}; got {str(found[0] if found else value)[:50]!r}."
        )
    return found[0]
