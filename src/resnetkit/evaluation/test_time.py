"""Test-time augmentation: one image seen several times, and the predictions averaged.

Table 3 of He et al. 2015 (arXiv:1512.03385) is of ten crops: four corners and the centre of the
resized image and their mirrors, after Krizhevsky et al. 2012. Tables 4 and 5 are of several scales,
with a shorter side of 224, 256, 384, 480 and 640, on which the network runs fully convolutionally:
behind global average pooling that is the network itself on the larger image, since the mean over
all places of linear scores is the score of the mean.

What is averaged are probabilities, as Krizhevsky et al. did (section 4.1); the result goes on as
their logarithms, whose softmax they are, so that everything that reads logits reads these.

A loader gives images by one contract, so a `View` says by which: ten crops are parts of larger
images, and each scale is resized from the file, not from another scale.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, get_args

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from resnetkit.data.contract import InputContract
from resnetkit.evaluation.evaluate import Predict, evaluate
from resnetkit.types import Batch, Task, UserError

TestTime = Literal["flip", "five-crop", "ten-crop", "multi-scale", "multi-scale-flip"]
PAPER_SIDES, PAPER_CROP = (224, 256, 384, 480, 640), 224  # pixels: He et al. 2015, section 3.4

Corner = tuple[int, int]  # top and left, in pixels


@dataclass(frozen=True, kw_only=True)
class View:
    """How one pass over the images sees them: by what `geometry`, in which parts, which way round.

    `geometry` says how images are read and resized; its mean and std do not count, since a loader
    gives pixels. `corners` are where parts of `size` begin; the whole image where there are none.
    """

    geometry: InputContract
    size: tuple[int, int]
    corners: tuple[Corner, ...] = ()
    mirrored: bool = False  # seen both ways round

    @property
    def passes(self) -> int:
        """How often the network sees each image."""
        return max(1, len(self.corners)) * (2 if self.mirrored else 1)


def plan_views(
    contract: InputContract, kind: TestTime, resize: int | None = None
) -> tuple[View, ...]:
    """What `kind` looks at, for a network with this input contract.

    "flip": the image and its mirror image. "five-crop", "ten-crop": corners and centre of the
    square of `contract.resize` pixels in the middle of the image, or of `resize` where given;
    ten with their mirrors. "multi-scale": the square in the middle, with the sides of the paper in
    proportion to the network's input (there the whole image, of any shape: a batch has one shape);
    "-flip" with mirrors. Mirrors are wrong for text: see `mirror_caution`.

    Raises:
        UserError: there is no such kind, the image to crop from is no larger than the crop, or the
            network normalises pixel by pixel and so takes one size only.
    """
    if kind not in get_args(TestTime):
        raise UserError(
            f"Test-time augmentation: needed one of {', '.join(get_args(TestTime))}, got {kind!r}."
        )
    mirrored = kind in ("flip", "ten-crop", "multi-scale-flip")
    if kind == "flip":
        return (View(geometry=contract, size=contract.crop, mirrored=True),)
    if kind in ("five-crop", "ten-crop"):
        return (_crop_view(contract, contract.resize if resize is None else resize, mirrored),)
    return tuple(_scale_view(contract, side / PAPER_CROP, mirrored) for side in PAPER_SIDES)


def _crop_view(contract: InputContract, resize: int, mirrored: bool) -> View:
    height, width = contract.crop
    if resize < max(height, width) or (resize, resize) == (height, width):
        raise UserError(
            f"Test-time augmentation: crops are parts of an image larger than the network's input "
            f"of {height} x {width} pixels, but the images are resized to a shorter side of "
            f"{resize}. Choose flip, or give resize: {max(height, width) * 8 // 7} would enlarge "
            "as 256 to 224."
        )
    bottom, right = resize - height, resize - width
    corners = ((0, 0), (0, right), (bottom, 0), (bottom, right))
    center = (round(bottom / 2), round(right / 2))
    return View(
        geometry=_geometry(contract, resize, (resize, resize)),
        size=contract.crop,
        corners=(*corners, center),
        mirrored=mirrored,
    )


def _scale_view(contract: InputContract, scale: float, mirrored: bool) -> View:
    if len(contract.mean) != contract.channels:
        raise UserError(
            "Test-time augmentation: several scales need a network that takes images of any size; "
            f"this one subtracts a mean for each pixel of {contract.crop}. Choose flip."
        )
    height, width = contract.crop
    size = round(scale * height), round(scale * width)
    geometry = _geometry(contract, max(size), size)
    return View(geometry=geometry, size=size, mirrored=mirrored)


def _geometry(contract: InputContract, resize: int, crop: tuple[int, int]) -> InputContract:
    """`contract` with another size; a mean per pixel would not fit it, and does not count."""
    channels = contract.channels
    return replace(
        contract, resize=resize, crop=crop, mean=(0.0,) * channels, std=(1.0,) * channels
    )


def build_test_time_predict(predict: Predict, view: View, task: Task) -> Predict:
    """The function from a batch loaded by `view.geometry` to averaged predictions [N,K].

    `predict` is that of the network, see `evaluate`; it is called `view.passes` times.
    """
    return partial(_predict_view, predict, view, task)


def _predict_view(predict: Predict, view: View, task: Task, batch: Batch) -> Tensor:
    assert batch.images.shape[2:] == view.geometry.crop, (batch.images.shape, view.geometry.crop)
    height, width = view.size
    outputs = []
    for top, left in view.corners or ((0, 0),):
        part = batch.images[:, :, top : top + height, left : left + width]
        for images in (part, part.flip(3)) if view.mirrored else (part,):
            outputs.append(predict(replace(batch, images=images)).float())
    return average_predictions(outputs, task)


def average_predictions(outputs: Sequence[Tensor], task: Task) -> Tensor:
    """Logits [N,K] of the mean probabilities of several logits [N,K].

    In a single-label task the logarithms of the probabilities, in a multi-label task the logit of
    each; computed from logarithms, so that none is lost by rounding.
    """
    stacked = torch.stack(list(outputs))
    count = math.log(len(outputs))
    if task == "single-label":
        return stacked.log_softmax(dim=2).logsumexp(dim=0) - count
    present, absent = F.logsigmoid(stacked), F.logsigmoid(-stacked)
    return present.logsumexp(dim=0) - absent.logsumexp(dim=0)


def evaluate_views(
    predict: Predict,
    views: Sequence[View],
    batches_of: Callable[[InputContract], Iterable[Batch]],
    task: Task,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What `evaluate` gives, averaged over views: logits [N,K] float32, labels and indices.

    `batches_of` gives all images, in an order of its own that does not change, loaded by the
    contract it is handed; every look at an image counts the same.
    """
    assert views, "a plan has at least one view"
    assert len({view.passes for view in views}) == 1, "views of one plan weigh the same"
    logits, first = [], None
    for view in views:
        judged = build_test_time_predict(predict, view, task)
        output, labels, indices = evaluate(judged, batches_of(view.geometry))
        first = first or (labels, indices)
        assert np.array_equal(first[1], indices), "views must come in the same order"
        logits.append(torch.from_numpy(output))
    assert first is not None
    return average_predictions(logits, task).numpy(), *first


def mirror_caution(kind: TestTime, class_names: Sequence[str]) -> str | None:
    """A warning where mirrors are asked for of classes that look like characters; else None."""
    mirrors = kind in ("flip", "ten-crop", "multi-scale-flip")
    written = sum(len(name) == 1 and name.isascii() for name in class_names)
    if not mirrors or 2 * written < len(class_names):
        return None
    shown = ", ".join(class_names[:5])
    return (
        f"{kind} shows the network mirror images, and the classes look like characters ({shown} …)"
        ", which are others when mirrored: five-crop and multi-scale mirror nothing."
    )
