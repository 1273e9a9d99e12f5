"""Which images a network was trained on, kept as keys: they must not be judged as unseen ones."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from resnetkit.data.columns import take_texts, text_keys
from resnetkit.data.content import Progress, file_facts, hash_contents, is_known
from resnetkit.data.source_types import Split
from resnetkit.types import UserError

MOST_HASHED = 250_000  # images to hash before training starts: half a minute
MOST_HASHED_BYTES = 4 << 30
LARGEST_SHARE = 0.05  # of the judged images that may be copies, under other names, of trained ones
SHOWN = 5  # names in a message
PARTS = ("train", "val")

Key = Literal["content", "size"]
Hashes = Mapping[str, np.ndarray]


class SeenWarning(UserWarning):
    """Figures that are, in part, of images a network was trained on."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Seen:
    """Keys of the training and validation images: `keys` uint64, each sorted and without repeats.

    "train.content", "train.named", "val.content", "val.named": of the content (SHA-256 of the
    encoded bytes, or of the pixels of decoded arrays), and of the content with the name. `by` says
    what stood for the content: itself, or of sources too large to be read beforehand (more than
    `MOST_HASHED` images or `MOST_HASHED_BYTES`) the size in bytes with the name.
    """

    by: Key
    keys: Mapping[str, np.ndarray]


def note_seen(
    splits: Mapping[str, Split], known: Hashes, progress: Progress, by: Key | None = None
) -> Seen:
    """The keys of `splits` "train" and "val"; `known` has their hashes uint8 [N,32], as far as any.

    What a file that cannot be read holds is not known: it has no key. `by` is chosen by the number
    of images and bytes unless given.
    """
    parts = {name: splits[name] for name in PARTS if name in splits}
    if by is None:
        read = [part for name, part in parts.items() if name not in known]
        small = sum(map(len, read)) <= MOST_HASHED
        # The sizes are looked up last: it takes a call to the system for each file.
        small = small and sum(int(file_facts(part)[0].sum()) for part in read) <= MOST_HASHED_BYTES
        by = "content" if small else "size"
    keys: dict[str, np.ndarray] = {}
    for name, part in parts.items():
        content, named = _image_keys(part, by, known.get(name), progress)
        there = content != 0
        keys[f"{name}.content"] = np.unique(content[there])
        keys[f"{name}.named"] = np.unique(named[there])
    return Seen(by=by, keys=keys)


def find_seen(
    seen: Seen,
    split: Split,
    parts: Sequence[str],
    progress: Progress,
    known: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Which images have the content, and which also the name, of one in `parts`: bool [N] each.

    `known` are their hashes uint8 [N,32] where they were read before.
    """
    content, named = _image_keys(split, seen.by, known, progress)
    none = np.zeros(0, np.uint64)

    def among(keys: np.ndarray, kind: str) -> np.ndarray:
        kept = [seen.keys.get(f"{part}.{kind}", none) for part in parts]
        return np.isin(keys, np.concatenate(kept)) & (content != 0)

    return among(content, "content"), among(named, "named")


def refuse_seen(
    seen: Seen,
    split: Split,
    name: str,
    location: str,
    progress: Progress,
    *,
    strictly: bool = False,
) -> None:
    """UserError when images about to be judged as unseen, as the split `name`, were trained on.

    One image of the same content and name is enough. Copies under other names, which many data sets
    have between their splits, are refused above `LARGEST_SHARE` of the images; fewer are a warning.
    For "train" and "all" it is never more than that, unless `strictly` is asked for, and "val" may
    be what validation saw.
    """
    parts = ("train",) if name == "val" else PARTS
    content, named = find_seen(seen, split, parts, progress)
    count = int(content.sum())
    if not count:
        return
    other = "" if strictly else ", or on all of them with --split all"
    told = f"{location}: {count} of the {len(split)} images of {name} are among those"
    if name in ("train", "all") and not strictly:
        warnings.warn(
            f"{told} that this package was trained or validated on: the figures say little about "
            "others",
            SeenWarning,
            stacklevel=3,
        )
    elif named.any() or count > LARGEST_SHARE * len(split):
        first = np.flatnonzero(named if named.any() else content)[: SHOWN + 1]
        shown = [repr(text) for text in take_texts(split.names, first)]
        raise UserError(
            f"{told} that this package was trained on: {', '.join(shown[:SHOWN])}"
            f"{', …' if len(shown) > SHOWN else ''}. The figures would not be of unseen images. "
            f"Judge on images that were kept from training{other}"
        )
    else:
        warnings.warn(
            f"{told} that this package was trained on, under other names (duplicates, found by "
            "`resnetkit data check`); they are judged too",
            SeenWarning,
            stacklevel=3,
        )


def _image_keys(
    split: Split, by: Key, known: np.ndarray | None, progress: Progress
) -> tuple[np.ndarray, np.ndarray]:
    """A key for what each image holds, 0 where that is not known, and one for it under its name.

    uint64 [N] each. The name is the last two parts of it, class folder and file: an image moved
    from train/ to test/ is still the same.
    """
    names = text_keys(["/".join(name.split("/")[-2:]) for name in split.names])
    if by == "size":
        sizes, _ = file_facts(split)
        content = np.where(sizes >= 0, _mix(names, sizes.astype(np.uint64)), np.uint64(0))
    else:
        hashes = hash_contents(split, None, progress) if known is None else known.copy()
        unknown = np.flatnonzero(~is_known(hashes))
        if known is not None and len(unknown):
            hashes[unknown] = hash_contents(split, unknown, progress)
        content = np.ascontiguousarray(hashes[:, :8]).view("<u8")[:, 0].astype(np.uint64)
    return content, _mix(names, content)


def _mix(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """A key for each pair of keys: uint64 [N]."""
    pairs = np.stack([one, other], axis=1).astype("<u8").tobytes()
    digests = (
        hashlib.blake2b(pairs[start : start + 16], digest_size=8).digest()
        for start in range(0, len(pairs), 16)
    )
    return np.frombuffer(b"".join(digests), "<u8").astype(np.uint64)
