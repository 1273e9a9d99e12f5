import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resnetkit.data.checks import close_hashes
from resnetkit.data.checks.close_hashes import find_close_pairs
from resnetkit.data.checks.hashes import mirrored


def draw_hashes(seed, count):
    """Random hashes, and hashes few bits from them."""
    generator = np.random.default_rng(seed)
    hashes = generator.integers(0, 2**64, count, dtype=np.uint64)
    for place in range(count // 2, count):
        flips = generator.choice(64, generator.integers(0, 16), replace=False).astype(np.uint64)
        near = hashes[generator.integers(0, count // 2)]
        hashes[place] = near ^ np.bitwise_or.reduce(np.uint64(1) << flips, initial=np.uint64(0))
    return hashes


def every_pair(hashes, queries, radius):
    apart = np.bitwise_count(queries[:, None] ^ hashes[None, :])
    asked, matches = np.nonzero(apart <= radius)
    return {(i, j) for i, j in zip(asked.tolist(), matches.tolist(), strict=True) if i != j}


def as_pairs(found):
    return list(zip(found.queries.tolist(), found.matches.tolist(), strict=True))


@pytest.mark.parametrize("radius", [0, 5, 8, 9, 11])
@pytest.mark.parametrize("turn", [np.copy, mirrored], ids=["as they are", "mirrored"])
@pytest.mark.parametrize("few", [10_000, 0], ids=["all pairs", "by bands"])
def test_finds_every_pair_once(radius, turn, few, monkeypatch):
    monkeypatch.setattr(close_hashes, "_FEW", few)
    monkeypatch.setattr(close_hashes, "_BLOCK", 100)  # many blocks
    hashes = draw_hashes(radius, 200)
    found = find_close_pairs(hashes, turn(hashes), radius, 10**6)
    pairs = as_pairs(found)
    assert len(set(pairs)) == len(pairs)
    assert set(pairs) == every_pair(hashes, turn(hashes), radius)
    assert found.radius == radius


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 1000), st.integers(2, 60), st.integers(0, 200))
def test_too_many_pairs_leave_the_nearest(seed, count, most):
    hashes = draw_hashes(seed, count)
    found = find_close_pairs(hashes, hashes, 11, most)
    pairs, every = set(as_pairs(found)), every_pair(hashes, hashes, 11)
    assert len(pairs) <= most
    if len(every) <= most:
        assert pairs == every
    elif found.radius > 0:
        assert found.radius < 11
        assert pairs == every_pair(hashes, hashes, found.radius)


def test_equal_hashes_do_not_fill_the_memory():
    found = find_close_pairs(np.full(3000, 7, np.uint64), np.full(3000, 7, np.uint64), 11, 500)
    assert len(found.queries) == 500
    assert found.radius == 0


def test_no_hashes_give_no_pairs():
    none = np.zeros(0, np.uint64)
    assert as_pairs(find_close_pairs(none, none, 11, 10)) == []
