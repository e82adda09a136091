"""What is kept of requests with an Idempotency-Key, in Postgres: one table for all services, by user."""

import datetime as dt
import uuid
from pathlib import Path

from shared.db.batches import delete_old
from shared.db.pool import Database
from shared.db.queries import load_queries
from shared.idempotency import Kept

SQL = load_queries(Path(__file__).with_name("idempotency.sql"))
DEFAULT_HOURS = 24


class IdempotencyRecords:
    """Keeps answers for `hours`. Every method raises Unavailable when the database does not answer."""

    def __init__(self, database: Database, *, hours: int = DEFAULT_HOURS) -> None:
        self._database = database
        self._hours = hours

    async def claim(
        self, user_id: uuid.UUID, key: str, fingerprint: bytes, call_id: uuid.UUID, lease_until: dt.datetime
    ) -> Kept | None:
        """Claims a key for a call until its lease is over; returns what is kept of an earlier call, if there is one."""
        arguments = (user_id, key, fingerprint, call_id, lease_until, self._hours)
        row = await self._database.row(SQL["claim_idempotency_key"], *arguments)
        if row is None:
            # Another request claimed it at this very moment.
            return Kept(fingerprint, None)
        return None if row["is_new"] else Kept(row["fingerprint"], row["answer"])

    async def keep(self, call_id: uuid.UUID, answer: bytes) -> None:
        """Keeps the answer of a call."""
        await self._database.execute(SQL["keep_answer"], call_id, answer)

    async def release(self, call_id: uuid.UUID) -> None:
        """Gives the key of a call back, since no answer is kept for it."""
        await self._database.execute(SQL["release_idempotency_key"], call_id)

    async def forget(self) -> None:
        """Deletes what was kept longer than it has to be."""
        await delete_old(self._database, SQL["forget_idempotency_keys"], self._hours)
