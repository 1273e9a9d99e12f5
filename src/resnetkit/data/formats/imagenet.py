"""ImageNet (ILSVRC 2012, classification) as it is distributed: by Kaggle or with the devkit.

Russakovsky et al. 2015, "ImageNet Large Scale Visual Recognition Challenge";
https://image-net.org/challenges/LSVRC/2012
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from resnetkit.data.columns import FileColumn, pack_texts
from resnetkit.data.formats.imagenet_devkit import Devkit, read_devkit, validation_wnids
from resnetkit.data.formats.listing import ending, listed
from resnetkit.data.source_types import Source, Split
from resnetkit.types import UserError

IMAGES = ("ILSVRC/Data/CLS-LOC", "Data/CLS-LOC", "")  # below the location
WNID = re.compile(r"n\d{8}")
SYNSETS = 1000


def is_imagenet(location: Path) -> bool:
    """Whether this is the ILSVRC folder tree, or train/<wnid>/ with a val/ or a devkit as it came.

    Classes in train/ and val/ alike, without the synsets' names anywhere, are an image folder.
    """
    images = find_images(location)
    if images is None:
        return False
    return images != location or is_flat(images / "val") or read_devkit(location).named


def load_imagenet(location: Path, splits: Sequence[str]) -> Source:
    """Training and validation images; the test images have no labels and are no split.

    A class is called by its WordNet id and the first of its names, "n01440764 tench" ("crane" is
    a bird and a machine), or by the id alone where no file gives names. Classes come in the order
    of these ids, which is that of torchvision's and timm's weights, not that of ILSVRC2012_ID.
    val/ may be flat, as published, with the ground truth of the devkit or Kaggle's
    LOC_val_solution.csv, or sorted into folders. Raises `UserError`: see the messages.
    """
    images = find_images(location)
    if images is None:
        raise UserError(
            f"{location}: needed is ILSVRC/Data/CLS-LOC/ or a folder with train/<wnid>/*.JPEG and "
            "val/; unpack ILSVRC2012_img_train.tar and the archive of each class in it."
        )
    devkit = read_devkit(location)
    wnids = tuple(sorted(_wnid_folders(images / "train")))
    present = tuple(name for name in ("train", "val") if (images / name).is_dir())
    class_names = tuple(devkit.display_name(wnid) for wnid in wnids)
    read = {
        name: _read_split(location, images / name, wnids, devkit)
        for name in present
        if name in splits
    }
    return Source(location=str(location), class_names=class_names, splits=read, present=present)


def find_images(location: Path) -> Path | None:
    """The folder that holds train/<wnid>/."""
    places = [location / name for name in IMAGES] if location.is_dir() else []
    return next((place for place in places if any(_wnid_folders(place / "train"))), None)


def is_flat(folder: Path) -> bool:
    """Whether a validation folder is as published: images directly in it."""
    if not folder.is_dir():
        return False
    with os.scandir(folder) as entries:
        return any(ending(entry.name) == ".jpeg" for entry in entries)


def _wnid_folders(folder: Path) -> Iterator[str]:
    if folder.is_dir():
        with os.scandir(folder) as entries:
            yield from (e.name for e in entries if WNID.fullmatch(e.name) and e.is_dir())


def _read_split(location: Path, folder: Path, wnids: tuple[str, ...], devkit: Devkit) -> Split:
    """The images of a folder, called by their paths below the location."""
    if is_flat(folder):
        names, labels = _flat(folder, wnids, devkit)
    else:
        names, labels = _sorted(folder, wnids)
    below = folder.relative_to(location).as_posix()
    paths = pack_texts(f"{below}/{name}" for name in names)
    return Split(labels=labels, names=paths, encoded=FileColumn(str(location), paths))


def _sorted(folder: Path, wnids: tuple[str, ...]) -> tuple[Iterator[str], np.ndarray]:
    """Names and labels of the images in folders named by WordNet ids."""
    there = sorted(_wnid_folders(folder))
    if strange := sorted(set(there) - set(wnids)):
        raise UserError(
            f"{folder}: train/ has no folder for the {len(strange)} synset(s) {listed(strange)}; "
            "remove them here, or add training images."
        )
    listings = {wnid: _images_in(folder / wnid) for wnid in there}
    if empty := [wnid for wnid, names in listings.items() if not names]:
        raise UserError(
            f"{folder}: {len(empty)} of {len(there)} synsets have no images (*.JPEG): "
            f"{listed(empty)}. Unpack their archives again, or remove these synsets everywhere."
        )
    counts = [len(names) for names in listings.values()]
    labels = np.repeat(np.searchsorted(wnids, there), counts)
    return (f"{wnid}/{name}" for wnid, names in listings.items() for name in names), labels


def _flat(folder: Path, wnids: tuple[str, ...], devkit: Devkit) -> tuple[Iterator[str], np.ndarray]:
    """Names and labels of images that a file tells the synsets of."""
    truth = validation_wnids(devkit, folder)
    names = _images_in(folder)
    there, known = {name.partition(".")[0] for name in names}, set(truth)
    for lacking, what in (
        (sorted(known - there), f"of {len(truth)} labelled images are not in {folder}"),
        (sorted(there - known), f"of {len(names)} images have no label in the ground truth"),
    ):
        if lacking:
            raise UserError(
                f"{folder}: {len(lacking)} {what}: {listed(lacking)}. Unpack "
                "ILSVRC2012_img_val.tar again, with the ground truth that belongs to it."
            )
    numbers = {wnid: number for number, wnid in enumerate(wnids)}
    if strange := sorted(set(truth.values()) - set(wnids)):
        raise UserError(
            f"{folder}: the ground truth has {len(strange)} synset(s) without a folder in train/: "
            f"{listed(strange)}. Unpack their archives, or sort val/ into folders of the others."
        )
    labels = [numbers[truth[name.partition(".")[0]]] for name in names]
    return iter(names), np.array(labels, np.int64)


def _images_in(folder: Path) -> list[str]:
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if ending(entry.name) in (".jpeg", ".jpg"))
