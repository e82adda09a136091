"""What a caller has of providers that fail for a while: the real service in front of scripted ones."""

import asyncio
import contextlib
import re
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import pytest
from gaia.chat.v1.chat_service_pb2 import ChatRequest
from gaia.chat.v1.provider_service_pb2 import GetProviderHealthRequest, ListProvidersRequest
from pydantic import SecretStr

from services.chat.settings import CompatibleEndpoint, ProviderEndpoint
from shared.rpc.channel import connect
from tests.integration.chat.conftest import PROVIDER_KEY, Client, Running, events_in, outcome, refusal, until
from tests.integration.chat.scripted_provider import (
    Exchange,
    Script,
    ScriptedProvider,
    claude_message,
    claude_stream,
    openai_chunk,
    openai_completion,
    running_provider,
)
from tests.integration.chat.test_response_service import call as response_call
from tests.support.auth import Auth
from tests.support.ports import free_port

ASK = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}]}
STREAM = {**ASK, "stream": True}
NATIVE = ChatRequest(message="hi", model="gpt-4o")

Answer = Callable[[Exchange], Awaitable[None]]


def failing(status: int, headers: dict[str, str] | None = None) -> Answer:
    return lambda exchange: exchange.reply(status, {"error": {"message": "no"}}, headers)


async def hello(exchange: Exchange) -> None:
    """Says hello, whole or streamed."""
    if not (exchange.body or {}).get("stream"):
        await exchange.reply(200, openai_completion("hello"))
        return
    await exchange.begin()
    await exchange.events(openai_chunk({"role": "assistant", "content": ""}), openai_chunk({"content": "hello"}))
    await exchange.events(openai_chunk({}, "stop"), b"[DONE]")
    await exchange.end()


def one_after_the_other(*answers: Answer) -> Script:
    """Gives the answers in turn, the last one for good."""
    left = list(answers)

    async def script(exchange: Exchange) -> None:
        await (left.pop(0) if len(left) > 1 else left[0])(exchange)

    return script


async def text_of(client: Client) -> str:
    """Asks and returns what the provider said."""
    return str((await client.complete(ASK))["choices"][0]["message"]["content"])


Asking = Callable[..., contextlib.AbstractAsyncContextManager[Client]]


@pytest.fixture
def asking(running_chat: Running, auth: Auth, openai_upstream: ScriptedProvider) -> Asking:
    """Runs a service of a test's own, and yields a new user of it."""

    @contextlib.asynccontextmanager
    async def run(**settings: Any) -> AsyncIterator[Client]:
        chosen = {
            "openai_api_key": SecretStr(PROVIDER_KEY),
            "openai_base_url": openai_upstream.url + "/v1",
            "provider_silence_seconds": 5.0,
            **settings,
        }
        async with running_chat(**chosen) as address, connect(address) as channel:
            yield Client(channel, (("x-api-key", await auth.new_key()),), auth.owner_url)

    return run


