"""The normalisation part of an input contract, computed from the training images."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np

from resnetkit.data.contract import InputContract
from resnetkit.data.source_types import Split
from resnetkit.data.transforms import decode_split

Normalization = Literal["dataset", "pixel", "imagenet", "weights"]

STATISTICS_IMAGES = 2000  # enough for a mean to three digits where decoding all would take long
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def with_statistics(
    contract: InputContract, normalization: Normalization, train: Split
) -> InputContract:
    """The contract with `normalization` from the training images; "weights" keeps what it has."""
    if normalization == "weights":
        return contract
    if normalization == "imagenet":
        mean, std = IMAGENET_MEAN, IMAGENET_STD
        if contract.channels == 1:  # the grey value that ImageNet's mean colour has
            mean, std = (0.449,), (0.226,)
        return replace(contract, mean=mean, std=std)
    mean, deviation = _pixel_statistics(_statistics_images(train, contract))
    if normalization == "pixel":  # He et al. 2015 subtract the mean and do not divide
        values = tuple(round(value, 8) for value in (mean * contract.scale).flatten().tolist())
        return replace(contract, mean=values, std=(1.0,) * contract.channels)
    channel_mean = mean.mean(axis=(1, 2))
    variance = (deviation**2 + mean**2).mean(axis=(1, 2)) - channel_mean**2
    spread = np.sqrt(np.maximum(variance, 1.0))  # a constant channel must not be divided by 0
    return replace(
        contract,
        mean=tuple(round(value, 6) for value in (channel_mean * contract.scale).tolist()),
        std=tuple(round(value, 6) for value in (spread * contract.scale).tolist()),
    )


def _pixel_statistics(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of every pixel over uint8 images [N,C,H,W]: float64 [C,H,W]."""
    total = np.zeros(images.shape[1:])
    squares = np.zeros(images.shape[1:])
    for start in range(0, len(images), 1024):  # exact integer sums, in bounded memory
        chunk = images[start : start + 1024].astype(np.int64)
        total += chunk.sum(axis=0)
        squares += (chunk**2).sum(axis=0)
    mean = total / len(images)
    return mean, np.sqrt(np.maximum(squares / len(images) - mean**2, 0))


def _statistics_images(train: Split, contract: InputContract) -> np.ndarray:
    """Training images for the statistics: all in memory, else an evenly spread sample."""
    if train.images is not None:
        return train.images
    sample = np.unique(np.linspace(0, len(train) - 1, STATISTICS_IMAGES).astype(np.int64))
    images, unreadable = decode_split(train.subset(sample), contract)
    return np.delete(images, [place for place, _ in unreadable], axis=0)
