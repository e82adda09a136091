"""Storing turns so that nothing that was acknowledged can be missing, whoever hangs up when."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from shared.errors import GaiaError, Unavailable

logger = logging.getLogger(__name__)

RESCUE_SECONDS = 5.0
"""How long storing the beginning of a broken reply may hold up the end of its call."""

T = TypeVar("T")


class Recorder:
    """Runs the writes of turns in tasks of their own: a caller that leaves does not undo what was begun.

    `ping` returns when the store answers, and raises Unavailable when it does not.
    """

    def __init__(self, ping: Callable[[], Awaitable[None]]) -> None:
        self._ping = ping
        self._running: set[asyncio.Task[Any]] = set()
        self._suspect = False

    async def check(self) -> None:
        """Raises Unavailable when the store is known to be away, so that no provider is asked for nothing.

        Asks the store only when its last write failed.
        """
        if self._suspect:
            await self._ping()
            self._suspect = False

    async def keep(self, write: Coroutine[Any, Any, T]) -> T:
        """Returns what the write returns. It goes on to its end even when the caller is cancelled."""
        task = asyncio.get_running_loop().create_task(self._watched(write))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return await asyncio.shield(task)

    async def rescue(self, write: Callable[[], Coroutine[Any, Any, object]]) -> None:
        """Stores what arrived of a reply that broke off; a failure is logged, since the reply's own is being told."""
        try:
            async with asyncio.timeout(RESCUE_SECONDS):
                await self.keep(write())
        except (GaiaError, TimeoutError) as error:
            logger.warning("the beginning of a broken reply was not stored", extra={"cause": type(error).__name__})

    async def drain(self) -> None:
        """Returns when all writes have ended."""
        while self._running:
            await asyncio.wait(self._running)

    async def _watched(self, write: Coroutine[Any, Any, T]) -> T:
        try:
            return await write
        except Unavailable:
            self._suspect = True
            raise
