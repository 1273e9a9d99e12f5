"""Stopwatches, on a clock that the test moves."""

from __future__ import annotations

import pytest

from resnetkit.doctor import timing
from resnetkit.doctor.timing import drop_from_cache, summarise, time_rounds, time_stream


@pytest.fixture
def clock(monkeypatch):
    """A clock that only moves when told: clock(seconds)."""
    now = [100.0]

    def advance(seconds):
        now[0] += seconds

    monkeypatch.setattr(timing.time, "perf_counter", lambda: now[0])
    return advance


def test_the_median_is_per_image_and_the_first_round_does_not_count(clock):
    rounds = iter([50.0, 4.0, 2.0, 8.0, 100.0])

    def work():
        clock(next(rounds))
        return 2

    measured = time_rounds(work, 12.0)
    assert (measured.seconds, measured.fastest, measured.slowest) == (2.0, 1.0, 4.0)
    assert (measured.rounds, measured.images_per_second) == (3, 0.5)


def test_a_round_longer_than_the_budget_is_still_repeated(clock):
    def work():
        clock(60.0)
        return 1

    assert time_rounds(work, 1.0).rounds == 2


def test_a_clock_that_stands_still_gives_no_division_by_zero(clock):
    assert time_rounds(lambda: 1, 1.0).images_per_second == pytest.approx(1e9)


def test_a_stream_is_timed_from_when_it_runs(clock):
    def batches():
        for seconds in [30.0, 0.1, *[2.0] * 50]:
            clock(seconds)
            yield 8

    measured = time_stream(batches(), 20.0, skipped=2)
    assert measured.seconds == pytest.approx(0.25)
    assert measured.fastest == pytest.approx(measured.slowest)


def test_bursts_do_not_pass_for_speed(clock):
    def batches():  # two workers: every second batch has to be waited for
        for number in range(1000):
            clock(4.0 if number % 2 else 0.0)
            yield 1

    assert time_stream(batches(), 100.0, skipped=4).seconds == pytest.approx(2.0, rel=0.25)


def test_a_stream_shorter_than_the_budget_is_enough(clock):
    def batches():
        for size in (4, 4, 2):
            clock(1.0)
            yield size

    assert time_stream(batches(), 99.0, skipped=0).seconds == pytest.approx((1 / 4 + 1 / 2) / 2)


def test_summaries_are_of_all_rounds():
    assert summarise([3.0, 1.0, 2.0]).seconds == 2.0


def test_emptying_the_cache_changes_no_file(tmp_path):
    path = tmp_path / "a.jpg"
    path.write_bytes(b"x" * 10_000)
    before = path.stat()
    assert drop_from_cache([path]) in (True, False)
    assert path.read_bytes() == b"x" * 10_000
    assert (path.stat().st_mtime_ns, path.stat().st_size) == (before.st_mtime_ns, 10_000)
