"""Native chat on the local provider, through its gRPC door, on a real database."""

import asyncio
import contextlib
import uuid
from itertools import accumulate
from typing import Any

import grpc
import pytest
from gaia.chat.v1.chat_service_pb2 import (
    ChatRequest,
    ClearChatHistoryRequest,
    GetChatStatusRequest,
)

from shared.rpc.channel import connect
from tests.integration.chat.conftest import Client, Running, outcome, refusal, until
from tests.integration.chat.scripted_provider import Exchange, ScriptedProvider, openai_chunk, openai_completion
from tests.support.auth import Auth

LOCAL: dict[str, Any] = {"provider": "local"}


class TestConversations:
    async def test_a_client_that_names_none_keeps_one_conversation(self, client: Client):
        first = await client.chat.Chat(ChatRequest(message="my name is Ada", **LOCAL), metadata=client.metadata)
        second = await client.chat.Chat(ChatRequest(message="who am I?", **LOCAL), metadata=client.metadata)
        assert first.conversation_id == second.conversation_id
        assert "the first was: my name is Ada" in second.response
        assert {row["origin"] for row in await client.messages()} == {"default"}

    async def test_the_first_messages_of_many_calls_at_once_make_one_conversation_of_whole_pairs(self, client: Client):
        calls = [
            client.chat.Chat(ChatRequest(message=f"m{number}", **LOCAL), metadata=client.metadata)
            for number in range(20)
        ]
        replies = await asyncio.gather(*calls)
        assert len({reply.conversation_id for reply in replies}) == 1
        rows = await client.messages()
        assert [row["role"] for row in rows] == ["user", "assistant"] * 20
        for question, answer in zip(rows[::2], rows[1::2], strict=True):
            assert f"You said: {question['content']}" in answer["content"]

    async def test_a_conversation_of_ones_own_is_continued_by_its_id(self, client: Client):
        [row] = await client.rows(
            "INSERT INTO conversations (user_id) SELECT id FROM users WHERE email = $1 RETURNING id",
            await client.email(),
        )
        for message in ("alpha", "beta"):
            request = ChatRequest(message=message, conversation_id=str(row["id"]), **LOCAL)
            reply = await client.chat.Chat(request, metadata=client.metadata)
        assert reply.conversation_id == str(row["id"])
        assert "the first was: alpha" in reply.response

    async def test_a_foreign_an_unknown_and_an_impossible_id_are_not_there(
        self, client: Client, auth: Auth, address: str
    ):
        mine = await client.chat.Chat(ChatRequest(message="secret", **LOCAL), metadata=client.metadata)
        async with connect(address) as channel:
            other = Client(channel, (("x-api-key", await auth.new_key()),), auth.owner_url)
            for conversation_id in (mine.conversation_id, str(uuid.uuid4()), "latest"):
                request = ChatRequest(message="x", conversation_id=conversation_id, **LOCAL)
                error = await refusal(other.chat.Chat(request, metadata=other.metadata))
                assert error.code is grpc.StatusCode.NOT_FOUND
                assert error.message == f"there is no conversation {conversation_id}"

    async def test_status_and_clearing_are_about_the_callers_default_conversation(self, client: Client):
        await client.chat.Chat(ChatRequest(message="x", **LOCAL), metadata=client.metadata)
        status = await client.chat.GetChatStatus(GetChatStatusRequest(), metadata=client.metadata)
        assert (status.message_count, status.has_history, status.api_version) == (2, True, "0.2")
        cleared = await client.chat.ClearChatHistory(ClearChatHistoryRequest(), metadata=client.metadata)
        assert (cleared.status, cleared.message) == ("success", "deleted 2 messages")
        status = await client.chat.GetChatStatus(GetChatStatusRequest(), metadata=client.metadata)
        assert (status.message_count, status.has_history) == (0, False)

    async def test_history_is_trimmed_to_the_models_window_and_begins_with_a_question(
        self, client: Client, openai_upstream: ScriptedProvider
    ):
        openai_upstream.script = lambda exchange: exchange.reply(200, openai_completion("y" * 150_000))
        for message in ("old", "new", "newest"):
            await client.chat.Chat(ChatRequest(message=message, model="gpt-4o"), metadata=client.metadata)
        sent = openai_upstream.requests[-1].body["messages"]
        assert [one["role"] for one in sent] == ["user", "assistant", "user"]
        assert [one["content"] for one in sent][0::2] == ["new", "newest"]

    async def test_a_message_with_nul_is_kept_with_the_replacement_character(self, client: Client):
        await client.chat.Chat(ChatRequest(message="a\x00b", **LOCAL), metadata=client.metadata)
        assert (await client.messages())[0]["content"] == "a\ufffdb"


