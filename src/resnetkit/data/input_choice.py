"""What the network is shown, decided from the images: size, colour, storage, and the contract."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from resnetkit.data.contract import InputContract
from resnetkit.data.settings import DataConfig
from resnetkit.data.soundness import WHOLE_CHECK
from resnetkit.data.sources import Source, Split
from resnetkit.data.transforms import image_sizes
from resnetkit.types import UserError

MEMORY_LIMIT_BYTES = 2 << 30
MOST_DECODED = 250_000  # images to decode before training starts: half a minute
LARGEST_IN_MEMORY = 96  # pixels a side; larger images are worth cropping at full resolution


def resolve_input(
    config: DataConfig, train: Split, network_size: int, weights: InputContract | None = None
) -> DataConfig:
    """`config` with image size, colour mode and storage decided."""
    sizes, grey = sizes_and_grey(train)
    image_size = config.image_size or network_size
    small = len(sizes) == 1 and max(max(size) for size in sizes) <= LARGEST_IN_MEMORY
    channels = 1 if grey else 3
    fits = len(train) * channels * image_size**2 < MEMORY_LIMIT_BYTES
    fits = fits and len(train) <= MOST_DECODED
    in_memory = train.images is not None or (small and fits)
    storage = "packed" if config.pack is not None else config.storage
    if storage in ("packed", "files") and train.images is not None:
        raise UserError(
            f"data.storage {storage} has no effect for {config.source}: it holds decoded arrays, "
            "which are kept in memory. Leave it out"
        )
    if storage == "auto":
        storage = "memory" if in_memory else "files"
    if storage == "memory" and config.workers is not None:
        raise UserError(
            f"data.workers {config.workers} has no effect: the images of {config.source} are "
            "decoded once into memory. Leave it out, or set data.storage files"
        )
    resize = config.resize
    if resize is None:  # small images are seen whole; photographs by the usual 256 : 224
        resize = image_size if small else round(image_size * 256 / 224)
    own_mode = ("L" if grey else "RGB") if weights is None else weights.color_mode
    return replace(
        config,
        image_size=image_size,
        resize=resize,
        color_mode=own_mode if config.color_mode == "auto" else config.color_mode,
        storage=storage,
    )


def sizes_and_grey(split: Split) -> tuple[set[tuple[int, int]], bool]:
    """Image sizes (height, width) that occur, and whether every image is grey."""
    if split.images is not None:
        _, channels, height, width = split.images.shape
        return {(height, width)}, channels == 1
    headers = image_sizes(split, WHOLE_CHECK)
    return {(height, width) for height, width, _ in headers}, all(
        mode in ("L", "1", "I;16", "LA") for _, _, mode in headers
    )


def build_contract(
    config: DataConfig, source: Source, weights: InputContract | None = None
) -> InputContract:
    """The contract of a resolved `config`, its statistics still open: see `with_statistics`.

    What the network already learnt to see comes from the contract of its `weights`.
    """
    assert config.image_size is not None
    assert config.resize is not None
    assert config.color_mode != "auto"
    channels = 3 if config.color_mode == "RGB" else 1
    if weights is not None:
        return _continue_contract(config, source, weights)
    return InputContract(
        class_names=source.class_names,
        task=source.task,
        color_mode=config.color_mode,
        resize=config.resize,
        crop=(config.image_size, config.image_size),
        mean=(0.0,) * channels,
        std=(1.0,) * channels,
    )


def _continue_contract(config: DataConfig, source: Source, weights: InputContract) -> InputContract:
    """The contract of `weights` with the classes of `source` and the size of `config`."""
    assert config.image_size is not None
    assert config.resize is not None
    if config.color_mode != weights.color_mode:
        raise UserError(
            f"data.color_mode {config.color_mode} does not fit the weights, which take "
            f"{weights.color_mode} images: leave it out, images of the other kind are converted"
        )
    crop = (config.image_size, config.image_size)
    mean = weights.mean
    if len(mean) != weights.channels and crop != weights.crop:
        # A mean of every pixel fits one size only; of its channels it fits all.
        by_channel = np.array(mean).reshape(weights.channels, -1).mean(axis=1)
        mean = tuple(by_channel.tolist())
    return replace(
        weights,
        class_names=source.class_names,
        task=source.task,
        resize=config.resize,
        crop=crop,
        mean=mean,
    )
