"""A request with an Idempotency-Key that comes twice is answered twice, and made once."""

import asyncio
from typing import Any

import grpc
import pytest
from gaia.chat.v1.chat_service_pb2 import ChatRequest
from gaia.chat.v1.plain_chat_service_pb2 import PlainChatRequest

from services.chat import snapshot
from tests.integration.chat.conftest import Client, outcome, refusal
from tests.integration.chat.scripted_provider import (
    ScriptedProvider,
    openai_chunk,
    openai_completion,
    openai_usage,
)
from tests.integration.chat.test_ledger import ledger_of

ASK = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}]}


def keyed(client: Client, key: str = "key-1") -> Client:
    """Returns the client as it calls with an idempotency key."""
    return Client(client.channel, (*client.metadata, ("idempotency-key", key)), client.owner_url)


async def streamed(exchange: Any) -> None:
    await exchange.begin()
    await exchange.events(openai_chunk({"role": "assistant", "content": "hel"}), openai_chunk({"content": "lo"}))
    await exchange.events(openai_chunk({}, "stop"), openai_usage(9, 2), b"[DONE]")
    await exchange.end()


class TestWholeReplies:
    async def test_the_second_request_gets_the_first_body_to_the_letter(
        self, client: Client, openai_upstream: ScriptedProvider
    ):
        openai_upstream.script = lambda exchange: exchange.reply(200, openai_completion("hello"))
        again = keyed(client)
        assert await again.complete(ASK) == await again.complete(ASK)
        assert len(openai_upstream.requests) == 1
        assert len(await ledger_of(client)) == 1
        assert len(await client.messages()) == 2

    async def test_a_translated_reply_has_the_same_id_and_time(self, client: Client):
        again = keyed(client)
        ask = {**ASK, "model": "local-echo"}
        assert await again.complete(ask) == await again.complete(ask)

    async def test_native_chats_too(self, client: Client):
        again = keyed(client)
        request = ChatRequest(message="hi", provider="local")
        first = await again.call(client.chat.Chat, request)
        assert await again.call(client.chat.Chat, request) == first
        assert len(await client.messages()) == 2

    async def test_the_same_key_with_another_body_is_a_conflict(self, client: Client):
        again = keyed(client)
        ask = {**ASK, "model": "local-echo"}
        await again.complete(ask)
        error = await refusal(again.completion_call({**ask, "user": "another"}))
        assert error.code is grpc.StatusCode.ALREADY_EXISTS
        assert "another request" in error.message

    async def test_a_first_request_that_goes_on_is_a_conflict_that_says_when_to_come_again(
        self, client: Client, openai_upstream: ScriptedProvider
    ):
        arrived, go_on = asyncio.Event(), asyncio.Event()

        async def script(exchange):
            arrived.set()
            await go_on.wait()
            await exchange.reply(200, openai_completion("hello"))

        openai_upstream.script = script
        again = keyed(client)
        first = asyncio.ensure_future(again.complete(ASK))
        await arrived.wait()
        error = await refusal(again.completion_call(ASK))
        assert error.code is grpc.StatusCode.ALREADY_EXISTS
        assert "still going on" in error.message
        assert "retry" in error.trailing.lower()
        go_on.set()
        assert await first == await again.complete(ASK)

    async def test_a_request_that_failed_can_be_sent_again(self, client: Client, openai_upstream: ScriptedProvider):
        openai_upstream.script = lambda exchange: exchange.reply(400, {"error": {"message": "no"}})
        again = keyed(client)
        await refusal(again.completion_call(ASK))
        openai_upstream.script = lambda exchange: exchange.reply(200, openai_completion("hello"))
        assert (await again.complete(ASK))["choices"][0]["message"]["content"] == "hello"

    async def test_keys_of_other_users_are_others(self, client: Client, auth: Any):
        other = Client(client.channel, (("x-api-key", await auth.new_key()),), client.owner_url)
        ask = {**ASK, "model": "local-echo"}
        assert (await keyed(client).complete(ask))["id"] != (await keyed(other).complete(ask))["id"]

    @pytest.mark.parametrize("key", ["", "x" * 256])
    async def test_a_key_that_is_none_is_refused_by_name(self, client: Client, key: str):
        error = await refusal(keyed(client, key).completion_call({**ASK, "model": "local-echo"}))
        assert error.code is grpc.StatusCode.INVALID_ARGUMENT
        assert "Idempotency-Key" in error.message


