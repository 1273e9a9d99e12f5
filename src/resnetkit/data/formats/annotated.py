"""Pictures with marked objects, as COCO and VOC have them: whole with all classes, or cut up."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np

from resnetkit.data.columns import FileColumn, TextColumn, pack_texts
from resnetkit.data.encoded import Crops
from resnetkit.data.source_types import Split
from resnetkit.types import UserError


@dataclass(frozen=True, kw_only=True, eq=False)
class AnnotatedPictures:
    """The P pictures of one split and the M objects marked in them, by columns."""

    where: str  # what messages call it
    names: TextColumn  # [P]
    files: FileColumn  # [P]
    sizes: np.ndarray  # [P,2] width and height in pixels; 0 where the annotation does not say them
    pictures: np.ndarray  # [M] int64: the picture of each object, in any order
    classes: np.ndarray  # [M] int64
    boxes: np.ndarray  # [M,4] float64: left, top, right, bottom in pixels from 0, NaN without one
    unfit: np.ndarray  # [M] bool: objects that make no crop of their class,
    unfit_because: str  # because they are this


def whole_pictures(annotated: AnnotatedPictures, num_classes: int) -> Split:
    """Each picture once, with the indicators of all classes marked in it: labels float32 [P,K].

    A picture in which nothing is marked shows none of the classes.
    """
    labels = np.zeros((len(annotated.names), num_classes), np.float32)
    labels[annotated.pictures, annotated.classes] = 1
    return Split(labels=labels, names=annotated.names, encoded=annotated.files)


def cut_crops(annotated: AnnotatedPictures) -> Split:
    """Each marked object as an image of its own, called "picture.jpg#3" for the fourth in it.

    Boxes are widened to whole pixels and cut off at the picture's edge; those then narrower than
    one pixel are left out, as are objects that are unfit: a warning counts both.
    """
    order = np.argsort(annotated.pictures, kind="stable")  # crops of one picture side by side
    pictures = annotated.pictures[order]
    boxes, empty = _whole_pixels(annotated.boxes[order], annotated.sizes[pictures])
    unfit = annotated.unfit[order]
    kept = np.flatnonzero(~(empty | unfit))
    _tell_left_out(annotated, int(unfit.sum()), int((empty & ~unfit).sum()))
    if not len(kept):
        raise UserError(
            f"{annotated.where}: none of its {len(order)} marked objects makes a crop; mark "
            "objects with boxes, or use the pictures as a whole."
        )
    numbers = np.arange(len(order)) - np.searchsorted(pictures, pictures)
    places = zip(pictures[kept].tolist(), numbers[kept].tolist(), strict=True)
    return Split(
        labels=annotated.classes[order][kept],
        names=pack_texts(f"{annotated.names[picture]}#{number}" for picture, number in places),
        encoded=Crops(annotated.files, pictures[kept], boxes[kept]),
    )


def _whole_pixels(boxes: np.ndarray, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Boxes [M,4] int32 inside pictures of `sizes` [M,2], and which of them are empty: bool [M]."""
    largest = np.iinfo(np.int32).max
    limits = np.where(sizes > 0, sizes, largest)
    limits = np.concatenate([limits, limits], axis=1)
    clipped = np.clip(np.nan_to_num(boxes, nan=0.0), 0, limits)
    empty = np.any(clipped[:, 2:] - clipped[:, :2] < 1, axis=1)
    whole = np.concatenate([np.floor(clipped[:, :2]), np.ceil(clipped[:, 2:])], axis=1)
    return whole.astype(np.int32), np.asarray(empty)


def _tell_left_out(annotated: AnnotatedPictures, unfit: int, empty: int) -> None:
    reasons = [
        f"{count} {reason}"
        for count, reason in (
            (unfit, annotated.unfit_because),
            (empty, "with a box that is smaller than a pixel or outside the picture"),
        )
        if count
    ]
    if reasons:
        warnings.warn(
            f"{annotated.where}: {unfit + empty} of {len(annotated.boxes)} marked objects are left "
            f"out: {', '.join(reasons)}",
            stacklevel=2,
        )
