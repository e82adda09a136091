"""Asking idle providers whether they are there, so that an outage is known before somebody meets it."""

import asyncio
import contextlib
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable

from services.chat.health import HealthBoard
from services.chat.resilience.pool import Pool
from services.chat.resilience.verdicts import FAULTS, answered

logger = logging.getLogger(__name__)


class Prober:
    """Probes one provider's endpoints that had no call for `seconds`, about as often."""

    def __init__(
        self,
        pool: Pool,
        board: HealthBoard,
        seconds: float,
        *,
        chance: Callable[[], float] = random.random,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._pool = pool
        self._board = board
        self._seconds = seconds
        self._chance = chance
        self._sleep = sleep

    async def run(self) -> None:
        """Probes until it is cancelled. The pauses vary by a quarter, so that processes do not ask in step."""
        while True:
            await self._sleep(self._seconds * (0.75 + self._chance() / 2))
            await self.probe_idle()

    async def probe_idle(self) -> None:
        """Probes the endpoints that are idle now."""
        for endpoint in self._pool.endpoints:
            if endpoint.in_flight or self._pool.clock() - endpoint.last_used < self._seconds:
                continue
            try:
                await self._pool.probe_endpoint(endpoint)
            except FAULTS as failure:
                self._board.probed(self._pool.id, answered=answered(failure) is not False)
            except Exception:
                # The provider's answer is not what any of this was made for; the next one may be.
                logger.exception("a probe failed", extra={"provider": self._pool.id})
            else:
                self._board.probed(self._pool.id, answered=True)


@contextlib.asynccontextmanager
async def probing(pools: Iterable[Pool], board: HealthBoard, seconds: float) -> AsyncIterator[None]:
    """Probes the pools' idle endpoints while the block runs; with 0 seconds it does not."""
    tasks = [asyncio.create_task(Prober(pool, board, seconds).run()) for pool in pools] if seconds else []
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
