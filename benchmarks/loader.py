"""Loader throughput against torchvision's and timm's, in one run.

    python benchmarks/loader.py --data ../shared/data/tiny-imagenet

Makes photographs of 500 x 375 once (JPEG, quality 90: an upscaled Tiny-ImageNet picture with the
fine texture of 48 others, about 75 kB each), then reads them as training would: a random resized
crop at 224 pixels and a flip. All sides have the same number of workers and batch size, and files
in the page cache. They take turns; a ratio is that of medians over the rounds, and of the best
rounds, since other work on the machine may have disturbed some. The time an image takes of a core
is what such work disturbs least.

What comes out: of torchvision and timm normalised floats, as their examples have it; of ours bytes,
flipped, since normalising is done on the device; "to floats" does that here too, on the same cores.
CIFAR-sized images come from memory as bytes; "to augmented floats" has a padded random crop and a
flip as torchvision's have.
"""

from __future__ import annotations

import argparse
import io
import os
import statistics
import time
from collections.abc import Callable, Iterator
from itertools import count
from multiprocessing import active_children
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageFilter
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.datasets import ImageFolder
from torchvision.io import decode_image
from torchvision.transforms import (
    Compose,
    Normalize,
    RandomCrop,
    RandomHorizontalFlip,
    ToTensor,
    v2,
)
from torchvision.transforms import RandomResizedCrop as PilCrop

from resnetkit.data.augment import AugmentConfig, augment_images, flip_half
from resnetkit.data.contract import InputContract
from resnetkit.data.draws import Draws
from resnetkit.data.find_pack import attach_pack
from resnetkit.data.formats.parquet import load_parquet
from resnetkit.data.loader import Loader, LoaderConfig
from resnetkit.data.pack import pack_source
from resnetkit.data.packed import load_pack
from resnetkit.data.source_types import Split
from resnetkit.data.sources import load_source
from resnetkit.runtime import environment, reuse_freed_memory

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SCALE = (0.08, 1.0)
CPU = torch.device("cpu")


