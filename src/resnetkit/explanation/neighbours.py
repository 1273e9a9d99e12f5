"""What the network thinks an image looks like: the training images with the nearest features.

An index lies beside a package, in `<package>.neighbours/`, never inside: a package is sealed. It is
of one network, one input contract and one set of images, and says so: with features of other
weights, the nearest would be nonsense that looks like an answer.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import numpy as safetensors_numpy

from resnetkit.runtime import commit_folder, recover_folder, verify_folder
from resnetkit.types import UserError

FEATURES, FACTS = "features.safetensors", "index.json"
FORMAT = 1
CHUNK = 16_384  # rows compared at a time
DECIMALS = 9  # to which cosines are compared: further ones depend on the chunks


@dataclass(frozen=True, kw_only=True)
class IndexFacts:
    """Which images an index is of, and which network's features."""

    source: str
    split: str
    source_digest: str  # of the split's names, labels and content
    weights_digest: str
    contract_hash: str
    class_names: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class NeighbourIndex:
    """N training images by feature; `contents` are keys of what each holds, 0 where not known."""

    features: np.ndarray  # [N,D] float32, each of length 1 (or 0, if it was)
    labels: np.ndarray  # [N] int64, or [N,K] float32, see `Split`
    contents: np.ndarray  # [N] uint64
    names: Sequence[str]
    facts: IndexFacts

    def __len__(self) -> int:
        return len(self.features)

    def describe_label(self, row: int) -> str:
        """The class of an image, or all that it shows."""
        names, label = self.facts.class_names, self.labels[row]
        if self.labels.ndim == 1:
            return names[int(label)]
        return ", ".join(names[k] for k in np.flatnonzero(label > 0.5)) or "none"


@dataclass(frozen=True, kw_only=True)
class Neighbour:
    """A training image and the cosine of its features with the query's, 1 where they agree."""

    row: int
    name: str
    label: str
    cosine: float


@dataclass(frozen=True, kw_only=True)
class Neighbours:
    """The training images nearest to one image, nearest first.

    `left_out` are names of training images with the very same content: the image itself, or copies
    of it. They would be the nearest of all, and say nothing.
    """

    nearest: tuple[Neighbour, ...]
    left_out: tuple[str, ...]


def index_folder(package_folder: Path) -> Path:
    """Where the index of a package lies: beside it."""
    package = package_folder.resolve()
    return package.with_name(f"{package.name}.neighbours")


def build_index(
    features: np.ndarray,
    labels: np.ndarray,
    names: Sequence[str],
    contents: np.ndarray,
    facts: IndexFacts,
) -> NeighbourIndex:
    """An index of `features` float [N,D]; see `NeighbourIndex` for the rest.

    Raises UserError where there is no image, and for features that are not finite.
    """
    assert len(features) == len(labels) == len(names) == len(contents)
    if not len(features):
        raise UserError(f"{facts.source}: an index needs images, the {facts.split} split has none.")
    assert contents.dtype == np.uint64, contents.dtype
    return NeighbourIndex(
        features=to_unit_length(features, facts.source),
        labels=labels,
        contents=contents,
        names=names,
        facts=facts,
    )


def to_unit_length(features: np.ndarray, where: str) -> np.ndarray:
    """Rows [N,D] scaled to length 1, float32; UserError, which says where, if one is not finite."""
    bad = np.flatnonzero(~np.isfinite(features).all(axis=1))
    if len(bad):
        raise UserError(
            f"{where}: the features of {len(bad)} of {len(features)} images (the first is number "
            f"{int(bad[0])}) are not finite; the network overflows on them, so nothing is near. "
            "Use a network that has not diverged."
        )
    lengths = np.linalg.norm(features.astype(np.float64), axis=1, keepdims=True)
    return (features / np.where(lengths > 0, lengths, 1.0)).astype(np.float32)


def save_index(folder: Path, index: NeighbourIndex) -> None:
    """Write the index, whole or not at all; an older one there is replaced.

    Raises UserError where `folder` holds something that is no index.
    """
    arrays = {
        "features": np.ascontiguousarray(index.features),
        "labels": np.ascontiguousarray(index.labels),
        "contents": np.ascontiguousarray(index.contents),
    }
    described = {"format": FORMAT, **asdict(index.facts), "names": list(index.names)}

    def write(temporary: Path) -> None:
        safetensors_numpy.save_file(arrays, temporary / FEATURES)
        text = json.dumps(described, ensure_ascii=False, allow_nan=False)
        # Names of files are bytes: one that is not UTF-8 comes back as it was.
        (temporary / FACTS).write_bytes(text.encode("utf-8", "surrogateescape") + b"\n")

    commit_folder(folder, write)


