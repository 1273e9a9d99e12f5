"""From a source to splits that are ready for training, and the input contract they share."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from resnetkit.data.contract import InputContract, check_class_names
from resnetkit.data.settings import DataConfig
from resnetkit.data.sources import Source, Split, load_source
from resnetkit.data.splits import concatenate, cut_source, describe_cut
from resnetkit.data.statistics import with_statistics
from resnetkit.data.transforms import (
    decode_split,
    find_unreadable,
    image_sizes,
    load_contract_image,
)
from resnetkit.types import UserError

MEMORY_LIMIT_BYTES = 2 << 30
LARGEST_IN_MEMORY = 96  # pixels a side; larger images are worth cropping at full resolution

Progress = Callable[[str, int, int], None]  # what, done, total


@dataclass(frozen=True, kw_only=True)
class TrainingData:
    """Training and validation images with their contract, every choice in `config` resolved."""

    config: DataConfig
    contract: InputContract
    train: Split
    validation: Split | None
    test_images: int | None  # counted, not read; None when unknown until evaluation
    skipped: tuple[str, ...]
    digest: str
    cut: str  # which images are held out, see `describe_cut`


def load_training_data(config: DataConfig, image_size: int, progress: Progress) -> TrainingData:
    """Read, check, split and, where it fits, decode the training and validation images.

    `image_size` is the network's own input side. Raises UserError for everything that makes the
    data unfit: see `load_source`, and unreadable images unless `config.skip_unreadable`.
    """
    source = load_source(config.source, ("train", "val"))
    if "train" not in source.splits:
        raise UserError(
            f"{config.source}: there are no images to train on; the source has only "
            f"{', '.join(source.present)}. Add a train split"
        )
    splits = cut_source(source, config.validation_fraction, config.test_fraction, config.split_seed)
    config = _resolve(config, splits["train"], image_size)
    contract = _build_contract(config, source.class_names)
    read = _decode if config.storage == "memory" else _check
    train, skipped = read(splits["train"], contract, progress)
    validation, also_skipped = read(splits["val"], contract, progress)
    skipped += also_skipped
    if skipped and not config.skip_unreadable:
        remedy = "Repair or remove them, or train without them with --data.skip_unreadable"
        raise UserError(_unreadable_message(skipped, remedy))
    refuse_lost_classes(train, source)
    contract = with_statistics(contract, config.normalization, train)
    digests = [split.digest() for split in (train, validation)]
    return TrainingData(
        config=config,
        contract=contract,
        train=train,
        validation=validation if len(validation) else None,
        test_images=len(splits["test"]) if "test" in splits else None,
        skipped=tuple(skipped),
        cut=describe_cut(splits),
        digest=hashlib.sha256("".join(digests).encode()).hexdigest(),
    )


def load_evaluation_split(
    config: DataConfig, name: str, contract: InputContract, cut: str | None, progress: Progress
) -> Split:
    """One split to judge a network on: train, val, test or all, cut as training cut it.

    `cut` says how training cut its source, see `describe_cut`. Raises UserError when the source has
    no such split, when it would be cut otherwise than then (so that images the network was trained
    on could count as unseen), when it has other classes than `contract`, or images that cannot be
    read (with `config.skip_unreadable` a warning).
    """
    source, split, cut_here = _find_split(config, name)
    check_class_names(contract, source.class_names, config.source)
    if cut_here is not None and cut is not None and cut_here != cut:
        raise UserError(
            f"{config.source}: not the pictures this package was trained on, or some were added, "
            f"removed or renamed since: its {name} split cannot be told from the training "
            "pictures. Judge on all of it with --split all, or give the source a test/ folder"
        )
    if split.images is not None:
        return replace(split, images=_fit_arrays(split.images, contract))
    split, skipped = _check(split, contract, progress)
    if skipped and not config.skip_unreadable:
        raise UserError(_unreadable_message(skipped, "Repair or remove them"))
    if skipped:
        warnings.warn(_unreadable_message(skipped, "They were left out"), stacklevel=2)
    return split


def _find_split(config: DataConfig, name: str) -> tuple[Source, Split, str | None]:
    """The source, read no further than needed, its split `name`, and how that was cut if it was."""
    present = load_source(config.source, ()).present
    if name == "all":
        source = load_source(config.source, present)
        return source, concatenate(list(source.splits.values())), None
    if name in present and name != "train":
        source = load_source(config.source, (name,))
        return source, source.splits[name], None
    if "train" in present:
        source = load_source(config.source, ("train", "val"))
        splits = cut_source(
            source, config.validation_fraction, config.test_fraction, config.split_seed
        )
        if name in splits and len(splits[name]):
            return source, splits[name], describe_cut(splits)
    raise UserError(
        f"{config.source}: there is no {name} split; the source has {', '.join(present)}. "
        "Choose another with --split, or --split all"
    )


def refuse_lost_classes(train: Split, source: Source) -> None:
    """UserError when a class has no training image, for instance because none could be read."""
    counts = np.bincount(train.labels, minlength=len(source.class_names))
    lost = [name for name, count in zip(source.class_names, counts, strict=True) if not count]
    if lost:
        raise UserError(
            f"{source.location}: no readable training image of class {', '.join(lost)}; every "
            "class needs at least one. Add images, or remove the class"
        )


def _decode(split: Split, contract: InputContract, progress: Progress) -> tuple[Split, list[str]]:
    """The split as one array of what the network sees, without its unreadable images."""
    if split.images is not None:
        return replace(split, images=_fit_arrays(split.images, contract)), []
    images, failures = decode_split(
        split, contract, progress=lambda done: progress("decoding", done, len(split))
    )
    good = _without(len(split), failures)
    kept = split if not failures else split.subset(good)
    images = images if not failures else images[good]
    return replace(kept, images=images, encoded=None), [message for _, message in failures]


def _check(split: Split, contract: InputContract, progress: Progress) -> tuple[Split, list[str]]:
    """The split without its unreadable images, and what was wrong with them."""
    failures = find_unreadable(
        split, progress=lambda done: progress("checking images", done, len(split))
    )
    kept = split if not failures else split.subset(_without(len(split), failures))
    return kept, [message for _, message in failures]


def _without(count: int, failures: list[tuple[int, str]]) -> np.ndarray:
    return np.setdiff1d(np.arange(count), [index for index, _ in failures])


def _fit_arrays(images: np.ndarray, contract: InputContract) -> np.ndarray:
    """Decoded images [N,C,H,W] under the contract; unchanged where they fit already."""
    if images.shape[1:] == (contract.channels, *contract.crop):
        return images
    fitted = [load_contract_image(image.transpose(1, 2, 0), contract) for image in images]
    return np.stack(fitted) if fitted else np.empty((0, contract.channels, *contract.crop), "u1")


def _unreadable_message(messages: list[str], remedy: str) -> str:
    listed = "\n  ".join(messages[:10]) + ("\n  ..." if len(messages) > 10 else "")
    return f"{len(messages)} unreadable image(s):\n  {listed}\n{remedy}"


def _resolve(config: DataConfig, train: Split, network_size: int) -> DataConfig:
    """`config` with image size, colour mode and storage decided."""
    sizes, grey = _sizes_and_grey(train)
    image_size = config.image_size or network_size
    small = len(sizes) == 1 and max(max(size) for size in sizes) <= LARGEST_IN_MEMORY
    channels = 1 if grey else 3
    fits = len(train) * channels * image_size**2 < MEMORY_LIMIT_BYTES
    in_memory = train.images is not None or (small and fits)
    if config.storage == "files" and train.images is not None:
        raise UserError(
            f"data.storage files has no effect for {config.source}: it holds decoded arrays, "
            "which are kept in memory. Leave it out"
        )
    storage = config.storage
    if storage == "auto":
        storage = "memory" if in_memory else "files"
    if storage == "memory" and config.workers:
        raise UserError(
            f"data.workers {config.workers} has no effect: the images of {config.source} are "
            "decoded once into memory. Leave it out, or set data.storage files"
        )
    resize = config.resize
    if resize is None:  # small images are seen whole; photographs by the usual 256 : 224
        resize = image_size if small else round(image_size * 256 / 224)
    return replace(
        config,
        image_size=image_size,
        resize=resize,
        color_mode=("L" if grey else "RGB") if config.color_mode == "auto" else config.color_mode,
        storage=storage,
    )


def _sizes_and_grey(split: Split) -> tuple[set[tuple[int, int]], bool]:
    """Image sizes (height, width) that occur, and whether every image is grey."""
    if split.images is not None:
        _, channels, height, width = split.images.shape
        return {(height, width)}, channels == 1
    headers = image_sizes(split)
    return {(height, width) for height, width, _ in headers}, all(
        mode in ("L", "1", "I;16", "LA") for _, _, mode in headers
    )


def _build_contract(config: DataConfig, class_names: tuple[str, ...]) -> InputContract:
    assert config.image_size is not None
    assert config.resize is not None
    assert config.color_mode != "auto"
    channels = 3 if config.color_mode == "RGB" else 1
    return InputContract(
        class_names=class_names,
        color_mode=config.color_mode,
        resize=config.resize,
        crop=(config.image_size, config.image_size),
        mean=(0.0,) * channels,
        std=(1.0,) * channels,
    )
