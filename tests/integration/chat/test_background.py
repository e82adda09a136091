"""Calls that go on in the background: whoever leaves, dies or comes late, each is looked after, and booked once."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from decimal import Decimal
from typing import Any

import asyncpg
import grpc
import orjson
import pytest
from gaia.chat.v1.response_service_pb2 import CancelResponseRequest, RetrieveResponseRequest
from gaia.chat.v1.response_service_pb2_grpc import ResponseServiceStub
from pydantic import SecretStr

from services.chat.settings import ProviderEndpoint
from shared.rpc.channel import connect
from tests.integration.chat.conftest import Client, Running, outcome, refusal
from tests.integration.chat.scripted_provider import Exchange, ScriptedProvider
from tests.integration.chat.test_budgets import limit, reserved_by
from tests.integration.chat.test_ledger import ledger_of, spent_by
from tests.integration.chat.test_response_service import call, events_in, respond
from tests.support.auth import Auth
from tests.support.background_openai import BackgroundOpenAI, running_background_openai
from tests.support.waiting import eventually

ASK: dict[str, Any] = {"model": "gpt-4o", "input": "hi", "background": True, "max_output_tokens": 16}
COST = Decimal("0.0000475")
QUICK: dict[str, Any] = {"background_look_seconds": 0.01, "provider_circuit_failures": 0}

Asking = Callable[..., contextlib.AbstractAsyncContextManager[Client]]


@pytest.fixture
async def upstream() -> AsyncIterator[BackgroundOpenAI]:
    async with running_background_openai() as running:
        yield running


@pytest.fixture
def asking(running_chat: Running, auth: Auth, upstream: BackgroundOpenAI) -> Asking:
    """Runs a service of a test's own, and yields a new user of it, or a user of another one's."""

    @contextlib.asynccontextmanager
    async def run(user: Client | None = None, **settings: Any) -> AsyncIterator[Client]:
        chosen = {
            "openai_api_key": SecretStr("sk-of-the-operator"),
            "openai_base_url": upstream.url,
            **QUICK,
            **settings,
        }
        metadata = user.metadata if user is not None else (("x-api-key", await auth.new_key()),)
        async with running_chat(**chosen) as address, connect(address) as channel:
            yield Client(channel, metadata, auth.owner_url)

    return run


async def retrieve(client: Client, response_id: str, **fields: Any) -> Any:
    request = RetrieveResponseRequest(response_id=response_id, **fields)
    method = ResponseServiceStub(client.channel).RetrieveResponse
    [part] = [part async for part in method(request, metadata=client.metadata)]
    return orjson.loads(part.data)


async def running(client: Client) -> list[asyncpg.Record]:
    """Returns what goes on of the client's user."""
    return await client.rows(
        "SELECT b.* FROM background_calls b JOIN users u ON u.id = b.user_id WHERE u.email = $1", await client.email()
    )


async def booked(client: Client, calls: int = 1) -> list[asyncpg.Record]:
    """Waits until the client's calls are in the ledger and nothing goes on, and returns them."""

    async def done() -> bool:
        return len(await ledger_of(client)) == calls and not await running(client)

    # The longer it took until here, the longer is the pause between two looks.
    await eventually(done, seconds=40)
    assert await reserved_by(client) == 0
    return await ledger_of(client)


