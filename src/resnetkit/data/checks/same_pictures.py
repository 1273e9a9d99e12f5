"""Which images are the same picture: equal pixels, or near-duplicates confirmed on pixels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from resnetkit.data.checks.close_hashes import find_close_pairs
from resnetkit.data.checks.hashes import FLAT, mirrored
from resnetkit.data.checks.pixel_match import (
    SMALLEST_SIDE,
    Views,
    count_details,
    likeness,
    make_views,
    mirror,
    quick_likeness,
)
from resnetkit.data.draws import stream, uniform_draws
from resnetkit.data.threads import map_in_order

ALONE = -1  # the group of an image that is in none, as `data split` has it

# The likeness from which on two images show one picture. Chosen by eye on CIFAR-10: of some 400
# pairs above it nearly all are one photograph, of those below 0.87 hardly any. Where pictures have
# few details, or are all of one kind, the next two rules ask for more.
SAME_PICTURE = 0.88
LEAST_EVIDENCE = 3.0  # standard errors of Fisher's z: how surely the correlation is no accident
CHANCE_DEVIATIONS = 8.0  # from the likeness that any two images of the source have
_QUICK = 0.5  # quick likeness below which a pair is not looked at; 0.55 would lose 3 % of pairs
_CHANCE_PAIRS, _FEWEST_CHANCE_PAIRS = 1000, 20
_BATCH = 512  # pairs compared at one time
_SMALL_KEPT, _VIEWS_KEPT = 32_768, 1024  # 4 KB each, and at most 20 KB
_MOST_PAIRS = 10_000, 1  # candidates of a search: so many, and so many more for each image
_MANY = 100_000  # images; with more, nearly all pairs of hashes far apart are of chance
# Bits within which a picture's hash and its mirror image's, and those of its parts, are looked for.
_RADIUS, _RADIUS_OF_MANY = 11, 8
_CROP_RADIUS, _CROP_RADIUS_OF_MANY = 11, 5

LoadPixels = Callable[[int], np.ndarray | None]  # upright RGB, uint8 [H,W,3]; None: unreadable
Progress = Callable[[str, int, int], None]  # what, done, total


@dataclass(frozen=True, kw_only=True, eq=False)
class Pictures:
    """What is known of N images before any is opened again."""

    pixel_hashes: np.ndarray  # [N,B] uint8
    perceptual: np.ndarray  # [N] uint64
    crop_hashes: np.ndarray  # [N,CROPS] uint64
    shorter_side: np.ndarray  # [N] pixels
    readable: np.ndarray  # [N] bool; others are never the same as anything


@dataclass(frozen=True, kw_only=True, eq=False)
class SamePictures:
    """Groups int64 [N], `ALONE` or the lowest index in the group, and what near ones rest on."""

    equal: np.ndarray  # images with the same pixels
    same: np.ndarray  # images of one picture: equal ones, and near-duplicates of any of them
    pairs: np.ndarray  # [P,2] int64: the near-duplicates that were confirmed
    likeness: np.ndarray  # [P] float64: of each of the pairs
    least: np.ndarray  # [N] float64: the lowest likeness of a pair in the image's group, or 1
    complete: bool  # False: more pairs looked alike than are compared, only the most alike were


def find_same_pictures(
    pictures: Pictures, load_pixels: LoadPixels, progress: Progress
) -> SamePictures:
    """Find images of the same picture, whatever their size, brightness, encoding; also mirrored.

    Candidates are pictures whose perceptual hashes are close; each pair is opened and confirmed on
    pixels. Not searched for near-duplicates are pictures with a side below `SMALLEST_SIDE` pixels
    and those whose perceptual hash is `FLAT`. Memory: some 200 bytes an image, and 300 MB.
    """
    equal = _group_equal(pictures)
    first = (equal == ALONE) | (equal == np.arange(len(equal)))
    usable = pictures.readable & (pictures.perceptual != FLAT)
    searched = np.flatnonzero(first & usable & (pictures.shorter_side >= SMALLEST_SIDE))
    album = _Album(load_pixels)
    threshold = max(SAME_PICTURE, _chance_likeness(searched, album))
    pairs, likenesses = [np.zeros((0, 2), np.int64)], [np.zeros(0)]
    upright, turned, complete = _find_candidates(pictures, searched, progress)
    done, total = 0, len(upright) + len(turned)
    for candidates, is_mirrored in ((upright, False), (turned, True)):
        for start in range(0, len(candidates), _BATCH):
            batch = searched[candidates[start : start + _BATCH]]
            values = album.compare(batch, is_mirrored, threshold)
            pairs.append(batch[values >= threshold])
            likenesses.append(values[values >= threshold])
            done += len(batch)
            progress("comparing images", done, total)
    confirmed, values = np.concatenate(pairs), np.concatenate(likenesses)
    same = _join(equal, confirmed)
    least = np.ones(len(same))
    np.minimum.at(least, same[confirmed[:, 0]], values)
    return SamePictures(
        equal=equal,
        same=same,
        pairs=confirmed,
        likeness=values,
        least=np.where(same == ALONE, 1.0, least[same]),
        complete=complete,
    )


def _group_equal(pictures: Pictures) -> np.ndarray:
    groups = np.full(len(pictures.readable), ALONE, np.int64)
    rows = np.flatnonzero(pictures.readable)
    hashes = np.ascontiguousarray(pictures.pixel_hashes[rows])
    keys = hashes.view(np.dtype((np.void, hashes.shape[1])))[:, 0] if len(rows) else rows
    _, lowest, members, counts = np.unique(
        keys, return_index=True, return_inverse=True, return_counts=True
    )
    groups[rows] = np.where(counts[members] > 1, rows[lowest[members]], ALONE)
    return groups


def _find_candidates(
    pictures: Pictures, searched: np.ndarray, progress: Progress
) -> tuple[np.ndarray, np.ndarray, bool]:
    """Pairs of places in `searched` that look alike, and that do with one mirrored; if all are in.

    int64 [P,2] each, neighbours in the source after one another. Of two different pictures in
    CIFAR-10, 3 in a million are within `_RADIUS` bits. Its near-duplicates are often cropped
    differently: the parts double the number of pairs that are confirmed.
    """
    hashes, parts = pictures.perceptual[searched], pictures.crop_hashes[searched]
    many = len(searched) > _MANY
    radius, crop_radius = (
        (_RADIUS_OF_MANY, _CROP_RADIUS_OF_MANY) if many else (_RADIUS, _CROP_RADIUS)
    )
    searches = [(hashes, radius), *((part, crop_radius) for part in parts.T)]
    keys, complete = [], True
    for number, (queries, within) in enumerate([*searches, (mirrored(hashes), radius)]):
        progress("comparing hashes", number, len(searches) + 1)
        most = _MOST_PAIRS[0] + len(searched) * _MOST_PAIRS[1]
        found = find_close_pairs(hashes, queries, within, most)
        complete &= found.radius == within
        inside = queries[found.queries] != FLAT
        lower = np.minimum(found.queries, found.matches)[inside]
        upper = np.maximum(found.queries, found.matches)[inside]
        keys.append(lower * len(searched) + upper)
    upright, turned = np.unique(np.concatenate(keys[:-1])), np.unique(keys[-1])
    cut = max(1, len(searched))
    return np.stack(np.divmod(upright, cut), 1), np.stack(np.divmod(turned, cut), 1), complete


class _Album:
    """Compares images by their index; keeps the views it made last."""

    def __init__(self, load_pixels: LoadPixels) -> None:
        self._load_pixels = load_pixels
        self._views = lru_cache(maxsize=_VIEWS_KEPT)(self._make_views)
        self._small = lru_cache(maxsize=_SMALL_KEPT)(self._smallest_view)

    def compare(self, pairs: np.ndarray, is_mirrored: bool, threshold: float) -> np.ndarray:
        """The likeness of each pair, float64 [B]; -1 where they are not the same picture."""
        promising = np.flatnonzero(self.compare_quickly(pairs, is_mirrored) >= _QUICK)
        values = np.full(len(pairs), -1.0)
        for place in promising.tolist():
            first, second = (self._views(image) for image in pairs[place].tolist())
            if first is not None and second is not None:
                second = mirror(second) if is_mirrored else second
                values[place] = _judge(first, second, threshold)
        return values

    def compare_quickly(self, pairs: np.ndarray, is_mirrored: bool) -> np.ndarray:
        """`quick_likeness` of each pair, float64 [B]; -1 where an image cannot be read any more."""
        values = np.full(len(pairs), -1.0)
        images = np.unique(pairs).tolist()
        found = zip(images, map_in_order(self._small, images), strict=True)
        small = {image: view for image, view in found if view is not None}
        there = [n for n, pair in enumerate(pairs.tolist()) if all(i in small for i in pair)]
        if there:
            first, second = (np.stack([small[i] for i in pairs[there, k].tolist()]) for k in (0, 1))
            second = second[:, :, ::-1] if is_mirrored else second
            values[there] = quick_likeness(first, second)
        return values

    def _smallest_view(self, image: int) -> np.ndarray | None:
        views = self._make_views(image)
        return None if views is None else views[0]

    def _make_views(self, image: int) -> Views | None:
        pixels = self._load_pixels(image)
        return None if pixels is None else make_views(pixels)


def _judge(first: Views, second: Views, threshold: float) -> float:
    """The likeness of two pictures, -1 where it is no proof that they are the same."""
    value = likeness(first, second)
    if value < threshold:
        return -1.0
    details = min(count_details(first), count_details(second))
    evidence = np.arctanh(min(value, 0.999999)) * np.sqrt(details)
    return value if evidence >= LEAST_EVIDENCE else -1.0


def _chance_likeness(images: np.ndarray, album: _Album) -> float:
    """The likeness that any two of the images hardly ever reach by chance; -1 if there are few.

    Pictures of a kind (digits, one camera's view of one place) are alike without being the same.
    """
    draws = uniform_draws((0, stream("chance pairs")), np.arange(_CHANCE_PAIRS), 2)
    pairs = np.unique((draws * len(images)).astype(np.int64), axis=0)
    pairs = pairs[pairs[:, 0] != pairs[:, 1]]
    if len(pairs) < _FEWEST_CHANCE_PAIRS:
        return -1.0
    values = album.compare_quickly(images[pairs], is_mirrored=False)
    scores = np.arctanh(np.clip(values[values > -1], -0.999999, 0.999999))
    if len(scores) < _FEWEST_CHANCE_PAIRS:
        return -1.0
    # Quantiles: copies among the pairs drawn are far out, and must not raise the threshold.
    middle, upper = np.quantile(scores, (0.5, 0.84))
    return float(np.tanh(middle + CHANCE_DEVIATIONS * (upper - middle)))


def _join(groups: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """The groups with the two images of every pair in one, named by the lowest index."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    inside = np.flatnonzero(groups != ALONE)
    first = np.append(inside, pairs[:, 0])
    second = np.append(groups[inside], pairs[:, 1])
    links = coo_array((np.ones(len(first), np.int8), (first, second)), shape=(len(groups),) * 2)
    _, members = connected_components(links, directed=False)
    _, lowest, counts = np.unique(members, return_index=True, return_counts=True)
    return np.where(counts[members] > 1, lowest[members], ALONE).astype(np.int64)
