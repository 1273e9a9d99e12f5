"""The loader by itself, without a network: as it is set, and as it could be."""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Generator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from resnetkit.build import MOST_WORKERS, build_loader
from resnetkit.data.color_mode import to_color_mode
from resnetkit.data.contract import InputContract
from resnetkit.data.dataset import Progress, TrainingData
from resnetkit.data.decode import decode_image
from resnetkit.data.loader import Loader, choose_worker_kind
from resnetkit.data.packed import IMAGES, Pack, PackedImages, PackIndex, PackSettings
from resnetkit.data.reading import list_items
from resnetkit.data.source_types import Split
from resnetkit.data.threads import available_cores
from resnetkit.data.transforms import picture_pixels, resize_shorter
from resnetkit.doctor.stages import sample_numbers
from resnetkit.doctor.timing import Timing, time_stream
from resnetkit.doctor.verdict import LoaderTiming
from resnetkit.experiment import Experiment
from resnetkit.types import Batch


def time_loaders(
    experiment: Experiment, data: TrainingData, seconds: float, progress: Progress
) -> list[LoaderTiming]:
    """Batches of the training images with the present setting and with other worker counts."""
    split, chosen = data.train, experiment.data.workers or 0
    if split.images is not None:
        loader = build_loader(experiment, split, data.contract, shuffle=True)
        timing = time_loader(loader, 0, 0, seconds)
        return [LoaderTiming(how="from memory", setting="", timing=timing, chosen=True)]
    counts = worker_counts(chosen)
    found = []
    for number, workers in enumerate(counts):
        progress("timing the loader", number, len(counts))
        config = replace(experiment.data, workers=workers)
        loader = build_loader(replace(experiment, data=config), split, data.contract, shuffle=True)
        # Other epochs for other settings: what one has read must not be in the cache for the next.
        found.append(
            LoaderTiming(
                how=describe_workers(split, workers),
                setting=f"--data.workers {workers}",
                timing=time_loader(loader, number, workers, seconds),
                chosen=workers == chosen,
            )
        )
    if split.packed is None:
        progress("timing a small pack", len(counts), len(counts))
        found.append(time_trial_pack(experiment, data, seconds))
    return found


def time_trial_pack(experiment: Experiment, data: TrainingData, seconds: float) -> LoaderTiming:
    """The present worker count on a pack of a few images, made for this and thrown away."""
    contract, workers = data.contract, experiment.data.workers or 0
    with TemporaryDirectory(prefix="resnetkit-doctor-") as folder:
        few = data.train.subset(sample_numbers(len(data.train)))
        few = replace(few, packed=make_trial_pack(few, contract, Path(folder)))
        loader = build_loader(experiment, few, contract, shuffle=True)
        return LoaderTiming(
            how=f"{describe_workers(few, workers)} for trial",
            setting=f"resnetkit data pack {experiment.data.source} --side {contract.resize}",
            timing=time_loader(loader, 0, workers, seconds),
        )


def make_trial_pack(split: Split, contract: InputContract, folder: Path) -> PackedImages:
    """The images of `split` as `pack_source` would store them, without what finds them again."""
    stored: list[np.ndarray] = []
    for item in list_items(split, np.arange(len(split))):
        picture = decode_image(item.encoded, item.name)
        picture = to_color_mode(picture, contract.color_mode, contract.exif_transpose, item.name)
        if min(picture.size) > contract.resize:
            picture = resize_shorter(picture, contract.resize, contract.interpolation, item.name)
        stored.append(picture_pixels(picture))
    with (folder / IMAGES).open("wb") as file:
        file.writelines(pixels.tobytes() for pixels in stored)
    lengths, count = np.array([pixels.size for pixels in stored]), len(stored)
    index = PackIndex(
        keys=np.arange(count, dtype=np.uint64),
        fingerprints=np.zeros(count, np.uint64),
        hashes=np.zeros((count, 32), np.uint8),
        offsets=np.cumsum(lengths) - lengths,
        stored=lengths,
        checksums=np.array([zlib.crc32(pixels.tobytes()) for pixels in stored], np.uint32),
        sizes=np.array([pixels.shape[:2] for pixels in stored], np.int32),
        problems={},
    )
    settings = PackSettings(
        side=contract.resize,
        storage="raw",
        color_mode=contract.color_mode,
        interpolation=contract.interpolation,
        exif_transpose=contract.exif_transpose,
    )
    return PackedImages(pack=Pack(folder, settings, index), positions=np.arange(count))


def worker_counts(chosen: int) -> list[int]:
    """The worker counts worth a look here: 0, 1, 2, 4 and 8 up to the cores, and `chosen`."""
    cores = min(available_cores(), MOST_WORKERS)
    return sorted({0, 1, cores, chosen} | {workers for workers in (2, 4) if workers < cores})


def describe_workers(split: Split, workers: int) -> str:
    """What so many workers are."""
    where = "" if split.packed is None else ", pack"
    if not workers:
        return f"in the training loop{where}"
    kind = choose_worker_kind(split, workers)
    one = {"threads": "thread", "processes": "process"}
    return f"{workers} {one[kind] if workers == 1 else kind}{where}"


def time_loader(loader: Loader, epoch: int, workers: int, seconds: float) -> Timing:
    """Batches as they arrive once those made while the workers started are used up."""
    with closing(endless(loader, epoch)) as batches:
        return time_stream((len(batch.labels) for batch, _ in batches), seconds, 2 + 2 * workers)


def endless(loader: Loader, epoch: int) -> Generator[tuple[Batch, int], None, None]:
    """Batches with their epoch, from `epoch` (from 0) on without end."""
    for number in itertools.count(epoch):
        for batch in loader.batches(number):
            yield batch, number
