"""Telling every watcher what is revoked, from Postgres's notifications and, should one get lost, from the table."""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass

import asyncpg

from services.auth.store_postgres import SQL
from shared.db.pool import CONNECT_SECONDS, OUTAGE
from shared.errors import ResourceExhausted

logger = logging.getLogger(__name__)

CHANNEL = "gaia_revocations"
POLL_SECONDS = 1.0
"""The table is read so often even without a notification; each reading is a heartbeat to all watchers."""
KEPT = 1000
"""How many revocations a watcher that was away can be told of; one that missed more is told to forget everything."""
MAX_READ = 100_000
"""More than this many revocations at one reading come with the next one."""
MAX_WATCHERS = 512
FORGET_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class RevocationEvent:
    """A revocation; with neither id a heartbeat, with `reset` an order to forget everything."""

    sequence: int
    api_key_id: str = ""
    user_id: str = ""
    reset: bool = False


class RevocationHub:
    """Reads revocations once and passes them to any number of watchers.

    A watcher hears something only as often as the table was really read: with Postgres away there is no heartbeat.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._events: deque[RevocationEvent] = deque(maxlen=KEPT)
        self._oldest_known = 0
        self._sequence = 0
        self._reading = asyncio.Event()
        self._wanted = asyncio.Event()
        self._watchers = 0

    async def run(self) -> None:
        """Reads until cancelled; connects again whenever the connection breaks."""
        while True:
            try:
                await self._listen()
            except (*OUTAGE, asyncpg.UndefinedTableError, asyncpg.InsufficientPrivilegeError) as error:
                # The last two: the database is not migrated yet, which whoever starts everything at once may see.
                logger.warning("revocation listener lacks the database", extra={"cause": type(error).__name__})
            await asyncio.sleep(POLL_SECONDS / 4)

    async def watch(self, after_sequence: int) -> AsyncIterator[RevocationEvent]:
        """Yields what happens after a number, and a heartbeat after each reading. 0 starts from now."""
        if self._watchers >= MAX_WATCHERS:
            raise ResourceExhausted(f"{MAX_WATCHERS} watchers follow revocations already", retry_after=5.0)
        self._watchers += 1
        try:
            # The last reading may be long ago: whoever comes back while the database is away must not take the greeting
            # for a heartbeat. So one is asked for now; all who come meanwhile share it.
            self._wanted.set()
            await self._next_reading()
            position = after_sequence or self._sequence
            if position > self._sequence or position < self._oldest_known - 1:
                yield RevocationEvent(self._sequence, reset=True)
                position = self._sequence
            while True:
                for event in [event for event in self._events if event.sequence > position]:
                    yield event
                    position = event.sequence
                yield RevocationEvent(position)
                await self._next_reading()
                if position < self._oldest_known - 1:
                    yield RevocationEvent(self._sequence, reset=True)
                    position = self._sequence
        finally:
            self._watchers -= 1

    async def _next_reading(self) -> None:
        await self._reading.wait()

    async def _listen(self) -> None:
        connection = await asyncpg.connect(self._url, timeout=CONNECT_SECONDS, command_timeout=POLL_SECONDS * 2)
        try:
            await connection.add_listener(CHANNEL, lambda *_: self._wanted.set())
            forget_at = 0.0
            while True:
                self._wanted.clear()
                await self._read(connection)
                now = asyncio.get_running_loop().time()
                if now >= forget_at:
                    await connection.execute(SQL["forget_old_revocations"])
                    forget_at = now + FORGET_SECONDS
                try:
                    async with asyncio.timeout(POLL_SECONDS):
                        await self._wanted.wait()
                except TimeoutError:
                    continue
        finally:
            connection.terminate()

    async def _read(self, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        if not self._oldest_known:
            rows = list(reversed(await connection.fetch(SQL["latest_revocations"], KEPT)))
            self._oldest_known = rows[0]["sequence"] if rows else 1
        else:
            rows = await connection.fetch(SQL["revocations_after"], self._sequence, MAX_READ)
        for row in rows:
            key, user = (str(row[name] or "") for name in ("api_key_id", "user_id"))
            self._events.append(RevocationEvent(row["sequence"], api_key_id=key, user_id=user))
            self._sequence = row["sequence"]
        if self._events:
            self._oldest_known = self._events[0].sequence
        # Wake everyone who waits now; whoever waits afterwards waits for the next reading.
        self._reading.set()
        self._reading.clear()