class TestStreams:
    async def test_the_events_come_in_order_and_say_what_was_stored(self, client: Client):
        call = client.chat.StreamChat(ChatRequest(message="hello", **LOCAL), metadata=client.metadata)
        events = [event async for event in call]
        assert [event.type for event in events[:3]] == ["start", "ready", "model_selection"]
        assert (events[2].provider, events[2].model) == ("local", "local-echo")
        text = "".join(event.content for event in events[3:-2])
        assert [event.type for event in events[-2:]] == ["metadata", "complete"]
        assert events[-1].response_length == len(text)
        assert events[-2].total_tokens == events[-2].usage.input_tokens + events[-2].usage.output_tokens
        question, answer = await client.messages()
        assert (question["content"], answer["content"]) == ("hello", text)
        assert str(answer["conversation_id"]) == events[-1].conversation_id
        assert (answer["provider"], answer["model"], answer["finish_reason"]) == ("local", "local-echo", "stop")
        assert answer["output_tokens"] == events[-2].usage.output_tokens

    async def test_chunks_have_openais_shape_and_one_end(self, client: Client):
        call = client.chat.StreamChatChunks(ChatRequest(message="hello", **LOCAL), metadata=client.metadata)
        chunks = [chunk async for chunk in call]
        assert len({chunk.id for chunk in chunks}) == 1
        assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}
        assert chunks[0].choices[0].delta.role == "assistant"
        assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices[0].HasField("finish_reason")] == [
            "stop"
        ]
        assert chunks[-1].usage.total_tokens > 0
        text = "".join(chunk.choices[0].delta.content for chunk in chunks)
        assert (await client.messages())[1]["content"] == text

    async def test_chunks_keep_words_and_objects_whole_where_the_client_wants_it(
        self, client: Client, openai_upstream: ScriptedProvider
    ):
        async def script(exchange: Exchange) -> None:
            await exchange.begin()
            pieces = ["Mo", "ve: {", '"x', '": 1, "y', '": 2} n', "ow"]
            await exchange.events(*(openai_chunk({"content": one}) for one in pieces), openai_chunk({}, "stop"))
            await exchange.events(b"[DONE]")
            await exchange.end()

        openai_upstream.script = script
        text = 'Move: {"x": 1, "y": 2} now'

        def check(pieces: list[str]) -> None:
            # The provider's events may arrive together: at which of the places where it may be cut it is, is not known.
            assert "".join(pieces) == text
            assert set(accumulate(map(len, pieces))) <= {len("Move: "), len('Move: {"x": 1, "y": 2} '), len(text)}

        request = ChatRequest(message="x", model="gpt-4o", chunking="word")
        chunks = [chunk async for chunk in client.chat.StreamChatChunks(request, metadata=client.metadata)]
        check([chunk.choices[0].delta.content for chunk in chunks[:-1]])
        assert chunks[0].choices[0].delta.role == "assistant"
        combined = await client.combined_stream(message="x", model="gpt-4o", chunking="word")
        check([chunk["choices"][0]["delta"]["content"] for chunk in combined[:-2]])
        messages = [{"role": "user", "content": "x"}]
        *listed, last, end = await client.combined_stream(messages=messages, model="gpt-4o", chunking="word")
        check([chunk["choices"][0]["delta"]["content"] for chunk in listed])
        assert (last["choices"][0]["finish_reason"], end) == ("stop", "[DONE]")
        events = [event async for event in client.chat.StreamChat(request, metadata=client.metadata)]
        check([event.content for event in events if event.type == "content"])


