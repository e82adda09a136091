"""Openings that no budget waits for: in the journal first, in the database a moment later, and lost never."""

import asyncio
import datetime as dt
import os
import uuid
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path

import asyncpg
import pytest

from services.chat import deferred
from services.chat.journal import SLOT_BYTES, Journal
from services.chat.ledger import Entry, Opening, Settlement, State, new_call_id
from services.chat.ledger_postgres import PostgresLedger
from services.chat.turn import Usage
from shared.budgets import Limits
from shared.db.idempotency import IdempotencyRecords
from shared.db.pool import Database
from shared.errors import Unavailable
from tests.support.postgres import PostgresServer
from tests.support.waiting import eventually


@pytest.fixture
async def store(postgres: PostgresServer, database: str) -> AsyncIterator[Database]:
    store = Database(postgres.url(database, "gaia_chat"))
    await store.open()
    yield store
    await store.close()


@pytest.fixture
async def ledger(store: Database, tmp_path: Path) -> AsyncIterator[PostgresLedger]:
    """A ledger that has just written something, so that it trusts the database with what comes later."""
    ledger = PostgresLedger(store, IdempotencyRecords(store), tmp_path)
    first = opening()
    await ledger.open(first)
    await settle(ledger, first)
    yield ledger
    await ledger.drain()


def opening(**fields) -> Opening:
    now = dt.datetime.now(dt.UTC)
    given = {
        "id": new_call_id(),
        "created_at": now,
        "lease_until": now + dt.timedelta(minutes=10),
        "user_id": uuid.uuid4(),
        "api_key_id": uuid.uuid4(),
        "request_id": "r",
        "operation": "test",
        "provider": "p",
        "model": "m",
        "is_stream": True,
    }
    return Opening(**{**given, **fields})


def files(folder: Path) -> list[Path]:
    return list(folder.iterdir())


async def settle(ledger: PostgresLedger, opened: Opening) -> None:
    await ledger.settle(Settlement(opened, Entry(State.DONE, "p", "m", Usage(3, 4), Decimal("0.5"))))


async def reserved(store: Database, opened: Opening) -> asyncpg.Record | None:
    return await store.row("SELECT * FROM reservations WHERE id = $1", opened.id)


async def booked(store: Database, opened: Opening) -> asyncpg.Record | None:
    return await store.row("SELECT * FROM ledger WHERE id = $1", opened.id)


async def test_a_short_call_is_written_once_and_a_long_one_is_under_way_in_the_database(
    ledger: PostgresLedger, store: Database
):
    short, long = opening(), opening()
    await ledger.open(short)
    await ledger.open(long)
    assert await reserved(store, short) is None
    await settle(ledger, short)
    await eventually(lambda: reserved(store, long))
    assert await reserved(store, short) is None
    await settle(ledger, long)
    assert await reserved(store, long) is None
    for call in (short, long):
        row = await booked(store, call)
        assert row is not None
        assert (row["state"], row["cost_usd"]) == ("done", Decimal("0.5"))


async def test_a_call_that_ends_while_it_is_written_leaves_nothing_under_way(ledger: PostgresLedger, store: Database):
    calls = [opening() for _ in range(40)]
    for call in calls:
        await ledger.open(call)

    async def end(call: Opening, after: float) -> None:
        await asyncio.sleep(after)
        await settle(ledger, call)

    await asyncio.gather(*(end(call, deferred.DEFER_SECONDS - 0.01 + n * 0.0005) for n, call in enumerate(calls)))
    rows = await store.rows("SELECT id FROM reservations WHERE id = ANY ($1)", [call.id for call in calls])
    assert list(rows) == []
    rows = await store.rows("SELECT state FROM ledger WHERE id = ANY ($1)", [call.id for call in calls])
    assert [row["state"] for row in rows] == ["done"] * 40


async def test_a_budget_is_held_before_its_call_goes_out(ledger: PostgresLedger, store: Database):
    call = opening(amount=Decimal("0.1"), limits=Limits(key=Decimal(1)))
    assert await ledger.open(call) is None
    row = await reserved(store, call)
    assert row is not None
    assert row["amount_usd"] == Decimal("0.1")


async def test_what_has_no_room_in_the_journal_is_written_at_once(ledger: PostgresLedger, store: Database):
    # The longest that the database has room for, and of three bytes a character.
    call = opening(request_id="語" * 128, model="語" * 200)
    await ledger.open(call)
    assert await reserved(store, call) is not None


async def test_a_process_that_is_gone_leaves_its_calls_to_the_next_sweep(
    ledger: PostgresLedger, store: Database, tmp_path: Path
):
    gone = Journal(tmp_path)
    ended, under_way, written = opening(), opening(), opening(api_key_id=None)
    for call in (ended, under_way, written):
        gone.write(call)
    await settle(ledger, ended)
    direct = PostgresLedger(store, IdempotencyRecords(store))
    await direct.open(written)

    await ledger.sweep()
    assert await booked(store, under_way) is None, "its process lives"

    os.close(gone._file)  # as the kernel does when a process ends
    assert await ledger.sweep() >= 2
    for call, state in ((ended, "done"), (under_way, "interrupted"), (written, "interrupted")):
        row = await booked(store, call)
        assert row is not None
        assert (row["state"], row["user_id"], row["api_key_id"]) == (state, call.user_id, call.api_key_id)
        assert row["created_at"] == call.created_at
        assert await reserved(store, call) is None
    assert not gone.path.exists()
    assert len(files(tmp_path)) == 1, "this process's own is still there"


