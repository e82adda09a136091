"""A provider that is silent, talks nonsense or breaks off, and a client that leaves."""

import asyncio
import uuid
from typing import Any

import grpc
import httpx
import openai
import pytest
from gaia.chat.v1 import chat_service_pb2
from gaia.chat.v1.chat_service_pb2_grpc import ChatServiceStub

from tests.support.mesh import Caller, Mesh
from tests.support.process import until
from tests.support.sse import DONE, all_events, read_events
from tests.support.upstream import SILENCE_SECONDS, WORDS, Upstream
from tests.support.waiting import BUSY_SECONDS

CHAT = "/api/v0.2/chat"
STREAM = "/api/v0.2/chat/stream"
COMPLETIONS = "/v1/chat/completions"
NONSENSE = ("empty", "list", "page", "no-choices", "other-types")
CUT = ("unfinished", "garbled", "complains")
RECEIVED = "".join(WORDS)

CANCEL_SECONDS = 0.1 + BUSY_SECONDS
"""The bound from a client's leaving to the provider's seeing it, and what a busy machine may add."""


def wish(model: str, **fields: Any) -> dict[str, Any]:
    """A message for one of the scripted models; no other provider may answer instead."""
    return {"message": f"hello {uuid.uuid4()}", "model": f"scripted/{model}", "enable_fallback": False, **fields}


async def stored(mesh: Mesh, caller: Caller) -> list[tuple[str, str, bool]]:
    """What the database holds of a user's conversations."""
    rows = await mesh.rows(
        "SELECT role, content, is_complete FROM chat_messages JOIN conversations c ON c.id = conversation_id"
        " WHERE c.user_id = $1 ORDER BY position",
        caller.user_id,
    )
    return [(row["role"], row["content"], row["is_complete"]) for row in rows]


class TestSilence:
    @pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
    async def test_a_provider_that_does_not_answer_is_given_up(self, fragile: Mesh, caller: Caller, path: str):
        loop = asyncio.get_running_loop()
        body = wish("silent")
        if path == COMPLETIONS:
            body = {"model": "scripted/silent", "messages": [{"role": "user", "content": body["message"]}]}
        began = loop.time()
        reply = await caller.post(path, body)
        assert reply.status_code == 504, reply.text
        assert SILENCE_SECONDS <= loop.time() - began < SILENCE_SECONDS + 2
        assert await stored(fragile, caller) == []

    async def test_a_stream_that_falls_silent_ends_as_an_error_and_what_came_is_kept(
        self, fragile: Mesh, caller: Caller
    ):
        body = wish("stalls")
        async with caller.stream(STREAM, body) as response:
            events = await all_events(response)
        types = [event if event == DONE else event["type"] for event in events]
        assert types[-1] == "error"
        assert not {"complete", DONE} & set(types)
        assert "".join(event["content"] for event in events if event["type"] == "content") == RECEIVED
        assert events[-1]["provider"] == "scripted"
        assert await stored(fragile, caller) == [("user", body["message"], True), ("assistant", RECEIVED, False)]

    async def test_the_clients_own_deadline_comes_first(self, fragile: Mesh, caller: Caller, upstream: Upstream):
        loop = asyncio.get_running_loop()
        body = wish("silent")
        began = loop.time()
        reply = await caller.post(CHAT, body, headers={"X-Request-Timeout": "0.7"})
        assert (reply.status_code, reply.json()["code"]) == (504, 4), reply.text
        assert loop.time() - began < SILENCE_SECONDS
        call = await upstream.call(body["message"])
        async with asyncio.timeout(5):
            await call.gone.wait()
        assert call.gone_at - began < SILENCE_SECONDS


