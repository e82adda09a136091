"""Counting a sliding minute in this process."""

import pytest

from shared.rates.windows import WINDOW_SECONDS, Windows


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 600.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_minute_takes_its_limit_and_no_more(clock: Clock):
    windows = Windows(clock)
    assert [windows.take("key", 3, 1) for _ in range(5)] == [True, True, True, False, False]
    assert windows.take("other", 3, 3)


def test_an_amount_that_does_not_fit_whole_is_not_counted(clock: Clock):
    windows = Windows(clock)
    assert windows.take("key", 10, 8)
    assert not windows.take("key", 10, 3)
    assert windows.take("key", 10, 2)


def test_the_last_minute_counts_as_far_as_it_still_overlaps(clock: Clock):
    windows = Windows(clock)
    assert windows.take("key", 10, 10)
    clock.now += WINDOW_SECONDS * 1.5
    assert windows.take("key", 10, 5)
    assert not windows.take("key", 10, 1)
    clock.now += WINDOW_SECONDS * 0.5
    assert windows.take("key", 10, 5)


def test_after_two_minutes_nothing_counts(clock: Clock):
    windows = Windows(clock)
    windows.take("key", 10, 10)
    clock.now += WINDOW_SECONDS * 2
    assert windows.take("key", 10, 10)


def test_memory_is_bounded_and_those_in_use_stay(clock: Clock):
    windows = Windows(clock, capacity=100)
    windows.take("in use", 500, 1)
    for number in range(1000):
        windows.take(f"key {number}", 1, 1)
        windows.take("in use", 5000, 1)
    assert windows.state("in use")[2] == 1001
    assert windows.state("key 0")[2] == 0
