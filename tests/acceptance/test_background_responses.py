"""Responses in the background by the official SDKs: made while nobody waits, and booked once, whoever goes away."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import asyncpg
import openai
import pytest

from tests.acceptance.test_usage import gaia
from tests.support.background_openai import TEXT, BackgroundOpenAI, running_background_openai
from tests.support.mesh import Caller, Mesh, running_mesh
from tests.support.postgres import PostgresServer
from tests.support.sdks import run_sdk
from tests.support.waiting import eventually

MODEL = "gpt-4o"
COST = Decimal("0.0000475")
SPOKEN = ["response.output_item.added", "response.content_part.added", "response.output_text.delta"]


@pytest.fixture(scope="module")
async def upstream() -> AsyncIterator[BackgroundOpenAI]:
    """The provider."""
    async with running_background_openai() as running:
        yield running


@pytest.fixture(scope="module")
async def mesh(
    postgres: PostgresServer, upstream: BackgroundOpenAI, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Mesh]:
    """A mesh in front of it that is quick to look after what goes on."""
    chat = {
        "OPENAI_API_KEY": "sk-of-the-operator",
        "OPENAI_BASE_URL": upstream.url,
        "ANTHROPIC_API_KEY": "sk-ant-of-the-operator",
        "GAIA_BACKGROUND_LOOK_SECONDS": "0.02",
        "GAIA_RESPONSE_CACHE_ENTRIES": "100",
    }
    database = postgres.create_database()
    async with running_mesh(tmp_path_factory.mktemp("background"), postgres, database, {"chat": chat}) as running:
        yield running
    postgres.drop_database(database)


@pytest.fixture
async def caller(mesh: Mesh) -> Caller:
    """A new user."""
    return await mesh.new_caller()


@pytest.fixture
async def client(mesh: Mesh, caller: Caller, upstream: BackgroundOpenAI) -> AsyncIterator[openai.AsyncOpenAI]:
    """The SDK of the new user."""
    upstream.calls.clear()
    async with sdk(mesh, caller) as made:
        yield made


def sdk(mesh: Mesh, caller: Caller) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(api_key=caller.key, base_url=f"{mesh.url}/v1", max_retries=0)


async def booked(mesh: Mesh, caller: Caller) -> list[asyncpg.Record]:
    """Returns the rows of a user in the ledger."""
    return await mesh.rows("SELECT * FROM ledger WHERE user_id = $1::text::uuid ORDER BY id", caller.user_id)


async def settled(mesh: Mesh, caller: Caller, calls: int = 1) -> list[asyncpg.Record]:
    """Waits until nothing goes on for a user any more, and returns the rows of the ledger."""

    async def over() -> bool:
        mine = "WHERE user_id = $1::text::uuid"
        going_on = await mesh.rows(
            f"SELECT id FROM reservations {mine} UNION ALL SELECT call_id FROM background_calls {mine}",
            caller.user_id,
        )
        return not going_on

    await eventually(over, seconds=40)
    rows = await booked(mesh, caller)
    assert len(rows) == calls
    return rows


async def limit(mesh: Mesh, caller: Caller, dollars: Decimal) -> None:
    """Gives a key a monthly budget."""
    patched = await mesh.admin.patch(
        f"/api/v1/api-keys/{caller.key_id}", {"limits": {"monthly_budget_usd": str(dollars)}}
    )
    assert patched.status_code == 200, patched.text


async def held(mesh: Mesh, caller: Caller) -> tuple[Decimal, Any]:
    """Returns what a user has spent, and what is reserved for them."""
    [row] = await mesh.rows(
        "SELECT coalesce(sum(spent_usd), 0) AS spent, coalesce(sum(reserved_usd), 0) AS reserved FROM budget_balances "
        "WHERE kind = 'user' AND owner = $1::text::uuid",
        caller.user_id,
    )
    return row["spent"], row["reserved"]


async def adds_up(mesh: Mesh) -> bool:
    code, out = await gaia(mesh, "usage", "reconcile", "--json")
    return (code, json.loads(out)["differences"]) == (0, 0)


async def begin(client: openai.AsyncOpenAI, **fields: Any) -> str:
    """Begins a response, and returns its id."""
    made = await client.responses.create(**{"model": MODEL, "input": "hi", "background": True, **fields})
    assert made.status == "queued"
    return str(made.id)


class TestPolling:
    async def test_a_response_is_polled_until_it_is_done_and_booked_as_it_is_told(
        self, mesh: Mesh, caller: Caller, client: openai.AsyncOpenAI, upstream: BackgroundOpenAI
    ):
        response_id = await begin(client, instructions="be kind")
        assert (await client.responses.retrieve(response_id)).status == "queued"
        assert await booked(mesh, caller) == []
        upstream.made[response_id].body["status"] = "in_progress"
        assert (await client.responses.retrieve(response_id)).status == "in_progress"
        upstream.finish(response_id)
        whole = await client.responses.retrieve(response_id, include=["reasoning.encrypted_content"])
        assert (whole.status, whole.output_text) == ("completed", TEXT)
        # Whoever is told that it is done finds it booked.
        [row] = await booked(mesh, caller)
        assert (row["state"], row["operation"], row["cost_usd"]) == ("done", "openai.responses", COST)
        assert (row["input_tokens"], row["output_tokens"], row["is_estimate"]) == (7, 3, False)
        assert row["total_ms"] == 3500
        said = await mesh.rows(
            "SELECT role, content, is_searchable FROM chat_messages WHERE conversation_id = $1 ORDER BY position",
            row["id"],
        )
        assert [tuple(one) for one in said] == [
            ("system", "be kind", False),
            ("user", "hi", False),
            ("assistant", TEXT, False),
        ]
        await settled(mesh, caller)
        assert (await client.responses.retrieve(response_id)).output_text == TEXT
        assert upstream.created == 1
        going_on = await client.responses.create(
            model=MODEL,
            previous_response_id=response_id,
            background=True,
            input=[{"type": "item_reference", "id": f"msg_{response_id}"}, {"role": "user", "content": "and?"}],
        )
        await client.responses.cancel(going_on.id)

    async def test_what_nobody_asks_for_is_booked_all_the_same(
        self, mesh: Mesh, caller: Caller, client: openai.AsyncOpenAI, upstream: BackgroundOpenAI
    ):
        response_id = await begin(client, store=True)
        upstream.finish(response_id, "incomplete", incomplete_details={"reason": "max_output_tokens"})
        [row] = await settled(mesh, caller)
        assert (row["state"], row["cost_usd"]) == ("done", COST)
        assert await held(mesh, caller) == (COST, 0)

    async def test_a_failure_is_booked_with_what_it_used(
        self, mesh: Mesh, caller: Caller, client: openai.AsyncOpenAI, upstream: BackgroundOpenAI
    ):
        error = {"code": "server_error", "message": "it broke"}
        first, second = await begin(client), await begin(client)
        upstream.finish(first, "failed", error=error)
        upstream.finish(second, "failed", usage=None, error=error)
        told = await client.responses.retrieve(first)
        assert told.status == "failed"
        assert told.error is not None
        assert told.error.message == "it broke"
        rows = await settled(mesh, caller, 2)
        assert [(row["state"], row["error"], row["cost_usd"]) for row in rows] == [
            ("failed", "server_error", COST),
            ("failed", "server_error", 0),
        ]

    async def test_a_cancelled_response_costs_what_was_read_until_then(
        self, mesh: Mesh, caller: Caller, client: openai.AsyncOpenAI
    ):
        response_id = await begin(client)
        assert (await client.responses.cancel(response_id)).status == "cancelled"
        [row] = await settled(mesh, caller)
        assert (row["state"], row["is_estimate"], row["output_tokens"]) == ("cancelled", True, 0)
        assert 0 < row["cost_usd"] < COST * 10
        assert (await client.responses.cancel(response_id)).status == "cancelled"
        assert len(await booked(mesh, caller)) == 1

    async def test_many_polls_at_once_book_it_once(
        self, mesh: Mesh, caller: Caller, client: openai.AsyncOpenAI, upstream: BackgroundOpenAI
    ):
        response_id = await begin(client)
        upstream.finish(response_id)
        await asyncio.gather(*(client.responses.retrieve(response_id) for _ in range(12)))
        await settled(mesh, caller)
        assert await held(mesh, caller) == (COST, 0)

    async def test_the_sdk_for_node_polls_cancels_and_resumes(self, mesh: Mesh, caller: Caller):
        outcomes = await run_sdk("background", mesh.url, caller.key)
        assert outcomes["polled"]["value"] == {"status": "completed", "text": TEXT}
        assert outcomes["cancelled"]["value"] == "cancelled"
        resumed = outcomes["resumed"]["value"]
        assert (resumed["first"], resumed["rest"][-1], resumed["text"]) == (
            "response.created",
            "response.completed",
            TEXT,
        )
        assert outcomes["unknown"]["error"]["class"] == "NotFoundError"
        states = [row["state"] for row in await settled(mesh, caller, 3)]
        assert sorted(states) == ["cancelled", "done", "done"]


class TestBudgets:
    async def test_the_worst_cost_is_held_until_it_is_over(
        self, mesh: Mesh, caller: Caller, client: openai.AsyncOpenAI, upstream: BackgroundOpenAI
    ):
        await limit(mesh, caller, Decimal("0.0040"))
        response_id = await begin(client, max_output_tokens=16)
        _, reserved = await held(mesh, caller)
        assert reserved > Decimal("0.0025")
        with pytest.raises(openai.RateLimitError):
            await begin(client, max_output_tokens=16)
        assert upstream.created == 1
        assert await held(mesh, caller) == (Decimal(), reserved)
        upstream.finish(response_id)
        await settled(mesh, caller)
        assert await held(mesh, caller) == (COST, 0)
        await client.responses.cancel(await begin(client, max_output_tokens=16))
        await settled(mesh, caller, 2)

    async def test_what_the_provider_knows_no_more_costs_all_that_was_held(
        self, mesh: Mesh, caller: Caller, client: openai.AsyncOpenAI, upstream: BackgroundOpenAI
    ):
        await limit(mesh, caller, Decimal("0.0040"))
        response_id = await begin(client, max_output_tokens=16)
        _, reserved = await held(mesh, caller)
        del upstream.made[response_id]
        [row] = await settled(mesh, caller)
        assert (row["state"], row["error"]) == ("failed", "BACKGROUND_RESPONSE_LOST")
        assert (row["is_estimate"], row["cost_usd"]) == (True, reserved)
        assert await held(mesh, caller) == (reserved, 0)
        assert await adds_up(mesh)
        with pytest.raises(openai.NotFoundError):
            await client.responses.retrieve(response_id)


class TestOutages:
    async def test_a_provider_that_is_away_meanwhile_is_asked_again(
        self, mesh: Mesh, caller: Caller, client: openai.AsyncOpenAI, upstream: BackgroundOpenAI
    ):
        response_id = await begin(client)
        upstream.is_away = True
        try:
            upstream.calls.clear()

            async def asked() -> bool:
                return len(upstream.calls) >= 3

            await eventually(asked, seconds=30)
            with pytest.raises(openai.InternalServerError):
                await client.responses.retrieve(response_id)
            assert await booked(mesh, caller) == []
        finally:
            upstream.is_away = False
        upstream.finish(response_id)
        [row] = await settled(mesh, caller)
        assert row["cost_usd"] == COST

    async def test_a_service_that_dies_in_between_leaves_it_to_the_next(
        self, mesh: Mesh, caller: Caller, client: openai.AsyncOpenAI, upstream: BackgroundOpenAI
    ):
        await limit(mesh, caller, Decimal("0.1"))
        unlimited = await mesh.new_caller()
        first = await begin(client, max_output_tokens=16)
        async with sdk(mesh, unlimited) as other:
            second = await begin(other)
        await mesh.end("chat", signal.SIGKILL)
        upstream.finish(first)
        upstream.finish(second)
        await mesh.restart("chat")
        for one in (caller, unlimited):
            [row] = await settled(mesh, one)
            assert (row["state"], row["cost_usd"]) == ("done", COST)
            assert await held(mesh, one) == (COST, 0)


class TestStreams:
    async def test_a_stream_to_its_end_is_booked_once(
        self, mesh: Mesh, caller: Caller, client: openai.AsyncOpenAI, upstream: BackgroundOpenAI
    ):
        kinds = []
        async for event in await client.responses.create(model=MODEL, input="hi", background=True, stream=True):
            kinds.append(event.type)
            if event.type == "response.created":
                # Told once it stands in the database.
                assert await mesh.rows("SELECT FROM background_calls WHERE response_id = $1", event.response.id)
                upstream.finish(event.response.id)
        assert kinds == ["response.created", "response.queued", *SPOKEN, "response.completed"]
        [row] = await booked(mesh, caller)
        assert (row["state"], row["is_stream"], row["cost_usd"]) == ("done", True, COST)
        await settled(mesh, caller)
        assert await held(mesh, caller) == (COST, 0)

    async def test_a_stream_that_its_client_leaves_goes_on_and_can_be_resumed(
        self, mesh: Mesh, caller: Caller, client: openai.AsyncOpenAI, upstream: BackgroundOpenAI
    ):
        stream = await client.responses.create(model=MODEL, input="hi", background=True, stream=True)
        first = await anext(aiter(stream))
        assert first.type == "response.created"
        await stream.close()
        response_id = first.response.id
        resumed = await client.responses.retrieve(
            response_id, stream=True, starting_after=first.sequence_number, include_obfuscation=False
        )
        kinds = []
        async for event in resumed:
            kinds.append((event.sequence_number, event.type))
            if event.type == "response.queued":
                assert upstream.made[response_id].body["status"] == "queued"
                upstream.finish(response_id)
        assert kinds == list(enumerate(["response.queued", *SPOKEN, "response.completed"], start=1))
        [row] = await booked(mesh, caller)
        assert (row["state"], row["cost_usd"]) == ("done", COST)
        await settled(mesh, caller)

    async def test_the_sdks_own_accumulator_begins_and_resumes(
        self, mesh: Mesh, caller: Caller, client: openai.AsyncOpenAI, upstream: BackgroundOpenAI
    ):
        async with client.responses.stream(model=MODEL, input="hi", background=True) as begun:
            first = await anext(aiter(begun))
        assert first.type == "response.created"
        upstream.finish(first.response.id)
        async with client.responses.stream(response_id=first.response.id, starting_after=1) as resumed:
            numbers = [event.sequence_number async for event in resumed]
            assert (await resumed.get_final_response()).output_text == TEXT
        assert numbers == [2, 3, 4, 5]
        await settled(mesh, caller)

    async def test_what_is_left_alone_is_booked_by_the_sweep(
        self, mesh: Mesh, caller: Caller, client: openai.AsyncOpenAI, upstream: BackgroundOpenAI
    ):
        stream = await client.responses.create(model=MODEL, input="hi", background=True, stream=True)
        first = await anext(aiter(stream))
        assert first.type == "response.created"
        await stream.close()
        assert await booked(mesh, caller) == []
        upstream.finish(first.response.id)
        [row] = await settled(mesh, caller)
        assert (row["state"], row["cost_usd"]) == ("done", COST)

    async def test_a_response_that_was_not_begun_as_a_stream_cannot_be_followed(
        self, client: openai.AsyncOpenAI, upstream: BackgroundOpenAI
    ):
        response_id = await begin(client)
        with pytest.raises(openai.BadRequestError, match="cannot be streamed"):
            await client.responses.retrieve(response_id, stream=True)
        upstream.finish(response_id)


class TestRepeats:
    async def test_a_repeated_request_is_told_the_first_reply(
        self, mesh: Mesh, caller: Caller, client: openai.AsyncOpenAI, upstream: BackgroundOpenAI
    ):
        once = {"Idempotency-Key": "once"}
        first = await begin(client, extra_headers=once)
        assert await begin(client, extra_headers=once) == first
        upstream.finish(first)
        await settled(mesh, caller)
        assert await begin(client, extra_headers=once) == first
        assert upstream.created == 1

    async def test_a_repeated_stream_tells_what_goes_on_and_then_the_whole(
        self, mesh: Mesh, caller: Caller, client: openai.AsyncOpenAI, upstream: BackgroundOpenAI
    ):
        asked: dict[str, Any] = {"model": MODEL, "input": "hi", "background": True, "stream": True}
        once = {"Idempotency-Key": "once"}
        stream = await client.responses.create(**asked, extra_headers=once)
        events = aiter(stream)
        first = await anext(events)
        again = [event async for event in await client.responses.create(**asked, extra_headers=once)]
        assert again[0] == first
        upstream.finish(first.response.id)
        whole = [first, *[event async for event in events]]
        assert whole[-1].type == "response.completed"
        assert again == whole[: len(again)]
        assert [event async for event in await client.responses.create(**asked, extra_headers=once)] == whole
        assert upstream.created == 1
        await settled(mesh, caller)

    async def test_no_request_is_answered_by_the_reply_to_another(
        self, client: openai.AsyncOpenAI, upstream: BackgroundOpenAI
    ):
        first, second = await begin(client), await begin(client)
        assert first != second
        upstream.finish(first)
        upstream.finish(second)


class TestRefusals:
    async def test_a_stranger_finds_nothing(self, mesh: Mesh, client: openai.AsyncOpenAI, upstream: BackgroundOpenAI):
        response_id = await begin(client)
        async with sdk(mesh, await mesh.new_caller()) as stranger:
            upstream.calls.clear()
            for call in (
                stranger.responses.retrieve(response_id),
                stranger.responses.retrieve(response_id, stream=True),
                stranger.responses.cancel(response_id),
                stranger.responses.retrieve("resp_1?stream=true&"),
            ):
                with pytest.raises(openai.NotFoundError) as caught:
                    await call
                assert caught.value.code == "response_not_found"
        assert [call for call in upstream.calls if call[0] == "POST"] == []
        upstream.finish(response_id)

    async def test_another_key_of_its_user_finds_it(
        self, mesh: Mesh, caller: Caller, client: openai.AsyncOpenAI, upstream: BackgroundOpenAI
    ):
        response_id = await begin(client)
        assert (await mesh.admin.delete(f"/api/v1/api-keys/{caller.key_id}")).status_code < 300
        upstream.finish(response_id)
        async with sdk(mesh, await mesh.new_key(caller.user_id)) as other:
            assert (await other.responses.retrieve(response_id)).output_text == TEXT
        [row] = await settled(mesh, caller)
        assert str(row["api_key_id"]) == caller.key_id

    @pytest.mark.parametrize("model", ["claude-sonnet-5", "local-echo"])
    async def test_models_of_other_families_make_nothing_in_the_background(
        self, mesh: Mesh, caller: Caller, client: openai.AsyncOpenAI, model: str
    ):
        with pytest.raises(
            openai.BadRequestError, match="must be false: this model's provider makes no reply"
        ) as caught:
            await client.responses.create(model=model, input="hi", background=True)
        assert caught.value.param == "background"
        assert await booked(mesh, caller) == []

    async def test_what_openai_refuses_is_told(self, mesh: Mesh, caller: Caller, client: openai.AsyncOpenAI):
        with pytest.raises(openai.BadRequestError, match="requires store to be true"):
            await client.responses.create(model=MODEL, input="hi", background=True, store=False)
        [row] = await settled(mesh, caller)
        assert (row["state"], row["cost_usd"]) == ("failed", 0)

    async def test_an_erased_user_is_paid_for_and_forgotten(
        self, mesh: Mesh, caller: Caller, client: openai.AsyncOpenAI, upstream: BackgroundOpenAI
    ):
        response_id = await begin(client)
        code, out = await gaia(mesh, "users", "erase", caller.user_id, "--yes", "--json")
        assert code == 0, out
        mine = "SELECT said FROM background_calls WHERE user_id = $1::text::uuid"
        assert [row["said"] for row in await mesh.rows(mine, caller.user_id)] == ["[]"]
        upstream.finish(response_id)
        [row] = await settled(mesh, caller)
        assert (row["state"], row["cost_usd"]) == ("done", COST)
        assert await mesh.rows("SELECT FROM kept_ids WHERE user_id = $1::text::uuid", caller.user_id) == []
        assert await adds_up(mesh)