class TestRefusals:
    @pytest.mark.parametrize(
        ("fields", "code", "says"),
        [
            ({"message": " \n"}, grpc.StatusCode.INVALID_ARGUMENT, "message: must not be empty"),
            ({"priority": "best"}, grpc.StatusCode.INVALID_ARGUMENT, "speed, quality, balanced, vr, cost"),
            ({"chunking": "line"}, grpc.StatusCode.INVALID_ARGUMENT, "chunking: must be word or left out"),
            ({"context_type": "x"}, grpc.StatusCode.INVALID_ARGUMENT, "greeting, conversation, technical"),
            ({"temperature": 2.1}, grpc.StatusCode.INVALID_ARGUMENT, "temperature: must be 0 to 2"),
            ({"max_tokens": 0}, grpc.StatusCode.INVALID_ARGUMENT, "max_tokens: must be 1 or more"),
            ({"required_capabilities": ["fly"]}, grpc.StatusCode.INVALID_ARGUMENT, "required_capabilities[0]"),
            ({"provider": "gpt"}, grpc.StatusCode.NOT_FOUND, "there are claude, openai, local"),
            ({"model": "gpt4o"}, grpc.StatusCode.NOT_FOUND, "gpt-4o"),
            ({"model": "gpt-4o", "provider": "claude"}, grpc.StatusCode.INVALID_ARGUMENT, "offered by openai"),
            ({"persona_id": "nobody"}, grpc.StatusCode.NOT_FOUND, "there is no persona nobody"),
            (
                {"model": "local-echo", "required_capabilities": ["vision"]},
                grpc.StatusCode.INVALID_ARGUMENT,
                "local-echo has no vision",
            ),
        ],
    )
    async def test_a_wrong_request_is_told_what_is_wrong_and_what_would_be_right(
        self, client: Client, fields, code, says
    ):
        request = ChatRequest(**{"message": "x", **fields})
        error = await refusal(client.chat.Chat(request, metadata=client.metadata))
        assert error.code is code
        assert says in error.message
        assert await client.messages() == []

    async def test_every_violation_is_named_at_once(self, client: Client):
        request = ChatRequest(message="", priority="best", max_tokens=-1)
        error = await refusal(client.chat.Chat(request, metadata=client.metadata))
        for field in ("message:", "priority:", "max_tokens:"):
            assert field in error.message

    async def test_a_stream_refuses_before_its_first_event(self, client: Client):
        said, error = await outcome(client.chat.StreamChat(ChatRequest(message=""), metadata=client.metadata))
        assert said == []
        assert error.code is grpc.StatusCode.INVALID_ARGUMENT

    async def test_a_message_longer_than_the_models_window_is_refused(
        self, client: Client, openai_upstream: ScriptedProvider
    ):
        request = ChatRequest(message="x" * 500_000, model="gpt-4o")
        error = await refusal(client.chat.Chat(request, metadata=client.metadata))
        assert error.code is grpc.StatusCode.INVALID_ARGUMENT
        assert "gpt-4o reads at most 128000" in error.message
        assert openai_upstream.requests == []