class TestRetries:
    @pytest.mark.parametrize("body", [ASK, STREAM], ids=["whole", "stream"])
    @pytest.mark.parametrize(
        "first",
        [
            failing(500),
            failing(503, {"retry-after-ms": "10"}),
            failing(429, {"retry-after-ms": "10"}),
            lambda exchange: exchange.reply(200, b"<html>"),
        ],
        ids=["500", "503", "429", "nonsense"],
    )
    async def test_a_hiccup_is_not_seen_by_the_caller(
        self, asking: Asking, openai_upstream: ScriptedProvider, first: Answer, body: dict[str, Any]
    ):
        openai_upstream.script = one_after_the_other(first, hello)
        async with asking() as client:
            said = b"".join([part.data async for part in client.completion_call(body)])
            assert b"hello" in said
            assert len(openai_upstream.requests) == 2
            assert [row["is_complete"] for row in await client.messages()] == [True, True]

    async def test_the_providers_wait_is_kept_to(self, asking: Asking, openai_upstream: ScriptedProvider):
        openai_upstream.script = one_after_the_other(failing(429, {"retry-after-ms": "400"}), hello)
        async with asking() as client:
            began = time.perf_counter()
            assert await text_of(client) == "hello"
            assert time.perf_counter() - began >= 0.4

    async def test_a_wait_that_is_too_long_is_told_instead(self, asking: Asking, openai_upstream: ScriptedProvider):
        openai_upstream.script = failing(429, {"retry-after": "7"})
        async with asking() as client:
            error = await refusal(client.completion_call(ASK))
            assert error.code is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert "try again in 7 s" in error.message
            assert len(openai_upstream.requests) == 1

    async def test_they_stop_at_the_deadline(self, asking: Asking, openai_upstream: ScriptedProvider):
        openai_upstream.script = failing(503, {"retry-after": "2"})
        async with asking() as client:
            began = time.perf_counter()
            request = ChatRequest(message="hi", model="gpt-4o", max_response_time_ms=1500)
            error = await refusal(client.chat.Chat(request, metadata=client.metadata))
            assert error.code is grpc.StatusCode.UNAVAILABLE
            assert time.perf_counter() - began < 1.5
            assert len(openai_upstream.requests) == 1

    @pytest.mark.parametrize(
        "seen", [{"content": "half "}, {"tool_calls": [{"index": 0, "id": "c"}]}], ids=["text", "call"]
    )
    async def test_there_is_none_after_the_first_word(
        self, asking: Asking, openai_upstream: ScriptedProvider, seen: dict[str, Any]
    ):
        async def breaks_off(exchange: Exchange) -> None:
            await exchange.begin()
            await exchange.events(openai_chunk({"role": "assistant", **seen}))
            exchange.cut()

        openai_upstream.script = one_after_the_other(breaks_off, hello)
        async with asking() as client:
            parts, error = await outcome(client.completion_call(STREAM))
            assert error.code is grpc.StatusCode.INTERNAL
            assert len(openai_upstream.requests) == 1
            assert events_in(parts)[0]["choices"][0]["delta"] == {"role": "assistant", **seen}

    async def test_one_after_the_role_and_before_the_first_word_shows_the_role_once(
        self, asking: Asking, openai_upstream: ScriptedProvider
    ):
        async def breaks_off(exchange: Exchange) -> None:
            await exchange.begin()
            await exchange.events(openai_chunk({"role": "assistant", "content": ""}))
            exchange.cut()

        openai_upstream.script = one_after_the_other(breaks_off, hello)
        async with asking() as client:
            *events, end = await client.stream(STREAM)
        assert end == "[DONE]"
        deltas = [event["choices"][0]["delta"] for event in events]
        assert deltas == [{"role": "assistant", "content": ""}, {"content": "hello"}, {}]

    async def test_what_a_try_used_that_failed_is_booked_beside_the_reply(
        self, asking: Asking, claude_upstream: ScriptedProvider
    ):
        start, *rest = claude_stream(["hey"])

        async def breaks_off(exchange: Exchange) -> None:
            await exchange.begin()
            await exchange.events(start)
            exchange.cut()

        async def hey(exchange: Exchange) -> None:
            await exchange.begin()
            await exchange.events(start, *rest)
            await exchange.end()

        claude_upstream.script = one_after_the_other(breaks_off, hey)
        claude = {"anthropic_api_key": SecretStr("k"), "anthropic_base_url": claude_upstream.url}
        async with asking(**claude) as client:
            asked = {**STREAM, "model": "claude-haiku-5-5", "stream_options": {"include_usage": True}}
            *_, usage, end = await client.stream(asked)
            [row] = await client.rows(
                "SELECT l.* FROM ledger l JOIN users u ON u.id = l.user_id WHERE u.email = $1", await client.email()
            )
        assert end == "[DONE]"
        assert (usage["usage"]["prompt_tokens"], usage["usage"]["completion_tokens"]) == (7, 9)
        assert (row["input_tokens"], row["output_tokens"], row["state"]) == (14, 13, "done")

    async def test_a_caller_that_leaves_while_waiting_is_not_asked_for_again(
        self, asking: Asking, openai_upstream: ScriptedProvider
    ):
        failed = asyncio.Event()

        async def limits(exchange: Exchange) -> None:
            await failing(429, {"retry-after-ms": "300"})(exchange)
            failed.set()

        openai_upstream.script = one_after_the_other(limits, hello)
        async with asking() as client:
            call = client.completion_call(ASK)
            left = asyncio.create_task(refusal(call))
            await failed.wait()
            call.cancel()
            await asyncio.gather(left, return_exceptions=True)
            # Another caller's own request takes longer than the one that left would have waited.
            openai_upstream.script = one_after_the_other(failing(503, {"retry-after-ms": "500"}), hello)
            assert await text_of(client) == "hello"
        assert len(openai_upstream.requests) == 3


