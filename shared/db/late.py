"""Writes that come too late for whoever asked, and must not be lost: they are tried until the database is back."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from shared.errors import Unavailable

logger = logging.getLogger(__name__)

LATE_SECONDS = 1.0
"""Pause before each try."""


class LateWrites:
    """Writes that wait for a database that is away, `most` at a time; what is beyond is given up, and logged."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._waiting: set[asyncio.Task[None]] = set()

    def add(self, write: Callable[[], Awaitable[object]]) -> None:
        """Has something written that raises Unavailable as long as it cannot be; it may be tried often."""
        if len(self._waiting) >= self._most:
            logger.error("too many writes wait for the database; one is given up", extra={"waiting": self._most})
            return
        task = asyncio.get_running_loop().create_task(_keep_writing(write))
        self._waiting.add(task)
        task.add_done_callback(self._ended)

    async def drain(self) -> None:
        """Gives up what still waits."""
        for task in self._waiting:
            task.cancel()
        if self._waiting:
            await asyncio.wait(self._waiting)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._waiting.discard(task)
        if not task.cancelled() and (failure := task.exception()) is not None:
            logger.error("a late write failed", extra={"cause": type(failure).__name__})


async def _keep_writing(write: Callable[[], Awaitable[object]]) -> None:
    while True:
        await asyncio.sleep(LATE_SECONDS)
        try:
            await write()
        except Unavailable:
            continue
        return