class TestWhoeverLeaves:
    @pytest.mark.parametrize("stream", [False, True])
    async def test_a_client_that_leaves_before_the_answer_leaves_nothing_unpaid(
        self, asking: Asking, upstream: BackgroundOpenAI, stream: bool
    ):
        async with asking() as client:
            await limit(client, limits={"monthly_budget_usd": "1"})
            upstream.may_answer.clear()
            begun = call(client, {**ASK, "stream": stream})
            waiting = asyncio.ensure_future(anext(aiter(begun)))

            async def asked() -> bool:
                return bool(upstream.made)

            await eventually(asked)
            waiting.cancel()
            begun.cancel()
            await asyncio.sleep(0.05)  # the service hears of it
            assert await ledger_of(client) == []
            upstream.may_answer.set()
            await eventually(lambda: running(client))
            assert await reserved_by(client) > 0
            [response_id] = upstream.made
            upstream.finish(response_id)
            [row] = await booked(client)
            assert (row["state"], row["cost_usd"]) == ("done", COST)
            assert (await retrieve(client, response_id))["status"] == "completed"

    async def test_a_client_that_leaves_before_a_refusal_is_booked_as_gone(
        self, asking: Asking, upstream: BackgroundOpenAI
    ):
        async with asking() as client:
            upstream.may_answer.clear()
            begun = call(client, {**ASK, "stream": True})
            waiting = asyncio.ensure_future(anext(aiter(begun)))

            async def asked() -> bool:
                return bool(upstream.made)

            await eventually(asked)
            waiting.cancel()
            begun.cancel()
            [response_id] = upstream.made
            upstream.made[response_id].events = []
            upstream.made[response_id].body["status"] = "failed"
            upstream.may_answer.set()
            [row] = await booked(client)
            assert row["state"] == "cancelled"


class TestProcesses:
    async def test_several_processes_book_it_once(self, asking: Asking, upstream: BackgroundOpenAI):
        async with asking() as client, asking(), asking():
            # More than one sweep takes at a time.
            made = await asyncio.gather(*(respond(client, ASK) for _ in range(40)))
            for one in made:
                upstream.finish(one["id"])
            rows = await booked(client, 40)
            assert {row["cost_usd"] for row in rows} == {COST}
            assert await spent_by(client) == 40 * COST

    async def test_a_lease_that_is_over_interrupts_nothing_that_goes_on(
        self, asking: Asking, upstream: BackgroundOpenAI
    ):
        async with asking() as client:
            await limit(client, limits={"monthly_budget_usd": "1"})
            response_id = (await respond(client, ASK))["id"]
            await client.rows("UPDATE reservations SET lease_until = now() - interval '1 day'")
        async with asking(client) as other:
            looked = upstream.made[response_id].looks + 2

            async def asked() -> bool:
                return upstream.made[response_id].looks >= looked

            await eventually(asked, seconds=40)
            assert await ledger_of(other) == []
            upstream.finish(response_id)
            [row] = await booked(other)
            assert (row["state"], row["cost_usd"]) == ("done", COST)

    async def test_a_database_that_is_away_when_the_answer_comes_has_it_later(
        self, asking: Asking, upstream: BackgroundOpenAI
    ):
        async with asking() as client:
            keyed = Client(client.channel, (*client.metadata, ("idempotency-key", "once")), client.owner_url)
            upstream.may_answer.clear()
            begun = asyncio.ensure_future(refusal(call(keyed, ASK)))

            async def asked() -> bool:
                return bool(upstream.made)

            await eventually(asked)
            await client.rows("ALTER TABLE background_calls RENAME TO background_calls_away")
            try:
                upstream.may_answer.set()
                assert (await begun).code is grpc.StatusCode.UNAVAILABLE
            finally:
                await client.rows("ALTER TABLE background_calls_away RENAME TO background_calls")
            await eventually(lambda: running(client))
            [response_id] = upstream.made
            # Whoever asks again under the key is told of the one that is paid for.
            assert (await respond(keyed, ASK))["id"] == response_id
            upstream.finish(response_id)
            [row] = await booked(client)
            assert row["cost_usd"] == COST