class TestNonsense:
    @pytest.mark.parametrize("model", NONSENSE)
    async def test_an_answer_that_is_none_is_a_bad_gateway_and_nothing_is_kept(
        self, fragile: Mesh, caller: Caller, model: str
    ):
        reply = await caller.post(CHAT, wish(model))
        assert (reply.status_code, reply.json()["code"]) == (502, 13), reply.text
        assert "scripted" in reply.json()["message"]
        messages = [{"role": "user", "content": "hello"}]
        completion = await caller.post(COMPLETIONS, {"model": f"scripted/{model}", "messages": messages})
        assert completion.status_code == 502, completion.text
        assert set(completion.json()["error"]) == {"message", "type", "param", "code"}
        for answer in (reply, completion):
            assert "sk-scripted" not in answer.text
            assert "It works!" not in answer.text
        assert await stored(fragile, caller) == []

    @pytest.mark.parametrize("model", NONSENSE)
    async def test_and_in_a_stream_an_error(self, fragile: Mesh, caller: Caller, model: str):
        async with caller.stream(STREAM, wish(model)) as response:
            events = await all_events(response)
        assert events[-1]["type"] == "error"
        assert not {"content", "complete"} & {event["type"] for event in events}
        assert await stored(fragile, caller) == []

    @pytest.mark.parametrize("model", CUT)
    async def test_a_reply_that_breaks_off_is_an_error_and_kept_as_incomplete(
        self, fragile: Mesh, caller: Caller, model: str
    ):
        body = wish(model)
        async with caller.stream(STREAM, body) as response:
            events = await all_events(response)
        assert events[-1]["type"] == "error"
        assert "sk-scripted" not in str(events[-1])
        assert not {"complete", "metadata"} & {event["type"] for event in events}
        text = "".join(event["content"] for event in events if event["type"] == "content")
        assert text.strip() == (RECEIVED if model == "unfinished" else WORDS[0]).strip()
        assert await stored(fragile, caller) == [("user", body["message"], True), ("assistant", text, False)]

    @pytest.mark.parametrize("model", CUT)
    async def test_the_openai_sdk_raises_for_it(self, fragile: Mesh, caller: Caller, model: str):
        async with openai.AsyncOpenAI(api_key=caller.key, base_url=f"{fragile.url}/v1", max_retries=0) as client:

            async def read() -> None:
                stream = await client.chat.completions.create(
                    model=f"scripted/{model}", messages=[{"role": "user", "content": "hello"}], stream=True
                )
                async for _ in stream:
                    pass

            with pytest.raises(openai.APIError):
                await read()
        [_, (role, text, is_complete)] = await stored(fragile, caller)
        assert (role, is_complete) == ("assistant", False)
        assert text == (RECEIVED if model == "unfinished" else WORDS[0])

    async def test_the_next_message_is_answered_as_if_nothing_had_been(self, caller: Caller):
        assert (await caller.post(CHAT, wish("list"))).status_code == 502
        assert (await caller.post(CHAT, {"message": "hello", "provider": "local"})).status_code == 200


class TestRealDialects:
    """The same from the simulator, in the dialects of the real providers."""

    @pytest.mark.parametrize("provider", ["claude", "openai"])
    async def test_a_cut_stream_is_kept_as_incomplete(self, mesh: Mesh, provider: str):
        caller = await mesh.new_caller()
        async with caller.stream(STREAM, {"message": "please cut the stream", "provider": provider}) as response:
            events = await all_events(response)
        assert events[-1]["type"] == "error"
        assert events[-1]["provider"] == provider
        text = "".join(event["content"] for event in events if event["type"] == "content")
        [_, (role, kept, is_complete)] = await stored(mesh, caller)
        assert (role, is_complete) == ("assistant", False)
        assert kept.startswith(text)
        assert "This reply is cut off before it ends".startswith(kept)

    @pytest.mark.parametrize(
        ("text", "status"),
        [
            ("please fail with 500", 502),
            ("please be unavailable", 503),
            ("please be overloaded", 503),
            ("please limit the rate", 429),
            ("please refuse our key", 502),
            ("please refuse the request", 400),
            ("please answer nonsense", 502),
            ("please hang up", 503),
        ],
    )
    @pytest.mark.parametrize("provider", ["claude", "openai"])
    async def test_a_failure_keeps_its_class(self, mesh: Mesh, provider: str, text: str, status: int):
        caller = await mesh.new_caller()
        reply = await caller.post(CHAT, {"message": text, "provider": provider, "enable_fallback": False})
        assert reply.status_code == status, reply.text
        assert provider in reply.json()["message"]
        assert "sk-simulated" not in reply.text
        assert ("retry-after" in reply.headers) == (status in (429, 503))
        assert await stored(mesh, caller) == []


