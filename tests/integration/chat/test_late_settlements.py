"""Calls whose booking nobody hears of: the caller left, or the database did not take it. None of them is lost."""

import asyncio
import datetime as dt
import uuid
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path

import asyncpg
import pytest

from services.chat.catalogue import ModelSpec
from services.chat.ledger import Entry, Exchange, Opening, Place, State, new_call_id
from services.chat.ledger_postgres import PostgresLedger
from services.chat.metering import Admission, Meter
from services.chat.pricing import PriceBook
from services.chat.records import Stored
from services.chat.turn import Role, Usage
from shared.budgets import Budgets
from shared.db import late
from shared.db.idempotency import IdempotencyRecords
from shared.db.pool import Database
from shared.errors import Unavailable
from shared.identity.principal import KeyLimits, Principal
from shared.rates.limiter import RateLimiter
from shared.rates.tokens import TokenLimit
from tests.support.postgres import PostgresServer
from tests.support.waiting import eventually

SAID = (Stored(Role.USER, "question"), Stored(Role.ASSISTANT, "answer"))


@pytest.fixture
async def owner(postgres: PostgresServer, database: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(postgres.url(database, "postgres"))
    yield connection
    await connection.close()


@pytest.fixture
async def store(postgres: PostgresServer, database: str) -> AsyncIterator[Database]:
    store = Database(postgres.url(database, "gaia_chat"))
    await store.open()
    yield store
    await store.close()


@pytest.fixture(params=["with a journal", "without a journal"])
async def meter(
    store: Database, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Meter]:
    """A meter whose ledger trusts the database: it took a call just now."""
    monkeypatch.setattr(late, "LATE_SECONDS", 0.05)
    ledger = PostgresLedger(store, IdempotencyRecords(store), tmp_path if request.param == "with a journal" else None)
    now = lambda: dt.datetime.now(dt.UTC)  # noqa: E731 - the clock
    meter = Meter(ledger, PriceBook({}), TokenLimit(RateLimiter("")), Budgets(), now, 60)
    await meter.settle(await admitted(meter, uuid.uuid4()), ENTRY)
    yield meter
    await meter.drain()
    await ledger.drain()


ENTRY = Entry(State.DONE, "p", "m", Usage(3, 4), Decimal("0.5"))


async def admitted(meter: Meter, user_id: uuid.UUID) -> Admission:
    caller = Principal(str(user_id), "a@gaia.test", str(uuid.uuid4()), frozenset(), "test")
    opening: Opening = meter.opening(
        call_id=new_call_id(),
        caller=caller,
        request_id="r",
        operation="test",
        provider="p",
        model="m",
        is_stream=False,
        seconds=60,
    )
    await meter.ledger.open(opening)
    return Admission(opening, caller, 0)


async def new_user(owner: asyncpg.Connection) -> uuid.UUID:
    email = f"{uuid.uuid4().hex}@gaia.test"
    user_id: uuid.UUID = await owner.fetchval("INSERT INTO users (email) VALUES ($1) RETURNING id", email)
    return user_id


async def state_of(owner: asyncpg.Connection, admission: Admission) -> str | None:
    state: str | None = await owner.fetchval("SELECT state FROM ledger WHERE id = $1", admission.opening.id)
    return state


async def test_a_call_whose_caller_leaves_while_the_database_fails_is_booked_when_it_is_back(
    meter: Meter, owner: asyncpg.Connection
):
    call = await admitted(meter, uuid.uuid4())
    async with owner.transaction():
        await owner.execute("LOCK TABLE ledger IN ACCESS EXCLUSIVE MODE")
        settling = asyncio.ensure_future(meter.settle(call, ENTRY))
        waiting = "SELECT pid FROM pg_locks WHERE NOT granted AND relation = 'ledger'::regclass"
        pid = await eventually(lambda: owner.fetchval(waiting))
        settling.cancel()
        await asyncio.wait([settling])
        assert settling.cancelled()
        # As when the server goes away: the statement comes to nothing, and nobody is there to be told so.
        await owner.execute(f"SELECT pg_terminate_backend({pid})")
    assert await eventually(lambda: state_of(owner, call)) == "done"


async def test_a_budget_gets_back_what_is_held_for_a_caller_who_leaves_while_it_is_held(
    meter: Meter, owner: asyncpg.Connection
):
    caller = Principal(
        str(uuid.uuid4()),
        "a@gaia.test",
        str(uuid.uuid4()),
        frozenset(),
        "test",
        limits=KeyLimits(None, None, Decimal(9)),
    )
    async with owner.transaction():
        await owner.execute("LOCK TABLE reservations IN ACCESS EXCLUSIVE MODE")
        admitting = asyncio.ensure_future(
            meter.admit_measured(
                call_id=(call_id := new_call_id()),
                caller=caller,
                request_id="r",
                operation="test",
                model=ModelSpec("m", "p"),
                worst=lambda _now: Decimal(5),
                tokens=lambda: 1,
                is_stream=False,
                seconds=60,
                advice="",
            )
        )
        await eventually(lambda: owner.fetchval("SELECT pid FROM pg_locks WHERE NOT granted"))
        admitting.cancel()
        await asyncio.wait([admitting])
        assert admitting.cancelled()
    balance = "SELECT reserved_usd = 0 FROM budget_balances WHERE owner = $1"
    state = "SELECT state FROM ledger WHERE id = $1"
    assert await eventually(lambda: owner.fetchval(state, call_id)) == "cancelled"
    assert await owner.fetchval(balance, uuid.UUID(caller.user_id))


async def test_a_database_that_takes_no_writes_is_away_and_what_it_did_not_take_arrives_later(
    meter: Meter, owner: asyncpg.Connection, store: Database, database: str
):
    call = await admitted(meter, uuid.uuid4())
    await owner.execute(f"ALTER DATABASE {database} SET default_transaction_read_only = on")
    try:
        # New connections are as those of a standby, which the old ones moved to.
        await store.close()
        await store.open()
        with pytest.raises(Unavailable):
            await meter.settle(call, ENTRY)
        with pytest.raises(Unavailable):
            await admitted(meter, uuid.uuid4())
    finally:
        await owner.execute("SET default_transaction_read_only = off")
        await owner.execute(f"ALTER DATABASE {database} RESET default_transaction_read_only")
    await store.close()
    await store.open()
    assert await eventually(lambda: state_of(owner, call)) == "done"


async def test_a_reply_with_an_idempotency_key_that_the_database_did_not_take_is_told_again_and_not_bought_twice(
    meter: Meter, owner: asyncpg.Connection, store: Database
):
    user_id = await new_user(owner)
    call = await admitted(meter, user_id)
    claim = user_id, "key", b"fingerprint"
    assert await meter.ledger.claim(*claim, call.opening.id, call.opening.lease_until) is None
    await store.close()
    with pytest.raises(Unavailable):
        await meter.settle(call, ENTRY, Exchange(Place.NEW, SAID), b"the answer")
    await store.open()
    await eventually(lambda: state_of(owner, call))
    kept = await meter.ledger.claim(*claim, new_call_id(), call.opening.lease_until)
    assert kept is not None
    assert kept.answer == b"the answer"
    said = await owner.fetch("SELECT content FROM chat_messages WHERE conversation_id = $1", call.opening.id)
    assert len(said) == 2, "what will be told is kept as if it had been told at once"


@pytest.mark.parametrize(
    ("answer", "question"), [(None, "question"), (b"the answer", "q" * 70_000), (b"a" * 70_000, "question")]
)
async def test_what_nobody_can_ask_for_again_or_is_too_large_to_wait_is_booked_without_its_conversation(
    meter: Meter, owner: asyncpg.Connection, store: Database, answer: bytes | None, question: str
):
    call = await admitted(meter, await new_user(owner))
    await store.close()
    with pytest.raises(Unavailable):
        await meter.settle(call, ENTRY, Exchange(Place.NEW, (Stored(Role.USER, question), SAID[1])), answer)
    await store.open()
    await eventually(lambda: state_of(owner, call))
    assert await owner.fetchval("SELECT count(*) FROM conversations WHERE id = $1", call.opening.id) == 0
