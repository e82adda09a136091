"""How long a stream may take to its first token: signs of life beside it do not count, in any dialect."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from pydantic import SecretStr

from shared.rpc.channel import connect
from tests.integration.chat.conftest import PROVIDER_KEY, Client, Running, outcome
from tests.integration.chat.scripted_provider import Exchange, ScriptedProvider, claude_message, openai_chunk
from tests.integration.chat.test_response_service import call as response_call
from tests.support.auth import Auth

FIRST_TOKEN_SECONDS = 0.5
MESSAGES = [{"role": "user", "content": "hi"}]


@pytest.fixture(scope="module")
async def service(
    running_chat: Running, openai_upstream: ScriptedProvider, claude_upstream: ScriptedProvider
) -> AsyncIterator[str]:
    async with running_chat(
        openai_api_key=SecretStr(PROVIDER_KEY),
        openai_base_url=openai_upstream.url + "/v1",
        anthropic_api_key=SecretStr(PROVIDER_KEY),
        anthropic_base_url=claude_upstream.url,
        provider_first_token_seconds=FIRST_TOKEN_SECONDS,
        provider_retries=0,
        provider_circuit_failures=0,
    ) as running:
        yield running


@pytest.fixture
async def client(service: str, auth: Auth) -> AsyncIterator[Client]:
    key = await auth.new_key()
    async with connect(service) as channel:
        yield Client(channel, (("x-api-key", key),), auth.owner_url)


async def alive(exchange: Exchange) -> None:
    """Sends signs of life in the dialect that it is asked in, for four times as long as a first token may take."""
    await exchange.begin()
    if exchange.path.endswith("/messages"):
        await exchange.events({"type": "message_start", "message": claude_message([])})
        await exchange.events(
            {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
        )
        empty = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": ""}}
        signs: list[Any] = [{"type": "ping"}, empty]
    elif exchange.path.endswith("/responses"):
        signs = [{"type": "response.in_progress", "response": {"id": "resp_idle", "status": "in_progress"}}]
        signs += [{"type": "response.output_text.delta", "output_index": 0, "content_index": 0, "delta": ""}]
    else:
        signs = [openai_chunk({"role": "assistant", "content": ""}), openai_chunk({"content": ""})]
    for _ in range(40):
        await exchange.events(*signs)
        # The pace of the signs: they are what is waited for here.
        await asyncio.sleep(FIRST_TOKEN_SECONDS / 10)
    exchange.cut()


@pytest.mark.parametrize("model", ["gpt-4o", "claude-haiku-5-5"])
@pytest.mark.parametrize("dialect", ["completions", "responses", "messages"])
async def test_signs_of_life_are_no_first_token(
    client: Client,
    openai_upstream: ScriptedProvider,
    claude_upstream: ScriptedProvider,
    dialect: str,
    model: str,
):
    openai_upstream.script = claude_upstream.script = alive
    if dialect == "completions":
        asked = client.completion_call({"model": model, "messages": MESSAGES, "stream": True})
    elif dialect == "responses":
        asked = response_call(client, {"model": model, "input": "hi", "stream": True})
    else:
        asked = client.message_call({"model": model, "messages": MESSAGES, "max_tokens": 9, "stream": True})
    _, error = await outcome(asked)
    assert error.code is grpc.StatusCode.DEADLINE_EXCEEDED
    assert "did not answer in time" in error.message
