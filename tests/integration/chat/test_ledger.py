"""The ledger: each call is booked once, whatever becomes of it."""

import asyncio
import datetime as dt
import uuid
from collections.abc import AsyncIterator
from decimal import Decimal

import asyncpg
import grpc
import pytest

from services.chat.ledger import Entry, Exchange, Opening, Place, Settlement, State, new_call_id
from services.chat.ledger_postgres import PostgresLedger
from services.chat.records import Stored
from services.chat.settings import CompatibleEndpoint
from services.chat.turn import Role, ToolCall, Usage
from shared.db.idempotency import IdempotencyRecords
from shared.db.pool import Database
from shared.errors import Unauthenticated
from shared.rpc.channel import connect
from tests.integration.chat.conftest import Client, Running, outcome, refusal, until
from tests.integration.chat.scripted_provider import (
    ScriptedProvider,
    openai_chunk,
    openai_completion,
    openai_usage,
)
from tests.support.auth import Auth
from tests.support.postgres import PostgresServer

ASK = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}]}


async def ledger_of(client: Client) -> list[asyncpg.Record]:
    """Returns the rows of the client's user, in order."""
    return await client.rows(
        "SELECT l.* FROM ledger l JOIN users u ON u.id = l.user_id WHERE u.email = $1 ORDER BY l.created_at",
        await client.email(),
    )


async def spent_by(client: Client) -> Decimal:
    """Returns what the client's user has spent this month, by the balances."""
    [row] = await client.rows(
        "SELECT coalesce(sum(spent_usd), 0) AS spent FROM budget_balances b JOIN users u ON u.id = b.owner "
        "WHERE kind = 'user' AND u.email = $1",
        await client.email(),
    )
    return Decimal(row["spent"])


class TestCalls:
    async def test_a_whole_reply_is_booked_with_its_exact_cost(self, client: Client, openai_upstream: ScriptedProvider):
        openai_upstream.script = lambda exchange: exchange.reply(200, openai_completion("hello"))
        await client.complete(ASK)
        [row] = await ledger_of(client)
        assert (row["state"], row["operation"], row["provider"], row["model"]) == (
            "done",
            "openai.chat",
            "openai",
            "gpt-4o",
        )
        assert (row["input_tokens"], row["output_tokens"], row["is_estimate"], row["is_stream"]) == (7, 3, False, False)
        # 2.50 and 10 dollars a million.
        assert row["cost_usd"] == Decimal("0.0000475")
        assert await spent_by(client) == row["cost_usd"]
        assert row["api_key_id"] is not None
        assert row["total_ms"] is not None
        assert row["request_id"]

    async def test_the_use_of_a_stream_is_booked_though_the_client_did_not_ask_for_it(
        self, client: Client, openai_upstream: ScriptedProvider
    ):
        async def script(exchange):
            await exchange.begin()
            await exchange.events(openai_chunk({"content": "hi"}), openai_chunk({}, "stop"), openai_usage(9, 2))
            await exchange.events(b"[DONE]")
            await exchange.end()

        openai_upstream.script = script
        events = await client.stream({**ASK, "stream": True})
        assert all(event == "[DONE]" or event["choices"] for event in events)
        [row] = await ledger_of(client)
        assert (row["state"], row["input_tokens"], row["output_tokens"], row["is_stream"]) == ("done", 9, 2, True)
        assert row["first_word_ms"] is not None

    async def test_a_failure_is_booked_and_costs_nothing(self, client: Client, openai_upstream: ScriptedProvider):
        openai_upstream.script = lambda exchange: exchange.reply(400, {"error": {"message": "no"}})
        assert (await refusal(client.completion_call(ASK))).code is grpc.StatusCode.INVALID_ARGUMENT
        [row] = await ledger_of(client)
        assert (row["state"], row["error"], row["cost_usd"]) == ("failed", "PROVIDER_REFUSED", 0)

    async def test_a_stream_that_breaks_off_is_booked_as_far_as_it_came(
        self, client: Client, openai_upstream: ScriptedProvider
    ):
        async def script(exchange):
            await exchange.begin()
            await exchange.events(openai_chunk({"content": "half of a reply"}))
            exchange.cut()

        openai_upstream.script = script
        await outcome(client.completion_call({**ASK, "stream": True}))
        [row] = await ledger_of(client)
        assert (row["state"], row["is_estimate"]) == ("failed", True)
        assert row["output_tokens"] == 5
        assert row["cost_usd"] > 0

    async def test_what_a_client_used_that_left_is_booked(self, client: Client, openai_upstream: ScriptedProvider):
        gone = asyncio.Event()

        async def script(exchange):
            await exchange.begin()
            await exchange.events(openai_chunk({"content": "a word"}))
            await exchange.gone()
            gone.set()

        openai_upstream.script = script
        call = client.completion_call({**ASK, "stream": True})
        await call.read()
        call.cancel()
        async with asyncio.timeout(5):
            await gone.wait()
        await until(lambda: ledger_of(client))
        [row] = await ledger_of(client)
        assert (row["state"], row["is_estimate"], row["output_tokens"]) == ("cancelled", True, 2)

    async def test_a_model_without_a_price_costs_nobody_knows_what(
        self, running_chat: Running, auth: Auth, openai_upstream: ScriptedProvider
    ):
        openai_upstream.script = lambda exchange: exchange.reply(200, openai_completion("hello"))
        endpoint = CompatibleEndpoint(id="mine", base_url=openai_upstream.url, models=("house-model",))
        async with running_chat(openai_compatible=(endpoint,)) as address, connect(address) as channel:
            client = Client(channel, (("x-api-key", await auth.new_key()),), auth.owner_url)
            await client.complete({**ASK, "model": "house-model"})
            [row] = await ledger_of(client)
        assert (row["cost_usd"], row["input_tokens"]) == (None, 7)

    async def test_a_dearer_way_of_being_served_is_booked_at_its_own_price(
        self, running_chat: Running, auth: Auth, openai_upstream: ScriptedProvider
    ):
        openai_upstream.script = lambda exchange: exchange.reply(200, openai_completion("hello"))
        settings = {"openai_api_key": "k", "openai_base_url": openai_upstream.url, "openai_models": ("gpt-6-astra",)}
        async with running_chat(**settings) as address, connect(address) as channel:
            client = Client(channel, (("x-api-key", await auth.new_key()),), auth.owner_url)
            for tier in ("auto", "priority"):
                await client.complete({**ASK, "model": "gpt-6-astra", "service_tier": tier})
            plain, dear = await ledger_of(client)
        assert dear["cost_usd"] == 2 * plain["cost_usd"] > 0

    async def test_the_local_provider_is_free(self, client: Client):
        await client.complete({**ASK, "model": "local-echo"})
        [row] = await ledger_of(client)
        assert row["cost_usd"] == 0

    async def test_nothing_stays_reserved(self, client: Client):
        await client.complete({**ASK, "model": "local-echo"})
        assert await client.rows("SELECT 1 FROM reservations") == []


