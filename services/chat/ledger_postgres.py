"""The ledger in Postgres. Writes of many calls share their commits."""

import datetime as dt
import logging
import uuid
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, closing, nullcontext
from dataclasses import replace
from decimal import Decimal
from operator import attrgetter
from pathlib import Path
from typing import Any

import asyncpg
import orjson

from services.chat.conversations_postgres import storable
from services.chat.deferred import DeferredOpenings
from services.chat.journal import Journal, left_behind
from services.chat.kept_ids import KEPT_IDS_DAYS
from services.chat.ledger import Opening, Place, Settlement
from services.chat.records import Stored
from services.chat.turn import ToolCall
from shared.budgets import Refused
from shared.db.batches import delete_old
from shared.db.grouping import GroupedWriter
from shared.db.idempotency import IdempotencyRecords
from shared.db.pool import Database
from shared.db.queries import load_queries
from shared.errors import Unauthenticated
from shared.idempotency import Kept

logger = logging.getLogger(__name__)

SQL = load_queries(Path(__file__).with_name("ledger.sql"))
# A settlement booked without its conversation, and how its caller is told why.
Outcome = uuid.UUID | None | Exception

_opened: Sequence[Callable[[Opening], Any]] = (
    attrgetter("id"),
    attrgetter("lease_until"),
    attrgetter("user_id"),
    attrgetter("api_key_id"),
    attrgetter("request_id"),
    attrgetter("operation"),
    attrgetter("provider"),
    attrgetter("model"),
    attrgetter("is_stream"),
    attrgetter("month"),
)
_taken_over: Sequence[Callable[[Opening], Any]] = (*_opened, attrgetter("created_at"))
_limited: Sequence[Callable[[Opening], Any]] = (
    attrgetter("id"),
    attrgetter("month"),
    attrgetter("user_id"),
    attrgetter("api_key_id"),
    attrgetter("amount"),
    attrgetter("limits.key"),
    attrgetter("limits.user"),
    attrgetter("limits.platform"),
)
_settled: Sequence[Callable[[Settlement], Any]] = (
    attrgetter("opening.id"),
    attrgetter("opening.created_at"),
    attrgetter("opening.user_id"),
    attrgetter("opening.api_key_id"),
    attrgetter("opening.request_id"),
    attrgetter("opening.operation"),
    lambda one: one.entry.state.value,
    attrgetter("entry.provider"),
    attrgetter("entry.model"),
    attrgetter("opening.is_stream"),
    lambda one: one.entry.usage and one.entry.usage.input_tokens,
    lambda one: one.entry.usage and one.entry.usage.output_tokens,
    lambda one: one.entry.usage and one.entry.usage.cached_input_tokens,
    lambda one: one.entry.usage and one.entry.usage.cache_write_tokens,
    lambda one: one.entry.usage and one.entry.usage.reasoning_tokens,
    attrgetter("entry.is_estimate"),
    attrgetter("entry.cost"),
    lambda one: None if one.entry.pricing is None else orjson.dumps(one.entry.pricing).decode(),
    attrgetter("entry.first_word_ms"),
    attrgetter("entry.total_ms"),
    attrgetter("entry.error"),
    attrgetter("opening.month"),
)
_said: Sequence[Callable[[tuple[uuid.UUID, Stored]], Any]] = (
    lambda one: one[0],
    lambda one: one[1].role.value,
    lambda one: storable(one[1].content),
    lambda one: _tool_calls(one[1].tool_calls),
    lambda one: one[1].provider,
    lambda one: one[1].model,
    lambda one: one[1].input_tokens,
    lambda one: one[1].output_tokens,
    lambda one: one[1].finish_reason,
    lambda one: one[1].is_complete,
)


