"""What is explained: an image as the network was shown it, and one class of it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from resnetkit.config import suggest
from resnetkit.data.contract import InputContract
from resnetkit.types import UserError

PRESENT = 0.5  # probability above which a class of a multi-label task is predicted
NAMES_SHOWN = 10  # classes in a message


@dataclass(frozen=True, kw_only=True)
class Subject:
    """One image and the class of it that is explained.

    `label` is the likeliest class, `says` the prediction in words; `folder_class` is the image's
    own class where its folder is called like one, else None. `name` is the path to show. In a
    `multi_label` task an image can have several classes.
    """

    file: Path
    name: str
    says: str
    label: str
    probability: float
    target: str
    target_number: int
    target_probability: float
    multi_label: bool
    folder_class: str | None


@dataclass(frozen=True, kw_only=True, eq=False)
class Shown:
    """N subjects as the network was shown them; an image with several classes is there for each."""

    subjects: tuple[Subject, ...]
    pixels: Tensor  # [N,C,H,W] uint8, as the contract says
    images: Tensor  # [N,C,H,W] float32, normalised, on the network's device
    targets: Tensor  # [N] int64, there too

    def __len__(self) -> int:
        return len(self.subjects)


def describe_subject(
    file: Path, shares: np.ndarray, target: int, contract: InputContract
) -> Subject:
    """An image with its probabilities [K] and the number of the class to explain."""
    names, best = contract.class_names, int(shares.argmax())
    said = predicted_classes(shares, contract)
    if contract.task == "multi-label" and shares[best] <= PRESENT:
        said = []
    listed = ", ".join(f"{names[number]} {shares[number]:.1%}" for number in said) or "no class"
    folder = file.absolute().parent.name
    folder_class = folder if folder in names else None
    return Subject(
        file=file,
        name=display(file),
        says=f"predicted {listed}" + (f", by its folder {folder}" if folder_class else ""),
        label=names[best],
        probability=float(shares[best]),
        target=names[target],
        target_number=target,
        target_probability=float(shares[target]),
        multi_label=contract.task == "multi-label",
        folder_class=folder_class,
    )


def predicted_classes(shares: np.ndarray, contract: InputContract) -> list[int]:
    """The classes that probabilities [K] predict; the likeliest where they predict none."""
    order: list[int] = np.argsort(-shares, kind="stable").tolist()
    if contract.task == "single-label":
        return order[:1]
    return [number for number in order if shares[number] > PRESENT] or order[:1]


def find_classes(targets: Sequence[str], contract: InputContract) -> list[int]:
    """The numbers of these classes; UserError for one the package does not know."""
    known = contract.class_names
    for target in targets:
        if target not in known:
            more = f", … {len(known):,} in all" if len(known) > NAMES_SHOWN else ""
            raise UserError(
                f"target: needed one of the package's classes ({', '.join(known[:NAMES_SHOWN])}"
                f"{more}), got {target!r}{suggest(target, known) or '.'}"
            )
    return [known.index(target) for target in dict.fromkeys(targets)]


def display(file: Path) -> str:
    """A path as text that can be printed and saved: file names are bytes."""
    return os.fsencode(file).decode("utf-8", "replace")