class TestStreams:
    async def test_a_finished_stream_is_told_again_event_by_event(
        self, client: Client, openai_upstream: ScriptedProvider
    ):
        openai_upstream.script = streamed
        again = keyed(client)
        ask = {**ASK, "stream": True}
        first = await again.stream(ask)
        assert first[-1] == "[DONE]"
        assert await again.stream(ask) == first
        assert len(openai_upstream.requests) == 1

    async def test_the_stream_of_a_translated_reply_says_the_same_under_the_same_id(self, client: Client):
        again = keyed(client)
        ask = {**ASK, "model": "local-echo", "stream": True, "stream_options": {"include_usage": True}}
        first, second = await again.stream(ask), await again.stream(ask)
        assert text_of(first) == text_of(second)
        assert {one["id"] for one in first[:-1]} == {one["id"] for one in second[:-1]}
        assert first[-2]["usage"] == second[-2]["usage"]

    async def test_native_streams_too(self, client: Client):
        again = keyed(client)
        request = ChatRequest(message="hi", provider="local")
        streams = [
            [event async for event in client.chat.StreamChat(request, metadata=again.metadata)] for _ in range(2)
        ]
        said = [[event.content for event in events if event.type == "content"] for events in streams]
        assert "".join(said[0]) == "".join(said[1])
        assert [events[-1].conversation_id for events in streams] == [streams[0][-1].conversation_id] * 2
        assert len(await client.messages()) == 2

    async def test_a_new_conversation_of_version_03_is_begun_once(
        self, client: Client, openai_upstream: ScriptedProvider, claude_upstream: ScriptedProvider
    ):
        openai_upstream.script = streamed
        claude_upstream.script = lambda exchange: exchange.reply(500, {})
        again = keyed(client)
        request = PlainChatRequest(message="hi", conversation_id="new")
        streams = [
            [event async for event in client.plain.StreamPlainChat(request, metadata=again.metadata)] for _ in range(2)
        ]
        assert streams[0][0].conversation_id == streams[1][0].conversation_id
        owned = "SELECT c.id FROM conversations c JOIN users u ON u.id = c.user_id WHERE u.email = $1"
        assert len(await client.rows(owned, await client.email())) == 1

    async def test_a_stream_that_is_too_long_to_be_kept_is_not_paid_for_a_second_time(
        self, client: Client, openai_upstream: ScriptedProvider, monkeypatch: pytest.MonkeyPatch
    ):
        monkeypatch.setattr(snapshot, "MAX_BYTES", 100)
        openai_upstream.script = streamed
        again = keyed(client)
        ask = {**ASK, "stream": True}
        assert text_of(await again.stream(ask)) == "hello"
        error = await refusal(again.completion_call(ask))
        assert error.code is grpc.StatusCode.ALREADY_EXISTS
        assert "too large to be kept" in error.message
        assert len(openai_upstream.requests) == len(await ledger_of(client)) == 1

    async def test_a_stream_that_broke_off_can_be_asked_for_again(
        self, client: Client, openai_upstream: ScriptedProvider
    ):
        async def broken(exchange):
            await exchange.begin()
            await exchange.events(openai_chunk({"content": "hal"}))
            exchange.cut()

        openai_upstream.script = broken
        again = keyed(client)
        await outcome(again.completion_call({**ASK, "stream": True}))
        openai_upstream.script = streamed
        assert (await again.stream({**ASK, "stream": True}))[-1] == "[DONE]"


def text_of(events: list[Any]) -> str:
    return "".join(choice["delta"].get("content") or "" for one in events[:-1] for choice in one["choices"])