def make_photographs(data: str, folder: Path, number: int) -> Path:
    """`number` photographs in 10 classes; those that are there already are kept."""
    split = load_parquet(Path(data), ("train",)).splits["train"]
    assert split.encoded is not None
    generator = np.random.default_rng(0)

    def picture() -> Image.Image:
        encoded = split.encoded[int(generator.integers(len(split)))]
        return Image.open(io.BytesIO(encoded)).convert("RGB")

    for index in range(number):
        path = folder / f"class{index % 10}" / f"{index:05d}.jpg"
        scene = picture().resize((500, 500), Image.Resampling.BICUBIC).crop((0, 62, 500, 437))
        tiles = Image.new("RGB", (512, 384))
        for place in range(48):
            tiles.paste(picture(), (64 * (place % 8), 64 * (place // 8)))
        if path.exists():
            continue
        tiles = tiles.crop((0, 0, 500, 375))
        smooth = np.asarray(tiles.filter(ImageFilter.GaussianBlur(6)), np.float32)
        pixels = np.asarray(scene, np.float32) + 0.6 * (np.asarray(tiles, np.float32) - smooth)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(path, quality=90)
    return folder


def for_ever(batches: Callable[[int], Iterator[Tensor]]) -> Iterator[int]:
    """The sizes of batches, epoch after epoch."""
    for epoch in count():
        for images in batches(epoch):
            yield len(images)


def data_loader(dataset: Dataset, asked: argparse.Namespace) -> Iterator[int]:
    """A DataLoader as the examples set it up."""
    loader = DataLoader(
        dataset,
        batch_size=asked.batch_size,
        shuffle=True,
        num_workers=asked.workers,
        drop_last=True,
        persistent_workers=True,
    )
    return for_ever(lambda _: (images for images, _ in loader))


def torchvision_pil(folder: Path, asked: argparse.Namespace) -> Iterator[int]:
    """The reference of torchvision: Pillow images, transforms one by one."""
    steps = [PilCrop(224, SCALE), RandomHorizontalFlip(), ToTensor(), Normalize(MEAN, STD)]
    return data_loader(ImageFolder(str(folder), Compose(steps)), asked)


def torchvision_tensors(folder: Path, asked: argparse.Namespace) -> Iterator[int]:
    """The faster way of torchvision: its own decoder, transforms v2 on tensors."""
    steps = [
        v2.RandomResizedCrop(224, SCALE, antialias=True),
        v2.RandomHorizontalFlip(),
        v2.ToDtype(torch.float32, scale=True),
        v2.Normalize(MEAN, STD),
    ]
    return data_loader(ImageFolder(str(folder), v2.Compose(steps), loader=decode_image), asked)


def timm_loader(folder: Path, asked: argparse.Namespace) -> Iterator[int]:
    """The training loader of timm, with crop and flip alone."""
    from timm.data import create_dataset, create_loader

    loader = create_loader(
        create_dataset("", str(folder), split="", is_training=True),
        (3, 224, 224),
        asked.batch_size,
        is_training=True,
        scale=SCALE,
        color_jitter=None,
        interpolation="bilinear",
        num_workers=asked.workers,
        use_prefetcher=False,
        persistent_workers=True,
    )
    return for_ever(lambda _: (images for images, _ in loader))


def ours(
    split: Split,
    asked: argparse.Namespace,
    *,
    floats: bool = False,
    flip: bool = True,
    kind: str = "",
) -> Iterator[int]:
    """Our loader and the flip; with `floats` all that augmentation does before the network."""
    contract = InputContract(
        class_names=tuple("0123456789"), resize=256, crop=(224, 224), mean=MEAN, std=STD
    )
    loader = Loader(
        split,
        contract,
        LoaderConfig(
            batch_size=asked.batch_size,
            workers=asked.workers,
            seed=0,
            shuffle=True,
            resized_crop_scale=SCALE,
            worker_kind=kind or None,  # type: ignore[arg-type]
        ),
    )
    augment = AugmentConfig(resized_crop_scale=SCALE, horizontal_flip=True)

    def batches(epoch: int) -> Iterator[Tensor]:
        for batch in loader.batches(epoch):
            draws = Draws(0, epoch, batch.indices, CPU)
            if floats:
                yield augment_images(batch.images, draws, augment, contract, crop=False)
            else:
                yield flip_half(batch.images, draws) if flip else batch.images

    return for_ever(batches)


class SmallImages(Dataset):
    """What torchvision's CIFAR10 does: an array to a Pillow image, then the transforms."""

    def __init__(self, images: np.ndarray) -> None:
        self._images = images.transpose(0, 2, 3, 1)
        steps = [RandomCrop(32, padding=4), RandomHorizontalFlip(), ToTensor()]
        self._transform = Compose([*steps, Normalize(MEAN, STD)])

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self._transform(Image.fromarray(self._images[index])), 0


def our_small_images(
    images: np.ndarray, asked: argparse.Namespace, *, floats: bool = False
) -> Iterator[int]:
    """Batches from memory, with `floats` padded, cropped, flipped and normalised."""
    split = Split(labels=np.zeros(len(images), np.int64), names=[""] * len(images), images=images)
    contract = InputContract(class_names=("a", "b"), resize=32, crop=(32, 32), mean=MEAN, std=STD)
    config = LoaderConfig(batch_size=asked.batch_size, workers=0, seed=0, shuffle=True)
    loader = Loader(split, contract, config)
    augment = AugmentConfig(pad_crop=4, horizontal_flip=True)

    def batches(epoch: int) -> Iterator[Tensor]:
        for batch in loader.batches(epoch):
            if not floats:
                yield batch.images
                continue
            draws = Draws(0, epoch, batch.indices, CPU)
            yield augment_images(batch.images, draws, augment, contract, crop=False)

    return for_ever(batches)


class Speed(NamedTuple):
    """Images in a second, and what one image costs a core in ms."""

    rate: float
    cost: float


def measure(batches: Iterator[int], seconds: float) -> Speed:
    """The speed over about `seconds`, after what had been made in advance."""
    for _ in range(5):
        next(batches)
    start, before, images = time.perf_counter(), cpu_seconds(), 0
    while time.perf_counter() - start < seconds:
        images += next(batches)
    cost = 1000 * (cpu_seconds() - before) / images
    return Speed(images / (time.perf_counter() - start), cost)


def cpu_seconds() -> float:
    """What this process and its workers have used of the cores; Linux."""
    pids = [os.getpid(), *(worker.pid for worker in active_children())]
    fields = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in pids]
    return sum(int(field[11]) + int(field[12]) for field in fields) / os.sysconf("SC_CLK_TCK")


def compare(sides: dict[str, Iterator[int]], rounds: int, seconds: float) -> None:
    """Measure the sides in turn and print their speed and its ratio to the first's."""
    for batches in sides.values():  # start the workers, read everything into the page cache
        measure(batches, seconds / 4)
    measured: dict[str, list[Speed]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, batches in sides.items():
            time.sleep(0.5)  # the last side's workers are still filling its queue
            measured[name].append(measure(batches, seconds))
    first = next(iter(measured.values()))
    print(f"  {'':38} images/s (lowest to highest)  ratio, of best;  ms of a core, ratio")
    for name, speeds in measured.items():
        rates, median, best, cost = summary(speeds)
        _, first_median, first_best, first_cost = summary(first)
        print(
            f"  {name:38} {median:8,.0f} ({rates[0]:,.0f} to {rates[-1]:,.0f})  "
            f"x {median / first_median:.2f}, x {best / first_best:.2f};  "
            f"{cost:.3f} ms, x {first_cost / cost:.2f}",
            flush=True,
        )


def summary(speeds: list[Speed]) -> tuple[list[float], float, float, float]:
    """Rates in order, their median and best, and the median cost."""
    rates = sorted(speed.rate for speed in speeds)
    cost = statistics.median(speed.cost for speed in speeds)
    return rates, statistics.median(rates), rates[-1], cost


def compare_photographs(asked: argparse.Namespace, cache: Path) -> None:
    folder = make_photographs(asked.data, cache / f"photographs-{asked.images}", asked.images)
    sizes = [path.stat().st_size for path in folder.rglob("*.jpg")]
    print(f"{len(sizes):,} photographs of 500 x 375, {np.mean(sizes) / 1000:.0f} kB each, to 224:")
    files = load_source(str(folder), ("train",)).splits["train"]
    packed: dict[str, Split] = {}
    for storage in ("raw", "jpeg"):
        start = time.perf_counter()
        report = pack_source(str(folder), cache / f"{storage}-{asked.images}", storage=storage)
        seconds = time.perf_counter() - start
        print(
            f"  {storage} pack: {report.size_bytes / 1e6:,.0f} MB, {report.decoded:,} images "
            f"decoded in {seconds:.1f} s"
        )
        attached = attach_pack(files, load_pack(report.folder))
        assert isinstance(attached, Split), attached
        packed[storage] = attached
    sides = {
        "torchvision ImageFolder, Pillow": torchvision_pil(folder, asked),
        "torchvision ImageFolder, tensors": torchvision_tensors(folder, asked),
        "timm create_loader": timm_loader(folder, asked),
        "ours from files": ours(files, asked),
        "ours from files, by processes": ours(files, asked, kind="processes"),
        "ours from files, to floats": ours(files, asked, floats=True),
        "ours packed (jpeg)": ours(packed["jpeg"], asked),
        "ours packed (raw)": ours(packed["raw"], asked),
        "ours packed (raw), flip left to device": ours(packed["raw"], asked, flip=False),
        "ours packed (raw), to floats": ours(packed["raw"], asked, floats=True),
    }
    compare(sides, asked.rounds, asked.seconds)


def compare_small(asked: argparse.Namespace) -> None:
    images = np.random.default_rng(0).integers(0, 256, (50_000, 3, 32, 32), dtype=np.uint8)
    print("50,000 images of 32 x 32 in memory:")
    sides = {
        "torchvision transforms, DataLoader": data_loader(SmallImages(images), asked),
        "ours in memory": our_small_images(images, asked),
        "ours in memory, to augmented floats": our_small_images(images, asked, floats=True),
    }
    compare(sides, asked.rounds, asked.seconds / 2)


def main() -> None:
    """Parse the command line and run what it asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True, help="Tiny-ImageNet, to make photographs of")
    parser.add_argument("--cache", default=None, help="where photographs and packs are kept")
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each side in each round")
    asked = parser.parse_args()
    home = os.environ.get("RESNETKIT_CACHE") or "~/.cache/resnetkit"
    cache = Path(asked.cache or Path(home, "benchmarks")).expanduser()
    torch.set_num_threads(
        1
    )  # the cores are the workers'; two teams on them would wait for each other
    reuse_freed_memory()
    print(environment())
    compare_photographs(asked, cache)
    compare_small(asked)


if __name__ == "__main__":
    main()
