"""Writes the records of a stream: at once where they come one by one, together where they come in a rush."""

import asyncio

from edge.transcoding.exchange import Exchange

GAP_SECONDS = 0.002
"""Records closer together than this share a write: a write costs as much as all else that is done for a record."""

MAX_HELD_BYTES = 1 << 15
"""Bytes that are held at most before they are written."""


class Outlet:
    """Writes one response's records in order; no record waits longer than `GAP_SECONDS` for others.

    `put` waits while the client cannot take more, so that a slow reader slows the backend down.
    """

    __slots__ = ("_exchange", "_held", "_last", "_loop", "_size", "_task", "_timer")

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._loop = asyncio.get_running_loop()
        self._held: list[bytes] = []
        self._size = 0
        self._last = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None

    async def put(self, record: bytes) -> None:
        """Write a record, now or with those that follow it closely."""
        now = self._loop.time()
        if now - self._last >= GAP_SECONDS and not self._held and self._task is None:
            self._last = now
            await self._exchange.write(record)
            return
        self._held.append(record)
        self._size += len(record)
        if self._task is not None:
            task, self._task = self._task, None
            await task
        if self._size >= MAX_HELD_BYTES:
            await self._flush()
        elif self._timer is None:
            self._timer = self._loop.call_later(GAP_SECONDS, self._due)

    async def drain(self) -> None:
        """Write what is held."""
        if self._task is not None:
            task, self._task = self._task, None
            await task
        if self._held:
            await self._flush()

    def abandon(self) -> None:
        """Drop what is held; nothing is written from now on."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._task is not None:
            self._task.cancel()

    def _due(self) -> None:
        self._timer = None
        if self._held and self._task is None:
            self._task = self._loop.create_task(self._flush())

    async def _flush(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        data = b"".join(self._held)
        self._held.clear()
        self._size = 0
        self._last = self._loop.time()
        await self._exchange.write(data)
