"""Two packages on the same images: which of them neither has seen, and which class is which."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from resnetkit.data.class_map import show_names
from resnetkit.export.package import ModelPackage
from resnetkit.judging import Answers, Subject
from resnetkit.types import UserError


@dataclass(frozen=True, kw_only=True, eq=False)
class Pairs:
    """The images that both subjects have, and how the other's logits come into the first's order.

    `rows` int64 [n] are theirs in the first, `others` [n] in the other; `classes` [K] are the
    columns of the other's logits, in the order of the first's classes.
    """

    rows: np.ndarray
    others: np.ndarray
    classes: np.ndarray


@dataclass(frozen=True, kw_only=True, eq=False)
class BothAnswers:
    """What two packages said of the n images that neither has seen, classes in A's order."""

    a: Answers
    b: Answers
    pairs: Pairs

    @property
    def labels(self) -> np.ndarray:
        """Of the n images, as `Split` has them."""
        return self.a.labels[self.pairs.rows]

    @property
    def deciding(self) -> tuple[np.ndarray, np.ndarray]:
        """The logits [n,K] of each whose order is its answer."""
        return self.a.deciding[self.pairs.rows], self._of_b(self.b.deciding)

    @property
    def calibrated(self) -> tuple[np.ndarray, np.ndarray]:
        """The logits [n,K] of each whose probabilities it gives."""
        return self.a.calibrated[self.pairs.rows], self._of_b(self.b.calibrated)

    @property
    def left_out(self) -> int:
        """Images that only one of them was to be judged on."""
        return len(self.a.labels) + len(self.b.labels) - 2 * len(self.pairs.rows)

    @property
    def notes(self) -> tuple[str, ...]:
        """What was warned of when their images were read, each once."""
        return tuple(dict.fromkeys((*self.a.subject.notes, *self.b.subject.notes)))

    def _of_b(self, logits: np.ndarray) -> np.ndarray:
        return logits[self.pairs.others][:, self.pairs.classes]


def refuse_other_classes(first: ModelPackage, other: ModelPackage, names: tuple[str, str]) -> None:
    """UserError unless both packages tell the same classes apart, in whatever order."""
    one, two = first.contract, other.contract
    if one.task != two.task:
        raise UserError(
            f"{names[0]} is for {one.task} images, {names[1]} for {two.task} ones; needed are two "
            "packages for one task"
        )
    only = [
        [name for name in here.class_names if name not in set(there.class_names)]
        for here, there in ((one, two), (two, one))
    ]
    if only[0] or only[1]:
        told = [
            f"only {name} knows {show_names(classes)}"
            for name, classes in zip(names, only, strict=True)
            if classes
        ]
        raise UserError(
            f"{names[0]} and {names[1]} do not tell the same classes apart: {'; '.join(told)}. "
            "Needed are two packages for the same classes"
        )


def pair_images(first: Subject, other: Subject) -> Pairs:
    """The images that are in both, by name, in the first's order; the classes are the same."""
    places = {name: number for number, name in enumerate(other.contract.class_names)}
    classes = np.array([places[name] for name in first.contract.class_names], np.int64)
    names, theirs = list(first.images.names), list(other.images.names)
    if names == theirs:
        rows = np.arange(len(names))
        return Pairs(rows=rows, others=rows, classes=classes)
    known = {name: row for row, name in enumerate(theirs)}
    shared = [(row, known[name]) for row, name in enumerate(names) if name in known]
    both = np.array(shared, np.int64).reshape(-1, 2)
    return Pairs(rows=both[:, 0], others=both[:, 1], classes=classes)