class TestFallback:
    async def test_another_provider_answers_before_the_first_word(
        self, client: Client, openai_upstream: ScriptedProvider, claude_upstream: ScriptedProvider
    ):
        claude_upstream.script = lambda exchange: exchange.reply(529, {})
        openai_upstream.script = lambda exchange: exchange.reply(200, openai_completion("here I am"))
        reply = await client.chat.Chat(ChatRequest(message="x"), metadata=client.metadata)
        assert (reply.response, reply.provider, reply.fallback_used) == ("here I am", "openai", True)
        assert (await client.messages())[1]["provider"] == "openai"

    async def test_a_stream_says_that_it_falls_back(
        self, client: Client, openai_upstream: ScriptedProvider, claude_upstream: ScriptedProvider
    ):
        claude_upstream.script = lambda exchange: exchange.reply(500, {})

        async def script(exchange: Exchange) -> None:
            await exchange.begin()
            await exchange.events(openai_chunk({"content": "here"}), openai_chunk({}, "stop"), b"[DONE]")
            await exchange.end()

        openai_upstream.script = script
        call = client.chat.StreamChat(ChatRequest(message="x"), metadata=client.metadata)
        events = [event async for event in call]
        [attempt] = [event for event in events if event.type == "fallback_attempt"]
        assert "claude failed (500); trying" in attempt.message
        [content] = [event for event in events if event.type == "content"]
        assert (content.content, content.provider) == ("here", "openai")
        assert events[-2].fallback_used

    @pytest.mark.parametrize("fields", [{"enable_fallback": False}, {"provider": "claude", "force_provider": True}])
    async def test_nobody_else_answers_where_the_client_forbids_it(
        self, client: Client, openai_upstream: ScriptedProvider, claude_upstream: ScriptedProvider, fields
    ):
        claude_upstream.script = lambda exchange: exchange.reply(529, {})
        error = await refusal(client.chat.Chat(ChatRequest(message="x", **fields), metadata=client.metadata))
        assert error.code is grpc.StatusCode.UNAVAILABLE
        assert openai_upstream.requests == []

    async def test_a_refused_request_is_not_tried_elsewhere(
        self, client: Client, openai_upstream: ScriptedProvider, claude_upstream: ScriptedProvider
    ):
        claude_upstream.script = lambda exchange: exchange.reply(400, {"error": {"message": "too long"}})
        error = await refusal(client.chat.Chat(ChatRequest(message="x"), metadata=client.metadata))
        assert error.code is grpc.StatusCode.INVALID_ARGUMENT
        assert "too long" in error.message
        assert openai_upstream.requests == []


class TestLeaving:
    async def test_what_came_of_a_stream_is_kept_when_its_caller_leaves(
        self, client: Client, openai_upstream: ScriptedProvider
    ):
        ended = asyncio.Event()

        async def script(exchange: Exchange) -> None:
            await exchange.begin()
            await exchange.events(openai_chunk({"content": "half a "}))
            await exchange.gone()
            ended.set()

        openai_upstream.script = script
        call = client.chat.StreamChat(ChatRequest(message="x", model="gpt-4o"), metadata=client.metadata)
        while (await call.read()).type != "content":
            pass
        call.cancel()
        async with asyncio.timeout(2.0):
            await ended.wait()
        await until(client.messages)
        assert [(row["content"], row["is_complete"]) for row in await client.messages()] == [
            ("x", True),
            ("half a ", False),
        ]

    async def test_what_came_of_a_stream_is_kept_when_the_service_stops(
        self, running_chat: Running, auth: Auth, openai_upstream: ScriptedProvider
    ):
        async def script(exchange: Exchange) -> None:
            await exchange.begin()
            await exchange.events(openai_chunk({"content": "half a "}))
            await exchange.gone()

        openai_upstream.script = script
        settings = {"openai_api_key": "k", "openai_base_url": openai_upstream.url}
        async with contextlib.AsyncExitStack() as stack:
            address = await stack.enter_async_context(running_chat(**settings))
            channel = await stack.enter_async_context(connect(address))
            client = Client(channel, (("x-api-key", await auth.new_key()),), auth.owner_url)
            call = client.chat.StreamChat(ChatRequest(message="x"), metadata=client.metadata)
            while (await call.read()).type != "content":
                pass
        assert [(row["content"], row["is_complete"]) for row in await client.messages()] == [
            ("x", True),
            ("half a ", False),
        ]
