"""Slowing down addresses that guess keys, without locking out anybody who shares the address."""

import asyncio
import contextlib
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable

from shared.errors import ResourceExhausted, Unauthenticated
from shared.identity.authenticator import Authenticator, Identity

FAILURES_A_MINUTE = 30
"""More failures than this from one address within a minute make it slow for the rest of that minute."""
WINDOW_SECONDS = 60.0
MAX_ADDRESSES = 10_000
"""Most addresses that are watched; the one that failed longest ago is forgotten first."""
LANE_WIDTH = 2
"""How many questions to auth all slow addresses together may have under way."""
LANE_QUEUE = 256
LANE_SECONDS = 2.0


class FailureThrottle:
    """Counts failures by address, and lets slow addresses ask about new keys two at a time.

    Nobody is refused for what others did: a key that is cached or was good before does not pass here at all, and a new
    one waits its turn in the lane. Only a lane that is full, which takes hundreds of requests at once, answers 429.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures: OrderedDict[str, tuple[float, int]] = OrderedDict()
        self._lane = asyncio.Semaphore(LANE_WIDTH)
        self._waiting = 0

    async def authenticate(self, authenticator: Authenticator, key: str, address: str) -> Identity:
        """Returns the identity of a key that an address sends.

        Raises Unauthenticated, which counts as a failure of the address, Unavailable, or what `lane` does.
        """
        try:
            if self.is_slow(address) and not authenticator.knows(key):
                async with self.lane():
                    return await authenticator.authenticate(key)
            return await authenticator.authenticate(key)
        except Unauthenticated:
            self.failed(address)
            raise

    def failed(self, address: str) -> None:
        """Notes that a key from this address was not valid."""
        began, count = self._failures.pop(address, (0.0, 0))
        now = self._clock()
        if now - began >= WINDOW_SECONDS:
            began, count = now, 0
        self._failures[address] = (began, count + 1)
        if len(self._failures) > MAX_ADDRESSES:
            self._failures.popitem(last=False)

    def is_slow(self, address: str) -> bool:
        """Whether new keys from this address have to take the lane."""
        found = self._failures.get(address)
        return found is not None and found[1] > FAILURES_A_MINUTE and self._clock() - found[0] < WINDOW_SECONDS

    @contextlib.asynccontextmanager
    async def lane(self) -> AsyncIterator[None]:
        """Waits for a place in the lane. Raises ResourceExhausted when too many wait, or it takes too long."""
        if self._waiting >= LANE_QUEUE:
            raise _crowded()
        self._waiting += 1
        try:
            async with asyncio.timeout(LANE_SECONDS):
                await self._lane.acquire()
        except TimeoutError as error:
            raise _crowded() from error
        finally:
            self._waiting -= 1
        try:
            yield
        finally:
            self._lane.release()


def _crowded() -> ResourceExhausted:
    return ResourceExhausted("too many keys that are not valid came from this address; wait a moment", retry_after=1.0)