class TestBounds:
    async def test_what_takes_too_long_is_ended_and_booked(self, asking: Asking, upstream: BackgroundOpenAI):
        async with asking(background_hours=0.3 / 3600) as client:
            response_id = (await respond(client, ASK))["id"]
            [row] = await booked(client)
            assert (row["state"], row["is_estimate"]) == ("cancelled", True)
            assert 0 < row["cost_usd"] < Decimal("0.001")
            assert ("POST", f"/v1/responses/{response_id}/cancel") in upstream.calls

    async def test_what_nobody_can_end_costs_the_most_that_it_can(self, asking: Asking, upstream: BackgroundOpenAI):
        async with asking(background_hours=0.3 / 3600) as client:
            await respond(client, ASK)
            upstream.is_away = True
            [row] = await booked(client)
            assert (row["state"], row["error"], row["is_estimate"]) == ("failed", "BACKGROUND_RESPONSE_OVERDUE", True)
            # No budget held it: 1,000 tokens of overhead and its own bytes, and 16 tokens out.
            assert Decimal("0.00266") < row["cost_usd"] < Decimal("0.0030")
            assert await spent_by(client) == row["cost_usd"]

    async def test_what_has_no_price_is_lost_without_one(self, asking: Asking, upstream: BackgroundOpenAI):
        async with asking(openai_models=("gpt-4o", "gpt-of-tomorrow")) as client:
            response_id = (await respond(client, {**ASK, "model": "gpt-of-tomorrow"}))["id"]
            del upstream.made[response_id]
            [row] = await booked(client)
            assert (row["error"], row["cost_usd"], row["is_estimate"]) == ("BACKGROUND_RESPONSE_LOST", None, True)

    async def test_a_discount_that_nobody_publishes_is_flagged(self, asking: Asking, upstream: BackgroundOpenAI):
        async with asking() as client:
            later = {**ASK, "background_options": {"completion_window": "8h"}}
            upstream.finish((await respond(client, later))["id"])
            [row] = await booked(client)
            assert (row["cost_usd"], row["is_estimate"]) == (COST, True)

    async def test_the_tier_that_served_it_is_what_it_costs(self, asking: Asking, upstream: BackgroundOpenAI):
        async with asking() as client:
            upstream.finish((await respond(client, {**ASK, "service_tier": "priority"}))["id"], service_tier="default")
            upstream.finish((await respond(client, {**ASK, "service_tier": "priority"}))["id"])
            first, second = await booked(client, 2)
            assert first["cost_usd"] == COST < second["cost_usd"]


class TestEndpoints:
    async def test_the_endpoint_that_has_it_is_asked_wherever_it_stands_now(
        self, asking: Asking, upstream: BackgroundOpenAI
    ):
        async with running_background_openai() as second:
            places = [ProviderEndpoint(base_url=one.url) for one in (upstream, second)]
            async with asking(openai_endpoints=tuple(places)) as client:
                ids = [(await respond(client, ASK))["id"] for _ in range(2)]
                assert len(upstream.made) == len(second.made) == 1
                for one in ids:
                    assert (await retrieve(client, one))["id"] == one
                [elsewhere] = second.made
                # Each is asked where it is.
                assert not any(elsewhere in path for _, path in upstream.calls)
            async with asking(client, openai_endpoints=tuple(reversed(places))) as again:
                for one in ids:
                    (upstream if one in upstream.made else second).finish(one)
                rows = await booked(again, 2)
                assert {row["cost_usd"] for row in rows} == {COST}

    async def test_one_that_does_not_answer_may_have_it(self, asking: Asking, upstream: BackgroundOpenAI):
        async with running_background_openai() as second:
            places = [ProviderEndpoint(base_url=one.url) for one in (upstream, second)]
            async with asking(openai_endpoints=tuple(places)) as client:
                response_id = (await respond(client, ASK))["id"]
                holder, other = (upstream, second) if upstream.made else (second, upstream)
                holder.is_away = True
                looks = len(holder.calls) + 6

                async def asked() -> bool:
                    return len(holder.calls) >= looks and bool(other.calls)

                await eventually(asked, seconds=40)
                assert await ledger_of(client) == []
                holder.is_away = False
                holder.finish(response_id)
                [row] = await booked(client)
                assert row["cost_usd"] == COST


