"""How a network stands the common corruptions: error by corruption and severity, and their mean.

The pictures are corrupted where the network meets them, after resizing and cropping: uint8 of the
input contract's size. So were the published sets (CIFAR-10-C is made of the 32 pixels, ImageNet-C
of the centre crop of 224), and only so a severity means the same for every source: a blur of three
pixels is none on a photograph of 4,000 that is then made small.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch

from resnetkit.evaluation.corruption_errors import Robustness, summarise_corruptions
from resnetkit.evaluation.corruptions.catalogue import Corruption, corrupt
from resnetkit.evaluation.corruptions.settings import CorruptionConfig
from resnetkit.evaluation.corruptions.severities import SEVERITIES
from resnetkit.evaluation.evaluate import Predict
from resnetkit.evaluation.metrics import refuse_unusable
from resnetkit.types import Batch, Task, UserError


def measure_corruptions(
    predict: Predict,
    batches: Iterable[Batch],
    class_names: Sequence[str],
    task: Task = "single-label",
    config: CorruptionConfig | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> Robustness:
    """Errors under every corruption of `config` at every severity, all by default.

    `predict` gives the logits [n,K] of one batch, as for `evaluate`; a soft label counts as its
    largest class. `progress` hears how many pictures are judged, of `config.pictures_for(images)`.

    Raises:
        UserError: an image may show several classes, there is no image, or a logit is not finite.
    """
    if task != "single-label":
        raise UserError(
            "Corruptions: the published error is that of one class an image, but these images may "
            "show several (multi-label); measure a network of one class an image."
        )
    config = config or CorruptionConfig()
    corruptions = config.corruptions()
    answers: list[np.ndarray] = []
    labels: list[np.ndarray] = []
    size, done = (0, 0), 0
    with torch.inference_mode():
        for batch in batches:
            columns = []
            for images in corrupt_in_turn(batch, corruptions, config.seed):
                columns.append(_answer(predict, batch, images))
                done += len(images)
                progress(done)
            answers.append(np.stack(columns, axis=1))
            known = batch.labels.cpu().numpy()
            labels.append(known if known.ndim == 1 else known.argmax(axis=1))
            size = batch.images.shape[-2], batch.images.shape[-1]
    if not done:
        raise UserError("Corruptions: needed at least one image, got none; choose another split.")
    table = np.concatenate(answers)
    return summarise_corruptions(table, np.concatenate(labels), class_names, config, size)


def corrupt_in_turn(
    batch: Batch, corruptions: Mapping[str, Corruption], seed: int
) -> Iterator[np.ndarray]:
    """The images of a batch uint8 [n,C,H,W]: clean, then corrupted, each from weak to strong."""
    images = np.ascontiguousarray(batch.images.cpu().numpy())
    indices = batch.indices.cpu().numpy()
    yield images
    for name in corruptions:
        for severity in SEVERITIES:
            yield corrupt(
                images, name, severity, seed=seed, indices=indices, corruptions=corruptions
            )


def _answer(predict: Predict, batch: Batch, images: np.ndarray) -> np.ndarray:
    """The class predicted for each of `images` in place of the batch's own: int64 [n]."""
    logits = predict(replace(batch, images=torch.from_numpy(images))).float().cpu().numpy()
    refuse_unusable(logits)
    return logits.argmax(axis=1)
