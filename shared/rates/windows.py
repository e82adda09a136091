"""Counting in this process: a sliding window in constant time and bounded memory.

The library's own store keeps a timestamp for each hit and walks over all keys for each of them; here a key is two
counters. The approximation is the same as its sliding window counter's: the last window counts as much as it overlaps.
"""

import math
import time
from collections import OrderedDict
from collections.abc import Callable

WINDOW_SECONDS = 60
CAPACITY = 50_000
"""Most keys that are counted; of more, those used longest ago are forgotten."""


class Windows:
    """Counters by key, each over a sliding minute. No I/O; the clock is monotonic."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, capacity: int = CAPACITY) -> None:
        self._clock = clock
        self._capacity = capacity
        # By key: the number of the window, what was counted in it, and in the one before.
        self._counts: OrderedDict[str, tuple[int, int, int]] = OrderedDict()

    def take(self, key: str, limit: int, amount: int) -> bool:
        """Counts an amount unless that would exceed the limit; returns whether it was counted."""
        now = self._clock()
        number, current, previous = self._rolled(key, now)
        if self._weighted(now, current, previous) + amount > limit:
            return False
        self._counts[key] = (number, current + amount, previous)
        self._counts.move_to_end(key)
        if len(self._counts) > self._capacity:
            self._counts.popitem(last=False)
        return True

    def state(self, key: str) -> tuple[int, float, int, float]:
        """Returns the count of the last window, how long it still weighs, the count of this one, and its time left."""
        now = self._clock()
        _, current, previous = self._rolled(key, now)
        left = WINDOW_SECONDS - now % WINDOW_SECONDS
        return previous, left, current, left + WINDOW_SECONDS

    def _rolled(self, key: str, now: float) -> tuple[int, int, int]:
        number = int(now // WINDOW_SECONDS)
        known = self._counts.get(key)
        if known is None or known[0] < number - 1:
            return number, 0, 0
        return known if known[0] == number else (number, 0, known[1])

    def _weighted(self, now: float, current: int, previous: int) -> int:
        overlap = 1 - (now % WINDOW_SECONDS) / WINDOW_SECONDS
        return math.floor(previous * overlap) + current
