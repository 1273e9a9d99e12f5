"""The classes of a package and of new images in one order: the package's first, as they were."""

from __future__ import annotations

import unicodedata
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from resnetkit.types import UserError

SHOWN = 5  # names in a message
SHORTEST_MISSPELT = 5  # letters; shorter names often differ in one on purpose (bat, cat)
SHORTEST_SINGULAR = 3


@dataclass(frozen=True, kw_only=True)
class ClassMap:
    """The classes that a package and new images have together.

    `names` are those of the joint head: the first `old` of them the package's in its order, then
    what the data adds in its own. `numbers[i]` is where the data's class i is among them.
    """

    names: tuple[str, ...]
    old: int
    numbers: tuple[int, ...]

    @property
    def new_names(self) -> tuple[str, ...]:
        """What the data adds."""
        return self.names[self.old :]

    @property
    def missing(self) -> tuple[str, ...]:
        """Classes of the package that the data lacks."""
        present = set(self.numbers)
        return tuple(name for k, name in enumerate(self.names[: self.old]) if k not in present)

    def relabel(self, labels: np.ndarray) -> np.ndarray:
        """The data's labels in the joint order: int64 [N] as such, float32 [N,k] as [N,K].

        A class that the data does not have gets 0: a soft label's share, or "not shown".
        """
        numbers = np.array(self.numbers, dtype=np.int64)
        if labels.ndim == 1:
            return numbers[labels]
        assert labels.shape[1] == len(numbers), (labels.shape, len(numbers))
        relabelled = np.zeros((len(labels), len(self.names)), labels.dtype)
        relabelled[:, numbers] = labels
        return relabelled


def reconcile_classes(
    package: Sequence[str],
    data: Sequence[str],
    location: str,
    *,
    add: bool,
    replay: bool = False,
) -> ClassMap:
    """The joint classes of a `package` and the `data` at `location`, whose order may be any.

    With `add`, names that the package lacks become new classes; those that only a slip of the pen
    may set apart from one of its own are pointed out by a warning. Raises UserError without `add`
    when the data has such names, and when it lacks some of the package's unless old images, which
    show them, are replayed (`replay`).
    """
    known = set(package)
    unknown = tuple(name for name in data if name not in known)
    missing = tuple(name for name in package if name not in set(data))
    if not add and (unknown or (missing and not replay)):
        raise UserError(_refusal(package, unknown, missing, location))
    for name, alike in find_alike(unknown, package):
        warnings.warn(f"{location}: {_alike_text(name, alike)}", stacklevel=2)
    names = (*package, *unknown)
    places = {name: number for number, name in enumerate(names)}
    return ClassMap(names=names, old=len(package), numbers=tuple(places[name] for name in data))


def match_classes(
    package: Sequence[str], data: Sequence[str], location: str, *, some: bool = False
) -> ClassMap:
    """The classes of the `data` at `location` among those of the `package` it judges, by name.

    Their order may be any. With `some` the data may lack classes of the package. Raises UserError
    for classes that the package does not know, and without `some` for missing ones.
    """
    known, present = set(package), set(data)
    unknown = tuple(name for name in data if name not in known)
    missing = tuple(name for name in package if name not in present)
    if unknown or (missing and not some):
        raise UserError(_mismatch(package, unknown, missing, location))
    places = {name: number for number, name in enumerate(package)}
    numbers = tuple(places[name] for name in data)
    return ClassMap(names=tuple(package), old=len(package), numbers=numbers)


def find_alike(names: Iterable[str], known: Sequence[str]) -> list[tuple[str, str]]:
    """(name, the known one that it may be meant to be): the first such of `known` for each.

    Alike are names that differ in upper and lower case, spaces and punctuation, a plural s or es,
    or (from `SHORTEST_MISSPELT` letters on) in one letter that is not a digit.
    """
    by_fold = {_fold(name): name for name in reversed(known) if _fold(name)}
    by_singular = {part: name for name in reversed(known) for part in _singulars(_fold(name))}
    pairs = []
    for name in names:
        folded = _fold(name)
        found = by_fold.get(folded) if folded else None
        found = found or next(
            (by_singular[p] for p in _singulars(folded) if p in by_singular), None
        )
        if found is None:
            near = (original for fold, original in by_fold.items() if _one_slip(folded, fold))
            found = next(near, None)
        pairs += [] if found is None else [(name, found)]
    return pairs


def show_names(names: Sequence[str]) -> str:
    """A few of `names`, quoted, for a message."""
    return ", ".join(map(repr, names[:SHOWN])) + (", …" if len(names) > SHOWN else "")


def _refusal(
    package: Sequence[str], unknown: Sequence[str], missing: Sequence[str], location: str
) -> str:
    told = []
    if unknown:
        told += [f"it has {len(unknown)} that the package does not know: {show_names(unknown)}"]
    if missing:
        count = f"{len(missing)} of the package's {len(package)}"
        told += [f"it lacks {count}: {show_names(missing)}"]
    alike = [_alike_text(*pair) for pair in find_alike(unknown, package)[:SHOWN]]
    remedies = []
    if unknown:
        remedies += ["Add them to the head with --classes add"]
    if missing:
        remedies += ["Replay the old images, which show them, with --replay OLD_SOURCE"]
    remedies = [*remedies[:1], *(text[0].lower() + text[1:] for text in remedies[1:])]
    hints = "".join(f" {text}." for text in alike)
    return (
        f"{location}: its classes are not the package's: {'; '.join(told)}.{hints} "
        f"{', and '.join(remedies)}; or fine-tune with a fresh head for the data's own classes"
    )


def _mismatch(
    package: Sequence[str], unknown: Sequence[str], missing: Sequence[str], location: str
) -> str:
    told = [f"the package does not know {show_names(unknown)}"] if unknown else []
    told += [f"the data lacks {show_names(missing)}"] if missing else []
    alike = "".join(f" {_alike_text(*pair)}." for pair in find_alike(unknown, package)[:SHOWN])
    remedy = "Use the data the package was made for, or train one for this data"
    if missing and not unknown:
        remedy = "Add images of them, or judge on some of the classes with --some-classes"
    return (
        f"{location}: its classes are not the {len(package)} of the package: {'; '.join(told)}."
        f"{alike} {remedy}"
    )


def _alike_text(name: str, alike: str) -> str:
    return (
        f"class {name!r} looks like the package's {alike!r}: if they are one, give it that name "
        "in the data"
    )


def _fold(name: str) -> str:
    """Letters and digits only, in one case."""
    return "".join(c for c in unicodedata.normalize("NFKC", name).casefold() if c.isalnum())


def _singulars(folded: str) -> Iterator[str]:
    """`folded` and what it may be the plural of."""
    for ending in ("", "s", "es"):
        stem = folded.removesuffix(ending)
        if folded.endswith(ending) and len(stem) >= SHORTEST_SINGULAR:
            yield stem


def _one_slip(one: str, other: str) -> bool:
    """Whether one letter is wrong, missing, too many, or swapped with the next.

    Digits tell classes apart on purpose: grade10, grade11.
    """
    if min(len(one), len(other)) < SHORTEST_MISSPELT or abs(len(one) - len(other)) > 1:
        return False
    if [c for c in one if c.isdigit()] != [c for c in other if c.isdigit()]:
        return False
    start = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), None)
    if start is None:
        return True
    a, b = one[start:], other[start:]
    swapped = a[:2] == b[:2][::-1] and a[2:] == b[2:]
    return swapped or a[1:] == b[1:] or a[1:] == b or a == b[1:]
