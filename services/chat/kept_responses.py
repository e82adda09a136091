"""Responses that a provider keeps, for the user who was told of them: fetched, followed, cancelled."""

import asyncio
import contextlib
import re
import uuid
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass

from services.chat.background import BackgroundCalls, Running
from services.chat.providers import errors
from services.chat.providers.base import KeepsResponses, Progress, Query
from services.chat.turn import Delta, Dialect
from shared.errors import GaiaError, NotFound, Unavailable, Violation

_ID = re.compile(r"[A-Za-z0-9_-]{1,255}")
"""What may stand in the path of a provider's address."""
SETTLE_SECONDS = 5.0
"""For how long booking a response may hold up the end of its stream."""


@dataclass(frozen=True, slots=True)
class _Found:
    id: str
    provider: str
    running: Running | None

    @property
    def endpoint(self) -> int:
        return 1 if self.running is None else self.running.endpoint


class KeptResponses:
    """Asks providers for what they keep. A call in the background that is seen to be over is booked at once.

    Every method raises NotFound for an id that its user was not told, the provider's errors, and Unavailable.
    """

    def __init__(self, background: BackgroundCalls) -> None:
        self._background = background

    async def retrieve(self, user_id: uuid.UUID, response_id: str, query: Query, seconds: float) -> bytes:
        """Returns a response as it is now, within so many seconds."""
        return await self._ask(await self._find(user_id, response_id), seconds, query)

    async def cancel(self, user_id: uuid.UUID, response_id: str, seconds: float) -> bytes:
        """Ends a response that is being made in the background, and returns it."""
        return await self._ask(await self._find(user_id, response_id), seconds, None)

    async def follow(self, user_id: uuid.UUID, response_id: str, query: Query, seconds: float) -> AsyncGenerator[bytes]:
        """Yields the events of a response, those to come too; the last ones when it is booked."""
        deadline = asyncio.get_running_loop().time() + seconds
        found = await self._find(user_id, response_id)

        async def begin(adapter: KeepsResponses) -> tuple[KeepsResponses, AsyncGenerator[Delta], Delta | None]:
            deltas = adapter.follow(found.id, query)
            return adapter, deltas, await anext(deltas, None)

        async with self._until(deadline, found):
            adapter, deltas, delta = await self._background.ask(found.provider, found.endpoint, begin)
        with self._background.providers[found.provider].busy(adapter):
            async with aclosing(deltas):
                while delta is not None:
                    if delta.records:
                        yield delta.records
                    if delta.last_record:
                        await self._settle_now(found)
                        yield delta.last_record
                    async with self._until(deadline, found):
                        delta = await anext(deltas, None)

    @contextlib.asynccontextmanager
    async def _until(self, deadline: float, found: _Found) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout_at(deadline):
                yield
        except TimeoutError as late:
            raise errors.timed_out(found.provider) from late

    async def _ask(self, found: _Found, seconds: float, query: Query | None) -> bytes:
        """Fetches a response, or cancels it where there is no `query`; books its call when that is over."""

        async def ask(adapter: KeepsResponses) -> Progress:
            return await (adapter.cancel(found.id) if query is None else adapter.retrieve(found.id, query))

        async with self._until(asyncio.get_running_loop().time() + seconds, found):
            progress = await self._background.ask(found.provider, found.endpoint, ask)
        if progress.is_over and found.running is not None:
            await self._settle(found.running, progress)
        return progress.reply.body

    async def _settle_now(self, found: _Found) -> None:
        if found.running is not None:
            # Where that fails the next sweep does it.
            with contextlib.suppress(GaiaError):
                await self._ask(found, SETTLE_SECONDS, ())

    async def _settle(self, running: Running, progress: Progress) -> None:
        # Where that fails the next sweep does it.
        with contextlib.suppress(Unavailable):
            await self._background.settle(running, progress)

    async def _find(self, user_id: uuid.UUID, response_id: str) -> _Found:
        providers = [name for name, pool in self._background.providers.items() if Dialect.RESPONSES in pool.dialects]
        found = None
        if _ID.fullmatch(response_id):
            found = await self._background.calls.find(user_id, response_id, providers)
        if found is None:
            what = (
                f"there is no response {response_id[:255]} that was told to you; models of OpenAI's have theirs kept "
                "there, no other provider keeps any"
            )
            raise NotFound(what, reason="RESPONSE_NOT_FOUND", violations=(Violation("response_id", what),))
        return _Found(response_id, *found)
