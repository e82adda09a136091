"""Calls that go on in the background, in Postgres."""

import datetime as dt
import uuid
from collections.abc import Collection, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson

from services.chat.background import Running, Terms
from services.chat.conversations_postgres import storable
from services.chat.ledger import Opening
from services.chat.ledger_postgres import PostgresLedger
from services.chat.metering import Used
from services.chat.records import Stored
from services.chat.turn import Role, ToolCall, Usage
from shared.db.pool import Database, Row
from shared.db.queries import load_queries

SQL = load_queries(Path(__file__).with_name("background.sql"))


class PostgresRunningCalls:
    """Implements `services.chat.background.RunningCalls`. `ledger` is where the calls were opened."""

    def __init__(self, database: Database, ledger: PostgresLedger) -> None:
        self._database = database
        self._ledger = ledger

    async def begin(
        self, running: Running, next_look: dt.datetime, lease_until: dt.datetime, answer: bytes | None
    ) -> None:
        """Writes down that a call goes on."""
        opening = running.opening
        async with self._ledger.taking_over(opening.id):
            await self._database.execute(
                SQL["begin_background_call"],
                opening.id,
                opening.created_at,
                opening.user_id,
                opening.api_key_id,
                opening.request_id,
                opening.operation,
                opening.provider,
                opening.model,
                opening.is_stream,
                opening.amount,
                running.response_id,
                running.endpoint,
                orjson.dumps(_written(running.terms)).decode(),
                orjson.dumps([_kept(one) for one in running.said]).decode(),
                next_look,
                running.deadline,
                lease_until,
                opening.month,
                answer,
                running.keeps_content,
            )

    async def due(self, most: int, hold_seconds: float) -> Sequence[Running]:
        """Returns calls that are to be looked after."""
        hold = dt.timedelta(seconds=hold_seconds)
        return [_running(row) for row in await self._database.rows(SQL["due_background_calls"], most, hold)]

    async def find(
        self, user_id: uuid.UUID, response_id: str, providers: Collection[str]
    ) -> tuple[str, Running | None] | None:
        """Returns who told a user an id, and the call if it goes on."""
        row = await self._database.row(SQL["find_background_call"], user_id, response_id, list(providers))
        if row is None:
            return None
        return row["told_by"], None if row["call_id"] is None else _running(row)

    async def look_again(self, call_id: uuid.UUID, after: dt.timedelta, misses: int) -> None:
        """Writes down when a call is looked after the next time."""
        await self._database.execute(SQL["look_again"], call_id, after, misses)

    async def end(self, call_id: uuid.UUID) -> None:
        """Forgets a call that is booked."""
        await self._database.execute(SQL["end_background_call"], call_id)


def _running(row: Row) -> Running:
    terms = orjson.loads(row["terms"])
    return Running(
        Opening(
            id=row["call_id"],
            created_at=row["created_at"],
            lease_until=row["deadline"],
            user_id=row["user_id"],
            api_key_id=row["api_key_id"],
            request_id=row["request_id"],
            operation=row["operation"],
            provider=row["provider"],
            model=row["model"],
            is_stream=row["is_stream"],
            amount=row["amount_usd"],
        ),
        row["response_id"],
        row["endpoint"],
        row["deadline"],
        Terms(
            conditions=tuple((name, value) for name, value in terms["conditions"]),
            wasted=[Used(one["provider"], one["model"], Usage(**one["usage"])) for one in terms["wasted"]],
            input_tokens=terms["input_tokens"],
            worst=None if terms["worst"] is None else Decimal(terms["worst"]),
            is_estimate=terms["is_estimate"],
        ),
        [_said(one) for one in orjson.loads(row["said"])],
        row["keeps_content"],
        row["looks"],
        row["misses"],
    )


def _written(terms: Terms) -> dict[str, Any]:
    wasted = [
        {"provider": one.provider, "model": one.model, "usage": one.usage.stated()}
        for one in terms.wasted
        if one.usage is not None
    ]
    return {
        "conditions": terms.conditions,
        "wasted": wasted,
        "input_tokens": terms.input_tokens,
        "worst": None if terms.worst is None else str(terms.worst),
        "is_estimate": terms.is_estimate,
    }


def _kept(message: Stored) -> dict[str, Any]:
    calls = [
        {"id": storable(one.id), "name": storable(one.name), "arguments": storable(one.arguments)}
        for one in message.tool_calls
    ]
    return {"role": message.role.value, "content": storable(message.content), "tool_calls": calls}


def _said(kept: dict[str, Any]) -> Stored:
    return Stored(Role(kept["role"]), kept["content"], [ToolCall(**one) for one in kept["tool_calls"]])
