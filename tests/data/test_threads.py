import threading
import time

import pytest

from resnetkit.data.threads import available_cores, map_in_order


def test_results_come_in_order_with_only_a_few_ahead():
    taken = []

    def items():
        for number in range(50):
            taken.append(number)
            yield number

    def work(number):
        time.sleep(0.002 * (number % 3))
        return number * 2

    seen = []
    for result in map_in_order(work, items(), threads=2):
        seen.append(result)
        assert len(taken) - len(seen) <= 5
    assert seen == list(range(0, 100, 2))


def test_an_error_stops_what_has_not_begun():
    done, lock = [], threading.Lock()

    def work(number):
        if number == 3:
            raise KeyError("three")
        with lock:
            done.append(number)

    with pytest.raises(KeyError, match="three"):
        list(map_in_order(work, range(1000), threads=2))
    assert len(done) < 20


def test_no_items_and_the_cores_we_may_use():
    assert list(map_in_order(str, [])) == []
    assert available_cores() >= 1