class PostgresLedger:
    """Implements `services.chat.ledger.Ledger`. `repeats` keeps the answers for second requests.

    `kept_ids_days` is how long an id of what a provider keeps is remembered after it was last told.
    With a folder for journals, of which each belongs to one process and all to this database, calls without a budget
    are not written down in the database before they are dispatched: see `services.chat.deferred`. Raises OSError when
    the folder cannot be written to.
    """

    def __init__(
        self,
        database: Database,
        repeats: IdempotencyRecords,
        journals: Path | None = None,
        *,
        kept_ids_days: int = KEPT_IDS_DAYS,
    ) -> None:
        self._database = database
        self._repeats = repeats
        self._kept_ids_days = kept_ids_days
        self._openings: GroupedWriter[Opening, Refused | None] = GroupedWriter(self._open)
        self._settlements: GroupedWriter[Settlement, uuid.UUID | None] = GroupedWriter(self._settle)
        self._journals = journals
        self._deferred = None if journals is None else DeferredOpenings(Journal(journals), self._openings.add)

    async def open(self, opening: Opening) -> Refused | None:
        """Writes down that a call is dispatched."""
        deferred = self._deferred
        if deferred is None or opening.amount is not None:
            return await self._openings.add(opening)
        if not deferred.take(opening):
            await self._openings.add(opening)
            deferred.wrote()
        return None

    async def hold_more(self, opening: Opening, amount: Decimal) -> bool:
        """Holds more for a call."""
        row = await self._database.row(SQL["hold_more"], *(get(replace(opening, amount=amount)) for get in _limited))
        return row is not None and bool(row["is_held"])

    async def settle(self, settlement: Settlement) -> uuid.UUID | None:
        """Books a call."""
        if self._deferred is None:
            return await self._settlements.add(settlement)
        async with self._deferred.ending(settlement.opening.id):
            return await self._settlements.add(settlement)

    def taking_over(self, call_id: uuid.UUID) -> AbstractAsyncContextManager[None]:
        """Keeps the opening of a call from being written while the block writes it down elsewhere."""
        return nullcontext() if self._deferred is None else self._deferred.ending(call_id)

    async def told_to(self, user_id: uuid.UUID, provider: str, kept_ids: Collection[str]) -> Collection[str]:
        """Returns which ids were told to a user."""
        rows = await self._database.rows(SQL["told_ids"], user_id, provider, list(kept_ids))
        return {row["id"] for row in rows}

    async def claim(
        self, user_id: uuid.UUID, key: str, fingerprint: bytes, call_id: uuid.UUID, lease_until: dt.datetime
    ) -> Kept | None:
        """Claims an idempotency key."""
        return await self._repeats.claim(user_id, key, fingerprint, call_id, lease_until)

    async def release(self, call_id: uuid.UUID) -> None:
        """Gives an idempotency key back."""
        await self._repeats.release(call_id)

    async def sweep(self) -> int:
        """Books calls whose process is gone as interrupted, and forgets what is old; returns how many calls."""
        await self._take_over()
        row = await self._database.row(SQL["interrupt_calls"])
        await self._repeats.forget()
        await delete_old(self._database, SQL["forget_kept_ids"], self._kept_ids_days)
        assert row is not None
        return int(row["count"])

    async def drain(self) -> None:
        """Returns when all that was taken is written."""
        if self._deferred is not None:
            await self._deferred.drain()
        await self._openings.drain()
        await self._settlements.drain()

    async def _take_over(self) -> None:
        """Brings what processes left behind in their journals to the other calls that are not in the ledger yet."""
        if self._journals is None:
            return
        try:
            with closing(left_behind(self._journals)) as files:
                for file in files:
                    await self._database.execute(SQL["take_over_calls"], *_columns(file.openings, _taken_over))
        except OSError as error:
            # The calls of the database are swept all the same.
            logger.error("a journal was not read", extra={"cause": type(error).__name__, "file": error.filename})

    async def _open(self, openings: Sequence[Opening]) -> Sequence[Refused | None]:
        limited = [one for one in openings if one.amount is not None]
        rows = await self._database.rows(
            SQL["open_calls"],
            *_columns(openings, _opened),
            *_columns(limited, _limited),
            [one.amount for one in openings],
            [one.created_at for one in openings],
        )
        if not rows:
            return [None] * len(openings)
        refused = {row["refused_id"]: Refused(row["refused_by"], row["limit_usd"], row["left_usd"]) for row in rows}
        return [refused.get(one.id) for one in openings]

    async def _settle(self, settlements: Sequence[Settlement]) -> Sequence[Outcome]:
        try:
            if len(settlements) == 1 and await self._settle_alone(settlements[0]):
                return [settlements[0].opening.id]
            rows = await self._database.rows(SQL["settle_calls"], *_settling(settlements))
        except asyncpg.ForeignKeyViolationError as error:
            if len(settlements) > 1:
                raise  # each is written by itself then
            [only] = settlements
            # Nothing of an erased user is kept but the accounts.
            await self._settle([Settlement(only.opening, replace(only.entry, kept_ids=()))])
            gone = Unauthenticated("this user does not exist any more")
            gone.__cause__ = error
            return [gone]
        placed = {row["call_id"]: row["id"] for row in rows}
        return [placed.get(one.opening.id) for one in settlements]

    async def _settle_alone(self, one: Settlement) -> bool:
        """Books a call of the plainest kind; returns False, having done nothing, for any other."""
        opening, exchange = one.opening, one.exchange
        if (
            exchange is None
            or exchange.place not in (Place.NEW, Place.STATELESS)
            or opening.amount is not None
            or one.answer is not None
            or one.entry.kept_ids
        ):
            return False
        said = [(opening.id, message) for message in exchange.messages]
        booked = await self._database.row(
            SQL["settle_alone"], *(get(one) for get in _settled), exchange.place.value, *_columns(said, _said[1:])
        )
        return booked is not None


def _settling(settlements: Sequence[Settlement]) -> Sequence[object]:
    exchanges = [(one.opening, one.exchange) for one in settlements if one.exchange is not None]
    said = [(opening.id, message) for opening, exchange in exchanges for message in exchange.messages]
    kept = [(one.opening.id, one_id) for one in settlements for one_id in one.entry.kept_ids]
    answers = [(one.opening.id, one.answer) for one in settlements if one.answer is not None]
    return (
        *_columns(settlements, _settled),
        [opening.id for opening, _ in exchanges],
        [opening.user_id for opening, _ in exchanges],
        [exchange.place.value for _, exchange in exchanges],
        [exchange.conversation_of(opening.id) or opening.id for opening, exchange in exchanges],
        *_columns(said, _said),
        [call_id for call_id, _ in answers],
        [answer for _, answer in answers],
        [call_id for call_id, _ in kept],
        [kept_id for _, kept_id in kept],
    )


def _columns(rows: Iterable[Any], getters: Sequence[Callable[[Any], Any]]) -> list[list[Any]]:
    rows = list(rows)
    return [[get(row) for row in rows] for get in getters]


def _tool_calls(calls: Sequence[ToolCall]) -> str | None:
    if not calls:
        return None
    return orjson.dumps(
        [
            {"id": storable(call.id), "name": storable(call.name), "arguments": storable(call.arguments)}
            for call in calls
        ]
    ).decode()
