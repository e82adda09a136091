"""What is booked of calls whose provider nobody waited for: what it surely read, and nothing that it was not asked."""

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import asyncpg
import grpc
import pytest
from gaia.chat.v1.chat_service_pb2 import ChatRequest
from gaia.chat.v1.provider_service_pb2 import GetProviderHealthRequest
from pydantic import SecretStr

from services.chat.settings import CompatibleEndpoint
from shared.rpc.channel import connect
from tests.integration.chat.conftest import PROVIDER_KEY, Client, Running, refusal, until
from tests.integration.chat.scripted_provider import (
    Exchange,
    ScriptedProvider,
    openai_chunk,
    openai_usage,
    running_provider,
)
from tests.integration.chat.test_ledger import ledger_of
from tests.support.auth import Auth

ASK = {"model": "gpt-4o", "messages": [{"role": "user", "content": "a question of several words"}]}
IMPATIENT = ChatRequest(
    message="a question of several words", model="gpt-4o", enable_fallback=False, max_response_time_ms=300
)
EITHER = [pytest.param(False, id="whole"), pytest.param(True, id="stream")]


@pytest.fixture(scope="module")
async def standing_in() -> AsyncIterator[ScriptedProvider]:
    """The provider that stands in for OpenAI."""
    async with running_provider() as provider:
        yield provider


@pytest.fixture(scope="module")
async def service(
    running_chat: Running, openai_upstream: ScriptedProvider, standing_in: ScriptedProvider
) -> AsyncIterator[str]:
    other = CompatibleEndpoint(id="other", base_url=standing_in.url + "/v1", models=("m",))
    async with running_chat(
        openai_api_key=SecretStr(PROVIDER_KEY),
        openai_base_url=openai_upstream.url + "/v1",
        openai_compatible=(other,),
        provider_first_token_seconds=0.4,
        provider_circuit_failures=0,
    ) as running:
        yield running


@pytest.fixture
async def client(service: str, auth: Auth) -> AsyncIterator[Client]:
    key = await auth.new_key()
    async with connect(service) as channel:
        yield Client(channel, (("x-api-key", key),), auth.owner_url)


class Asked:
    """A provider's script that keeps still, and tells that it was asked."""

    def __init__(self) -> None:
        self.event = asyncio.Event()

    async def __call__(self, exchange: Exchange) -> None:
        self.event.set()
        await exchange.gone()


async def hello(exchange: Exchange) -> None:
    await exchange.begin()
    await exchange.events(openai_chunk({"content": "hello"}), openai_chunk({}, "stop"), openai_usage(7, 3), b"[DONE]")
    await exchange.end()


async def unavailable(exchange: Exchange) -> None:
    await exchange.reply(503, {"error": {"message": "no"}}, {"retry-after": "4"})


async def row_of(client: Client) -> asyncpg.Record:
    """Returns the ledger's row of the client's only call, once it is over."""

    async def is_over() -> bool:
        rows = await ledger_of(client)
        return bool(rows) and rows[0]["state"] != "open"

    await until(is_over)
    [row] = await ledger_of(client)
    return row


async def last_call(client: Client) -> Any:
    """Returns when a call to OpenAI ended last, as its health tells."""
    return (
        await client.call(client.providers.GetProviderHealth, GetProviderHealthRequest(id="openai"))
    ).health.last_check


class TestGivenUp:
    @pytest.mark.parametrize("is_stream", EITHER)
    async def test_what_was_read_is_booked_though_the_callers_time_was_over(
        self, client: Client, openai_upstream: ScriptedProvider, is_stream: bool
    ):
        openai_upstream.script = Asked()
        if is_stream:
            error = await refusal(client.chat.StreamChat(IMPATIENT, metadata=client.metadata))
        else:
            error = await client.refused(client.chat.Chat, IMPATIENT)
        assert error.code is grpc.StatusCode.DEADLINE_EXCEEDED
        row = await row_of(client)
        assert (row["state"], row["error"], row["is_estimate"]) == ("failed", "PROVIDER_TIMEOUT", True)
        assert row["input_tokens"] > 5
        # What a stream's model had written would have arrived; one of which the whole was awaited was writing.
        assert (row["output_tokens"] == 0) is is_stream
        assert row["cost_usd"] > 0

    async def test_and_beside_the_reply_of_the_one_that_stood_in(
        self, client: Client, openai_upstream: ScriptedProvider, standing_in: ScriptedProvider
    ):
        openai_upstream.script, standing_in.script = Asked(), hello
        request = ChatRequest(message="a question of several words", model="gpt-4o")
        assert [event async for event in client.chat.StreamChat(request, metadata=client.metadata)]
        row = await row_of(client)
        assert (row["state"], row["provider"], row["is_estimate"]) == ("done", "other", True)
        assert row["input_tokens"] > 7 + 5
        assert row["output_tokens"] == 3

    async def test_a_provider_that_says_itself_that_it_was_late_is_not_paid(
        self, client: Client, openai_upstream: ScriptedProvider
    ):
        openai_upstream.script = lambda exchange: exchange.reply(504, {"error": {"message": "late"}})
        await refusal(client.completion_call(ASK))
        row = await row_of(client)
        assert (row["state"], row["input_tokens"], row["cost_usd"]) == ("failed", None, Decimal(0))


class TestLeft:
    @pytest.mark.parametrize("is_stream", EITHER)
    async def test_between_two_tries_nothing_is_booked(
        self, client: Client, openai_upstream: ScriptedProvider, is_stream: bool
    ):
        openai_upstream.script = unavailable
        before = await last_call(client)
        call = client.completion_call({**ASK, "stream": is_stream})
        left = asyncio.create_task(refusal(call))

        async def is_refused() -> bool:
            return await last_call(client) != before

        await until(is_refused)
        call.cancel()
        await asyncio.gather(left, return_exceptions=True)
        row = await row_of(client)
        assert (row["state"], row["input_tokens"], row["cost_usd"]) == ("cancelled", None, Decimal(0))
        assert not row["is_estimate"]

    async def test_the_one_that_stood_in_is_the_one_that_is_booked(
        self, client: Client, openai_upstream: ScriptedProvider, standing_in: ScriptedProvider
    ):
        openai_upstream.script = lambda exchange: exchange.reply(401, {"error": {"message": "no"}})
        standing_in.script = asked = Asked()
        request = ChatRequest(message="a question of several words", model="gpt-4o")
        call = client.chat.Chat(request, metadata=client.metadata)
        async with asyncio.timeout(5):
            await asked.event.wait()
        call.cancel()
        row = await row_of(client)
        assert (row["state"], row["provider"], row["model"]) == ("cancelled", "other", "m")
        assert row["input_tokens"] > 5
        assert row["is_estimate"]

    async def test_after_the_last_word_what_the_provider_told_is_no_estimate(
        self, client: Client, openai_upstream: ScriptedProvider
    ):
        async def lingers(exchange: Exchange) -> None:
            await exchange.begin()
            await exchange.events(openai_chunk({"content": "hello"}), openai_chunk({}, "stop"), openai_usage(7, 3))
            await exchange.gone()

        openai_upstream.script = lingers
        call = client.completion_call({**ASK, "stream": True, "stream_options": {"include_usage": True}})
        said = b""
        while b'"prompt_tokens"' not in said:
            said += (await call.read()).data
        call.cancel()
        row = await row_of(client)
        assert (row["state"], row["input_tokens"], row["output_tokens"]) == ("cancelled", 7, 3)
        assert not row["is_estimate"]