@pytest.fixture
async def ledger(postgres: PostgresServer, database: str) -> AsyncIterator[PostgresLedger]:
    store = Database(postgres.url(database, "gaia_chat"))
    await store.open()
    yield PostgresLedger(store, IdempotencyRecords(store))
    await store.close()


def opening(user_id: uuid.UUID, **fields) -> Opening:
    now = dt.datetime.now(dt.UTC)
    given = {
        "id": new_call_id(),
        "created_at": now,
        "lease_until": now + dt.timedelta(minutes=1),
        "user_id": user_id,
        "api_key_id": None,
        "request_id": "r",
        "operation": "test",
        "provider": "p",
        "model": "m",
        "is_stream": False,
    }
    return Opening(**{**given, **fields})


def entry(cost: str = "0.5", state: State = State.DONE) -> Entry:
    return Entry(state, "p", "m", Usage(3, 4), Decimal(cost))


SAID = (Stored(Role.USER, "question"), Stored(Role.ASSISTANT, "answer"))


async def user_of(client: Client) -> uuid.UUID:
    [row] = await client.rows("SELECT id FROM users WHERE email = $1", await client.email())
    return row["id"]


class TestStore:
    async def test_a_settlement_that_comes_twice_is_booked_once(self, client: Client, ledger: PostgresLedger):
        opened = opening(await user_of(client))
        await ledger.open(opened)
        settlement = Settlement(opened, entry(), Exchange(Place.NEW, SAID))
        assert await ledger.settle(settlement) == opened.id
        await ledger.settle(settlement)
        assert await spent_by(client) == Decimal("0.5")
        assert len(await client.messages()) == 2

    async def test_calls_at_once_share_a_commit(self, client: Client, ledger: PostgresLedger):
        user_id = await user_of(client)
        opened = [opening(user_id) for _ in range(20)]
        await asyncio.gather(*map(ledger.open, opened))
        await asyncio.gather(
            *(ledger.settle(Settlement(one, entry("0.1"), Exchange(Place.DEFAULT, SAID))) for one in opened)
        )
        assert await spent_by(client) == Decimal("2.0")
        assert len(await client.messages()) == 40
        [row] = await client.rows(
            "SELECT count(DISTINCT xmin::text) AS commits FROM ledger WHERE user_id = $1", user_id
        )
        assert row["commits"] < 10
        assert [row["role"] for row in await client.messages()] == ["user", "assistant"] * 20, "turns stay together"

    @pytest.mark.parametrize("place", [Place.NEW, Place.STATELESS])
    @pytest.mark.parametrize("cost", ["0.5", "0"])
    async def test_a_call_that_is_settled_alone_leaves_what_it_leaves_in_a_group(
        self, client: Client, ledger: PostgresLedger, place: Place, cost: str
    ):
        user_id, key_id = await user_of(client), uuid.uuid4()
        calls = [opening(user_id, api_key_id=key_id, request_id="same", is_stream=True) for _ in range(3)]
        said = (
            Stored(Role.USER, "question"),
            Stored(Role.ASSISTANT, "answer", (ToolCall("i", "n", "{}"),), "p", "m", 1, 2, "stop"),
        )
        for call in calls:
            await ledger.open(call)
        booked = Entry(State.DONE, "p", "m", Usage(3, 4, 1), Decimal(cost), True, [{"a": 1}], 5, 6)
        alone, *together = [Settlement(call, booked, Exchange(place, said)) for call in calls]
        assert await ledger.settle(alone) == calls[0].id
        assert await asyncio.gather(*map(ledger.settle, together)) == [call.id for call in calls[1:]]

        async def left(call: Opening) -> list[list[tuple[object, ...]]]:
            queries = (
                "SELECT * FROM ledger WHERE id = $1",
                "SELECT * FROM reservations WHERE id = $1",
                "SELECT * FROM conversations WHERE id = $1",
                "SELECT * FROM chat_messages WHERE conversation_id = $1 ORDER BY position",
            )
            own = {"id", "created_at", "updated_at", "conversation_id", "position"}
            found = [await client.rows(query, call.id) for query in queries]
            return [[tuple(value for name, value in row.items() if name not in own) for row in rows] for rows in found]

        rows = [await left(call) for call in calls]
        assert [len(one) for one in rows[0]] == [1, 0, 1, 2]
        assert rows[0] == rows[1] == rows[2]
        balances = await client.rows(
            "SELECT kind, spent_usd FROM budget_balances WHERE owner IN ($1, $2) ORDER BY kind", user_id, key_id
        )
        assert [tuple(row) for row in balances] == (
            [("key", 3 * Decimal(cost)), ("user", 3 * Decimal(cost))] if cost != "0" else []
        )

    async def test_a_call_that_was_given_up_comes_home_alone_with_its_conversation(
        self, client: Client, ledger: PostgresLedger
    ):
        past = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=1)
        opened = opening(await user_of(client), lease_until=past)
        await ledger.open(opened)
        await ledger.sweep()
        assert await ledger.settle(Settlement(opened, entry(), Exchange(Place.NEW, SAID))) == opened.id
        [row] = await client.rows("SELECT state FROM ledger WHERE id = $1", opened.id)
        assert row["state"] == "done"
        assert await spent_by(client) == Decimal("0.5")
        assert len(await client.messages()) == 2

    async def test_a_conversation_that_is_gone_does_not_undo_the_booking(self, client: Client, ledger: PostgresLedger):
        opened = opening(await user_of(client))
        await ledger.open(opened)
        assert await ledger.settle(Settlement(opened, entry(), Exchange(Place.KNOWN, SAID, uuid.uuid4()))) is None
        assert await spent_by(client) == Decimal("0.5")

    async def test_a_user_that_is_gone_is_booked_and_the_others_of_the_group_are_kept(
        self, client: Client, ledger: PostgresLedger
    ):
        ghost, here = opening(uuid.uuid4()), opening(await user_of(client))
        await asyncio.gather(ledger.open(ghost), ledger.open(here))
        results = await asyncio.gather(
            *(ledger.settle(Settlement(one, entry(), Exchange(Place.NEW, SAID))) for one in (ghost, here)),
            return_exceptions=True,
        )
        assert isinstance(results[0], Unauthenticated)
        assert results[1] == here.id
        assert len(await client.rows("SELECT 1 FROM ledger WHERE id = ANY ($1)", [ghost.id, here.id])) == 2

    async def test_a_call_whose_process_is_gone_is_booked_as_interrupted_and_may_come_home(
        self, client: Client, ledger: PostgresLedger
    ):
        now = dt.datetime.now(dt.UTC)
        opened = opening(await user_of(client), lease_until=now - dt.timedelta(seconds=1), amount=Decimal(1))
        assert await ledger.open(opened) is None
        assert await ledger.sweep() >= 1
        [row] = await client.rows("SELECT * FROM ledger WHERE id = $1", opened.id)
        assert (row["state"], row["cost_usd"], row["reserved_usd"]) == ("interrupted", None, 1)
        [balance] = await client.rows("SELECT * FROM budget_balances WHERE owner = $1", opened.user_id)
        assert (balance["reserved_usd"], balance["spent_usd"]) == (0, 0)
        await ledger.settle(Settlement(opened, entry()))
        [row] = await client.rows("SELECT * FROM ledger WHERE id = $1", opened.id)
        assert (row["state"], row["cost_usd"]) == ("done", Decimal("0.5"))
        assert await spent_by(client) == Decimal("0.5")

    def test_ids_of_calls_are_in_the_order_of_their_time_and_of_version_7(self):
        ids = [new_call_id() for _ in range(100)]
        assert {(one.version, one.variant) for one in ids} == {(7, uuid.RFC_4122)}
        assert len(set(ids)) == 100
        assert [one.int >> 80 for one in ids] == sorted(one.int >> 80 for one in ids)
