"""Limits a minute: in this process, or shared by several through Redis or Valkey."""

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from shared.rates.windows import WINDOW_SECONDS, Windows

if TYPE_CHECKING:  # loaded where a URL names such a store
    from shared.rates.store import SharedStore

logger = logging.getLogger(__name__)

STORE_SECONDS = 0.1
"""How long a request waits for the shared store before it is counted here instead."""
RETRY_SECONDS = 1.0
"""How long a store that failed is left alone."""
UNBOUNDED = 2**53
"""A limit that nothing reaches and that Redis's numbers hold exactly."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether something may be used now, of what limit, what is left of it, and in how many seconds more will be."""

    allowed: bool
    limit: int
    remaining: int
    reset: int


class RateLimiter:
    """Counts uses a minute by key.

    With no URL it counts in this process and answers at once. With one (`redis://`, `rediss://`, `valkey://`,
    `valkeys://`, `redis+unix://`) all processes with the same URL count together; while that store does not answer,
    each counts by itself, so that a store that is down neither stops requests nor lifts the limits: at worst a key gets
    its limit once from each process. One request a second asks the store again. `fallbacks` counts the uses that were
    counted here for it, `degraded` tells whether the store failed when it was last asked. A use waits for it as many
    seconds as `patience` says.
    """

    def __init__(
        self, url: str = "", clock: Callable[[], float] = time.monotonic, *, patience: float = STORE_SECONDS
    ) -> None:
        self._clock = clock
        self._patience = patience
        self._windows = Windows(clock)
        self._store = _open(url, patience) if url else None
        self._retry_at = float("-inf")
        self._failing_since: float | None = None
        self.fallbacks = 0

    @property
    def degraded(self) -> bool:
        """Whether the shared store failed when it was last asked."""
        return self._failing_since is not None

    @property
    def degraded_seconds(self) -> float:
        """For how long the shared store has failed; 0 while it answers."""
        since = self._failing_since
        return 0.0 if since is None else self._clock() - since

    def hit(self, key: str, limit: int, amount: int = 1) -> Verdict | Awaitable[Verdict]:
        """Counts an amount unless it would exceed the limit of a minute.

        The verdict comes at once where the counting is done in this process.
        """
        if self._store is None:
            return self._hit_here(key, limit, amount)
        return self._hit_store(self._store, key, limit, amount)

    async def charge(self, key: str, amount: int) -> None:
        """Counts an amount whatever the limit: what was used up before its size was known, such as tokens."""
        verdict = self.hit(key, UNBOUNDED, amount)
        if not isinstance(verdict, Verdict):
            await verdict

    async def close(self) -> None:
        """Closes connections to the shared store."""
        if self._store is not None:
            await self._store.close()

    def _hit_here(self, key: str, limit: int, amount: int) -> Verdict:
        allowed = self._windows.take(key, limit, amount)
        return _verdict(allowed, limit, *self._windows.state(key))

    async def _hit_store(self, store: "SharedStore", key: str, limit: int, amount: int) -> Verdict:
        probing = self._failing_since is not None
        if probing:
            now = self._clock()
            if now < self._retry_at:
                self.fallbacks += 1
                return self._hit_here(key, limit, amount)
            self._retry_at = now + RETRY_SECONDS  # the others go on without waiting for this one
        try:
            async with asyncio.timeout(self._patience):
                allowed, state = await store.take(key, limit, amount)
        except (ConnectionError, TimeoutError) as error:
            self.fallbacks += 1
            self._fail(error)
            return self._hit_here(key, limit, amount)
        if probing:  # and not by what was on its way when the store failed
            self._recover()
        return _verdict(allowed, limit, *state)

    def _fail(self, error: Exception) -> None:
        now = self._clock()
        self._retry_at = now + RETRY_SECONDS
        if self._failing_since is None:  # said once for each outage
            self._failing_since = now
            logger.warning(
                "rate limits are counted in each process: their store failed",
                extra={"cause": str(error) or type(error).__name__},
            )

    def _recover(self) -> None:
        logger.warning("rate limits are shared again", extra={"after_seconds": round(self.degraded_seconds, 1)})
        self._failing_since = None


def _open(url: str, patience: float) -> "SharedStore":
    from shared.rates.store import SharedStore  # its clients take megabytes that nobody else need pay for

    return SharedStore(url, patience)


def _verdict(
    allowed: bool, limit: int, previous: int, previous_left: float, current: int, current_left: float
) -> Verdict:
    weighted = previous * previous_left / WINDOW_SECONDS + current
    waits = []
    if previous:
        waits.append(previous_left % (WINDOW_SECONDS / previous))
    if current:
        waits.append(current_left % WINDOW_SECONDS)
    wait = math.ceil(min(waits)) if waits else 0
    return Verdict(allowed, limit, max(0, limit - math.floor(weighted)), wait if allowed else max(1, wait))