async def test_a_process_that_is_gone_gives_its_idempotency_keys_back_with_its_calls(
    ledger: PostgresLedger, tmp_path: Path
):
    gone = Journal(tmp_path)
    call = opening()
    gone.write(call)
    claim = call.user_id, "key", b"fingerprint"
    assert await ledger.claim(*claim, call.id, call.lease_until) is None
    assert await ledger.claim(*claim, new_call_id(), call.lease_until) is not None, "it is still going on"
    os.close(gone._file)
    await ledger.sweep()
    assert await ledger.claim(*claim, new_call_id(), call.lease_until) is None


async def test_a_torn_record_does_not_keep_the_others_from_being_found(
    ledger: PostgresLedger, store: Database, tmp_path: Path
):
    gone = Journal(tmp_path)
    torn, whole = [opening() for _ in range(4)], opening()
    for call in (*torn, whole):
        gone.write(call)
    for slot, rest in enumerate((b"\0" * 8, b"5\n", b'["no id"]\n', b'["x","y","z",null,"r","o","p","m",true]\n')):
        os.pwrite(gone._file, rest, slot * SLOT_BYTES)
    os.close(gone._file)
    await ledger.sweep()
    assert [await booked(store, call) for call in torn] == [None] * 4
    assert await booked(store, whole) is not None


async def test_a_journal_that_cannot_be_read_does_not_keep_the_ledger_from_being_swept(
    ledger: PostgresLedger, store: Database, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    (tmp_path / "what.calls").mkdir()
    late = opening(lease_until=dt.datetime.now(dt.UTC) - dt.timedelta(seconds=1), amount=Decimal(0))
    await ledger.open(late)
    await ledger.sweep()
    assert await booked(store, late) is not None
    assert [record.message for record in caplog.records] == ["a journal was not read"]


async def test_without_a_database_that_took_something_just_now_no_call_goes_out(
    postgres: PostgresServer, tmp_path: Path
):
    store = Database("postgresql://nobody@/nothing?host=/nowhere")
    await store.open()
    ledger = PostgresLedger(store, IdempotencyRecords(store), tmp_path)
    with pytest.raises(Unavailable):
        await ledger.open(opening())
    await ledger.drain()
    await store.close()
    assert files(tmp_path) == [], "a process that ends well leaves no file"


async def test_a_call_that_could_not_be_settled_is_found_later(store: Database, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(deferred, "DRAIN_SECONDS", 0.05)
    broken = PostgresLedger(store, IdempotencyRecords(store), tmp_path)
    first, call = opening(), opening()
    await broken.open(first)
    await settle(broken, first)
    await broken.open(call)
    await store.close()
    with pytest.raises(Unavailable):
        await settle(broken, call)
    with pytest.raises(Unavailable):
        await broken.open(opening())
    await broken.drain()
    assert broken._deferred is not None
    os.close(broken._deferred._journal._file)

    await store.open()
    other = PostgresLedger(store, IdempotencyRecords(store), tmp_path)
    await other.sweep()
    row = await booked(store, call)
    assert row is not None
    assert row["state"] == "interrupted"
    await other.drain()


async def test_a_call_that_ends_with_its_process_while_it_is_settled_in_vain_is_found_later(
    postgres: PostgresServer, database: str, store: Database, tmp_path: Path, monkeypatch
):
    # The database is away before the opening would be written, and the process ends after that.
    monkeypatch.setattr(deferred, "DEFER_SECONDS", 0.5)
    ending = PostgresLedger(store, IdempotencyRecords(store), tmp_path)
    first, call = opening(), opening()
    await ending.open(first)
    await settle(ending, first)
    await ending.open(call)
    owner = await asyncpg.connect(postgres.url(database, "postgres"))
    try:
        async with owner.transaction():
            await owner.execute("LOCK TABLE ledger IN ACCESS EXCLUSIVE MODE")
            settling = asyncio.ensure_future(settle(ending, call))
            waiting = "SELECT pid FROM pg_locks WHERE NOT granted AND relation = 'ledger'::regclass"
            pid = await eventually(lambda: owner.fetchval(waiting))
            settling.cancel()
            await asyncio.wait([settling])
            await owner.execute(f"SELECT pg_terminate_backend({pid})")
            await store.close()
            await ending.drain()
    finally:
        await owner.close()
    assert ending._deferred is not None
    os.close(ending._deferred._journal._file)

    await store.open()
    other = PostgresLedger(store, IdempotencyRecords(store), tmp_path)
    await other.sweep()
    row = await booked(store, call)
    assert row is not None
    assert row["state"] == "interrupted"
    await other.drain()
