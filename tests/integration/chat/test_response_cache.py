"""Replies that are kept to answer the same request with."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from services.chat import bodies
from shared.rpc.channel import connect
from tests.integration.chat.conftest import Client, Running
from tests.integration.chat.scripted_provider import ScriptedProvider, openai_chunk, openai_completion, openai_usage
from tests.integration.chat.test_ledger import ledger_of
from tests.support.auth import Auth

ASK = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture(scope="module")
async def caching(running_chat: Running, openai_upstream: ScriptedProvider) -> AsyncIterator[str]:
    """The address of a chat service that keeps replies."""
    async with running_chat(
        openai_api_key="k", openai_base_url=openai_upstream.url, response_cache_entries=10
    ) as address:
        yield address


@pytest.fixture
async def frugal(caching: str, auth: Auth) -> AsyncIterator[Client]:
    """A new user of it."""
    async with connect(caching) as channel:
        yield Client(channel, (("x-api-key", await auth.new_key()),), auth.owner_url)


async def asked(client: Client, body: Any, **metadata: str) -> tuple[str, bytes]:
    """Returns what the response says of the cache, and its body."""
    caller = Client(client.channel, (*client.metadata, *metadata.items()), client.owner_url)
    call = caller.completion_call(body)
    parts = [part async for part in call]
    headers: Mapping[str, Any] = dict(await call.initial_metadata())
    return str(headers.get("gaia-cache", "")), b"".join(part.data for part in parts)


async def test_the_same_request_of_the_same_user_is_answered_once(frugal: Client, openai_upstream: ScriptedProvider):
    openai_upstream.script = lambda exchange: exchange.reply(200, openai_completion("hello"))
    first, second = await asked(frugal, ASK), await asked(frugal, {**dict(reversed(ASK.items()))})
    assert (first[0], second[0]) == ("miss", "hit")
    assert first[1] == second[1]
    assert len(openai_upstream.requests) == 1
    assert [(row["state"], row["cost_usd"] > 0) for row in await ledger_of(frugal)] == [
        ("done", True),
        ("cached", False),
    ]
    assert len(await frugal.messages()) == 4, "what was told is kept each time"


async def test_streams_are_kept_too(frugal: Client, openai_upstream: ScriptedProvider):
    async def script(exchange):
        await exchange.begin()
        await exchange.events(openai_chunk({"content": "hi"}), openai_chunk({}, "stop"), openai_usage(9, 2), b"[DONE]")
        await exchange.end()

    openai_upstream.script = script
    ask = {**ASK, "stream": True}
    first, second = await asked(frugal, ask), await asked(frugal, ask)
    assert (first[0], second[0]) == ("miss", "hit")
    assert first[1] == second[1]
    assert second[1].endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize("other", [{"temperature": 0.5}, {"model": "gpt-4o-mini"}, {"unheard_of": 1}])
async def test_any_difference_makes_another_request(
    frugal: Client, openai_upstream: ScriptedProvider, other: Mapping[str, Any]
):
    openai_upstream.script = lambda exchange: exchange.reply(200, openai_completion("hello"))
    await asked(frugal, ASK)
    assert (await asked(frugal, {**ASK, **other}))[0] == "miss"


async def test_a_client_may_want_an_answer_of_its_own(frugal: Client, openai_upstream: ScriptedProvider):
    openai_upstream.script = lambda exchange: exchange.reply(200, openai_completion("hello"))
    await asked(frugal, ASK)
    assert (await asked(frugal, ASK, **{"cache-control": "no-cache"}))[0] == ""
    assert (await asked(frugal, {**ASK, "store": False}))[0] == ""
    assert len(openai_upstream.requests) == 3


async def test_failures_are_not_kept(frugal: Client, openai_upstream: ScriptedProvider):
    openai_upstream.script = lambda exchange: exchange.reply(400, {"error": {"message": "no"}})
    with pytest.raises(Exception, match="no"):
        await asked(frugal, ASK)
    openai_upstream.script = lambda exchange: exchange.reply(200, openai_completion("hello"))
    assert (await asked(frugal, ASK))[0] == "miss"


async def test_nothing_is_kept_unless_it_is_asked_for(client: Client, openai_upstream: ScriptedProvider):
    openai_upstream.script = lambda exchange: exchange.reply(200, openai_completion("hello"))
    assert [(await asked(client, ASK))[0] for _ in range(2)] == ["", ""]
    assert len(openai_upstream.requests) == 2


async def test_a_model_that_thinks_for_long_is_heard_of(
    client: Client, openai_upstream: ScriptedProvider, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(bodies, "HEARTBEAT_SECONDS", 0.05)

    async def script(exchange):
        await exchange.begin()
        await exchange.events(openai_chunk({"content": "hm"}))
        await waited.wait()
        await exchange.events(openai_chunk({}, "stop"), openai_usage(9, 2), b"[DONE]")
        await exchange.end()

    waited = asyncio.Event()
    openai_upstream.script = script
    call = client.completion_call({**ASK, "stream": True})
    parts = []
    async for part in call:
        parts.append(part.data)
        if parts.count(bodies.HEARTBEAT) == 2:
            waited.set()
    assert parts.count(bodies.HEARTBEAT) >= 2
    assert parts[-1].endswith(b"data: [DONE]\n\n")
