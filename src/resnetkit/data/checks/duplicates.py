"""Pictures that are there more than once: within a split, across splits, under two labels."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np

from resnetkit.data.checks.findings import Finding, Kind
from resnetkit.data.checks.hashes import CROPS, perceptual_hashes, pixel_hash
from resnetkit.data.checks.same_pictures import (
    ALONE,
    Pictures,
    SamePictures,
    find_same_pictures,
)
from resnetkit.data.checks.scan_types import PIXEL_HASH_BYTES, Content, Scan, load_rgb
from resnetkit.data.decode import UnreadableImage
from resnetkit.data.source_types import SPLIT_NAMES, Split
from resnetkit.data.threads import map_in_order

Progress = Callable[[str, int, int], None]  # what, done, total

DUPLICATE_KINDS = {
    "shared-between-splits": Kind(
        severity="unsafe",
        title="Pictures that are in two splits",
        treatment="The test figure counts pictures that were trained on. The manifest leaves out "
        "all but those of the split held out most strictly; `data split --group-by "
        "near-duplicates` deals them together.",
    ),
    "two-labels": Kind(
        severity="unsafe",
        title="One picture under two labels",
        treatment="At most one of the labels is right. The manifest leaves the images out; "
        "correct the label, or remove the wrong copy.",
    ),
    "exact-duplicate": Kind(
        severity="warning",
        title="Images with the same pixels",
        treatment="Training would see the picture more often than others. The manifest leaves out "
        "all but the first of a split.",
    ),
    "near-duplicate": Kind(
        severity="warning",
        title="Images of nearly the same picture",
        treatment="Training uses all of them. `data split --group-by near-duplicates` keeps them "
        "on one side.",
    ),
    "many-alike": Kind(
        severity="note",
        title="Pictures too alike to compare all",
        treatment="Near-duplicates were searched among the most alike pairs only.",
    ),
}


def find_duplicates(scan: Scan, progress: Progress | None = None) -> list[Finding]:
    """What is there more than once in `scan`; a finding names all images of one picture.

    Images of one picture count as shared between splits, or as labelled twice, whether they are
    equal or near-duplicates (see `find_same_pictures`, which opens those that look alike again);
    near-duplicates are named as such where neither is the case.
    """

    def load_pixels(index: int) -> np.ndarray | None:
        return _load_pixels(scan.contents[index], scan.names[index])

    pictures = Pictures(
        pixel_hashes=scan.pixel_hashes,
        perceptual=scan.perceptual,
        crop_hashes=scan.crop_hashes,
        shorter_side=np.minimum(scan.width, scan.height),
        readable=scan.readable,
    )
    found = find_same_pictures(pictures, load_pixels, progress or _silent)
    findings: list[Finding] = []
    for rows in _groups(found.same):
        shared = len(set(scan.splits[rows].tolist())) > 1
        two_labels = len(np.unique(scan.labels[rows], axis=0)) > 1
        if shared:
            findings.append(_finding("shared-between-splits", scan, rows, found))
        if two_labels:
            findings.append(_finding("two-labels", scan, rows, found))
        if not (shared or two_labels) and len(_distinct(found.equal, rows)) > 1:
            findings.append(_finding("near-duplicate", scan, _distinct(found.equal, rows), found))
    for rows in _groups(_copies(scan, found.equal)):
        findings.append(_finding("exact-duplicate", scan, rows, found))
    return findings + _limits(found)


def _silent(what: str, done: int, total: int) -> None:
    pass


def _copies(scan: Scan, equal: np.ndarray) -> np.ndarray:
    """Groups int64 [N] of images with the same pixels, the same split and the same label."""
    rows = np.flatnonzero(equal != ALONE)
    labels = np.unique(scan.labels[rows], axis=0, return_inverse=True)[1].reshape(-1)
    keys = np.stack([equal[rows], scan.splits[rows].astype(np.int64), labels], axis=1)
    groups = np.full(len(equal), ALONE, np.int64)
    groups[rows] = np.unique(keys, axis=0, return_inverse=True)[1].reshape(-1)
    return groups


def find_groups(split: Split, progress: Progress) -> np.ndarray:
    """The group of each image of one picture, int64 [N]; -1 where an image is alone.

    What cannot be read is alone.
    """
    contents: Sequence[Content] | np.ndarray | None = split.images
    if contents is None:
        contents = split.encoded
    assert contents is not None

    def load_pixels(index: int) -> np.ndarray | None:
        return _load_pixels(contents[index], split.names[index])

    pictures = _fingerprint(contents, split.names, progress)
    return find_same_pictures(pictures, load_pixels, progress).same


def _fingerprint(
    contents: Sequence[Content] | np.ndarray, names: Sequence[str], progress: Progress
) -> Pictures:
    count = len(names)
    found = Pictures(
        pixel_hashes=np.zeros((count, PIXEL_HASH_BYTES), np.uint8),
        perceptual=np.zeros(count, np.uint64),
        crop_hashes=np.zeros((count, CROPS), np.uint64),
        shorter_side=np.zeros(count, np.int32),
        readable=np.zeros(count, bool),
    )

    def look_at(index: int) -> None:
        try:
            image = load_rgb(contents[index], names[index])
        except UnreadableImage:
            return
        hashes = perceptual_hashes(image)
        found.pixel_hashes[index] = np.frombuffer(pixel_hash(image), np.uint8)
        found.perceptual[index], found.crop_hashes[index] = hashes[0], hashes[1:]
        found.shorter_side[index] = min(image.size)
        found.readable[index] = True

    for done, _ in enumerate(map_in_order(look_at, range(count)), 1):
        progress("hashing images", done, count)
    return found


def _load_pixels(content: Content, name: str) -> np.ndarray | None:
    try:
        return np.asarray(load_rgb(content, name))
    except UnreadableImage:  # it was readable when it was hashed: the file has changed since
        return None


def _groups(groups: np.ndarray) -> list[np.ndarray]:
    """The images of each group of two or more, int64 [n], by their lowest index."""
    rows = np.flatnonzero(groups != ALONE)
    rows = rows[np.argsort(groups[rows], kind="stable")]
    edges = np.flatnonzero(np.diff(groups[rows], prepend=ALONE, append=ALONE))
    several = [rows[start:stop] for start, stop in pairwise(edges) if stop - start > 1]
    return sorted(several, key=lambda members: int(members[0]))


def _distinct(equal: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Of several images with equal pixels only the first."""
    seen = np.where(equal[rows] == ALONE, rows, equal[rows])
    return rows[np.sort(np.unique(seen, return_index=True)[1])]


