"""What the network thinks an image looks like: the training images that lie nearest to it.

`index_training_images` keeps the features of what a package was trained on beside it; `add_nearest`
looks them up for `explain`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from torch import Tensor

from resnetkit.data.content import hash_contents
from resnetkit.data.encoded import hash_encoded
from resnetkit.data.opening import DescribedSource
from resnetkit.data.source_types import Split
from resnetkit.data.sources import refuse_inside
from resnetkit.data.threads import available_cores
from resnetkit.experiment import refuse_unwritable
from resnetkit.explanation.neighbours import (
    IndexFacts,
    NeighbourIndex,
    Neighbours,
    build_index,
    index_folder,
    load_index,
    nearest,
    refuse_count,
    refuse_stale,
    save_index,
)
from resnetkit.explanation.subjects import Shown
from resnetkit.export.package import WEIGHTS, ModelPackage, load_package
from resnetkit.finetuning.features import FeatureRequest, feature_chunks
from resnetkit.package_split import load_package_split, refuse_inside_package
from resnetkit.runtime import MANIFEST, pick_device, refuse_foreign_files
from resnetkit.training.execution import ExecutionConfig
from resnetkit.training.observers import ReadingBar
from resnetkit.types import UserError

# As `explain` takes it: of what was shown and found, facts about each map.
Addition = Callable[[Shown, object], list[dict[str, Any]]]


@dataclass(frozen=True, kw_only=True)
class IndexedImages:
    """Where the index of a package's images lies; `reused` when it was there and up to date."""

    folder: Path
    images: int
    features: int
    reused: bool


def index_training_images(
    package_folder: Path,
    source: str | DescribedSource,
    *,
    split: str = "train",
    out: Path | None = None,
    device: str = "auto",
    console: Console | None = None,
) -> IndexedImages:
    """Keep the features of a split's images beside the package, in `<package>.neighbours/`.

    An index that is there and of the same images, weights and contract is left as it is. Raises
    UserError for a source that does not fit the package, and for a place that holds something else.
    """
    folder = index_folder(package_folder) if out is None else out
    asked = DescribedSource(location=source) if isinstance(source, str) else source
    refuse_unwritable(folder)
    refuse_foreign_files(folder)
    refuse_inside_package(package_folder, folder)
    refuse_inside(asked.location, folder)
    package = load_package(package_folder)
    with ReadingBar(console or Console(stderr=True, quiet=True)) as bar:
        images = load_package_split(package_folder, package, asked, split, bar)
        facts = IndexFacts(
            source=asked.location,
            split=split,
            source_digest=images.digest(),
            weights_digest=weights_digest(package_folder),
            contract_hash=package.contract.hash,
            class_names=package.contract.class_names,
        )
        index, reused = _find_index(folder, facts), True
        if index is None:
            features = _features_of(package, images, device, bar)
            contents = _content_keys(hash_contents(images, progress=bar))
            index = build_index(features, images.labels, list(images.names), contents, facts)
            save_index(folder, index)
            reused = False
    length = index.features.shape[1]
    return IndexedImages(folder=folder, images=len(index), features=length, reused=reused)


def add_nearest(package_folder: Path, count: int, *, device: str = "auto") -> Addition:
    """What `explain` adds to each map: the `count` training images most like the picture.

    The index is read here: UserError where there is none, or one of other weights, comes before any
    picture is explained.
    """
    package = load_package(package_folder)
    index = load_fresh_index(package_folder, package)
    refuse_count(index, count)
    model = package.model.to(pick_device(device))
    known: dict[Path, dict[str, Any]] = {}  # a picture comes once for each class and method

    def add(shown: Shown, _found: object) -> list[dict[str, Any]]:
        files = [subject.file for subject in shown.subjects]
        new = [row for row, file in enumerate(files) if file not in known]
        if new:
            features = pooled_features(model, shown.images[new])
            contents = content_keys_of([files[row] for row in new])
            results = nearest(index, features, count, contents)
            known.update(zip((files[row] for row in new), map(_as_facts, results), strict=True))
        return [known[file] for file in files]

    return add


def _as_facts(found: Neighbours) -> dict[str, Any]:
    """Neighbours as JSON-safe facts."""
    near = [
        {"image": one.name, "label": one.label, "cosine": round(one.cosine, 4)}
        for one in found.nearest
    ]
    return {"nearest": near, "nearest_left_out": list(found.left_out)}


def load_fresh_index(
    package_folder: Path, package: ModelPackage, folder: Path | None = None
) -> NeighbourIndex:
    """The index of a package, beside it unless `folder` is given; UserError where it is stale."""
    place = index_folder(package_folder) if folder is None else folder
    index = load_index(place)
    refuse_stale(index, place, weights_digest(package_folder), package.contract.hash)
    return index


def pooled_features(network: Any, images: Tensor, batch_size: int = 64) -> np.ndarray:
    """What enters the head for images as the network takes them: float32 [N,D]."""
    with torch.inference_mode():
        parts = [network.forward_until("head", part) for part in images.split(batch_size)]
    return torch.cat(parts).float().cpu().numpy()


def content_keys_of(paths: Sequence[Path]) -> np.ndarray:
    """Keys of what files hold, as an index has them of its images: uint64 [N]."""
    digests = b"".join(bytes.fromhex(hash_encoded(path)) for path in paths)
    return _content_keys(np.frombuffer(digests, np.uint8).reshape(len(paths), 32))


def weights_digest(package_folder: Path) -> str:
    """SHA-256 (hex) of a package's file of weights, as the package itself is sealed with."""
    sealed = json.loads((package_folder / MANIFEST).read_bytes())["files"]
    return str(sealed[WEIGHTS]["sha256"])


def _find_index(folder: Path, facts: IndexFacts) -> NeighbourIndex | None:
    """The index in `folder` if it is of just these images and this network."""
    try:
        index = load_index(folder)
    except UserError:  # none yet, or no whole one; a folder of others has been refused
        return None
    return index if replace(index.facts, source=facts.source) == facts else None


def _features_of(package: ModelPackage, split: Split, device: str, bar: ReadingBar) -> np.ndarray:
    """What enters the head for each image of a split, float32 [N,D]."""
    request = FeatureRequest(
        part="head",
        split=split,
        contract=package.contract,
        execution=ExecutionConfig(device=device),
        workers=available_cores(),
    )
    made: list[np.ndarray] = []
    done = 0
    for rows in feature_chunks(package.model, request):
        made.append(rows)
        done += len(rows)
        bar("computing features", done, len(split))
    return np.concatenate(made)


def _content_keys(hashes: np.ndarray) -> np.ndarray:
    """The first eight bytes of hashes uint8 [N,32] as numbers: uint64 [N]; 0 stays 0, not known."""
    return np.ascontiguousarray(hashes[:, :8]).view("<u8")[:, 0].astype(np.uint64)
