"""The chat of version 1, through the gRPC door, on a real database."""

import uuid
from typing import Any

import grpc
import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from tests.integration.chat.conftest import Client, Refusal, outcome, parsed, refusal
from tests.integration.chat.scripted_provider import (
    Exchange,
    ScriptedProvider,
    claude_message,
    openai_chunk,
    openai_completion,
    openai_usage,
)

SUPERSET = {"id", "object", "created", "model", "choices", "usage", "response", "provider", "conversation_id"}
HELLO = [{"role": "user", "content": "hello"}]


async def refused(client: Client, body: Any) -> Refusal:
    return await refusal(client.combined_call(body))


class TestOneMessage:
    async def test_the_reply_reads_as_gaias_and_as_openais(self, client: Client):
        body = await client.combined(message="hello", provider="local", conversation_id=None, whatever=1)
        assert set(body) >= SUPERSET | {"reasoning", "response_time_ms", "fallback_used"}
        completion = parsed(ChatCompletion, body)
        assert completion.choices[0].message.content == body["response"]
        assert body["usage"]["input_tokens"] == completion.usage.prompt_tokens
        assert body["usage"]["output_tokens"] == completion.usage.completion_tokens
        again = await client.combined(message="and now?", provider="local")
        assert again["conversation_id"] == body["conversation_id"]
        assert "the first was: hello" in again["response"]

    async def test_a_stream_is_openais_chunks_of_which_the_last_names_the_conversation(self, client: Client):
        *chunks, end = await client.combined_stream(message="hello", provider="local")
        assert end == "[DONE]"
        for chunk in chunks:
            parsed(ChatCompletionChunk, chunk)
        reasons = [chunk["choices"][0]["finish_reason"] for chunk in chunks]
        assert reasons == [None] * (len(chunks) - 1) + ["stop"]
        assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"
        rows = await client.messages()
        assert "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks) == rows[1]["content"]
        assert chunks[-1]["conversation_id"] == str(rows[0]["conversation_id"])
        assert chunks[-1]["usage"]["total_tokens"] > 0


