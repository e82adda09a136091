"""A call that is settled by itself and one that is settled in a group leave the very same rows, whatever it was."""

import asyncio
import datetime as dt
import uuid
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.chat.ledger import Entry, Exchange, Opening, Place, Settlement, State, new_call_id
from services.chat.ledger_postgres import PostgresLedger
from services.chat.records import Stored
from services.chat.turn import Role, ToolCall, Usage
from shared.db.idempotency import IdempotencyRecords
from shared.db.pool import Database
from tests.support.postgres import PostgresServer

EXAMPLES = 60
START = dt.datetime(2024, 1, 31, tzinfo=dt.UTC)
OWN = frozenset({"id", "conversation_id", "position"})
"""What a row has to itself."""

COUNTS = st.integers(0, 2**31 - 1)
TEXTS = st.text(st.characters(codec="utf-8"), max_size=40)
NAMES = st.text(st.characters(codec="ascii", min_codepoint=33), min_size=1, max_size=64)
TIMES = st.none() | COUNTS
COSTS = st.none() | st.decimals(0, 10_000, places=20, allow_nan=False, allow_infinity=False)
USAGES = st.none() | st.builds(Usage, *[COUNTS] * 5)
CALLS = st.builds(ToolCall, TEXTS, TEXTS, TEXTS)
MESSAGES = st.builds(
    Stored,
    role=st.sampled_from(Role),
    content=TEXTS,
    tool_calls=st.lists(CALLS, max_size=2),
    provider=st.none() | NAMES,
    model=st.none() | NAMES,
    input_tokens=TIMES,
    output_tokens=TIMES,
    finish_reason=st.none() | st.just("stop"),
    is_complete=st.booleans(),
)
EXCHANGES = st.builds(Exchange, st.sampled_from([Place.NEW, Place.STATELESS]), st.lists(MESSAGES, max_size=3))
ENTRIES = st.builds(
    Entry,
    state=st.sampled_from([state for state in State if state is not State.INTERRUPTED]),
    provider=NAMES,
    model=NAMES,
    usage=USAGES,
    cost=COSTS,
    is_estimate=st.booleans(),
    pricing=st.none() | st.lists(st.dictionaries(NAMES, COUNTS, max_size=2), max_size=2),
    first_word_ms=TIMES,
    total_ms=TIMES,
    error=st.text(st.characters(codec="ascii", min_codepoint=32), max_size=64),
)
OPENINGS = st.fixed_dictionaries(
    {
        "has_key": st.booleans(),
        "request_id": NAMES,
        "operation": st.sampled_from(["openai.chat", "chat"]),
        "is_stream": st.booleans(),
        # The turn of a year and of a leap day are months, too.
        "created_at": st.integers(0, 1_100).map(lambda days: START + dt.timedelta(days=days, seconds=days * 79)),
        "was_written": st.booleans(),
        "was_given_up": st.booleans(),
    }
)


@pytest.fixture(scope="module")
async def store(postgres: PostgresServer, database: str) -> AsyncIterator[Database]:
    store = Database(postgres.url(database, "gaia_chat"), size=2)
    await store.open()
    yield store
    await store.close()


@pytest.fixture(scope="module")
async def owner(postgres: PostgresServer, database: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(postgres.url(database, "gaia_owner"))
    yield connection
    await connection.close()


async def left_by(owner: asyncpg.Connection, call: Opening) -> dict[str, list[dict[str, Any]]]:
    """Returns all that a call left, but for what a row has to itself."""
    queries = {
        "ledger": ("SELECT * FROM ledger WHERE id = $1", call.id),
        "reservations": ("SELECT * FROM reservations WHERE id = $1", call.id),
        "conversations": ("SELECT * FROM conversations WHERE id = $1", call.id),
        "messages": ("SELECT * FROM chat_messages WHERE conversation_id = $1 ORDER BY position", call.id),
        "user": ("SELECT kind, month, spent_usd, reserved_usd FROM budget_balances WHERE owner = $1", call.user_id),
        "key": ("SELECT kind, month, spent_usd, reserved_usd FROM budget_balances WHERE owner = $1", call.api_key_id),
    }
    left = {}
    for name, (query, argument) in queries.items():
        rows = [dict(row) for row in await owner.fetch(query, argument)]
        own = OWN | ({"user_id", "api_key_id"} if name == "ledger" else {"user_id", "created_at", "updated_at"})
        left[name] = [{column: value for column, value in row.items() if column not in own} for row in rows]
    return left


async def opened(
    owner: asyncpg.Connection, ledger: PostgresLedger, given: dict[str, Any], provider: str, model: str
) -> Opening:
    """Begins a call of a user and a key of its own."""
    now = dt.datetime.now(dt.UTC)
    email = f"{uuid.uuid4().hex}@gaia.test"
    call = Opening(
        id=new_call_id(),
        created_at=given["created_at"],
        lease_until=now + dt.timedelta(minutes=-1 if given["was_given_up"] else 1),
        user_id=await owner.fetchval("INSERT INTO users (email) VALUES ($1) RETURNING id", email),
        api_key_id=uuid.uuid4() if given["has_key"] else None,
        request_id=given["request_id"],
        operation=given["operation"],
        provider=provider,
        model=model,
        is_stream=given["is_stream"],
    )
    if given["was_written"]:
        await ledger.open(call)
    if given["was_given_up"]:
        await ledger.sweep()
    return call


@settings(max_examples=EXAMPLES)
@given(given=OPENINGS, entry=ENTRIES, exchange=EXCHANGES, comes_twice=st.booleans())
async def test_both_ways_leave_the_same(
    owner: asyncpg.Connection,
    store: Database,
    given: dict[str, Any],
    entry: Entry,
    exchange: Exchange,
    comes_twice: bool,
):
    ledger = PostgresLedger(store, IdempotencyRecords(store))
    calls = [await opened(owner, ledger, given, entry.provider, entry.model) for _ in range(3)]
    for _ in range(1 + comes_twice):
        alone, *together = [Settlement(call, entry, exchange) for call in calls]
        await ledger.settle(alone)
        await asyncio.gather(*map(ledger.settle, together))
    rows = [await left_by(owner, call) for call in calls]
    assert rows[0] == rows[1] == rows[2]
    assert [len(rows[0][name]) for name in ("ledger", "reservations", "conversations")] == [1, 0, 1]
    assert len(rows[0]["messages"]) == len(exchange.messages)
    spent = [balance["spent_usd"] for balance in rows[0]["user"]]
    assert spent == ([entry.cost] if entry.cost else [])
