"""Writing for many callers with one commit: what comes while a write is under way goes out together with the next."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

import asyncpg

from shared.errors import Unavailable

MAX_GROUP = 128
"""Most items of one write: a group takes milliseconds, and whoever comes behind it waits no longer."""
GATHER_SECONDS = 0.001
MAX_GATHER_SECONDS = 0.008
"""Where several came together, the next group waits for more: 1 ms for each of the last one, and 8 ms at the most. A
write costs the database and its client a few times as much as a row of it, and a lone caller waits for nothing."""
MAX_WAITING = 10_000
"""Most items that wait; more than that is several seconds of work, and the caller had better come again."""

Item = TypeVar("Item")
Result = TypeVar("Result")


class GroupedWriter(Generic[Item, Result]):
    """Hands items to `write` in groups, one group at a time, and each result to whoever brought its item.

    `write` gets 1 to MAX_GROUP items and returns as many results; a result that is an exception is raised to its own
    caller only. When the whole group fails for something that one of them may be to blame for (asyncpg.PostgresError),
    each is written by itself; any other failure, such as an outage, is raised to all of them. An item that was taken is
    written even when its caller is cancelled meanwhile.
    """

    def __init__(self, write: Callable[[Sequence[Item]], Awaitable[Sequence[Result | Exception]]]) -> None:
        self._write = write
        self._waiting: deque[tuple[Item, asyncio.Future[Result]]] = deque()
        self._worker: asyncio.Task[None] | None = None

    async def add(self, item: Item) -> Result:
        """Returns the result of writing an item. Raises Unavailable when too many wait, or what its write raises."""
        if len(self._waiting) >= MAX_WAITING:
            raise Unavailable("too many writes are waiting for the database; try again", reason="DATABASE_BUSY")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Result] = loop.create_future()
        self._waiting.append((item, future))
        if self._worker is None:
            self._worker = loop.create_task(self._work())
        # A caller that leaves cancels only its waiting: the future is looked at before it is set.
        return await future

    async def drain(self) -> None:
        """Returns when everything that was taken is written."""
        while self._worker is not None:
            await asyncio.wait([self._worker])

    async def _work(self) -> None:
        last = 0
        try:
            while self._waiting:
                if last > 1 and len(self._waiting) < MAX_GROUP:
                    await asyncio.sleep(min(last * GATHER_SECONDS, MAX_GATHER_SECONDS))
                last = len(self._waiting)
                group = [self._waiting.popleft() for _ in range(min(len(self._waiting), MAX_GROUP))]
                await self._write_group(group)
        finally:
            self._worker = None

    async def _write_group(self, group: Sequence[tuple[Item, "asyncio.Future[Result]"]]) -> None:
        try:
            results = await self._write([item for item, _ in group])
        except asyncpg.PostgresError as error:
            if len(group) == 1:
                _settle(group[0][1], error)
                return
            for one in group:
                await self._write_group([one])
        except Exception as error:
            for _, future in group:
                _settle(future, error)
        else:
            for (_, future), result in zip(group, results, strict=True):
                _settle(future, result)


def _settle(future: "asyncio.Future[Result]", result: Result | Exception) -> None:
    if future.done():
        return
    if isinstance(result, Exception):
        future.set_exception(result)
    else:
        future.set_result(result)
