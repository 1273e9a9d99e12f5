"""Class names: their order, and labels as numbers in that order."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import numpy as np

from resnetkit.types import UserError

_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?")


def sort_class_names(names: Iterable[str]) -> tuple[str, ...]:
    """Distinct names in natural order: as numbers if all are, else with digits read as numbers.

    "2" comes before "10" and "item2" before "item10"; upper and lower case sort together.
    """
    distinct = set(names)
    if all(_NUMBER.fullmatch(name) for name in distinct):
        return tuple(sorted(distinct, key=lambda name: (float(name), name)))
    return tuple(sorted(distinct, key=_natural_key))


def _natural_key(name: str) -> tuple[list[int | str], str]:
    parts = re.split(r"(\d+)", name)  # every second part is a number, so like meets like
    folded = [int(part) if i % 2 else part.casefold() for i, part in enumerate(parts)]
    return folded, name


def encode_labels(
    labels: Sequence[str], class_names: Sequence[str], location: str, split: str
) -> np.ndarray:
    """Each label's position in `class_names`: int64 [N].

    Raises `UserError` for a class that `class_names`, which come from training, lacks.
    """
    numbers = {name: number for number, name in enumerate(class_names)}
    unknown = sort_class_names(set(labels) - set(numbers))
    if unknown:
        shown = ", ".join(repr(name) for name in unknown[:5]) + (" …" if unknown[5:] else "")
        raise UserError(
            f"{location}: the {split} split has {len(unknown)} class(es) that training lacks: "
            f"{shown}. Add training images of them, or correct or remove them in {split}."
        )
    return np.fromiter((numbers[label] for label in labels), np.int64, len(labels))