def _finding(kind: str, scan: Scan, rows: np.ndarray, found: SamePictures) -> Finding:
    places = [int(row) for row in rows]
    names = tuple(scan.names[row] for row in places)
    parts = [_describe_likeness(scan, rows, found)]
    if kind == "two-labels":
        parts.append("labelled " + ", ".join(dict.fromkeys(map(scan.label_name, places))))
    if kind == "shared-between-splits":
        splits = sorted(set(scan.splits[rows].tolist()))
        parts.append("in " + ", ".join(SPLIT_NAMES[number] for number in splits))
    return Finding(kind=kind, names=names, detail="; ".join(parts))


def _describe_likeness(scan: Scan, rows: np.ndarray, found: SamePictures) -> str:
    if len(_distinct(found.equal, rows)) > 1:
        least = math.floor(found.least[rows[0]] * 100) / 100
        return f"likeness at least {least:.2f}, identical pictures have 1"
    if (scan.sha256[rows] == scan.sha256[rows[0]]).all():
        return "the same content"
    formats = dict.fromkeys(str(scan.formats[int(row)]) for row in rows)
    return f"the same pixels in other files ({', '.join(formats)})"


def _limits(found: SamePictures) -> list[Finding]:
    if found.complete:
        return []
    detail = "more pairs of pictures look alike than are compared: only the most alike were"
    return [Finding(kind="many-alike", names=(), detail=detail)]