class TestFallback:
    async def test_a_provider_that_is_not_there_is_made_good_for_by_another(
        self, asking: Asking, claude_upstream: ScriptedProvider
    ):
        claude_upstream.script = lambda exchange: exchange.reply(200, claude_message([{"type": "text", "text": "hey"}]))
        claude = {"anthropic_api_key": SecretStr("k"), "anthropic_base_url": claude_upstream.url}
        async with asking(openai_base_url=f"http://127.0.0.1:{free_port()}/v1", **claude) as client:
            reply = await client.call(client.chat.Chat, NATIVE)
            assert (reply.response, reply.provider, reply.fallback_used) == ("hey", "claude", True)
            alone = ChatRequest(message="hi", model="gpt-4o", enable_fallback=False)
            error = await client.refused(client.chat.Chat, alone)
            assert error.code is grpc.StatusCode.UNAVAILABLE
            assert "cannot be reached" in error.message

    async def test_a_provider_that_keeps_quiet_is_given_up_for_another(
        self, asking: Asking, openai_upstream: ScriptedProvider
    ):
        ended = asyncio.Event()

        async def pings(exchange: Exchange) -> None:
            await exchange.begin()
            await exchange.send(b": keep alive\n\n")
            await exchange.gone()
            ended.set()

        openai_upstream.script = pings
        async with running_provider() as other:
            other.script = hello
            second = CompatibleEndpoint(id="second", base_url=other.url + "/v1", models=("m",))
            async with asking(provider_first_token_seconds=0.4, openai_compatible=(second,)) as client:
                events = [event async for event in client.chat.StreamChat(NATIVE, metadata=client.metadata)]
                async with asyncio.timeout(5):
                    await ended.wait()
        assert "".join(event.content for event in events if event.type == "content") == "hello"
        assert [event.type for event in events].count("fallback_attempt") == 1
        assert events[-1].type == "complete"


class TestCircuits:
    async def test_it_opens_after_failures_and_closes_when_the_provider_is_back(
        self, asking: Asking, openai_upstream: ScriptedProvider
    ):
        openai_upstream.script = failing(500)
        settings = {"provider_retries": 0, "provider_circuit_failures": 3, "provider_circuit_seconds": 0.5}
        async with asking(**settings) as client:
            for _ in range(3):
                assert "failed (500)" in (await refusal(client.completion_call(ASK))).message
            error = await refusal(client.completion_call(ASK))
            assert error.code is grpc.StatusCode.UNAVAILABLE
            assert "openai failed too often" in error.message
            assert len(openai_upstream.requests) == 3
            openai_upstream.script = hello

            async def is_back() -> bool:
                with contextlib.suppress(grpc.aio.AioRpcError):
                    return await text_of(client) == "hello"
                return False

            await until(is_back)
            assert len(openai_upstream.requests) == 4, "one trial, which succeeded"

    async def test_health_tells_at_once_of_a_provider_that_is_not_asked_however_well_it_did(
        self, asking: Asking, openai_upstream: ScriptedProvider
    ):
        async def told(client: Client) -> tuple[str, str]:
            one = await client.call(client.providers.GetProviderHealth, GetProviderHealthRequest(id="openai"))
            listed = await client.call(client.providers.ListProviders, ListProvidersRequest())
            return one.health.status, next(each.health for each in listed.providers if each.id == "openai")

        settings = {"provider_retries": 0, "provider_circuit_failures": 3, "provider_circuit_seconds": 0.5}
        openai_upstream.script = hello
        async with asking(**settings) as client:
            for _ in range(40):
                assert await text_of(client) == "hello"
            assert await told(client) == ("healthy", "healthy")
            openai_upstream.script = failing(500)
            for _ in range(3):
                await refusal(client.completion_call(ASK))
            assert await told(client) == ("unhealthy", "unhealthy")
            openai_upstream.script = hello

            async def is_back() -> bool:
                with contextlib.suppress(grpc.aio.AioRpcError):
                    return await text_of(client) == "hello"
                return False

            await until(is_back)
            assert await told(client) == ("healthy", "healthy")


