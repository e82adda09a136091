"""A circuit for each endpoint of a provider: one that keeps failing is left alone for a while.

    closed ──(failures in a row, or too large a share)──► open ──(its time is over)──► half-open
      ▲                                                     ▲                             │
      └────────────────(the trial succeeds)─────────────────┼─────────────────────────────┤
                                                            └───(the trial fails: longer)─┘

Half-open lets a single call through, the trial. A result is heard only in the state in which its call began: what was
on the way when the circuit opened says nothing about now.
"""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

TRIAL_SECONDS = 1.0
"""What those are told to wait who come while the trial is on its way."""


@dataclass(frozen=True, slots=True)
class CircuitRules:
    """When a circuit opens, and for how long.

    It opens after `failures` in a row, or when of at least `least_calls` in the last `window_seconds` (to twice as
    many) the share `failure_rate` failed. With `failures` 0 it never opens. Open times double from `open_seconds` to
    `longest_open_seconds`; up to a quarter of each is left out by chance, so that several processes do not try at once.
    """

    failures: int = 5
    failure_rate: float = 0.5
    least_calls: int = 20
    window_seconds: float = 30.0
    open_seconds: float = 5.0
    longest_open_seconds: float = 60.0


class Watcher(Protocol):
    """Learns what becomes of a circuit."""

    def opened(self, seconds: float) -> None:
        """It is open, and stays so for this long."""

    def closed(self) -> None:
        """It is closed again."""


class Circuit:
    """The state of one endpoint, in memory, across requests.

    Each call asks `refuses`, then `begin` for its ticket, and hands that back with `succeeded`, `failed` or `dropped`.
    """

    def __init__(
        self,
        rules: CircuitRules,
        watcher: Watcher | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._rules = rules
        self._watcher = watcher
        self._clock = clock
        self._chance = chance
        self._is_open = False
        self._on_trial = False
        self._state_number = 0
        self._open_until = 0.0
        self._next_open_seconds = rules.open_seconds
        self._in_a_row = 0
        self._window_ends = 0.0
        self._calls = self._failures = 0
        self._earlier_calls = self._earlier_failures = 0

    @property
    def is_open(self) -> bool:
        """Whether it is open or half-open."""
        return self._is_open

    def refuses(self) -> float:
        """Returns 0 where a call may begin, else the seconds after which another may."""
        if not self._is_open:
            return 0.0
        if self._on_trial:
            return TRIAL_SECONDS
        return max(0.0, self._open_until - self._clock())

    def begin(self) -> int:
        """Returns the ticket of a call that was not refused; in an open circuit it is the trial."""
        if self._is_open:
            self._on_trial = True
        return self._state_number

    def succeeded(self, ticket: int) -> None:
        """The endpoint answered: also that it refuses the request, or has a limit."""
        if ticket != self._state_number:
            return
        if self._is_open:
            self._close()
        self._in_a_row = 0
        self._count(failures=0)

    def failed(self, ticket: int) -> None:
        """The endpoint failed."""
        if ticket != self._state_number:
            return
        if self._is_open:
            self._open()
            return
        self._in_a_row += 1
        self._count(failures=1)
        if self._is_too_bad():
            self._open()

    def dropped(self, ticket: int) -> None:
        """The call ended without telling anything about the endpoint, such as by its caller's leaving."""
        if ticket == self._state_number:
            self._on_trial = False

    def probed(self, *, answered: bool) -> None:
        """Takes in what a probe found.

        That the endpoint lists its models does not mean that they answer: only a call closes an open circuit. That it
        does not even do so keeps the next call from being tried for nothing.
        """
        if not answered and not self.refuses():
            self.failed(self._state_number)

    def _is_too_bad(self) -> bool:
        rules = self._rules
        if not rules.failures:
            return False
        calls, failures = self._calls + self._earlier_calls, self._failures + self._earlier_failures
        return self._in_a_row >= rules.failures or (
            calls >= rules.least_calls and failures >= calls * rules.failure_rate
        )

    def _count(self, failures: int) -> None:
        now = self._clock()
        if now >= self._window_ends:
            is_next = now < self._window_ends + self._rules.window_seconds
            self._earlier_calls, self._earlier_failures = (self._calls, self._failures) if is_next else (0, 0)
            self._calls = self._failures = 0
            self._window_ends = now + self._rules.window_seconds
        self._calls += 1
        self._failures += failures

    def _open(self) -> None:
        seconds = self._next_open_seconds * (1 - self._chance() / 4)
        self._next_open_seconds = min(2 * self._next_open_seconds, self._rules.longest_open_seconds)
        self._is_open, self._on_trial = True, False
        self._state_number += 1
        self._open_until = self._clock() + seconds
        if self._watcher is not None:
            self._watcher.opened(seconds)

    def _close(self) -> None:
        self._is_open = self._on_trial = False
        self._state_number += 1
        self._next_open_seconds = self._rules.open_seconds
        self._calls = self._failures = self._earlier_calls = self._earlier_failures = 0
        if self._watcher is not None:
            self._watcher.closed()
