"""Images of several sources in one split: all decoded in memory, or all encoded."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from resnetkit.data.contract import InputContract
from resnetkit.data.dataset import Progress, TrainingData
from resnetkit.data.input_choice import MEMORY_LIMIT_BYTES
from resnetkit.data.soundness import look_over
from resnetkit.data.source_types import Split
from resnetkit.data.splits import concatenate
from resnetkit.data.transforms import decode_split, to_picture
from resnetkit.types import UserError


@dataclass(frozen=True, kw_only=True, eq=False)
class Stored:
    """Images as a loader takes them, why others are missing, and how many were not decoded."""

    split: Split
    failures: tuple[str, ...]
    unchecked: int


def join(
    data: TrainingData, others: Mapping[str, Sequence[Split]], progress: Progress
) -> TrainingData:
    """`data` with the `others` "train" and "val", labelled alike, behind its own.

    They are stored as its own images are; a pack, which holds only those, is given up. Raises
    UserError when they do not fit in memory, or cannot be read (unless `skip_unreadable`).
    """
    if not any(map(len, others.values())):
        return data
    in_memory = data.train.images is not None
    if in_memory:
        _refuse_too_many(data, sum(len(split) for splits in others.values() for split in splits))
    stored = {
        name: [store(split, data, in_memory, progress) for split in splits]
        for name, splits in others.items()
    }
    failures = [text for parts in stored.values() for part in parts for text in part.failures]
    if failures and not data.config.skip_unreadable:
        listed = "\n  ".join(failures[:10]) + ("\n  ..." if len(failures) > 10 else "")
        raise UserError(
            f"{len(failures)} unreadable image(s) to replay:\n  {listed}\n"
            "Repair or remove them, or go on without them with --data.skip_unreadable"
        )
    train = concatenate_any([data.train, *(part.split for part in stored["train"])])
    validation = data.validation
    if validation is not None:
        validation = concatenate_any([validation, *(part.split for part in stored["val"])])
    digests = [data.digest, train.digest(), "" if validation is None else validation.digest()]
    packed = data.train.packed is not None
    return replace(
        data,
        config=replace(data.config, storage="files", pack=None) if packed else data.config,
        train=train,
        validation=validation,
        skipped=(*data.skipped, *failures),
        unchecked=data.unchecked + sum(p.unchecked for parts in stored.values() for p in parts),
        pack="no pack is used: the replayed images are not in it" if packed else data.pack,
        digest=hashlib.sha256("".join(digests).encode()).hexdigest(),
    )


def store(split: Split, data: TrainingData, in_memory: bool, progress: Progress) -> Stored:
    """`split` decoded under the contract of `data`, or encoded; unreadable images left out.

    Decoded arrays that are to be encoded become PNGs, which lose nothing.
    """
    count = len(split)
    if not in_memory and split.images is not None:
        return Stored(split=to_encoded(split), failures=(), unchecked=0)
    if in_memory:
        images, failures = decode_split(
            split, data.contract, progress=lambda done: progress("decoding", done, count)
        )
        kept, unchecked = Split(labels=split.labels, names=split.names, images=images), 0
    else:
        found = look_over(
            split,
            whole=data.config.skip_unreadable,
            progress=lambda done: progress("checking images", done, count),
        )
        kept, failures, unchecked = replace(split, packed=None), found.failures, found.unchecked
    if failures:
        kept = kept.subset(np.setdiff1d(np.arange(count), [index for index, _ in failures]))
    messages = tuple(message for _, message in failures)
    return Stored(split=kept, failures=messages, unchecked=unchecked)


def fit_split(split: Split, contract: InputContract) -> Split:
    """`split` as a loader takes it for a network of `contract`: decoded arrays fitted to it."""
    if split.images is None:
        return split
    return replace(split, images=decode_split(split, contract)[0])


def concatenate_any(splits: Sequence[Split]) -> Split:
    """Several splits as one: labels become of one kind, arrays of other sizes or kinds PNGs."""
    labels = labels_of_one_kind([split.labels for split in splits])
    plain = [
        replace(split, labels=own, packed=None) for split, own in zip(splits, labels, strict=True)
    ]
    shapes = {None if split.images is None else split.images.shape[1:] for split in plain}
    if len(shapes) > 1:
        plain = [split if split.images is None else to_encoded(split) for split in plain]
    return concatenate(plain)


def labels_of_one_kind(labels: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Labels that can stand one below the other: class numbers become shares where any are."""
    widths = {one.shape[1] for one in labels if one.ndim == 2}
    if not widths:
        return list(labels)
    assert len(widths) == 1, widths
    identity = np.eye(widths.pop(), dtype=np.float32)
    return [one if one.ndim == 2 else identity[one] for one in labels]


def to_encoded(split: Split) -> Split:
    """A split of decoded arrays as one of PNGs."""
    assert split.images is not None
    encoded = [_to_png(image) for image in split.images]
    return Split(labels=split.labels, names=split.names, encoded=encoded)


def _to_png(image: np.ndarray) -> bytes:
    """Pixels uint8 [C,H,W] as a PNG, packed quickly rather than tightly."""
    buffer = io.BytesIO()
    picture: Image.Image = to_picture(np.ascontiguousarray(image.transpose(1, 2, 0)))
    picture.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def _refuse_too_many(data: TrainingData, added: int) -> None:
    """UserError when the images of others would not fit in memory beside its own."""
    height, width = data.contract.crop
    count = added + len(data.train) + len(data.validation or ())
    needed = count * data.contract.channels * height * width
    if needed > MEMORY_LIMIT_BYTES:
        raise UserError(
            f"{data.config.source}: its images are kept decoded in memory, but {count:,} with the "
            f"replayed ones need {needed / 2**30:.2g} GiB, more than "
            f"{MEMORY_LIMIT_BYTES / 2**30:.2g}. Replay fewer with --replay-per-class, or where the "
            "images are files set --data.storage files"
        )