class TestMessages:
    async def test_the_chosen_provider_answers_and_gets_openais_fields_only(
        self, client: Client, openai_upstream: ScriptedProvider
    ):
        openai_upstream.script = lambda exchange: exchange.reply(200, openai_completion("hi", service_tier="flex"))
        body = await client.combined(
            messages=HELLO, model="openai/gpt-4o", activity="vr", seed=7, temperature=0.5, whatever=1
        )
        sent = openai_upstream.requests[-1].body
        assert set(sent) == {"messages", "model", "seed", "temperature"}
        assert sent["model"] == "gpt-4o"
        assert set(body) >= SUPERSET | {"service_tier"}
        assert (body["response"], body["provider"], body["usage"]["input_tokens"]) == ("hi", "openai", 7)
        assert body["usage"]["prompt_tokens"] == 7
        parsed(ChatCompletion, body)

    async def test_a_provider_of_another_family_answers_too(self, client: Client, claude_upstream: ScriptedProvider):
        claude_upstream.script = lambda exchange: exchange.reply(200, claude_message([{"type": "text", "text": "hi"}]))
        body = await client.combined(messages=HELLO, provider="claude")
        assert (body["response"], body["provider"]) == ("hi", "claude")
        parsed(ChatCompletion, body)

    async def test_without_a_conversation_the_call_is_kept_out_of_the_lists(self, client: Client):
        body = await client.combined(messages=HELLO, provider="local")
        assert [(row["origin"], str(row["conversation_id"])) for row in await client.messages()] == [
            ("completion", body["conversation_id"])
        ] * 2

    async def test_the_conversation_that_a_reply_names_can_be_gone_on_with(self, client: Client):
        first = await client.combined(messages=HELLO, provider="local")
        conversation = {"provider": "local", "conversation_id": first["conversation_id"]}
        second = await client.combined(message="and now?", **conversation)
        assert "message 2 of yours that I can see; the first was: hello" in second["response"]
        told = [*HELLO, {"role": "assistant", "content": second["response"]}, {"role": "user", "content": "bye"}]
        third = await client.combined(messages=told, **conversation)
        assert second["conversation_id"] == third["conversation_id"] == first["conversation_id"]
        assert [row["content"] for row in await client.messages() if row["role"] == "user"] == [
            "hello",
            "and now?",
            "bye",
        ]

    async def test_with_a_conversation_what_is_new_is_kept_in_it(
        self, client: Client, openai_upstream: ScriptedProvider
    ):
        first = await client.combined(message="hello", provider="local")
        openai_upstream.script = lambda exchange: exchange.reply(200, openai_completion("fine"))
        told = [*HELLO, {"role": "assistant", "content": "hi"}, {"role": "user", "content": "how are you?"}]
        body = await client.combined(messages=told, provider="openai", conversation_id=first["conversation_id"])
        assert body["conversation_id"] == first["conversation_id"]
        assert [one["content"] for one in openai_upstream.requests[-1].body["messages"]] == [
            "hello",
            "hi",
            "how are you?",
        ]
        rows = await client.messages()
        assert [row["content"] for row in rows[2:]] == ["how are you?", "fine"]
        assert len({row["conversation_id"] for row in rows}) == 1

    async def test_a_persona_speaks_before_the_messages(self, client: Client, openai_upstream: ScriptedProvider):
        await client.rows(
            "INSERT INTO personas (id, user_id, name, system_prompt) SELECT 'pirate', id, 'Pirate', 'Arr!' FROM users "
            "WHERE email = $1",
            await client.email(),
        )
        openai_upstream.script = lambda exchange: exchange.reply(200, openai_completion("arr"))
        await client.combined(messages=HELLO, provider="openai", persona_id="pirate")
        assert openai_upstream.requests[-1].body["messages"] == [{"role": "system", "content": "Arr!"}, *HELLO]

    async def test_a_stream_is_the_providers(self, client: Client, openai_upstream: ScriptedProvider):
        async def script(exchange: Exchange) -> None:
            await exchange.begin()
            await exchange.events(
                openai_chunk({"content": "hi"}), openai_chunk({}, "stop"), openai_usage(1, 1), b"[DONE]"
            )
            await exchange.end()

        openai_upstream.script = script
        events = await client.combined_stream(messages=HELLO, provider="openai")
        assert events == [openai_chunk({"content": "hi"}), openai_chunk({}, "stop"), "[DONE]"]

    async def test_a_cut_stream_tells_the_error_and_has_no_end_marker(
        self, client: Client, openai_upstream: ScriptedProvider
    ):
        async def script(exchange: Exchange) -> None:
            await exchange.begin()
            await exchange.events(openai_chunk({"content": "hi"}))
            exchange.cut()

        openai_upstream.script = script
        for asked in ({"messages": HELLO}, {"message": "hello", "force_provider": True}):
            said, _ = await outcome(client.combined_call({**asked, "provider": "openai", "stream": True}))
            assert b'"error"' in said[-1].data
            assert b"[DONE]" not in b"".join(part.data for part in said)


class TestRefusals:
    @pytest.mark.parametrize(
        ("body", "code", "says"),
        [
            ({}, grpc.StatusCode.INVALID_ARGUMENT, "message: must not be empty"),
            (b"{", grpc.StatusCode.INVALID_ARGUMENT, "body: is no JSON"),
            ([], grpc.StatusCode.INVALID_ARGUMENT, "body: must be a JSON object"),
            ({"message": 5}, grpc.StatusCode.INVALID_ARGUMENT, "message"),
            ({"message": "x", "stream": "yes"}, grpc.StatusCode.INVALID_ARGUMENT, "stream: must be true or false"),
            ({"message": "x", "messages": HELLO}, grpc.StatusCode.INVALID_ARGUMENT, "together with messages"),
            ({"messages": []}, grpc.StatusCode.INVALID_ARGUMENT, "messages: must be a list"),
            ({"messages": HELLO, "priority": "best"}, grpc.StatusCode.INVALID_ARGUMENT, "priority: must be one of"),
            ({"messages": HELLO, "temperature": 3}, grpc.StatusCode.INVALID_ARGUMENT, "temperature: must be a number"),
            ({"messages": HELLO, "model": "gpt4o"}, grpc.StatusCode.NOT_FOUND, "gpt-4o"),
            ({"messages": HELLO, "persona_id": "x"}, grpc.StatusCode.NOT_FOUND, "there is no persona x"),
            ({"messages": HELLO, "conversation_id": "x"}, grpc.StatusCode.NOT_FOUND, "there is no conversation x"),
            (
                {"messages": HELLO, "conversation_id": str(uuid.UUID(int=1))},
                grpc.StatusCode.NOT_FOUND,
                "there is no conversation",
            ),
        ],
    )
    async def test_a_faulty_request_is_told_what_would_be_right(
        self, client: Client, body: Any, code: grpc.StatusCode, says: str
    ):
        error = await refused(client, body)
        assert error.code is code
        assert says in error.message
        assert await client.messages() == []
