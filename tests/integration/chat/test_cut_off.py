"""What a provider used that was cut off at its work is booked as an estimate: it counts that, and tells nobody."""

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import pytest
from gaia.chat.v1.chat_service_pb2 import ChatRequest
from pydantic import SecretStr

from shared.rpc.channel import connect
from tests.integration.chat.conftest import PROVIDER_KEY, Client, Running, outcome, refusal, until
from tests.integration.chat.scripted_provider import Exchange, ScriptedProvider, claude_message
from tests.integration.chat.test_budgets import limit, reserved_by
from tests.integration.chat.test_ledger import ASK, ledger_of, spent_by
from tests.support.auth import Auth
from tests.support.ports import free_port

THINKER = {**ASK, "model": "gpt-5"}
READ = 3
"""Tokens that ASK is estimated at, at the least."""


@pytest.fixture(scope="module")
async def impatient(
    running_chat: Running, openai_upstream: ScriptedProvider, claude_upstream: ScriptedProvider
) -> AsyncIterator[str]:
    """The address of a service that waits for a third of a second."""
    async with running_chat(
        openai_api_key=SecretStr(PROVIDER_KEY),
        openai_base_url=openai_upstream.url + "/v1",
        openai_models=("gpt-4o", "gpt-5"),
        anthropic_api_key=SecretStr(PROVIDER_KEY),
        anthropic_base_url=claude_upstream.url,
        provider_silence_seconds=0.3,
        provider_retries=0,
        provider_circuit_failures=0,
    ) as running:
        yield running


@pytest.fixture
async def client(impatient: str, auth: Auth) -> AsyncIterator[Client]:
    async with connect(impatient) as channel:
        yield Client(channel, (("x-api-key", await auth.new_key()),), auth.owner_url)


async def silence(exchange: Exchange) -> None:
    await exchange.gone()


async def silent_stream(exchange: Exchange) -> None:
    await exchange.begin()
    await exchange.gone()


async def booked(client: Client) -> Any:
    await until(lambda: ledger_of(client))
    [row] = await ledger_of(client)
    return row


async def test_a_whole_reply_that_took_too_long_costs_what_it_read_and_what_it_may_have_written(
    client: Client, openai_upstream: ScriptedProvider
):
    openai_upstream.script = silence
    await refusal(client.completion_call(ASK))
    row = await booked(client)
    assert (row["state"], row["error"], row["is_estimate"]) == ("failed", "PROVIDER_TIMEOUT", True)
    assert row["input_tokens"] >= READ
    # A hundred tokens a second, for the 0.3 seconds that it was waited for.
    assert 30 <= row["output_tokens"] < 1000
    assert row["cost_usd"] == await spent_by(client) > 0


async def test_it_cannot_have_written_more_than_it_was_allowed(client: Client, openai_upstream: ScriptedProvider):
    openai_upstream.script = silence
    await refusal(client.completion_call({**ASK, "max_tokens": 8}))
    assert (await booked(client))["output_tokens"] == 8


@pytest.mark.parametrize(("body", "wrote"), [(ASK, False), (THINKER, True)], ids=["writes", "thinks"])
async def test_a_stream_in_which_nothing_arrived_was_read_and_perhaps_thought_about(
    client: Client, openai_upstream: ScriptedProvider, body: Any, wrote: bool
):
    openai_upstream.script = silent_stream
    await outcome(client.completion_call({**body, "stream": True}))
    row = await booked(client)
    assert (row["state"], row["is_estimate"], row["output_tokens"] > 0) == ("failed", True, wrote)
    assert row["input_tokens"] >= READ


async def test_a_caller_who_leaves_pays_for_what_was_begun(client: Client, openai_upstream: ScriptedProvider):
    asked = asyncio.Event()

    async def script(exchange: Exchange) -> None:
        asked.set()
        await exchange.gone()

    openai_upstream.script = script
    call = client.completion_call({**ASK, "max_tokens": 8})
    reading = asyncio.ensure_future(outcome(call))
    async with asyncio.timeout(5):
        await asked.wait()
    call.cancel()
    await asyncio.wait([reading])
    row = await booked(client)
    assert (row["state"], row["is_estimate"]) == ("cancelled", True)
    assert row["input_tokens"] >= READ
    assert row["output_tokens"] <= 8


async def test_a_try_that_was_cut_off_is_booked_beside_the_reply_of_another_model(
    client: Client, openai_upstream: ScriptedProvider, claude_upstream: ScriptedProvider
):
    openai_upstream.script = silence
    claude_upstream.script = lambda exchange: exchange.reply(200, claude_message([{"type": "text", "text": "hey"}]))
    await limit(client, limits={"monthly_budget_usd": "100"})
    request = ChatRequest(message="hi", model="gpt-4o", enable_fallback=True)
    assert (await client.call(client.chat.Chat, request)).provider == "claude"
    row = await booked(client)
    assert (row["state"], row["provider"], row["is_estimate"]) == ("done", "claude", True)
    [tried, answered] = await client.rows(
        "SELECT one->>'provider' AS provider FROM ledger, jsonb_array_elements(pricing) AS one WHERE id = $1", row["id"]
    )
    assert (tried["provider"], answered["provider"]) == ("openai", "claude")
    assert (await spent_by(client), await reserved_by(client)) == (row["cost_usd"], Decimal(0))


async def test_a_provider_that_was_never_reached_counts_nothing(running_chat: Running, auth: Auth):
    nowhere = {"openai_api_key": "k", "openai_base_url": f"http://127.0.0.1:{free_port()}/v1", "provider_retries": 0}
    async with running_chat(**nowhere) as address, connect(address) as channel:
        client = Client(channel, (("x-api-key", await auth.new_key()),), auth.owner_url)
        await refusal(client.completion_call(ASK))
        row = await booked(client)
    assert (row["state"], row["cost_usd"], row["is_estimate"], row["input_tokens"]) == ("failed", 0, False, None)