class TestAnswers:
    async def test_a_request_that_was_refused_is_made_again_and_no_other(
        self, asking: Asking, openai_upstream: ScriptedProvider
    ):
        queued: dict[str, Any] = {
            "id": "resp_again",
            "object": "response",
            "status": "queued",
            "output": [],
            "usage": None,
        }

        async def script(exchange: Exchange) -> None:
            if len(openai_upstream.requests) == 1:
                await exchange.reply(503, {"error": {"message": "not now"}})
            elif exchange.path == "/v1/responses":
                await exchange.reply(200, queued)
            else:
                await exchange.reply(200, {**queued, "status": "completed"})

        openai_upstream.script = script
        async with asking(openai_base_url=openai_upstream.url + "/v1") as client:
            assert await respond(client, ASK) == queued
            [row] = await booked(client)
            # The provider does not say what it used.
            assert (row["state"], row["is_estimate"]) == ("done", True)
            openai_upstream.requests.clear()

            async def cut(exchange: Exchange) -> None:
                exchange.cut()

            openai_upstream.script = cut
            assert (await refusal(call(client, ASK))).code is grpc.StatusCode.UNAVAILABLE
            assert len(openai_upstream.requests) == 1

    async def test_an_answer_that_is_whole_at_once_is_like_any_other(
        self, asking: Asking, openai_upstream: ScriptedProvider
    ):
        usage = {"input_tokens": 7, "output_tokens": 3, "total_tokens": 10}
        whole = {"id": "resp_whole", "object": "response", "status": "completed", "output": [], "usage": usage}
        openai_upstream.script = lambda exchange: exchange.reply(200, whole)
        async with asking(openai_base_url=openai_upstream.url + "/v1") as client:
            assert await respond(client, ASK) == whole
            [row] = await booked(client)
            assert row["cost_usd"] == COST

    async def test_any_response_that_a_user_was_told_can_be_fetched(
        self, asking: Asking, openai_upstream: ScriptedProvider
    ):
        usage = {"input_tokens": 7, "output_tokens": 3, "total_tokens": 10}
        whole = {"id": "resp_plain", "object": "response", "status": "completed", "output": [], "usage": usage}
        openai_upstream.script = lambda exchange: exchange.reply(200, whole)
        async with asking(openai_base_url=openai_upstream.url + "/v1") as client:
            await respond(client, {**ASK, "background": False})
            assert await retrieve(client, "resp_plain", include=["a", "b"]) == whole
            assert openai_upstream.requests[-1].path == "/v1/responses/resp_plain?include%5B%5D=a&include%5B%5D=b"
            openai_upstream.script = lambda exchange: exchange.reply(400, {"error": {"message": "not in background"}})
            request = CancelResponseRequest(response_id="resp_plain")
            error = await client.refused(ResponseServiceStub(client.channel).CancelResponse, request)
            assert error.code is grpc.StatusCode.INVALID_ARGUMENT
            assert len(await ledger_of(client)) == 1

    async def test_a_stream_that_breaks_off_goes_on(self, asking: Asking, openai_upstream: ScriptedProvider):
        made: dict[str, Any] = {
            "id": "resp_cut",
            "object": "response",
            "status": "in_progress",
            "output": [],
            "usage": None,
        }
        usage = {"input_tokens": 7, "output_tokens": 3, "total_tokens": 10}

        async def script(exchange: Exchange) -> None:
            if exchange.path == "/v1/responses":
                await exchange.begin()
                await exchange.events({"type": "response.created", "sequence_number": 0, "response": made})
                exchange.cut()
            else:
                await exchange.reply(200, {**made, "status": "completed", "usage": usage})

        openai_upstream.script = script
        async with asking(openai_base_url=openai_upstream.url + "/v1") as client:
            parts, _ = await outcome(call(client, {**ASK, "stream": True}))
            assert [event["type"] for event in events_in(parts)] == ["response.created", "error"]
            [row] = await booked(client)
            assert (row["state"], row["cost_usd"]) == ("done", COST)
            assert sum(one.path == "/v1/responses" for one in openai_upstream.requests) == 1
