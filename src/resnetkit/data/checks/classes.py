"""What is wrong with the classes of a source, as far as names and counts tell."""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Iterator

import numpy as np

from resnetkit.data.balance import class_counts
from resnetkit.data.checks.findings import Finding
from resnetkit.data.checks.listing import Listing

TINY_CLASS = 10  # training images
IMBALANCE = 10.0  # the largest class : the smallest
SHOWN = 20  # class names a finding carries


def judge_classes(listing: Listing) -> list[Finding]:
    """Class sets that differ between splits, class names alike, tiny classes and imbalance."""
    counts = count_classes(listing)
    findings = [
        *_class_sets(listing, counts),
        *_names_alike(listing.class_names),
        *_one_class(listing),
    ]
    if "train" in counts:
        findings += _sizes(listing, counts["train"])
    elif listing.splits:
        present = ", ".join(listing.splits)
        findings.append(
            Finding(kind="no-training-split", names=(), detail=f"the source has only {present}")
        )
    return findings


def count_classes(listing: Listing) -> dict[str, np.ndarray]:
    """Images of each class by split: float64 [K], see `class_counts`."""
    count = len(listing.class_names)
    return {name: class_counts(split.labels, count) for name, split in listing.splits.items()}


def _class_sets(listing: Listing, counts: dict[str, np.ndarray]) -> Iterator[Finding]:
    names = np.array(listing.class_names, dtype=object)
    trained = np.arange(len(names)) < listing.training_classes
    reference = next(iter(counts), "")
    for split, images in counts.items():
        if split == reference:
            continue
        prefix = listing.prefixes[split]
        for name in names[~trained & (images > 0)].tolist():
            detail = f"{int(images[listing.class_names.index(name)]):,} image(s) in {split}"
            near = _near(name, listing.class_names[: listing.training_classes])
            yield Finding(kind="unknown-class", names=(f"{prefix}{name}/",), detail=detail + near)
        missing = names[trained & (images == 0) & (counts[reference] > 0)].tolist()
        if missing:
            detail = f"{split} has no image of {len(missing)} class(es): {_some(missing)}"
            shown = tuple(f"{prefix}{name}/" for name in missing[:SHOWN])
            yield Finding(kind="class-missing-in-split", names=shown, detail=detail)


def _near(name: str, known: tuple[str, ...]) -> str:
    alike = [other for other in known if _folded(other) == _folded(name)]
    return f"; training has {alike[0]!r}" if alike else ""


def _names_alike(class_names: tuple[str, ...]) -> Iterator[Finding]:
    groups: dict[str, list[str]] = defaultdict(list)
    for name in class_names:
        groups[_folded(name)].append(name)
    for alike in groups.values():
        if len(alike) > 1:
            detail = " and ".join(map(repr, alike))
            shown = tuple(f"{name}/" for name in alike)
            yield Finding(kind="class-names-alike", names=shown, detail=detail)


def _folded(name: str) -> str:
    """The name without what people mistype: case, blanks, dashes, ways to compose a letter."""
    plain = unicodedata.normalize("NFKC", name).casefold()
    return "".join(letter for letter in plain if letter not in " \t-_") or plain


def _one_class(listing: Listing) -> Iterator[Finding]:
    if listing.is_folder and listing.training_classes == 1:
        name = listing.class_names[0]
        yield Finding(kind="one-class", names=(f"{name}/",), detail=f"only {name!r} is there")


def _sizes(listing: Listing, images: np.ndarray) -> Iterator[Finding]:
    trained = np.arange(len(images)) < listing.training_classes
    rows = np.flatnonzero(trained & (images > 0))
    names = listing.class_names
    prefix = listing.prefixes["train"]
    for row in rows[images[rows] < TINY_CLASS].tolist():
        detail = f"{images[row]:g} training image(s); of fewer than {TINY_CLASS} little is learned"
        yield Finding(kind="tiny-class", names=(f"{prefix}{names[row]}/",), detail=detail)
    if len(rows) < 2:
        return
    largest, smallest = rows[images[rows].argmax()], rows[images[rows].argmin()]
    ratio = images[largest] / images[smallest]
    if ratio >= IMBALANCE:
        detail = (
            f"{names[largest]!r} has {images[largest]:,g} training images, {names[smallest]!r} has "
            f"{images[smallest]:,g}: {ratio:.3g} to 1"
        )
        shown = (f"{prefix}{names[largest]}/", f"{prefix}{names[smallest]}/")
        yield Finding(kind="class-imbalance", names=shown, detail=detail)


def _some(names: list[str]) -> str:
    return ", ".join(map(repr, names[:5])) + (", …" if len(names) > 5 else "")
