"""Single images with what a network made of them, as the reports show them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from resnetkit.data.contract import InputContract
from resnetkit.data.sources import Split
from resnetkit.evaluation.calibration import scale_logits
from resnetkit.evaluation.probabilities import softmax
from resnetkit.evaluation.samples import Sample, choose_multilabel_samples, choose_samples
from resnetkit.export.package import ModelPackage
from resnetkit.export.reference import contract_images

NOTHING = "none of them"


def sample_predictions(
    split: Split, logits: np.ndarray, package: ModelPackage, wrong: int = 12
) -> list[Sample]:
    """A few images as `predict` sees them: with calibrated probabilities, where the package has.

    `logits` float32 [N,K] are the network's own; at most `wrong` of the images are mistakes.
    """
    contract, confidence = package.contract, package.confidence
    scaled = scale_logits(logits, confidence and confidence.calibration)
    if contract.task == "multi-label":
        return _multilabel_samples(split, scaled, contract, wrong)
    return show_rows(split, scaled, contract, choose_samples(scaled, split.class_numbers, wrong))


def show_rows(
    split: Split,
    scaled: np.ndarray,
    contract: InputContract,
    rows: Sequence[int],
    maps: Sequence[np.ndarray] = (),
) -> list[Sample]:
    """The images at `rows` of a single-label split, with probabilities of `scaled` logits [N,K].

    `maps` are the images under their maps, one for each row, or none.
    """
    if not len(rows):
        return []
    images = contract_images(split, np.array(rows), contract)
    labels, probabilities = split.class_numbers, softmax(scaled[rows])
    names = contract.class_names
    return [
        Sample(
            image=image,
            name=split.names[row],
            true=names[labels[row]],
            predicted=names[int(shares.argmax())],
            probability=float(shares.max()),
            true_probability=float(shares[labels[row]]),
            right=bool(shares.argmax() == labels[row]),
            map=maps[place] if len(maps) else None,
        )
        for place, (row, image, shares) in enumerate(zip(rows, images, probabilities, strict=True))
    ]


def _multilabel_samples(
    split: Split, logits: np.ndarray, contract: InputContract, wrong: int
) -> list[Sample]:
    rows = choose_multilabel_samples(logits, split.labels, wrong)
    images = contract_images(split, np.array(rows), contract)
    names = contract.class_names
    samples = []
    for row, image in zip(rows, images, strict=True):
        shown, said = split.labels[row] > 0.5, logits[row] > 0
        shares = 1 / (1 + np.exp(-logits[row]))
        found = [f"{names[k]} {shares[k]:.0%}" for k in np.flatnonzero(said)]
        sample = Sample(
            image=image,
            name=split.names[row],
            true=", ".join(names[k] for k in np.flatnonzero(shown)) or NOTHING,
            predicted=", ".join(found) or NOTHING,
            probability=None,
            right=bool((shown == said).all()),
        )
        samples.append(sample)
    return samples
