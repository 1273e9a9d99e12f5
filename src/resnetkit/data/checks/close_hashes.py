"""All pairs of 64-bit hashes that differ in few bits, without comparing every pair.

Multi-index hashing (Norouzi, Punjani & Fleet 2012, "Fast search in Hamming space with multi-index
hashing", section 3): of two hashes at most r bits apart, cut into m bands, one band is at most
r / m bits apart; so each band is a table that is asked for every key near one's own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations, pairwise

import numpy as np

_FEW = 4_000  # hashes; below, comparing all pairs is faster than asking tables
_BLOCK = 1 << 21  # pairs that are looked at at one time


@dataclass(frozen=True, kw_only=True, eq=False)
class ClosePairs:
    """Pairs of different places (query, match), int64 [P] each, at most `radius` bits apart."""

    queries: np.ndarray
    matches: np.ndarray
    radius: int  # smaller than the one searched for where there were more pairs than asked for


def find_close_pairs(hashes: np.ndarray, queries: np.ndarray, radius: int, most: int) -> ClosePairs:
    """Pairs i, j, not equal, with at most `radius` bits between queries[i] and hashes[j].

    Both are uint64 [N]. No more than the `most` nearest pairs come back: the radius shrinks until
    they fit, and where even equal hashes are too many, the first ones come.
    """
    found = ClosePairs(queries=np.zeros(0, np.int64), matches=np.zeros(0, np.int64), radius=radius)
    distances = np.zeros(0, np.uint8)
    for asked, matches in _near(hashes, queries, radius):
        apart = np.bitwise_count(queries[asked] ^ hashes[matches])
        close = apart <= found.radius
        if not close.any():
            continue
        found = ClosePairs(
            queries=np.append(found.queries, asked[close]),
            matches=np.append(found.matches, matches[close]),
            radius=found.radius,
        )
        distances = np.append(distances, apart[close])
        if len(distances) > most:
            found, distances = _nearest(found, distances, most)
    return found


def _nearest(found: ClosePairs, distances: np.ndarray, most: int) -> tuple[ClosePairs, np.ndarray]:
    counts = np.cumsum(np.bincount(distances, minlength=found.radius + 1))
    radius = max(0, int(np.searchsorted(counts, most, side="right")) - 1)
    kept = np.flatnonzero(distances <= radius)[:most]
    pairs = ClosePairs(queries=found.queries[kept], matches=found.matches[kept], radius=radius)
    return pairs, distances[kept]


def _near(
    hashes: np.ndarray, queries: np.ndarray, radius: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs (i, j), i and j not equal, within `radius`, each once."""
    if len(hashes) <= _FEW:
        rows = max(1, _BLOCK // max(1, len(hashes)))
        for start in range(0, len(hashes), rows):
            apart = np.bitwise_count(queries[start : start + rows, None] ^ hashes[None, :])
            asked, matches = np.nonzero(apart <= radius)
            asked += start
            yield asked[asked != matches], matches[asked != matches]
        return
    # Three bands of up to 2 changed bits reach a radius of 8, four one of 11.
    bands = _cut_bands(3 if radius <= 8 else 4)
    flips = radius // len(bands)
    for number, (shift, bits) in enumerate(bands):
        for asked, matches in _same_band(hashes, queries, shift, bits, flips):
            apart = queries[asked] ^ hashes[matches]
            new = (asked != matches) & (np.bitwise_count(apart) <= radius)
            asked, matches, apart = asked[new], matches[new], apart[new]
            new = np.ones(len(apart), bool)
            for other_shift, other_bits in bands[:number]:  # an earlier band has given this pair
                new &= np.bitwise_count(_cut(apart, other_shift, other_bits)) > flips
            yield asked[new], matches[new]


def _same_band(
    hashes: np.ndarray, queries: np.ndarray, shift: int, bits: int, flips: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs whose `bits` bits from `shift` on are at most `flips` apart, a block at a time."""
    keys = _cut(hashes, shift, bits).astype(np.int64)
    asked = _cut(queries, shift, bits).astype(np.int64)
    order = np.argsort(keys, kind="stable")
    starts = np.searchsorted(keys[order], np.arange((1 << bits) + 1))
    for pattern in _patterns(bits, flips):
        probes = asked ^ pattern
        counts = starts[probes + 1] - starts[probes]
        hit = np.flatnonzero(counts)
        ends = np.cumsum(counts[hit])
        done = 0
        while done < len(hit):
            before = ends[done - 1] if done else 0
            stop = max(done + 1, int(np.searchsorted(ends, before + _BLOCK, side="right")))
            part = hit[done:stop]
            yield np.repeat(part, counts[part]), order[_ranges(starts[probes[part]], counts[part])]
            done = stop


def _ranges(starts: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """start, start + 1, ... `count` numbers for each start, one after the other."""
    offsets = np.repeat(starts - np.cumsum(counts) + counts, counts)
    return offsets + np.arange(len(offsets))


def _patterns(bits: int, flips: int) -> list[int]:
    """All numbers of `bits` bits of which at most `flips` are set."""
    return [
        sum(1 << place for place in places)
        for count in range(flips + 1)
        for places in combinations(range(bits), count)
    ]


def _cut_bands(count: int) -> list[tuple[int, int]]:
    """(shift, bits) of `count` bands of nearly equal width that cover 64 bits."""
    edges = [64 * band // count for band in range(count + 1)]
    return [(low, high - low) for low, high in pairwise(edges)]


def _cut(hashes: np.ndarray, shift: int, bits: int) -> np.ndarray:
    return (hashes >> np.uint64(shift)) & np.uint64((1 << bits) - 1)