def load_index(folder: Path) -> NeighbourIndex:
    """Read an index back; every byte is verified.

    Raises UserError where there is none, where a part is missing or damaged, and for one of a newer
    resnetkit.
    """
    recover_folder(folder)
    if not folder.is_dir():
        raise UserError(
            f"{folder}: there is no index of training images; make one with `resnetkit explain "
            "PACKAGE --data SOURCE --index`."
        )
    verify_folder(folder)
    described = _read_facts(folder)
    arrays = safetensors_numpy.load_file(folder / FEATURES)
    names = described.pop("names")
    facts = IndexFacts(**{**described, "class_names": tuple(described["class_names"])})
    counts = {len(names), *(len(array) for array in arrays.values())}
    assert len(counts) == 1, f"{folder}: sealed with parts of different lengths: {counts}"
    return NeighbourIndex(names=names, facts=facts, **arrays)


def _read_facts(folder: Path) -> dict[str, Any]:
    content = (folder / FACTS).read_bytes() if (folder / FACTS).is_file() else b"{}"
    described = json.loads(content.decode("utf-8", "surrogateescape"))
    if described.pop("format", None) != FORMAT:
        raise UserError(
            f"{folder}: this is no index of training images that this version of resnetkit can "
            "read; make it anew with `resnetkit explain PACKAGE --data SOURCE --index`."
        )
    return described


def refuse_stale(
    index: NeighbourIndex, folder: Path, weights_digest: str, contract_hash: str
) -> None:
    """UserError unless the index at `folder` is of these weights and of this input contract."""
    pairs = (
        ("other weights", index.facts.weights_digest, weights_digest),
        ("another input contract", index.facts.contract_hash, contract_hash),
    )
    for what, kept, needed in pairs:
        if kept != needed:
            raise UserError(
                f"{folder}: the index is of a network with {what} than the package's: "
                f"needed {needed[:12]}…, got {kept[:12]}…. The package was trained again, or "
                "belongs to another; make the index anew with `resnetkit explain PACKAGE --data "
                f"{index.facts.source} --index`."
            )


def nearest(
    index: NeighbourIndex, features: np.ndarray, count: int, contents: np.ndarray | None = None
) -> tuple[Neighbours, ...]:
    """The `count` images of the index nearest to each row of `features` [n,D], by exact search.

    `contents` uint64 [n] are keys of what the images hold, 0 where not known: images of the index
    that hold the same are left out, and named. Equally near ones come in the order of the index.

    Raises UserError when `count` is below 1 or above the number of images, and for features that
    are not finite or of another length.
    """
    refuse_count(index, count)
    if features.shape[1] != index.features.shape[1]:
        raise UserError(
            f"The index has features of length {index.features.shape[1]}, the network gives "
            f"{features.shape[1]}; make the index anew."
        )
    queries = to_unit_length(features, "nearest images")
    keys = np.zeros(len(queries), np.uint64) if contents is None else contents
    same = [np.flatnonzero((index.contents == key) & (key != 0)) for key in keys]
    most = min(len(index), count + max(map(len, same), default=0))
    rows, cosines = _search(index.features, queries, most)
    return tuple(
        _gather(index, rows[place], cosines[place], same[place], count)
        for place in range(len(queries))
    )


def refuse_count(index: NeighbourIndex, count: int) -> None:
    """UserError for a number of neighbours that the index cannot have."""
    if not 1 <= count <= len(index):
        raise UserError(
            f"--nearest {count}: needed is a number from 1 to the {len(index):,} images of the "
            "index; choose one."
        )


def _search(features: np.ndarray, queries: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows int64 [n,most] and cosines [n,most] of the nearest, nearest first, then by row."""
    rows = np.empty((len(queries), 0), np.int64)
    cosines = np.empty((len(queries), 0))
    for start in range(0, len(features), CHUNK):
        part = features[start : start + CHUNK].astype(np.float64)
        found = np.round(queries.astype(np.float64) @ part.T, DECIMALS)
        numbers = np.broadcast_to(np.arange(start, start + len(part)), found.shape)
        # What was found before comes first and has the lower rows: a stable sort keeps the order.
        rows, cosines = np.hstack([rows, numbers]), np.hstack([cosines, found])
        order = np.argsort(-cosines, axis=1, kind="stable")[:, :most]
        rows = np.take_along_axis(rows, order, axis=1)
        cosines = np.take_along_axis(cosines, order, axis=1)
    return rows, cosines


def _gather(
    index: NeighbourIndex, rows: np.ndarray, cosines: np.ndarray, same: np.ndarray, count: int
) -> Neighbours:
    kept = np.flatnonzero(~np.isin(rows, same))[:count]
    found = [
        Neighbour(
            row=int(rows[place]),
            name=index.names[int(rows[place])],
            label=index.describe_label(int(rows[place])),
            cosine=float(cosines[place]),
        )
        for place in kept
    ]
    return Neighbours(nearest=tuple(found), left_out=tuple(index.names[int(row)] for row in same))