class TestFallback:
    """Another provider answers when the chosen one fails before its first word, unless the request forbids it."""

    async def test_of_a_reply(self, mesh: Mesh):
        caller = await mesh.new_caller()
        body = {"message": "please fall back", "model": "claude-sonnet-5"}
        reply = (await caller.post(CHAT, body)).json()
        assert (reply["response"], reply["provider"]) == ("Another one answers.", "openai")
        assert reply["fallback_used"] is True
        forbidden = await caller.post(CHAT, {**body, "enable_fallback": False})
        assert forbidden.status_code == 503

    async def test_of_a_stream(self, mesh: Mesh):
        caller = await mesh.new_caller()
        async with caller.stream(STREAM, {"message": "please fall back", "model": "claude-sonnet-5"}) as response:
            *events, end = await all_events(response)
        assert end == DONE
        types = [event["type"] for event in events]
        assert types[:4] == ["start", "ready", "model_selection", "fallback_attempt"]
        assert types[-2:] == ["metadata", "complete"]
        assert "claude" in events[3]["message"]
        contents = [event for event in events if event["type"] == "content"]
        assert "".join(event["content"] for event in contents) == "Another one answers."
        assert {event["provider"] for event in contents} == {"openai"}
        assert events[-2]["fallback_used"] is True


class TestLeaving:
    """A client that leaves takes its call to the provider with it, and what had come is kept."""

    @pytest.mark.parametrize("path", [STREAM, COMPLETIONS])
    async def test_in_the_middle_of_a_stream(self, fragile: Mesh, caller: Caller, upstream: Upstream, path: str):
        loop = asyncio.get_running_loop()
        body = wish("stalls")
        message = body["message"]
        if path == COMPLETIONS:
            body = {"model": "scripted/stalls", "messages": [{"role": "user", "content": message}], "stream": True}
        async with httpx.AsyncClient(base_url=fragile.url, verify=False) as client:
            async with client.stream("POST", path, json=body, headers={"x-api-key": caller.key}) as response:
                async for event in read_events(response):
                    if WORDS[-1].strip() in str(event):
                        break
            left_at = loop.time()
        call = await upstream.call(message)
        async with asyncio.timeout(5):
            await call.gone.wait()
        assert call.gone_at - left_at < CANCEL_SECONDS

        async def kept() -> bool:
            return await stored(fragile, caller) == [("user", message, True), ("assistant", RECEIVED, False)]

        await until(kept, "what came is stored as incomplete", 5)

    @pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
    async def test_while_waiting_for_the_whole_reply(
        self, fragile: Mesh, caller: Caller, upstream: Upstream, path: str
    ):
        loop = asyncio.get_running_loop()
        body = wish("silent")
        message = body["message"]
        if path == COMPLETIONS:
            body = {"model": "scripted/silent", "messages": [{"role": "user", "content": message}]}
        request = asyncio.create_task(caller.post(path, body))
        call = await upstream.call(message)
        request.cancel()
        left_at = loop.time()
        await asyncio.gather(request, return_exceptions=True)
        async with asyncio.timeout(5):
            await call.gone.wait()
        assert call.gone_at - left_at < CANCEL_SECONDS
        assert await stored(fragile, caller) == []

    async def test_an_internal_caller_who_cancels(self, fragile: Mesh, caller: Caller, upstream: Upstream):
        loop = asyncio.get_running_loop()
        body = wish("stalls")
        async with fragile.channel("chat") as channel:
            call = ChatServiceStub(channel).StreamChat(
                chat_service_pb2.ChatRequest(**body), metadata=(("x-api-key", caller.key),)
            )
            received = ""
            async for event in call:
                received += event.content
                if received == RECEIVED:
                    break
            call.cancel()
            left_at = loop.time()
            assert await call.code() is grpc.StatusCode.CANCELLED
        upstream_call = await upstream.call(body["message"])
        async with asyncio.timeout(5):
            await upstream_call.gone.wait()
        assert upstream_call.gone_at - left_at < CANCEL_SECONDS

        async def kept() -> bool:
            return (await stored(fragile, caller))[-1:] == [("assistant", RECEIVED, False)]

        await until(kept, "what came is stored as incomplete", 5)
