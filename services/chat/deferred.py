"""Openings that no budget waits for: they reach the database a moment later, and not at all when the call is over.

Until then the journal has them, so that a call whose process is killed is booked as interrupted all the same.
"""

import asyncio
import contextlib
import logging
import math
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

from services.chat.journal import Journal
from services.chat.ledger import Opening
from shared.errors import Unavailable

logger = logging.getLogger(__name__)

DEFER_SECONDS = 0.1
"""How long an opening stays out of the database: long for a statement, short for most models' first word."""
TRUST_SECONDS = 5.0
"""For how long a database that took a write is expected to take the next one."""
AWAY_SECONDS = 1.0
"""Pause between two tries while it takes none."""
DRAIN_SECONDS = 1.0


@dataclass(slots=True)
class _Deferred:
    opening: Opening
    slot: int
    is_ending: bool = False
    writing: "asyncio.Future[object] | None" = None


class DeferredOpenings:
    """Keeps openings until they are written or their calls are settled. `write` commits one, in a group with others.

    Nothing is deferred unless the database took a write just now: a call that cannot be booked is not dispatched.
    """

    def __init__(self, journal: Journal, write: Callable[[Opening], Awaitable[object]]) -> None:
        self._journal = journal
        self._write = write
        self._kept: dict[uuid.UUID, _Deferred] = {}
        self._writer: asyncio.Task[None] | None = None
        self._clock = asyncio.get_running_loop().time
        self._took_at = -math.inf

    def take(self, opening: Opening) -> bool:
        """Takes an opening over; false when it has to be written before its call is dispatched."""
        if not self._is_trusted():
            return False
        try:
            slot = self._journal.write(opening)
        except OSError as error:
            logger.error("a call was not written to the journal", extra={"cause": type(error).__name__})
            return False
        if slot is None:
            return False
        self._kept[opening.id] = _Deferred(opening, slot)
        if self._writer is None:
            self._writer = asyncio.get_running_loop().create_task(self._keep_writing())
        return True

    def wrote(self) -> None:
        """Takes note that the database took a write."""
        self._took_at = self._clock()

    @contextlib.asynccontextmanager
    async def ending(self, call_id: uuid.UUID) -> AsyncIterator[None]:
        """Keeps the opening of a call from being written while the block settles the call."""
        kept = self._kept.get(call_id)
        try:
            if kept is not None:
                kept.is_ending = True
                if kept.writing is not None:
                    await asyncio.wait([kept.writing])
            yield
        except (Unavailable, asyncio.CancelledError) as failure:
            # Whoever is cancelled does not hear whether the call was settled, and settles it once more.
            if isinstance(failure, Unavailable):
                self._took_at = -math.inf
            if kept is not None:
                kept.is_ending = False
            raise
        except BaseException:
            self._forget(call_id)
            raise
        self._forget(call_id)
        self.wrote()

    async def drain(self) -> None:
        """Returns when all is written. What a database that is away does not take stays behind in the journal."""
        if self._writer is not None:
            await asyncio.wait([self._writer], timeout=DRAIN_SECONDS)
        if self._writer is not None:
            self._writer.cancel()
        else:
            self._journal.close()

    def _is_trusted(self) -> bool:
        return self._clock() - self._took_at <= TRUST_SECONDS

    async def _keep_writing(self) -> None:
        try:
            while self._kept:
                due = list(self._kept.values())
                await asyncio.sleep(DEFER_SECONDS if self._is_trusted() else AWAY_SECONDS)
                await self._write_all([one for one in due if one.opening.id in self._kept and not one.is_ending])
        finally:
            self._writer = None

    async def _write_all(self, due: list[_Deferred]) -> None:
        for one in due:
            one.writing = asyncio.ensure_future(self._write(one.opening))
        results = await asyncio.gather(*(one.writing for one in due if one.writing), return_exceptions=True)
        for one, result in zip(due, results, strict=True):
            one.writing = None
            if isinstance(result, Unavailable):
                self._took_at = -math.inf
                continue
            if isinstance(result, Exception):
                logger.error("the opening of a call was not written", extra={"cause": type(result).__name__})
            self._forget(one.opening.id)

    def _forget(self, call_id: uuid.UUID) -> None:
        if kept := self._kept.pop(call_id, None):
            self._journal.free(kept.slot)