class TestSeveralEndpoints:
    async def test_of_two_keys_the_one_under_a_limit_is_left_alone(
        self, asking: Asking, openai_upstream: ScriptedProvider
    ):
        async def by_key(exchange: Exchange) -> None:
            limited = exchange.headers["authorization"] == "Bearer sk-first"
            await (failing(429, {"retry-after": "30"}) if limited else hello)(exchange)

        openai_upstream.script = by_key
        async with asking(openai_api_key=SecretStr("sk-first,sk-second")) as client:
            assert [await text_of(client) for _ in range(6)] == ["hello"] * 6
        keys = [one.headers["authorization"] for one in openai_upstream.requests]
        assert keys.count("Bearer sk-second") == 6
        assert keys.count("Bearer sk-first") == 1

    async def test_of_two_servers_one_that_is_down_is_not_noticed(
        self, asking: Asking, openai_upstream: ScriptedProvider
    ):
        openai_upstream.script = hello
        urls = (f"http://127.0.0.1:{free_port()}/v1", openai_upstream.url + "/v1")
        pair = CompatibleEndpoint(id="pair", base_urls=urls, api_key=SecretStr("k"), models=("m",))
        async with asking(openai_api_key=None, openai_compatible=(pair,)) as client:
            for _ in range(4):
                answer = await client.complete({**ASK, "model": "pair/m"})
                assert answer["choices"][0]["message"]["content"] == "hello"
        assert {one.headers["authorization"] for one in openai_upstream.requests} == {"Bearer k"}

    @pytest.mark.parametrize("provider", ["openai", "claude"])
    async def test_the_endpoints_of_a_provider_share_its_calls_by_weight_and_stand_in_for_each_other(
        self, asking: Asking, openai_upstream: ScriptedProvider, claude_upstream: ScriptedProvider, provider
    ):
        message = claude_message([{"type": "text", "text": "hello"}])
        second = claude_upstream if provider == "openai" else openai_upstream
        for upstream in (openai_upstream, claude_upstream):
            upstream.script = hello if provider == "openai" else lambda exchange: exchange.reply(200, message)
        suffix = "/v1" if provider == "openai" else ""
        first = openai_upstream if provider == "openai" else claude_upstream
        endpoints = (
            ProviderEndpoint(base_url=first.url + suffix, api_key=SecretStr("sk-one"), weight=3),
            ProviderEndpoint(base_url=second.url + suffix, api_key=SecretStr("sk-two")),
        )
        both: dict[str, dict[str, Any]] = {
            "openai": {"openai_api_key": None, "openai_endpoints": endpoints},
            "claude": {"anthropic_endpoints": endpoints},
        }
        model = {"openai": "gpt-4o", "claude": "claude/claude-haiku-5-5"}[provider]
        async with asking(**both[provider]) as client:
            for _ in range(8):
                await client.complete({**ASK, "model": model})
            assert (len(first.requests), len(second.requests)) == (6, 2)
            assert "sk-one" in str(first.requests[0].headers)
            assert "sk-two" in str(second.requests[0].headers)
            first.script = failing(503)
            for _ in range(4):
                await client.complete({**ASK, "model": model})

    @pytest.mark.parametrize("stream", [False, True])
    async def test_a_reply_is_gone_on_from_at_the_endpoint_that_keeps_it(
        self, asking: Asking, openai_upstream: ScriptedProvider, stream: bool
    ):
        text = {"type": "message", "id": "msg_1", "content": [{"type": "output_text", "text": "hello"}]}
        usage = {"input_tokens": 7, "output_tokens": 3, "total_tokens": 10}
        whole = {"status": "completed", "output": [text], "usage": usage}
        keepers: dict[str, str] = {}

        async def script(exchange: Exchange) -> None:
            key, asked = exchange.headers["authorization"], exchange.body.get("previous_response_id")
            if asked is not None and keepers[asked] != key:
                await exchange.reply(400, {"error": {"message": "no such response"}})
                return
            told = f"resp_{uuid.uuid4().hex}"
            keepers[told] = key
            if not exchange.body.get("stream"):
                await exchange.reply(200, {**whole, "id": told})
                return
            await exchange.begin()
            await exchange.events({"type": "response.completed", "response": {**whole, "id": told}})
            await exchange.end()

        openai_upstream.script = script
        async with asking(openai_api_key=SecretStr("sk-1,sk-2,sk-3"), provider_retries=0) as client:

            async def respond(**more: str) -> str:
                body = {"model": "gpt-4o", "input": "hi", "stream": stream, **more}
                data = b"".join([part.data async for part in response_call(client, body)])
                return re.search(rb"resp_[0-9a-f]{32}", data)[0].decode()  # type: ignore[index] # it is there

            told = [await respond() for _ in range(3)]
            for first in told:
                assert keepers[await respond(previous_response_id=first)] == keepers[first]
            openai_upstream.script = lambda exchange: exchange.reply(400, {"error": {"message": "no such response"}})
            openai_upstream.requests.clear()
            error = await refusal(
                response_call(client, {"model": "gpt-4o", "input": "x", "previous_response_id": told[0]})
            )
            assert error.code is grpc.StatusCode.INVALID_ARGUMENT
            assert len(openai_upstream.requests) == 3
            openai_upstream.requests.clear()
            await refusal(response_call(client, {"model": "gpt-4o", "input": "x"}))
            assert len(openai_upstream.requests) == 1

    async def test_a_key_that_is_refused_is_named_by_its_place(self, asking: Asking, openai_upstream: ScriptedProvider):
        openai_upstream.script = failing(401)
        async with asking(openai_api_key=SecretStr("sk-first,sk-second")) as client:
            error = await refusal(client.completion_call(ASK))
        assert "the operator should check OPENAI_API_KEY (" in error.message
        assert len(openai_upstream.requests) == 2
        assert "sk-" not in error.message


class TestProbes:
    @pytest.mark.parametrize(
        ("answer", "status"),
        [(failing(404), "healthy"), (failing(503), "unhealthy"), (failing(401), "unhealthy")],
        ids=["without a list of models", "down", "key refused"],
    )
    async def test_health_is_known_without_a_call(
        self, asking: Asking, openai_upstream: ScriptedProvider, claude_upstream: ScriptedProvider, answer, status
    ):
        openai_upstream.script = claude_upstream.script = answer
        claude = {"anthropic_api_key": SecretStr("k"), "anthropic_base_url": claude_upstream.url}
        async with asking(provider_probe_seconds=0.05, **claude) as client:
            for provider in ("openai", "claude"):

                async def is_known(provider: str = provider) -> bool:
                    request = GetProviderHealthRequest(id=provider)
                    health = (await client.call(client.providers.GetProviderHealth, request)).health
                    return bool(health.status == status)

                await until(is_known)
        assert openai_upstream.requests[0].path == "/v1/models"
        assert claude_upstream.requests[0].path == "/v1/models"
        assert claude_upstream.requests[0].headers["authorization"] == "Bearer k"
